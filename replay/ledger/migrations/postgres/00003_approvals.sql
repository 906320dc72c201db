-- +goose Up
-- An approval can be for one session; approvals can be given in advance; and others are told of what becomes of holds.

ALTER TABLE holds ADD COLUMN granted_session TEXT NOT NULL DEFAULT ''; -- '': of any session

CREATE TABLE hold_events (
    n       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hold_id TEXT NOT NULL,
    event   TEXT NOT NULL,
    at      BIGINT NOT NULL
);

CREATE TABLE hold_readers (
    name  TEXT PRIMARY KEY,
    n     BIGINT NOT NULL,               -- the last event that it has done with
    owner TEXT NOT NULL,                  -- the gate that reads for it
    until BIGINT NOT NULL                -- and until when no other one may
);

CREATE TABLE advances (
    n          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    text       BYTEA NOT NULL,
    body       TEXT NOT NULL,             -- JSON: what never changes, but for the text
    starts     BIGINT NOT NULL,
    ends       BIGINT NOT NULL,
    uses       BIGINT NOT NULL,          -- 0: any number
    used       BIGINT NOT NULL DEFAULT 0,
    revoked    BIGINT NOT NULL DEFAULT 0,
    revoked_by TEXT NOT NULL DEFAULT ''
);
CREATE INDEX advances_ends ON advances (ends, n);

-- +goose Down
DROP TABLE advances;
DROP TABLE hold_readers;
DROP TABLE hold_events;
ALTER TABLE holds DROP COLUMN granted_session;
