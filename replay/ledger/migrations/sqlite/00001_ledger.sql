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
    term_cols     INTEGER NOT NULL,
    term_rows     INTEGER NOT NULL,
    started       INTEGER NOT NULL,
    ended         INTEGER NOT NULL DEFAULT 0,
    state         TEXT NOT NULL,
    exit_status   INTEGER,
    exit_signal   TEXT NOT NULL DEFAULT '',
    end_reason    TEXT NOT NULL DEFAULT '',
    bytes_out     INTEGER NOT NULL DEFAULT 0,
    operations    INTEGER NOT NULL DEFAULT 0,
    denied        INTEGER NOT NULL DEFAULT 0,
    held          INTEGER NOT NULL DEFAULT 0,
    masked        INTEGER NOT NULL DEFAULT 0,
    seal_hash     BLOB
) STRICT;
CREATE INDEX sessions_started ON sessions (started, id);
CREATE INDEX sessions_identity ON sessions (identity_key, started, id);
CREATE INDEX sessions_behalf ON sessions (behalf_key, started, id) WHERE behalf_key <> '';
CREATE INDEX sessions_target ON sessions (target, started, id);
CREATE INDEX sessions_connection ON sessions (connection_id);
CREATE INDEX sessions_live ON sessions (gate, id) WHERE state = 'live';

CREATE TABLE operations (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    session_id   TEXT NOT NULL REFERENCES sessions (id),
    sequence     INTEGER NOT NULL,
    offset_ms    INTEGER NOT NULL,
    at           INTEGER NOT NULL,
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
) STRICT;
CREATE INDEX operations_at ON operations (at, n);
CREATE INDEX operations_refused ON operations (decision, at, n) WHERE decision <> 'allow';

CREATE TABLE certificates (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    serial       TEXT NOT NULL,             -- decimal
    purpose      TEXT NOT NULL,
    identity_key TEXT NOT NULL,
    name         TEXT NOT NULL,
    principal    TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    valid_from   INTEGER NOT NULL,
    valid_to     INTEGER NOT NULL,
    session_id   TEXT NOT NULL,
    issued       INTEGER NOT NULL,
    UNIQUE (purpose, serial)
) STRICT;
CREATE INDEX certificates_serial ON certificates (serial);
CREATE INDEX certificates_fingerprint ON certificates (fingerprint);
CREATE INDEX certificates_identity ON certificates (identity_key, n);
CREATE INDEX certificates_session ON certificates (session_id) WHERE session_id <> '';

CREATE TABLE revocations (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    serial       TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    identity_key TEXT NOT NULL,
    reason       TEXT NOT NULL,
    revoked_by   TEXT NOT NULL,
    at           INTEGER NOT NULL,
    expires      INTEGER NOT NULL           -- 0: never
) STRICT;
CREATE INDEX revocations_serial ON revocations (serial) WHERE serial <> '';
CREATE INDEX revocations_fingerprint ON revocations (fingerprint) WHERE fingerprint <> '';
CREATE INDEX revocations_identity ON revocations (identity_key) WHERE identity_key <> '';
CREATE INDEX revocations_at ON revocations (at, n);

CREATE TABLE end_requests (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id   TEXT NOT NULL REFERENCES sessions (id),
    requested_by TEXT NOT NULL,
    reason       TEXT NOT NULL,
    at           INTEGER NOT NULL
) STRICT;

CREATE TABLE seals (
    n          INTEGER PRIMARY KEY,         -- 1, 2, 3, ... without a gap
    session_id TEXT NOT NULL,
    seal_hash  BLOB NOT NULL,
    state      TEXT NOT NULL,
    at         INTEGER NOT NULL,
    previous   BLOB NOT NULL,
    hash       BLOB NOT NULL,
    UNIQUE (session_id, state)
) STRICT;

CREATE TABLE seal_head (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    n    INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO seal_head (one, n, hash) VALUES (1, 0, zeroblob(32));

CREATE TABLE audit (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    last       INTEGER NOT NULL,            -- of an aggregated row, else equal to at
    count      INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    denied     INTEGER NOT NULL,
    gate       TEXT NOT NULL,
    actor_key  TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    source     TEXT NOT NULL,
    session_id TEXT NOT NULL,
    target     TEXT NOT NULL,
    detail     TEXT NOT NULL,               -- JSON object
    minute     INTEGER,                     -- only of aggregated rows
    bucket     TEXT UNIQUE                  -- only of aggregated rows
) STRICT;
CREATE INDEX audit_at ON audit (at, n);
CREATE INDEX audit_kind ON audit (kind, n);
CREATE INDEX audit_actor ON audit (actor_key, n) WHERE actor_key <> '';
CREATE INDEX audit_session ON audit (session_id, n) WHERE session_id <> '';
CREATE INDEX audit_minute ON audit (minute, gate) WHERE minute IS NOT NULL;

CREATE TABLE holds (
    n             INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    session_id    TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    gate          TEXT NOT NULL,
    principal_key TEXT NOT NULL,
    target        TEXT NOT NULL,
    action        TEXT NOT NULL,
    text          BLOB NOT NULL,            -- exactly the bytes asked about
    text_sha256   BLOB NOT NULL,
    state         TEXT NOT NULL,
    asked         INTEGER NOT NULL,
    expires       INTEGER NOT NULL,
    ended         INTEGER NOT NULL DEFAULT 0,
    granted_until INTEGER NOT NULL DEFAULT 0, -- an approval covers identical operations before this
    changed       INTEGER NOT NULL,
    why           TEXT NOT NULL DEFAULT '',
    answers       TEXT NOT NULL,            -- JSON array
    body          TEXT NOT NULL             -- JSON: the rest of the hold
) STRICT;
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
