-- Instruments that an operator adds: more kinds, a currency, a calendar, and the number of the last change.

ALTER TABLE instruments DROP CONSTRAINT instruments_kind_check;
ALTER TABLE instruments
    ADD CONSTRAINT instruments_kind_check CHECK (kind IN ('fx', 'crypto', 'equity', 'metal', 'index', 'commodity', 'bond', 'other')),
    ADD COLUMN currency    text,
    ADD COLUMN calendar    text CHECK (calendar IN ('fx', 'equity', 'crypto')),  -- hours, grids, earliest date
    ADD COLUMN start_level numeric CHECK (start_level > 0),                      -- of made-up prices; NULL: of the kind
    ADD COLUMN volatility  double precision CHECK (volatility BETWEEN 0 AND 5),  -- per year; NULL: of the kind
    ADD COLUMN enabled     boolean NOT NULL DEFAULT true,
    ADD COLUMN changed     bigint  NOT NULL DEFAULT 0;                           -- nextval('instrument_changes') on each change
CREATE SEQUENCE instrument_changes;

UPDATE instruments SET
    calendar = CASE kind WHEN 'fx' THEN 'fx' WHEN 'equity' THEN 'equity' ELSE 'crypto' END,
    currency = CASE
        WHEN kind <> 'equity' AND strpos(symbol, '_') > 0 THEN split_part(symbol, '_', 2)
        WHEN kind = 'crypto' THEN coalesce(substring(symbol FROM '(USDT|USDC|USD)$'), 'USD')
        ELSE 'USD' END;
ALTER TABLE instruments ALTER COLUMN currency SET NOT NULL, ALTER COLUMN calendar SET NOT NULL;
