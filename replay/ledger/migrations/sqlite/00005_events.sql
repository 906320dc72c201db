-- +goose Up
-- How far each sink of audit events has taken what. One gate at a time hands events to a sink.
CREATE TABLE event_cursors (
    sink         TEXT PRIMARY KEY,
    audit        INTEGER NOT NULL DEFAULT 0,
    operations   INTEGER NOT NULL DEFAULT 0,
    seals        INTEGER NOT NULL DEFAULT 0,
    certificates INTEGER NOT NULL DEFAULT 0,
    holder       TEXT NOT NULL DEFAULT '',  -- the gate that does it now
    held_until   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- +goose Down
DROP TABLE event_cursors;
