-- The diagonal of correlation matrices: an instrument without variance has no correlation with itself.

-- Instruments of a matrix that have fewer than 2 returns in its window, or returns without variance.
CREATE TABLE correlation_constants (
    time   timestamptz NOT NULL,
    symbol text        NOT NULL,
    PRIMARY KEY (time, symbol)
);
