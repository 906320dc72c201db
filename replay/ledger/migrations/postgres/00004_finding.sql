-- +goose Up
-- What was on the screen of sessions that have ended: some lines of text to a row. Marks is a JSON array with the
-- milliseconds into the session of each line. sessions.shown says how much of a session is here: 0 nothing yet,
-- 1 all, 2 up to a bound, 3 nothing, since there is no recording.

CREATE TABLE shown (
    n          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id text NOT NULL REFERENCES sessions (id),
    at         bigint NOT NULL,             -- of the first line
    text       text NOT NULL,
    marks      text NOT NULL
);
CREATE INDEX shown_session ON shown (session_id, n);
CREATE INDEX shown_at ON shown (at, n);

-- +goose StatementBegin
DO $$
BEGIN
    CREATE INDEX shown_text ON shown USING gin (text gin_trgm_ops);
EXCEPTION
    WHEN undefined_object THEN
        RAISE NOTICE 'no index for searches: %', SQLERRM;
END
$$;
-- +goose StatementEnd

ALTER TABLE sessions ADD COLUMN shown bigint NOT NULL DEFAULT 0;
CREATE INDEX sessions_unshown ON sessions (ended, id) WHERE shown = 0 AND state <> 'live';
CREATE INDEX sessions_name ON sessions (name);
CREATE INDEX sessions_email ON sessions (email);

CREATE TABLE saved_searches (
    identity_key text NOT NULL,
    name         text NOT NULL,
    query        text NOT NULL,
    at           bigint NOT NULL,
    PRIMARY KEY (identity_key, name)
);

-- +goose Down
DROP TABLE saved_searches;
DROP INDEX sessions_email;
DROP INDEX sessions_name;
DROP INDEX sessions_unshown;
ALTER TABLE sessions DROP COLUMN shown;
DROP TABLE shown;
