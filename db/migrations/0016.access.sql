-- Keys of callers, revoked tokens, and the log of access control.

CREATE SEQUENCE access_changes;

CREATE TABLE api_keys (
    id              text PRIMARY KEY CHECK (id ~ '^[a-z0-9]{8}$'),
    name            text NOT NULL,
    digest          bytea NOT NULL UNIQUE,          -- SHA-256 of the whole key
    scopes          text[] NOT NULL,
    instruments     text[] NOT NULL,                -- patterns
    bots            text[] NOT NULL DEFAULT '{}',   -- exact names of bots, for the scope report
    rate_requests   text,                           -- NULL: the setting's default
    rate_events     text,
    max_connections integer,
    created         timestamptz NOT NULL,
    created_by      text NOT NULL,
    expires         timestamptz,
    revoked         timestamptz,
    last_used       timestamptz,                    -- at most once a minute, off the request path
    changed         bigint NOT NULL                 -- nextval('access_changes') on each change but last_used
);
CREATE INDEX api_keys_changed ON api_keys (changed);

CREATE TABLE revoked_tokens (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    jti     text,
    sub     text,
    before  timestamptz,                            -- with sub: tokens issued earlier
    expires timestamptz NOT NULL,                   -- created + JWT_MAX_TTL_SECONDS + leeway
    created timestamptz NOT NULL,
    changed bigint NOT NULL,
    CHECK ((jti IS NULL) <> (sub IS NULL)),
    CHECK ((sub IS NULL) = (before IS NULL))
);
CREATE INDEX revoked_tokens_changed ON revoked_tokens (changed);

CREATE TABLE access_log (
    at      timestamptz NOT NULL,
    actor   text NOT NULL,                          -- operator's account, or hub, rest
    action  text NOT NULL CHECK (action IN ('create', 'revoke', 'rotate', 'refuse', 'limit', 'new_address')),
    key_id  text,
    ip      inet,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX access_log_at ON access_log (at);
CREATE INDEX access_log_new_address ON access_log (key_id, ip) WHERE action = 'new_address';
