-- name: schema_table :one
-- out: n:i64
SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'schema_version';

-- name: schema_version :one
-- out: version:i64
SELECT COALESCE(MAX(version), 0) FROM schema_version;

-- The row that stands for the table: who changes the schema holds its lock.
-- name: schema_start :exec
INSERT IGNORE INTO schema_version (version, name, applied_at) VALUES (0, 'start', 0);

-- name: schema_lock :one
-- out: version:i64
SELECT version FROM schema_version WHERE version = 0 FOR UPDATE;

-- name: schema_version_add :exec
-- in: version:i64 name:str now:i64
INSERT INTO schema_version (version, name, applied_at) VALUES (?, ?, ?);
