-- +goose Up
-- Trigrams of what operations say, so that a search for any text of three characters or more reads only rows
-- that may hold it. Rows are indexed 64 at a time, which costs a third of doing each on its own; what lies
-- behind operations_indexed is looked through one by one. So is every text beyond 16384 characters, which is
-- indexed up to there: indexing a megabyte would hold up the one writer.

CREATE VIRTUAL TABLE operations_text USING fts5 (said, content = '', detail = 'none', columnsize = 0, tokenize = 'trigram');
CREATE INDEX operations_long ON operations (n) WHERE length(text) > 16384;

CREATE TABLE operations_indexed (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    n   INTEGER NOT NULL                    -- all up to this one are in operations_text
) STRICT;

INSERT INTO operations_text (rowid, said) SELECT n, substr(text, 1, 16384) FROM operations;
INSERT INTO operations_indexed (one, n) SELECT 1, coalesce(max(n), 0) FROM operations;

CREATE INDEX operations_target ON operations (target, at, n);
CREATE INDEX operations_identity ON operations (identity_key, at, n);
CREATE INDEX operations_behalf ON operations (behalf_key, at, n) WHERE behalf_key <> '';

-- +goose StatementBegin
CREATE TRIGGER operations_index AFTER INSERT ON operations WHEN new.n % 64 = 0 BEGIN
    INSERT INTO operations_text (rowid, said) SELECT n, substr(text, 1, 16384) FROM operations
        WHERE n > (SELECT n FROM operations_indexed WHERE one = 1) ORDER BY n;
    UPDATE operations_indexed SET n = new.n WHERE one = 1;
END;
-- +goose StatementEnd

-- +goose Down
DROP INDEX operations_behalf;
DROP INDEX operations_identity;
DROP INDEX operations_target;
DROP TRIGGER operations_index;
DROP TABLE operations_indexed;
DROP INDEX operations_long;
DROP TABLE operations_text;
