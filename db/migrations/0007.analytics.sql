-- What the jobs compute, when they ran, and whom they warned.

-- The table of jobs as the active scheduler has it, for whoever asks from outside that process.
CREATE TABLE jobs (
    id       text        PRIMARY KEY,
    schedule text        NOT NULL,  -- in words
    next_run timestamptz,           -- null: it runs as long as the process
    updated  timestamptz NOT NULL
);

CREATE TABLE job_runs (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job       text        NOT NULL,
    as_of     timestamptz NOT NULL,  -- the moment the run is for; a run that is caught up is late, not for later
    started   timestamptz NOT NULL,
    finished  timestamptz,
    outcome   text        NOT NULL CHECK (outcome IN ('running', 'succeeded', 'failed', 'abandoned')),
    rows      bigint,
    error     text
);
CREATE INDEX job_runs_by_job ON job_runs (job, started, id);

-- One row per instrument, estimator and hour. A volatility that is not available has no row.
CREATE TABLE volatility (
    symbol       text             NOT NULL,
    estimator    text             NOT NULL,
    time         timestamptz      NOT NULL,  -- end of the last candle in it
    volatility   double precision NOT NULL,  -- per period, that is, per hour
    annualised   double precision NOT NULL,
    observations int              NOT NULL,
    PRIMARY KEY (symbol, estimator, time)
);
CREATE INDEX volatility_by_time ON volatility (time, symbol, estimator);

-- One row per day, method and pair, symbol1 < symbol2; null where not available, with the number of common observations.
CREATE TABLE correlations (
    time         timestamptz      NOT NULL,
    method       text             NOT NULL,
    symbol1      text             NOT NULL,
    symbol2      text             NOT NULL,
    correlation  double precision,
    observations int              NOT NULL,
    PRIMARY KEY (time, method, symbol1, symbol2),
    CHECK (symbol1 < symbol2 COLLATE "C")  -- as programs sort, whatever the database's language
);
CREATE INDEX correlations_by_pair ON correlations (symbol1, symbol2, method, time);

-- Every alert with what it saw, stored before it is published; `published` is null until the bus has it.
CREATE TABLE alerts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type        text             NOT NULL CHECK (type IN ('volatility', 'correlation')),
    symbol      text             NOT NULL,
    symbol2     text,
    severity    text             NOT NULL CHECK (severity IN ('warning', 'critical')),
    time        timestamptz      NOT NULL,  -- of what it saw
    value       double precision NOT NULL,
    previous    double precision,           -- of a correlation
    threshold   double precision NOT NULL,
    message     text             NOT NULL,
    published   timestamptz,
    UNIQUE NULLS NOT DISTINCT (type, symbol, symbol2, severity, time)
);
CREATE INDEX alerts_by_time ON alerts (time, id);
CREATE INDEX alerts_unpublished ON alerts (id) WHERE published IS NULL;

-- Where each alert rule stands: one episode is one alert of a severity.
CREATE TABLE alert_episodes (
    type     text        NOT NULL,
    symbol   text        NOT NULL,
    symbol2  text        NOT NULL DEFAULT '',
    severity text,                    -- the highest told in the present episode; null: calm
    alerted  timestamptz,             -- time of what was told last, here or in an earlier episode
    told     text,                    -- and its severity
    as_of    timestamptz NOT NULL,    -- up to where the values were judged: a run repeated judges nothing twice
    PRIMARY KEY (type, symbol, symbol2)
);
