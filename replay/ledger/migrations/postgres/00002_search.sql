-- +goose Up
-- Searches for text are ILIKE; with this index they read only rows that may hold it. The extension comes with
-- PostgreSQL and is trusted, but a server can lack it, or this role the right: then searches read more.

CREATE INDEX operations_target ON operations (target, at, n);
CREATE INDEX operations_identity ON operations (identity_key, at, n);
CREATE INDEX operations_behalf ON operations (behalf_key, at, n) WHERE behalf_key <> '';

-- +goose StatementBegin
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX operations_text ON operations USING gin (text gin_trgm_ops);
EXCEPTION
    WHEN insufficient_privilege OR undefined_file OR feature_not_supported OR undefined_object THEN
        RAISE NOTICE 'no index for searches: %', SQLERRM;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP INDEX operations_behalf;
DROP INDEX operations_identity;
DROP INDEX operations_target;
DROP INDEX IF EXISTS operations_text;
