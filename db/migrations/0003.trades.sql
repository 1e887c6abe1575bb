-- Every trade of an exchange once, by month of its time (db/partitions.py), and how far they are known to be without a hole.

CREATE TABLE raw_trades (
    symbol   text        NOT NULL,
    time     timestamptz NOT NULL,
    trade_id bigint      NOT NULL,  -- the exchange's: rises by one per symbol
    price    numeric     NOT NULL,
    quantity numeric     NOT NULL,
    side     text        NOT NULL CHECK (side IN ('buy', 'sell')),  -- what the aggressor did
    -- (symbol, trade_id) is what makes a trade one; the time is in the key because it chooses the partition.
    PRIMARY KEY (symbol, time, trade_id)
) PARTITION BY RANGE (time);

-- Up to here every trade is stored, or its absence is a row of `gaps`.
CREATE TABLE trade_watermarks (
    symbol   text        PRIMARY KEY,
    trade_id bigint      NOT NULL,
    time     timestamptz NOT NULL
);

-- Holes in what should be without one. Trades are known by their ids, candles by their times; `end_time` is exclusive.
CREATE TABLE gaps (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source     text        NOT NULL,
    symbol     text        NOT NULL,
    kind       text        NOT NULL CHECK (kind IN ('trades', 'candles')),
    interval   text,                 -- of candles
    first_id   bigint,               -- of trades, the first and the last that are missing
    last_id    bigint,
    start_time timestamptz NOT NULL,
    end_time   timestamptz NOT NULL,
    missing    bigint      NOT NULL, -- trades or candles
    state      text        NOT NULL CHECK (state IN ('open', 'filled', 'unfillable')),
    reason     text,                 -- why it is not filled
    detected   timestamptz NOT NULL,
    updated    timestamptz NOT NULL,
    UNIQUE NULLS NOT DISTINCT (source, symbol, kind, interval, first_id, start_time)
);
CREATE INDEX gaps_by_time ON gaps (start_time, id);
