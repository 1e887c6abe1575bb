-- Identity by content: series of trade ids, occurrences of equal quotes, gaps by ids.
--
-- Rows outside the window of time stay. The migration logs their number, and no watermark and no
-- "latest" counts them. Not run by our tests: the branch for TimescaleDB.

-- Whether a stored time lies between the market's earliest date and now; db/admission.py has the same dates.
CREATE FUNCTION pg_temp.in_window(kind text, source text, moment timestamptz) RETURNS boolean LANGUAGE sql STABLE
    RETURN moment >= CASE WHEN source = 'binance' THEN timestamptz '2017-07-14Z' WHEN kind = 'crypto' THEN timestamptz '2009-01-03Z'
                          ELSE timestamptz '1971-01-01Z' END
        AND moment <= now() + interval '300 seconds';

-- TimescaleDB changes constraints and rows of a hypertable only while nothing in it is compressed.
CREATE FUNCTION pg_temp.uncompress(relation text) RETURNS void LANGUAGE plpgsql AS $function$
BEGIN
    PERFORM remove_compression_policy(relation::regclass, if_exists => true);
    PERFORM decompress_chunk(chunk, true) FROM show_chunks(relation::regclass) AS chunk;
    EXECUTE format('ALTER TABLE %I SET (timescaledb.compress = false)', relation);
END
$function$;

CREATE FUNCTION pg_temp.compress(relation text, segments text, rows_by text) RETURNS void LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L, timescaledb.compress_orderby = %L)',
                   relation, segments, rows_by);
    PERFORM add_compression_policy(relation::regclass, interval '7 days');
END
$function$;

CREATE FUNCTION pg_temp.has_hypertables() RETURNS boolean LANGUAGE plpgsql AS $function$
BEGIN
    RETURN EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
        AND NOT EXISTS (SELECT FROM pg_class WHERE oid = 'prices'::regclass AND relkind = 'p');
END
$function$;

DO $migration$
BEGIN
    IF pg_temp.has_hypertables() THEN
        PERFORM pg_temp.uncompress(relation) FROM unnest('{prices,raw_trades}'::text[]) AS relation;
    END IF;
END
$migration$;

-- Trades. An exchange may begin its ids anew: (symbol, series, trade_id) is what makes a trade one.
-- The id is checked before inserting, because a unique key cannot do without the partition's time.
-- The key by time serves reads, `raw_trades_by_id` serves that check and the search for holes.
ALTER TABLE raw_trades
    ADD COLUMN series int NOT NULL DEFAULT 1,
    ADD COLUMN buyer_order_id bigint,   -- of older recordings; else null
    ADD COLUMN seller_order_id bigint;

-- Ids of each series. `highest_id` is null only inside the transaction that stores the first trade.
CREATE TABLE trade_series (
    symbol         text        NOT NULL,
    series         int         NOT NULL,
    first_id       bigint,              -- the lowest that is stored
    highest_id     bigint,
    started        timestamptz,         -- time of the lowest id
    highest_time   timestamptz,         -- time of the highest id
    unconfirmed    bigint[]    NOT NULL DEFAULT '{}',  -- stored ids too far above `highest_id`, each without a neighbour
    restart_id     bigint,              -- a stored id that would begin the next series, if another one confirms it
    restart_time   timestamptz,
    PRIMARY KEY (symbol, series)
);

ALTER TABLE gaps ADD COLUMN series int;  -- of trades
ALTER TABLE gaps DROP CONSTRAINT gaps_kind_check;
ALTER TABLE gaps ADD CONSTRAINT gaps_kind_check CHECK (kind IN ('trades', 'candles', 'series'));
UPDATE gaps SET series = 1 WHERE kind = 'trades';
CREATE INDEX gaps_by_id ON gaps (symbol, series, first_id) WHERE kind = 'trades';

-- Everything from `first_id` to `trade_id` is stored or a row of `gaps`.
ALTER TABLE trade_watermarks
    ADD COLUMN series int NOT NULL DEFAULT 1,
    ADD COLUMN first_id bigint;
ALTER TABLE trade_watermarks DROP CONSTRAINT trade_watermarks_pkey;
ALTER TABLE trade_watermarks ADD PRIMARY KEY (symbol, series);

-- Prices. Equal rows are numbered. Closing prices have 0 and less, so that none takes the place of a tick.
ALTER TABLE prices ADD COLUMN occurrence int NOT NULL DEFAULT 1;

DO $migration$
DECLARE
    outside bigint;
    removed bigint;
BEGIN
    -- The same trade under two times: the earlier one stays, one within the window before one outside.
    -- An id with another content is another trade: it goes to a series of its own.
    CREATE TEMP TABLE repeated ON COMMIT DROP AS
    WITH numbered AS (
        SELECT symbol, trade_id, time, price, quantity, side,
            row_number() OVER ids AS number, first_value(time) OVER ids AS kept_time,
            first_value(price) OVER ids AS kept_price, first_value(quantity) OVER ids AS kept_quantity, first_value(side) OVER ids AS kept_side
        FROM raw_trades LEFT JOIN instruments USING (symbol)
        WINDOW ids AS (PARTITION BY symbol, trade_id ORDER BY pg_temp.in_window(kind, source, time) DESC, time)
    )
    SELECT symbol, trade_id, time, kept_time, number, (price, quantity, side) = (kept_price, kept_quantity, kept_side) AS same
    FROM numbered WHERE number > 1;

    DELETE FROM raw_trades t USING repeated r WHERE r.same AND t.symbol = r.symbol AND t.trade_id = r.trade_id AND t.time = r.time;
    GET DIAGNOSTICS removed = ROW_COUNT;
    UPDATE raw_trades t SET series = r.number FROM repeated r
    WHERE NOT r.same AND t.symbol = r.symbol AND t.trade_id = r.trade_id AND t.time = r.time;
    -- Our candles of these minutes go: the roll-up never replaces a candle by one of fewer trades.
    CREATE TEMP TABLE repeated_minutes ON COMMIT DROP AS
    SELECT DISTINCT symbol, date_trunc('minute', moment) AS minute
    FROM repeated, LATERAL (VALUES (time), (kept_time)) AS moments (moment) WHERE same;
    DELETE FROM candles c USING (
        SELECT DISTINCT symbol, width, candle_start(kind, width, minute) AS start
        FROM repeated_minutes JOIN instruments USING (symbol), unnest('{1m,5m,15m,1h,4h,1d}'::text[]) AS width) AS made
    WHERE c.source = 'trades' AND c.symbol = made.symbol AND c.interval = made.width AND c.start_time = made.start;
    INSERT INTO candle_marks SELECT symbol, minute FROM repeated_minutes;
    IF removed > 0 THEN
        RAISE NOTICE '% trades were stored twice under two times and are now stored once', removed;
    END IF;

    UPDATE prices SET occurrence = 0 WHERE source = 'hourly_job';
    UPDATE prices p SET occurrence = CASE WHEN p.source = 'hourly_job' THEN 1 - n.number ELSE n.number END
    FROM (SELECT instrument, time, epoch, seq,
              row_number() OVER (PARTITION BY instrument, time, bid, ask, mid, source = 'hourly_job' ORDER BY epoch, seq) AS number
          FROM prices) AS n
    WHERE n.number > 1 AND (p.instrument, p.time, p.epoch, p.seq) = (n.instrument, n.time, n.epoch, n.seq);

    -- The highest id has a neighbour within 50,000,000; one without is wild.
    WITH admitted AS (
        SELECT symbol, trade_id, time, trade_id - lag(trade_id) OVER ids AS below, lead(trade_id) OVER ids - trade_id AS above
        FROM raw_trades LEFT JOIN instruments USING (symbol)
        WHERE series = 1 AND pg_temp.in_window(kind, source, time) WINDOW ids AS (PARTITION BY symbol ORDER BY trade_id)
    ), highest AS (
        SELECT symbol, min(trade_id) AS first_id, max(trade_id) FILTER (WHERE below IS NULL OR least(below, above) <= 50000000) AS highest_id
        FROM admitted GROUP BY symbol
    )
    INSERT INTO trade_series (symbol, series, first_id, highest_id, started, highest_time, unconfirmed)
    SELECT h.symbol, 1, h.first_id, h.highest_id, low.time, high.time,
        ARRAY(SELECT trade_id FROM admitted a WHERE a.symbol = h.symbol AND a.trade_id > h.highest_id ORDER BY 1)
    FROM highest h
    JOIN admitted low ON low.symbol = h.symbol AND low.trade_id = h.first_id
    JOIN admitted high ON high.symbol = h.symbol AND high.trade_id = h.highest_id;

    -- A watermark at a time outside the window has passed over holes. Below a good one, the ids are checked again.
    DELETE FROM trade_watermarks w WHERE NOT EXISTS (
        SELECT FROM trade_series s LEFT JOIN instruments i USING (symbol)
        WHERE s.symbol = w.symbol AND pg_temp.in_window(i.kind, i.source, w.time) AND w.trade_id BETWEEN s.first_id AND s.highest_id);
    UPDATE trade_watermarks SET first_id = trade_id;
    ALTER TABLE trade_watermarks ALTER COLUMN first_id SET NOT NULL;

    -- Parts that were called finished without proof are fetched again.
    UPDATE backfills SET finished = false WHERE finished AND source IN ('binance', 'oanda');

    SELECT count(*) INTO outside FROM prices p LEFT JOIN instruments i ON i.symbol = p.instrument
    WHERE NOT pg_temp.in_window(i.kind, p.source, p.time);
    RAISE NOTICE 'prices: % rows outside the window of time', outside;
    SELECT count(*) INTO outside FROM raw_trades LEFT JOIN instruments i USING (symbol) WHERE NOT pg_temp.in_window(i.kind, i.source, time);
    RAISE NOTICE 'raw_trades: % rows outside the window of time', outside;
    SELECT count(*) INTO outside FROM candles c LEFT JOIN instruments i USING (symbol)
    WHERE NOT pg_temp.in_window(i.kind, c.source, c.start_time);
    RAISE NOTICE 'candles: % rows outside the window of time', outside;
END
$migration$;

CREATE INDEX raw_trades_by_id ON raw_trades (trade_id, symbol);

ALTER TABLE prices DROP CONSTRAINT prices_pkey;
CREATE UNIQUE INDEX prices_by_content ON prices (instrument, time, bid, ask, mid, occurrence);

DO $migration$
BEGIN
    IF pg_temp.has_hypertables() THEN
        PERFORM pg_temp.compress('prices', 'instrument', 'time, bid, ask, mid, occurrence');
        PERFORM pg_temp.compress('raw_trades', 'symbol', 'time, trade_id');
    END IF;
END
$migration$;
