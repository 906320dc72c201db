-- +goose Up
-- How far each sink of audit events has taken what. One gate at a time hands events to a sink.
CREATE TABLE event_cursors (
    sink         TEXT PRIMARY KEY,
    audit        BIGINT NOT NULL DEFAULT 0,
    operations   BIGINT NOT NULL DEFAULT 0,
    seals        BIGINT NOT NULL DEFAULT 0,
    certificates BIGINT NOT NULL DEFAULT 0,
    holder       TEXT NOT NULL DEFAULT '',  -- the gate that does it now
    held_until   BIGINT NOT NULL DEFAULT 0
);

-- +goose Down
DROP TABLE event_cursors;
