-- Observability: reports of bots, positions, metrics in three tiers, states of alerts, tracked instruments.

ALTER TABLE instruments ADD COLUMN tracked boolean NOT NULL DEFAULT true;  -- market metrics are collected

-- Reports

CREATE SEQUENCE report_seq;  -- order of the reports in the store; unaffected by a loss of Redis data

CREATE TABLE report_ids (
    bot      text        NOT NULL,
    kind     text        NOT NULL CHECK (kind IN ('order', 'fill', 'signal', 'heartbeat', 'correction')),
    id       text        NOT NULL,
    digest   bytea       NOT NULL,  -- of the content: db/reports/model.py
    received timestamptz NOT NULL,
    PRIMARY KEY (bot, kind, id)
);
CREATE INDEX report_ids_received ON report_ids (received);

CREATE TABLE orders (
    bot             text             NOT NULL,
    order_id        text             NOT NULL,
    strategy        text             NOT NULL,
    symbol          text             NOT NULL,
    side            text             NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity        numeric          CHECK (quantity > 0 AND quantity < 'infinity'),  -- NULL: implicit
    order_type      text,                                                             -- NULL: implicit
    price           numeric,
    client_order_id text,
    status          text             NOT NULL
        CHECK (status IN ('new', 'accepted', 'partially_filled', 'filled', 'cancelled', 'rejected', 'expired')),
    reason          text,
    filled_quantity numeric          NOT NULL DEFAULT 0,  -- of fills alone
    average_price   numeric,
    submitted       timestamptz,                          -- time of `new`
    acknowledged    timestamptz,
    first_fill      timestamptz,
    finished        timestamptz,
    arrival_price   numeric,
    decision_price  numeric,
    decision_time   timestamptz,
    implicit        boolean          NOT NULL DEFAULT false,  -- made of a fill that came before its order
    seq             bigint           NOT NULL,                -- of the report whose status counts
    time            timestamptz      NOT NULL,                -- of that report
    PRIMARY KEY (bot, order_id)
);
CREATE INDEX orders_by_time ON orders (time, bot, order_id);

CREATE TABLE order_events (
    bot      text        NOT NULL,
    id       text        NOT NULL,
    time     timestamptz NOT NULL,
    received timestamptz NOT NULL,
    seq      bigint      NOT NULL,
    order_id text        NOT NULL,
    status   text        NOT NULL,
    reason   text,
    PRIMARY KEY (bot, id, time)
) PARTITION BY RANGE (time);
CREATE INDEX order_events_by_order ON order_events (bot, order_id, time, seq);

CREATE TABLE fills (
    bot           text             NOT NULL,
    fill_id       text             NOT NULL,
    time          timestamptz      NOT NULL,
    received      timestamptz      NOT NULL,
    seq           bigint           NOT NULL,
    strategy      text             NOT NULL,
    order_id      text             NOT NULL,
    symbol        text             NOT NULL,
    side          text             NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity      numeric          NOT NULL CHECK (quantity > 0 AND quantity < 'infinity'),
    price         numeric          NOT NULL CHECK (price > 0 AND price < 'infinity'),
    fee           numeric          NOT NULL DEFAULT 0,  -- negative: a rebate
    fee_currency  text,
    currency      text             NOT NULL,
    multiplier    numeric          NOT NULL DEFAULT 1,
    liquidity     text             CHECK (liquidity IN ('maker', 'taker')),
    realised      numeric,                              -- `pnl` of a trade; NULL: the fill closed nothing
    arrival_price numeric,
    slippage_bps  double precision,
    latency_ms    double precision,
    voided        boolean          NOT NULL DEFAULT false,
    -- The time is in the key because it chooses the partition; `report_ids` makes a fill take effect once.
    PRIMARY KEY (bot, fill_id, time)
) PARTITION BY RANGE (time);
CREATE INDEX fills_by_time ON fills (time, fill_id);
CREATE INDEX fills_by_position ON fills (bot, strategy, symbol, time, seq);
CREATE INDEX fills_by_order ON fills (bot, order_id);

CREATE TABLE corrections (
    bot      text        NOT NULL,
    id       text        NOT NULL,
    fill_id  text        NOT NULL,
    time     timestamptz NOT NULL,
    received timestamptz NOT NULL,
    seq      bigint      NOT NULL,
    action   text        NOT NULL CHECK (action IN ('cancel', 'replace')),
    quantity numeric,                       -- NULL: unchanged
    price    numeric,
    fee      numeric,
    PRIMARY KEY (bot, id)
);
CREATE INDEX corrections_by_fill ON corrections (bot, fill_id);
CREATE INDEX corrections_received ON corrections (received);

CREATE TABLE signals (
    bot        text             NOT NULL,
    id         text             NOT NULL,
    time       timestamptz      NOT NULL,
    received   timestamptz      NOT NULL,
    seq        bigint           NOT NULL,
    strategy   text             NOT NULL,
    symbol     text             NOT NULL,
    signal     text             NOT NULL CHECK (signal IN ('buy', 'sell', 'hold')),
    outcome    text             NOT NULL CHECK (outcome IN ('generated', 'approved', 'rejected')),
    price      numeric,
    confidence double precision,
    PRIMARY KEY (bot, id, time)
) PARTITION BY RANGE (time);
CREATE INDEX signals_by_time ON signals (time, bot, id);

CREATE TABLE bot_heartbeats (
    bot      text        NOT NULL,
    id       text        NOT NULL,
    time     timestamptz NOT NULL,
    strategy text        NOT NULL,
    equity   numeric,
    cash     numeric,
    PRIMARY KEY (bot, id, time)
) PARTITION BY RANGE (time);
CREATE INDEX bot_heartbeats_by_time ON bot_heartbeats (bot, strategy, time);

CREATE TABLE positions (
    bot       text    NOT NULL,
    strategy  text    NOT NULL,
    symbol    text    NOT NULL,
    quantity  numeric NOT NULL,  -- signed
    average   numeric NOT NULL,
    gross     numeric NOT NULL,
    fees      jsonb   NOT NULL,  -- currency -> decimal text
    as_of_seq bigint  NOT NULL,
    last_time     timestamptz,       -- of the last fill in it
    currency      text    NOT NULL DEFAULT 'USD',  -- of prices and gross
    multiplier    numeric NOT NULL DEFAULT 1,
    opened        timestamptz,       -- the open round trip; NULL: the position is flat
    opening_fill  text,
    trip_quantity numeric,
    trip_gross    numeric,
    trip_fees     jsonb,
    PRIMARY KEY (bot, strategy, symbol)
);

CREATE TABLE position_checkpoints (
    day       date    NOT NULL,
    bot       text    NOT NULL,
    strategy  text    NOT NULL,
    symbol    text    NOT NULL,
    quantity  numeric NOT NULL,
    average   numeric NOT NULL,
    gross     numeric NOT NULL,
    fees      jsonb   NOT NULL,
    mark      numeric,
    as_of_seq bigint  NOT NULL,
    currency      text    NOT NULL DEFAULT 'USD',  -- of prices and gross
    multiplier    numeric NOT NULL DEFAULT 1,
    opened        timestamptz,       -- the open round trip; NULL: the position is flat
    opening_fill  text,
    trip_quantity numeric,
    trip_gross    numeric,
    trip_fees     jsonb,
    PRIMARY KEY (day, bot, strategy, symbol)
);
CREATE INDEX position_checkpoints_by_position ON position_checkpoints (bot, strategy, symbol, day);

CREATE TABLE round_trips (
    bot          text        NOT NULL,
    strategy     text        NOT NULL,
    symbol       text        NOT NULL,
    opened       timestamptz NOT NULL,
    opening_fill text        NOT NULL,
    closed       timestamptz NOT NULL,
    side         text        NOT NULL CHECK (side IN ('long', 'short')),
    quantity     numeric     NOT NULL,  -- the largest one between flat and flat
    gross        numeric     NOT NULL,
    fees         numeric     NOT NULL,
    net          numeric     NOT NULL,
    currency     text        NOT NULL,
    PRIMARY KEY (bot, strategy, symbol, opened, opening_fill)
);
CREATE INDEX round_trips_closed ON round_trips (closed);

-- Metrics: the rows of a minute are made of its seconds, those of an hour of its minutes. db/metrics/ has the rules of the columns.

CREATE TABLE metrics_market_1s (
    time               timestamptz NOT NULL,  -- the start
    symbol             text        NOT NULL,
    last_price         numeric,
    bid                numeric,
    ask                numeric,
    high               numeric,
    low                numeric,
    vwap               numeric,               -- of the UTC day so far
    volume             numeric,
    trades             bigint,
    spread_bps_sum     double precision,
    spread_bps_samples bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (time, symbol)
) PARTITION BY RANGE (time);

CREATE TABLE metrics_strategy_1s (
    time           timestamptz NOT NULL,
    bot            text        NOT NULL,
    strategy       text        NOT NULL,
    pnl            numeric,
    daily_pnl      numeric,
    realized_pnl   numeric,
    unrealized_pnl numeric,
    positions      bigint,
    signals        bigint,
    win_rate       double precision,
    pnl_min        numeric,
    pnl_max        numeric,
    PRIMARY KEY (time, bot, strategy)
) PARTITION BY RANGE (time);

CREATE TABLE metrics_execution_1s (
    time                 timestamptz NOT NULL,
    bot                  text        NOT NULL,
    strategy             text        NOT NULL,
    orders_submitted     bigint,                -- counts of the day so far
    orders_filled        bigint,
    orders_cancelled     bigint,                -- with the expired ones
    orders_rejected      bigint,
    latency_ms_sum       double precision,
    latency_ms_samples   bigint      NOT NULL DEFAULT 0,
    slippage_bps_sum     double precision,      -- weighted by quantity
    slippage_bps_samples double precision NOT NULL DEFAULT 0,  -- the sum of these quantities
    PRIMARY KEY (time, bot, strategy)
) PARTITION BY RANGE (time);

CREATE TABLE metrics_system_1s (
    time                       timestamptz NOT NULL,
    cpu_percent_sum            double precision,
    cpu_percent_max            double precision,
    cpu_percent_samples        bigint      NOT NULL DEFAULT 0,
    memory_percent_sum         double precision,
    memory_percent_max         double precision,
    memory_percent_samples     bigint      NOT NULL DEFAULT 0,
    disk_usage_percent_sum     double precision,
    disk_usage_percent_max     double precision,
    disk_usage_percent_samples bigint      NOT NULL DEFAULT 0,
    health                     text        CHECK (health IN ('healthy', 'degraded', 'unhealthy')),
    active_alerts              bigint,
    uptime_seconds             double precision,
    PRIMARY KEY (time)
) PARTITION BY RANGE (time);

DO $migration$
DECLARE
    section text;
    tier text;
BEGIN
    FOREACH section IN ARRAY '{market,strategy,execution,system}'::text[] LOOP
        FOREACH tier IN ARRAY '{1m,1h}'::text[] LOOP
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY RANGE (time)',
                           'metrics_' || section || '_' || tier, 'metrics_' || section || '_1s');
        END LOOP;
    END LOOP;
END
$migration$;

-- Minutes and hours whose rows have to be built again. A mark may be there several times.
CREATE TABLE metrics_marks (
    section text        NOT NULL,
    tier    text        NOT NULL CHECK (tier IN ('1m', '1h')),
    start   timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX metrics_marks_by_tier ON metrics_marks (tier, start);

-- The greatest declines of each strategy so far, which a new observer continues.
CREATE TABLE strategy_drawdowns (
    bot           text    NOT NULL,  -- '': all bots of the strategy together
    strategy      text    NOT NULL,
    peak          numeric NOT NULL,  -- of P&L, at least 0
    deepest       numeric NOT NULL,
    equity_peak   numeric,           -- NULL: no reported equity
    deepest_ratio numeric,
    PRIMARY KEY (bot, strategy)
);

-- Alerts: their states

ALTER TABLE alerts
    ALTER COLUMN symbol DROP NOT NULL,
    ALTER COLUMN value DROP NOT NULL,      -- NULL: the rule judges a state
    ALTER COLUMN threshold DROP NOT NULL,
    DROP CONSTRAINT alerts_type_check,
    ADD CONSTRAINT alerts_type_check CHECK (type IN ('volatility', 'correlation', 'system', 'strategy', 'execution')),
    ADD COLUMN subject         text,
    ADD COLUMN key             text,  -- TYPE:SUBJECT
    ADD COLUMN alert_id        text,  -- TYPE:SUBJECT:SEVERITY:EPOCHMS
    ADD COLUMN state           text NOT NULL DEFAULT 'firing' CHECK (state IN ('firing', 'acknowledged', 'resolved')),
    ADD COLUMN acknowledged_at timestamptz,
    ADD COLUMN acknowledged_by text,
    ADD COLUMN comment         text,
    ADD COLUMN resolved_at     timestamptz,
    ADD COLUMN updated_at      timestamptz,
    ADD COLUMN announced       text CHECK (announced IN ('firing', 'acknowledged', 'resolved'));  -- last state sent to clients

UPDATE alerts SET subject = symbol || coalesce('|' || symbol2, '');
UPDATE alerts SET key = type || ':' || subject;

-- Two alerts of one millisecond have different ids too.
UPDATE alerts SET alert_id = named.text FROM (
    SELECT id, concat_ws(':', key, severity, ms, nullif(row_number() OVER (PARTITION BY key, severity, ms ORDER BY time, id), 1)) AS text
    FROM (SELECT id, key, severity, time, floor(extract(epoch FROM time) * 1000)::bigint AS ms FROM alerts) AS timed) AS named
WHERE named.id = alerts.id;

-- The episode of a rule is over if it has no severity. In an episode that lasts, the alert of its
-- severity is open, and so is its warning if it became critical later: a warning from before the
-- last critical alert but one belongs to an earlier episode.
UPDATE alerts SET state = 'resolved', resolved_at = ended.at, updated_at = ended.at FROM (
    SELECT a.id, coalesce(e.as_of, a.time) AS at,
           e.severity IS NOT NULL AND a.newest = 1 AND (a.severity = e.severity OR (a.severity = 'warning' AND NOT EXISTS (
               SELECT FROM alerts c WHERE c.key = a.key AND c.severity = 'critical' AND c.time > a.time AND c.time < e.alerted))) AS open
    FROM (SELECT *, row_number() OVER (PARTITION BY key, severity ORDER BY time DESC, id DESC) AS newest FROM alerts) AS a
    LEFT JOIN alert_episodes e ON e.type = a.type AND e.symbol = a.symbol AND e.symbol2 = coalesce(a.symbol2, '')) AS ended
WHERE ended.id = alerts.id AND NOT ended.open;
UPDATE alerts SET updated_at = time WHERE updated_at IS NULL;
UPDATE alerts SET announced = state;

ALTER TABLE alerts
    ALTER COLUMN subject SET NOT NULL,
    ALTER COLUMN key SET NOT NULL,
    ALTER COLUMN alert_id SET NOT NULL,
    ALTER COLUMN updated_at SET NOT NULL,
    ALTER COLUMN state DROP DEFAULT,
    ADD UNIQUE (alert_id),
    DROP CONSTRAINT alerts_type_symbol_symbol2_severity_time_key,
    ADD UNIQUE NULLS NOT DISTINCT (type, symbol, symbol2, subject, severity, time);
CREATE UNIQUE INDEX alerts_open ON alerts (key, severity) WHERE state <> 'resolved';
CREATE INDEX alerts_unannounced ON alerts (id) WHERE announced IS DISTINCT FROM state;
DROP INDEX alerts_unpublished;
CREATE INDEX alerts_unpublished ON alerts (id) WHERE published IS NULL AND type IN ('volatility', 'correlation');

-- Partitions of the new tables: months, and days of the rows of a second.

CREATE OR REPLACE FUNCTION make_month(relation text, month text) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    first timestamp;
BEGIN
    IF month !~ '^[0-9]{4}-(0[1-9]|1[0-2])$' OR relation NOT IN (
            'prices', 'raw_trades', 'candles', 'order_events', 'fills', 'signals', 'bot_heartbeats',
            'metrics_market_1m', 'metrics_strategy_1m', 'metrics_execution_1m', 'metrics_system_1m',
            'metrics_market_1h', 'metrics_strategy_1h', 'metrics_execution_1h', 'metrics_system_1h') THEN
        RAISE EXCEPTION 'no partition of % for the month %', relation, month;
    END IF;
    first := (month || '-01')::timestamp;
    PERFORM make_partition(relation, month, first, first + interval '1 month');
END
$function$;

-- `day` is of the form 2014-05-31.
CREATE FUNCTION make_day(relation text, day text) RETURNS void LANGUAGE plpgsql AS $function$
BEGIN
    IF day !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$'
            OR relation NOT IN ('metrics_market_1s', 'metrics_strategy_1s', 'metrics_execution_1s', 'metrics_system_1s') THEN
        RAISE EXCEPTION 'no partition of % for the day %', relation, day;
    END IF;
    PERFORM make_partition(relation, day, day::timestamp, day::timestamp + interval '1 day');
END
$function$;

-- Called by the two functions above alone. CREATE … PARTITION OF would wait for every reader of the
-- table; ATTACH does not.
CREATE FUNCTION make_partition(relation text, span text, first timestamp, next timestamp) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    partition text := relation || '_' || replace(span, '-', '_');
BEGIN
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition, relation);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', relation, partition,
                   first AT TIME ZONE 'UTC', next AT TIME ZONE 'UTC');
END
$function$;

CREATE FUNCTION drop_partition(partition text) RETURNS void LANGUAGE plpgsql AS $function$
BEGIN
    IF NOT EXISTS (
            SELECT FROM pg_inherits JOIN pg_class c ON c.oid = inhparent
            WHERE inhrelid = to_regclass(quote_ident(partition)) AND c.relnamespace = current_schema()::regnamespace AND c.relname IN (
                'prices', 'raw_trades', 'candles', 'order_events', 'fills', 'signals', 'bot_heartbeats',
                'metrics_market_1s', 'metrics_strategy_1s', 'metrics_execution_1s', 'metrics_system_1s',
                'metrics_market_1m', 'metrics_strategy_1m', 'metrics_execution_1m', 'metrics_system_1m',
                'metrics_market_1h', 'metrics_strategy_1h', 'metrics_execution_1h', 'metrics_system_1h')) THEN
        RAISE EXCEPTION '% is no partition of a month or a day', partition;
    END IF;
    EXECUTE format('DROP TABLE %I', partition);
END
$function$;
DROP FUNCTION drop_month(text);

-- They have the rights of the owner and a fixed search_path, as in migration 0011.
DO $migration$
DECLARE
    signature text;
BEGIN
    FOREACH signature IN ARRAY '{"make_month(text, text)","make_day(text, text)","make_partition(text, text, timestamp, timestamp)",
                                 "drop_partition(text)"}'::text[] LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp', signature, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    END LOOP;
END
$migration$;

-- With TimescaleDB (migration 0006 made hypertables), the new tables become hypertables too. Chunks
-- of a week, of the rows of a second a day. Not run by our tests, as there.
DO $migration$
DECLARE
    relation text;
    ordered text;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'prices'::regclass) = 'p' THEN
        RETURN;
    END IF;
    FOREACH relation IN ARRAY '{order_events,fills,signals,bot_heartbeats,
            metrics_market_1s,metrics_strategy_1s,metrics_execution_1s,metrics_system_1s,
            metrics_market_1m,metrics_strategy_1m,metrics_execution_1m,metrics_system_1m,
            metrics_market_1h,metrics_strategy_1h,metrics_execution_1h,metrics_system_1h}'::text[] LOOP
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', relation || '_chunked', relation);
        PERFORM create_hypertable(format('%I', relation || '_chunked')::regclass, 'time'::name, create_default_indexes => false,
            chunk_time_interval => CASE WHEN relation LIKE '%\_1s' THEN interval '1 day' ELSE interval '7 days' END);
        EXECUTE format('DROP TABLE %I', relation);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', relation || '_chunked', relation);
    END LOOP;
    -- Reports change late (corrections), so they are not compressed.
    FOREACH relation IN ARRAY '{metrics_market,metrics_strategy,metrics_execution,metrics_system}'::text[] LOOP
        ordered := CASE relation WHEN 'metrics_market' THEN 'symbol' WHEN 'metrics_system' THEN '' ELSE 'bot, strategy' END;
        FOR suffix IN 1..3 LOOP
            EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L, timescaledb.compress_orderby = %L)',
                           relation || (ARRAY['_1s', '_1m', '_1h'])[suffix], ordered, 'time');
            PERFORM add_compression_policy((relation || (ARRAY['_1s', '_1m', '_1h'])[suffix])::regclass, interval '7 days');
        END LOOP;
    END LOOP;
END
$migration$;
