-- How far each backfill has come: what is asked again goes on from there.

CREATE TABLE backfills (
    source     text        NOT NULL,
    symbol     text        NOT NULL,
    interval   text        NOT NULL,  -- '' for trades and ticks
    start_time timestamptz NOT NULL,
    end_time   timestamptz NOT NULL,
    position   text        NOT NULL,  -- the source's own: a time, a trade id, a line
    finished   boolean     NOT NULL,
    updated    timestamptz NOT NULL,
    PRIMARY KEY (source, symbol, interval, start_time, end_time)
);
