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

-- Minutes in which a price or a trade was stored since their candles were last built. Rows are only ever added (in the transaction that
-- stores) and taken away (in the one that builds), so that neither waits for the other and nothing is forgotten between them.
CREATE TABLE candle_marks (
    symbol text        NOT NULL,
    minute timestamptz NOT NULL
);

-- Whose candle wins where there are several: the market's own, then trades, then quotes, then what was made up.
CREATE FUNCTION candle_rank(source text) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE source WHEN 'synthetic' THEN 0 WHEN 'ticks' THEN 1 WHEN 'trades' THEN 2 ELSE 3 END;

-- Start of the candle that holds `moment`. FX days begin at 17:00 New York, and 4-hour candles are six to such a day; all else is UTC.
CREATE FUNCTION candle_start(kind text, width text, moment timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN kind = 'fx' AND width IN ('4h', '1d')
        THEN date_bin(CASE width WHEN '4h' THEN interval '4 hours' ELSE interval '1 day' END,
                      moment AT TIME ZONE 'America/New_York', timestamp '2000-01-01 17:00') AT TIME ZONE 'America/New_York'
        ELSE date_bin(CASE width WHEN '1m' THEN interval '1 minute' WHEN '5m' THEN interval '5 minutes' WHEN '15m' THEN interval '15 minutes'
                                 WHEN '1h' THEN interval '1 hour' WHEN '4h' THEN interval '4 hours' ELSE interval '1 day' END,
                      moment AT TIME ZONE 'UTC', timestamp '2000-01-01 00:00') AT TIME ZONE 'UTC'
    END;

-- End of the candle that begins at `start`, exclusive. An FX day of a clock change has 23 or 25 hours.
CREATE FUNCTION candle_end(kind text, width text, start timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN kind = 'fx' AND width IN ('4h', '1d')
        THEN (start AT TIME ZONE 'America/New_York' + CASE width WHEN '4h' THEN interval '4 hours' ELSE interval '1 day' END)
             AT TIME ZONE 'America/New_York'
        ELSE start + CASE width WHEN '1m' THEN interval '1 minute' WHEN '5m' THEN interval '5 minutes' WHEN '15m' THEN interval '15 minutes'
                                WHEN '1h' THEN interval '1 hour' WHEN '4h' THEN interval '4 hours' ELSE interval '24 hours' END
    END;
