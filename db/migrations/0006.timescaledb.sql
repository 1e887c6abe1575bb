-- Minutes of ticks and of trades under one name each, whatever is below; and, where TimescaleDB is there, hypertables in place of the
-- partitioned tables, compression after 7 days, retention, and those minutes as continuous aggregates.
--
-- The servers that our tests start do not have the extension: they run the branch for plain PostgreSQL, and PL/pgSQL checks the syntax
-- of both. With TIMESCALEDB_TEST_URL, the tests run the branch for TimescaleDB on that server. A migration is one transaction like every migration: the rows move, or nothing has happened.
-- Continuous aggregates may be made in one WITH NO DATA; their policies fill them within a minute.

-- Does nothing without TimescaleDB, where jobs/retention_job.py drops months; is replaced below.
CREATE FUNCTION keep_days(relation text, days int) RETURNS void LANGUAGE sql AS 'SELECT';

-- Whether TimescaleDB is there, is loaded and has what we need (its Apache edition has no compression and no continuous aggregates).
CREATE FUNCTION pg_temp.use_timescaledb() RETURNS boolean LANGUAGE plpgsql AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
                OR current_setting('shared_preload_libraries') NOT LIKE '%timescaledb%' THEN
            RETURN false;
        END IF;
        CREATE EXTENSION timescaledb;
    END IF;
    RETURN current_setting('timescaledb.license', true) = 'timescale';
EXCEPTION WHEN insufficient_privilege THEN
    RETURN false;
END
$function$;

-- The table, with its rows, as a hypertable of its own name. Chunks of a week: the last one is what is written to.
CREATE FUNCTION pg_temp.make_hypertable(relation text, time_column text) RETURNS void LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', relation || '_chunked', relation);
    PERFORM create_hypertable(format('%I', relation || '_chunked')::regclass, time_column::name,
                              chunk_time_interval => interval '7 days', create_default_indexes => false);
    EXECUTE format('INSERT INTO %I SELECT * FROM %I', relation || '_chunked', relation);
    EXECUTE format('DROP TABLE %I', relation);
    EXECUTE format('ALTER TABLE %I RENAME TO %I', relation || '_chunked', relation);
END
$function$;

DO $migration$
BEGIN
    IF NOT pg_temp.use_timescaledb() THEN
        CREATE VIEW price_minutes AS
            SELECT instrument, date_bin('1 minute', time, '2000-01-01T00:00:00Z') AS minute,
                   (array_agg(mid ORDER BY time, epoch, seq))[1] AS open, max(mid) AS high, min(mid) AS low,
                   (array_agg(mid ORDER BY time, epoch, seq))[count(*)] AS close, count(*) AS ticks
            FROM prices GROUP BY 1, 2;
        CREATE VIEW trade_minutes AS
            SELECT symbol, date_bin('1 minute', time, '2000-01-01T00:00:00Z') AS minute,
                   (array_agg(price ORDER BY time, trade_id))[1] AS open, max(price) AS high, min(price) AS low,
                   (array_agg(price ORDER BY time, trade_id))[count(*)] AS close, sum(quantity) AS volume, count(*) AS trades
            FROM raw_trades GROUP BY 1, 2;
        RETURN;
    END IF;

    PERFORM pg_temp.make_hypertable('prices', 'time');
    PERFORM pg_temp.make_hypertable('raw_trades', 'time');
    PERFORM pg_temp.make_hypertable('candles', 'start_time');

    -- Segments and their order are the primary keys', so that a late row finds its place without unpacking more than its own.
    ALTER TABLE prices SET (timescaledb.compress, timescaledb.compress_segmentby = 'instrument', timescaledb.compress_orderby = 'time, epoch, seq');
    ALTER TABLE raw_trades SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol', timescaledb.compress_orderby = 'time, trade_id');
    ALTER TABLE candles SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol, "interval"', timescaledb.compress_orderby = 'start_time');
    PERFORM add_compression_policy(relation, interval '7 days') FROM unnest('{prices,raw_trades,candles}'::regclass[]) AS relation;

    -- The retention job calls it daily with what the settings say; until then it is 2 years.
    CREATE OR REPLACE FUNCTION keep_days(relation text, days int) RETURNS void LANGUAGE plpgsql AS $function$
    BEGIN
        IF EXISTS (SELECT FROM timescaledb_information.jobs
                   WHERE proc_name = 'policy_retention' AND hypertable_name = relation
                     AND (config ->> 'drop_after')::interval = make_interval(days => days)) THEN
            RETURN;
        END IF;
        PERFORM remove_retention_policy(relation::regclass, if_exists => true);
        IF days > 0 THEN
            PERFORM add_retention_policy(relation::regclass, make_interval(days => days));
        END IF;
    END
    $function$;
    PERFORM keep_days(relation, 730) FROM unnest('{prices,raw_trades,candles}'::text[]) AS relation;

    -- Of ticks with the same time, `first` and `last` take any; candles are exact there.
    CREATE MATERIALIZED VIEW price_minutes WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
        SELECT instrument, time_bucket('1 minute', time) AS minute,
               first(mid, time) AS open, max(mid) AS high, min(mid) AS low, last(mid, time) AS close, count(*) AS ticks
        FROM prices GROUP BY 1, 2
        WITH NO DATA;
    CREATE MATERIALIZED VIEW trade_minutes WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
        SELECT symbol, time_bucket('1 minute', time) AS minute,
               first(price, time) AS open, max(price) AS high, min(price) AS low, last(price, time) AS close,
               sum(quantity) AS volume, count(*) AS trades
        FROM raw_trades GROUP BY 1, 2
        WITH NO DATA;
    PERFORM add_continuous_aggregate_policy(minutes, start_offset => NULL, end_offset => interval '2 minutes', schedule_interval => interval '1 minute')
    FROM unnest('{price_minutes,trade_minutes}'::regclass[]) AS minutes;
END
$migration$;
