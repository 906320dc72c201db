-- +goose Up
-- Times are microseconds since 1970 in UTC; 0 is "not known". Text is UTF-8 without NUL.

CREATE TABLE sessions (
    id            TEXT PRIMARY KEY,
    connection_id TEXT NOT NULL,
    gate          TEXT NOT NULL,
    identity_key  TEXT NOT NULL,
    issuer        TEXT NOT NULL,
    subject       TEXT NOT NULL,
    name          TEXT NOT NULL,
    email         TEXT NOT NULL,
    identity_kind TEXT NOT NULL,
    group_names   TEXT NOT NULL,            -- JSON array
    behalf_key    TEXT NOT NULL,            -- the last it acts for, '' when nobody
    behalf_name   TEXT NOT NULL,
    behalf_email  TEXT NOT NULL,
    behalf        TEXT NOT NULL,            -- JSON identity, '' when nobody
    target        TEXT NOT NULL,
    target_kind   TEXT NOT NULL,
    login         TEXT NOT NULL,
    kind          TEXT NOT NULL,
    command       TEXT NOT NULL,
    client_addr   TEXT NOT NULL,
    guard         TEXT NOT NULL,
    term          TEXT NOT NULL,
    term_cols     BIGINT NOT NULL,
    term_rows     BIGINT NOT NULL,
    started       BIGINT NOT NULL,
    ended         BIGINT NOT NULL DEFAULT 0,
    state         TEXT NOT NULL,
    exit_status   BIGINT,
    exit_signal   TEXT NOT NULL DEFAULT '',
    end_reason    TEXT NOT NULL DEFAULT '',
    bytes_out     BIGINT NOT NULL DEFAULT 0,
    operations    BIGINT NOT NULL DEFAULT 0,
    denied        BIGINT NOT NULL DEFAULT 0,
    held          BIGINT NOT NULL DEFAULT 0,
    masked        BIGINT NOT NULL DEFAULT 0,
    seal_hash     BYTEA
);
CREATE INDEX sessions_started ON sessions (started, id);
CREATE INDEX sessions_identity ON sessions (identity_key, started, id);
CREATE INDEX sessions_behalf ON sessions (behalf_key, started, id) WHERE behalf_key <> '';
CREATE INDEX sessions_target ON sessions (target, started, id);
CREATE INDEX sessions_connection ON sessions (connection_id);
CREATE INDEX sessions_live ON sessions (gate, id) WHERE state = 'live';

CREATE TABLE operations (
    n            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    session_id   TEXT NOT NULL REFERENCES sessions (id),
    sequence     BIGINT NOT NULL,
    offset_ms    BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    identity_key TEXT NOT NULL,             -- of the session, so that a search joins nothing
    behalf_key   TEXT NOT NULL,
    target       TEXT NOT NULL,
    action       TEXT NOT NULL,
    text         TEXT NOT NULL,
    facts        TEXT NOT NULL,             -- JSON object
    decision     TEXT NOT NULL,
    policy       TEXT NOT NULL,
    hold_id      TEXT NOT NULL,
    outcome      TEXT NOT NULL DEFAULT '',
    UNIQUE (session_id, sequence)
);
CREATE INDEX operations_at ON operations (at, n);
CREATE INDEX operations_refused ON operations (decision, at, n) WHERE decision <> 'allow';

CREATE TABLE certificates (
    n            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    serial       TEXT NOT NULL,             -- decimal
    purpose      TEXT NOT NULL,
    identity_key TEXT NOT NULL,
    name         TEXT NOT NULL,
    principal    TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    valid_from   BIGINT NOT NULL,
    valid_to     BIGINT NOT NULL,
    session_id   TEXT NOT NULL,
    issued       BIGINT NOT NULL,
    UNIQUE (purpose, serial)
);
CREATE INDEX certificates_serial ON certificates (serial);
CREATE INDEX certificates_fingerprint ON certificates (fingerprint);
CREATE INDEX certificates_identity ON certificates (identity_key, n);
CREATE INDEX certificates_session ON certificates (session_id) WHERE session_id <> '';

CREATE TABLE revocations (
    n            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    serial       TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    identity_key TEXT NOT NULL,
    reason       TEXT NOT NULL,
    revoked_by   TEXT NOT NULL,
    at           BIGINT NOT NULL,
    expires      BIGINT NOT NULL           -- 0: never
);
CREATE INDEX revocations_serial ON revocations (serial) WHERE serial <> '';
CREATE INDEX revocations_fingerprint ON revocations (fingerprint) WHERE fingerprint <> '';
CREATE INDEX revocations_identity ON revocations (identity_key) WHERE identity_key <> '';
CREATE INDEX revocations_at ON revocations (at, n);

CREATE TABLE end_requests (
    n            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id   TEXT NOT NULL REFERENCES sessions (id),
    requested_by TEXT NOT NULL,
    reason       TEXT NOT NULL,
    at           BIGINT NOT NULL
);

CREATE TABLE seals (
    n          BIGINT PRIMARY KEY,         -- 1, 2, 3, ... without a gap
    session_id TEXT NOT NULL,
    seal_hash  BYTEA NOT NULL,
    state      TEXT NOT NULL,
    at         BIGINT NOT NULL,
    previous   BYTEA NOT NULL,
    hash       BYTEA NOT NULL,
    UNIQUE (session_id, state)
);

CREATE TABLE seal_head (
    one  BIGINT PRIMARY KEY CHECK (one = 1),
    n    BIGINT NOT NULL,
    hash BYTEA NOT NULL
);
INSERT INTO seal_head (one, n, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'));

CREATE TABLE audit (
    n          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         BIGINT NOT NULL,
    last       BIGINT NOT NULL,            -- of an aggregated row, else equal to at
    count      BIGINT NOT NULL,
    kind       TEXT NOT NULL,
    denied     BIGINT NOT NULL,
    gate       TEXT NOT NULL,
    actor_key  TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    source     TEXT NOT NULL,
    session_id TEXT NOT NULL,
    target     TEXT NOT NULL,
    detail     TEXT NOT NULL,               -- JSON object
    minute     BIGINT,                     -- only of aggregated rows
    bucket     TEXT UNIQUE                  -- only of aggregated rows
);
CREATE INDEX audit_at ON audit (at, n);
CREATE INDEX audit_kind ON audit (kind, n);
CREATE INDEX audit_actor ON audit (actor_key, n) WHERE actor_key <> '';
CREATE INDEX audit_session ON audit (session_id, n) WHERE session_id <> '';
CREATE INDEX audit_minute ON audit (minute, gate) WHERE minute IS NOT NULL;

CREATE TABLE holds (
    n             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    session_id    TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    gate          TEXT NOT NULL,
    principal_key TEXT NOT NULL,
    target        TEXT NOT NULL,
    action        TEXT NOT NULL,
    text          BYTEA NOT NULL,            -- exactly the bytes asked about
    text_sha256   BYTEA NOT NULL,
    state         TEXT NOT NULL,
    asked         BIGINT NOT NULL,
    expires       BIGINT NOT NULL,
    ended         BIGINT NOT NULL DEFAULT 0,
    granted_until BIGINT NOT NULL DEFAULT 0, -- an approval covers identical operations before this
    changed       BIGINT NOT NULL,
    why           TEXT NOT NULL DEFAULT '',
    answers       TEXT NOT NULL,            -- JSON array
    body          TEXT NOT NULL             -- JSON: the rest of the hold
);
CREATE INDEX holds_pending ON holds (asked, n) WHERE state = 'pending';
CREATE INDEX holds_asked ON holds (asked, n);
CREATE INDEX holds_changed ON holds (changed);
CREATE INDEX holds_grant ON holds (principal_key, text_sha256, granted_until) WHERE granted_until > 0;
CREATE INDEX holds_session ON holds (session_id);

-- +goose Down
DROP TABLE holds;
DROP TABLE audit;
DROP TABLE end_requests;
DROP TABLE seal_head;
DROP TABLE seals;
DROP TABLE revocations;
DROP TABLE certificates;
DROP TABLE operations;
DROP TABLE sessions;
