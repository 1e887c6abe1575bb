-- Order books: stored tops and whole books, gaps of books, runs of scenarios.

CREATE TABLE book_tops (
    symbol       text             NOT NULL,
    time         timestamptz      NOT NULL,  -- event time of the exchange
    bid          numeric          NOT NULL,
    bid_qty      numeric          NOT NULL,
    ask          numeric          NOT NULL,
    ask_qty      numeric          NOT NULL,
    weighted_mid numeric          NOT NULL,
    imbalance    double precision NOT NULL,  -- of the best level
    update_id    bigint           NOT NULL,
    state        text             NOT NULL,
    PRIMARY KEY (symbol, time)
) PARTITION BY RANGE (time);

CREATE TABLE book_snapshots (
    symbol    text        NOT NULL,
    time      timestamptz NOT NULL,
    update_id bigint      NOT NULL,
    body      jsonb       NOT NULL,  -- {"bids": [[price, quantity], …], "asks": …}, decimal texts
    PRIMARY KEY (symbol, time)
) PARTITION BY RANGE (time);

CREATE TABLE scenario_runs (
    run_id          uuid        PRIMARY KEY,
    scenario        text        NOT NULL,
    started         timestamptz NOT NULL,
    ended           timestamptz,
    seed            bigint      NOT NULL,
    parameters      jsonb       NOT NULL,
    peak_queue      int,
    peak_lag_ms     double precision,
    gaps            int,
    resyncs         int,
    detect_seconds  double precision,
    recover_seconds double precision,
    wrong_books     int,
    outcome         text,                   -- running, finished, switched or failed
    timeline        jsonb
);
CREATE INDEX scenario_runs_by_time ON scenario_runs (started);

-- Gaps of books have no ids if the number of missing ids is unknown; `missing` is then 0.
ALTER TABLE gaps DROP CONSTRAINT gaps_kind_check;
ALTER TABLE gaps ADD CONSTRAINT gaps_kind_check CHECK (kind IN ('trades', 'candles', 'series', 'book'));

-- The months of the two tables of books. Otherwise as in migration 0017.

CREATE OR REPLACE FUNCTION make_month(relation text, month text) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    first timestamp;
BEGIN
    IF month !~ '^[0-9]{4}-(0[1-9]|1[0-2])$' OR relation NOT IN (
            'prices', 'raw_trades', 'candles', 'book_tops', 'book_snapshots', 'order_events', 'fills', 'signals', 'bot_heartbeats',
            'metrics_market_1m', 'metrics_strategy_1m', 'metrics_execution_1m', 'metrics_system_1m',
            'metrics_market_1h', 'metrics_strategy_1h', 'metrics_execution_1h', 'metrics_system_1h') THEN
        RAISE EXCEPTION 'no partition of % for the month %', relation, month;
    END IF;
    first := (month || '-01')::timestamp;
    PERFORM make_partition(relation, month, first, first + interval '1 month');
END
$function$;

CREATE OR REPLACE FUNCTION drop_partition(partition text) RETURNS void LANGUAGE plpgsql AS $function$
BEGIN
    IF NOT EXISTS (
            SELECT FROM pg_inherits JOIN pg_class c ON c.oid = inhparent
            WHERE inhrelid = to_regclass(quote_ident(partition)) AND c.relnamespace = current_schema()::regnamespace AND c.relname IN (
                'prices', 'raw_trades', 'candles', 'book_tops', 'book_snapshots', 'order_events', 'fills', 'signals', 'bot_heartbeats',
                'metrics_market_1s', 'metrics_strategy_1s', 'metrics_execution_1s', 'metrics_system_1s',
                'metrics_market_1m', 'metrics_strategy_1m', 'metrics_execution_1m', 'metrics_system_1m',
                'metrics_market_1h', 'metrics_strategy_1h', 'metrics_execution_1h', 'metrics_system_1h')) THEN
        RAISE EXCEPTION '% is no partition of a month or a day', partition;
    END IF;
    EXECUTE format('DROP TABLE %I', partition);
END
$function$;

-- A replaced function keeps its owner and its grants, but loses these two properties.
DO $migration$
DECLARE
    signature text;
BEGIN
    FOREACH signature IN ARRAY '{"make_month(text, text)","drop_partition(text)"}'::text[] LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp', signature, current_schema());
    END LOOP;
END
$migration$;

-- With TimescaleDB (migration 0006 made hypertables), both tables become hypertables too, as prices
-- are: chunks of a week, compressed after 7 days. Not run by our tests, as there.
DO $migration$
DECLARE
    relation text;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'prices'::regclass) = 'p' THEN
        RETURN;
    END IF;
    FOREACH relation IN ARRAY '{book_tops,book_snapshots}'::text[] LOOP
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', relation || '_chunked', relation);
        PERFORM create_hypertable(format('%I', relation || '_chunked')::regclass, 'time'::name,
                                  chunk_time_interval => interval '7 days', create_default_indexes => false);
        EXECUTE format('DROP TABLE %I', relation);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', relation || '_chunked', relation);
        EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L, timescaledb.compress_orderby = %L)',
                       relation, 'symbol', 'time');
        PERFORM add_compression_policy(relation::regclass, interval '7 days');
        PERFORM keep_days(relation, 90);  -- the retention job sets the days of RETENTION_BOOKS
    END LOOP;
END
$migration$;
