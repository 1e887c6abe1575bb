-- One row per process: the time of its last check of the database, overwritten by each check.

CREATE TABLE health (
    process text        PRIMARY KEY,  -- its name in the process registry
    at      timestamptz NOT NULL
);
