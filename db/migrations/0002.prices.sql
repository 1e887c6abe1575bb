-- Every accepted price once, by month of its source time; db/prices.py makes a month when its first price comes.

CREATE TABLE prices (
    instrument text        NOT NULL,
    time       timestamptz NOT NULL,  -- the source's time
    received   timestamptz NOT NULL,  -- when the bus accepted it
    bid        numeric     NOT NULL,
    ask        numeric     NOT NULL,
    mid        numeric     NOT NULL,
    volume     numeric,
    source     text        NOT NULL,
    epoch      text        NOT NULL,
    seq        bigint      NOT NULL,
    -- (instrument, epoch, seq) is what makes a price one; the time is in the key because it chooses the partition.
    PRIMARY KEY (instrument, time, epoch, seq)
) PARTITION BY RANGE (time);
