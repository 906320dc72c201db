-- +goose Up
-- An approval can be for one session; approvals can be given in advance; and others are told of what becomes of holds.

ALTER TABLE holds ADD COLUMN granted_session TEXT NOT NULL DEFAULT ''; -- '': of any session

CREATE TABLE hold_events (
    n       INTEGER PRIMARY KEY AUTOINCREMENT,
    hold_id TEXT NOT NULL,
    event   TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT;

CREATE TABLE hold_readers (
    name  TEXT PRIMARY KEY,
    n     INTEGER NOT NULL,               -- the last event that it has done with
    owner TEXT NOT NULL,                  -- the gate that reads for it
    until INTEGER NOT NULL                -- and until when no other one may
) STRICT;

CREATE TABLE advances (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    text       BLOB NOT NULL,
    body       TEXT NOT NULL,             -- JSON: what never changes, but for the text
    starts     INTEGER NOT NULL,
    ends       INTEGER NOT NULL,
    uses       INTEGER NOT NULL,          -- 0: any number
    used       INTEGER NOT NULL DEFAULT 0,
    revoked    INTEGER NOT NULL DEFAULT 0,
    revoked_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX advances_ends ON advances (ends, n);

-- +goose Down
DROP TABLE advances;
DROP TABLE hold_readers;
DROP TABLE hold_events;
ALTER TABLE holds DROP COLUMN granted_session;
