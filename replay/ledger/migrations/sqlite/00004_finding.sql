-- +goose Up
-- What was on the screen of sessions that have ended: some lines of text to a row, indexed by trigrams. Marks is a
-- JSON array with the milliseconds into the session of each line. sessions.shown says how much of a session is
-- here: 0 nothing yet, 1 all, 2 up to a bound, 3 nothing, since there is no recording.

CREATE TABLE shown (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL REFERENCES sessions (id),
    at         INTEGER NOT NULL,            -- of the first line
    text       TEXT NOT NULL,
    marks      TEXT NOT NULL
) STRICT;
CREATE INDEX shown_session ON shown (session_id, n);
CREATE INDEX shown_at ON shown (at, n);
CREATE VIRTUAL TABLE shown_text USING fts5 (said, content = '', contentless_delete = 1, detail = 'none', tokenize = 'trigram');

-- +goose StatementBegin
CREATE TRIGGER shown_index AFTER INSERT ON shown BEGIN
    INSERT INTO shown_text (rowid, said) VALUES (new.n, new.text);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER shown_forget AFTER DELETE ON shown BEGIN
    DELETE FROM shown_text WHERE rowid = old.n;
END;
-- +goose StatementEnd

ALTER TABLE sessions ADD COLUMN shown INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_unshown ON sessions (ended, id) WHERE shown = 0 AND state <> 'live';
CREATE INDEX sessions_name ON sessions (name);
CREATE INDEX sessions_email ON sessions (email);

CREATE TABLE saved_searches (
    identity_key TEXT NOT NULL,
    name         TEXT NOT NULL,
    query        TEXT NOT NULL,
    at           INTEGER NOT NULL,
    PRIMARY KEY (identity_key, name)
) STRICT;

-- +goose Down
DROP TABLE saved_searches;
DROP INDEX sessions_email;
DROP INDEX sessions_name;
DROP INDEX sessions_unshown;
ALTER TABLE sessions DROP COLUMN shown;
DROP TABLE shown_text;
DROP TABLE shown;
