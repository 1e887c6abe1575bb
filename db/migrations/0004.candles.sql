-- Candles: six intervals, from three origins, by month of their start (db/partitions.py).

CREATE TABLE candles (
    symbol     text        NOT NULL,
    interval   text        NOT NULL CHECK (interval IN ('1m', '5m', '15m', '1h', '4h', '1d')),
    start_time timestamptz NOT NULL,
    end_time   timestamptz NOT NULL,  -- exclusive
    open       numeric     NOT NULL,  -- mid prices; of trades, their prices
    high       numeric     NOT NULL,
    low        numeric     NOT NULL,
    close      numeric     NOT NULL,
    bid_open   numeric,
    bid_high   numeric,
    bid_low    numeric,
    bid_close  numeric,
    ask_open   numeric,
    ask_high   numeric,
    ask_low    numeric,
    ask_close  numeric,
    volume     numeric     NOT NULL,  -- traded; where nothing tells of trades, the number of quotes, as OANDA has it
    trades     bigint,                -- trades or quotes in it; null where the source does not say
    complete   boolean     NOT NULL,  -- false while it forms
    source     text        NOT NULL,  -- ticks, trades, synthetic, or the feed that gave it, which wins over our own
    updated    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, interval, start_time)
) PARTITION BY RANGE (start_time);

-- Candles whose end may come without new data.
CREATE INDEX candles_forming ON candles (end_time) WHERE NOT complete;

-- Minutes in which a price, a trade or a candle was stored since the candles above it were last built. Rows are only ever added (in the
-- transaction that stores) and taken away (in the one that builds), so that neither waits for the other and nothing is forgotten between
-- them. The newest are built first: a chart that is watched does not wait for history that is being loaded.
CREATE TABLE candle_marks (
    symbol text        NOT NULL,
    minute timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX candle_marks_newest ON candle_marks (minute, symbol);

-- Whose candle wins where there are several: the market's own, then trades, then quotes, then what was made up.
CREATE FUNCTION candle_rank(source text) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE source WHEN 'synthetic' THEN 0 WHEN 'ticks' THEN 1 WHEN 'trades' THEN 2 ELSE 3 END;

-- The moment at which New York's wall clock shows `wall`; the first of the two where it is set back, as Python has it (PostgreSQL takes the
-- second, and a candle would begin after what it holds).
CREATE FUNCTION new_york(wall timestamp) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN least(wall AT TIME ZONE 'America/New_York',
                 ((wall - interval '4 hours') AT TIME ZONE 'America/New_York' AT TIME ZONE 'UTC' + interval '4 hours') AT TIME ZONE 'UTC');

-- How long a candle is; an FX day of a clock change has an hour more or less.
CREATE FUNCTION candle_width(width text) RETURNS interval LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE width WHEN '1m' THEN interval '1 minute' WHEN '5m' THEN interval '5 minutes' WHEN '15m' THEN interval '15 minutes'
                      WHEN '1h' THEN interval '1 hour' WHEN '4h' THEN interval '4 hours' ELSE interval '1 day' END;

-- Start of the candle that holds `moment`. FX days begin at 17:00 New York, and 4-hour candles are six to such a day; all else is UTC.
CREATE FUNCTION candle_start(kind text, width text, moment timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN kind = 'fx' AND width IN ('4h', '1d')
        THEN new_york(date_bin(candle_width(width), moment AT TIME ZONE 'America/New_York', timestamp '2000-01-01 17:00'))
        ELSE date_bin(candle_width(width), moment AT TIME ZONE 'UTC', timestamp '2000-01-01 00:00') AT TIME ZONE 'UTC'
    END;

-- End of the candle that begins at `start`, exclusive.
CREATE FUNCTION candle_end(kind text, width text, start timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN kind = 'fx' AND width IN ('4h', '1d') THEN new_york(start AT TIME ZONE 'America/New_York' + candle_width(width))
        ELSE (start AT TIME ZONE 'UTC' + candle_width(width)) AT TIME ZONE 'UTC'
    END;
