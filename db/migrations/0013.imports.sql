-- Candles of imported files: above our own, below those of a live feed.

CREATE OR REPLACE FUNCTION candle_rank(source text) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN source = 'synthetic' THEN 0 WHEN source = 'ticks' THEN 1 WHEN source = 'trades' THEN 2
                WHEN starts_with(source, 'import:') THEN 3 ELSE 4 END;

-- A roll-up has the common source of its parts. So the source alone does not show if a candle came from
-- a file or a feed, or was built from smaller candles. Roll-ups of older versions have the sources
-- ticks, trades and synthetic alone, and stay false.
ALTER TABLE candles ADD COLUMN rolled_up boolean NOT NULL DEFAULT false;
