-- name: schema_table :one
-- out: n:i64
SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'schema_version';

-- name: schema_version :one
-- out: version:i64
SELECT COALESCE(MAX(version), 0) FROM schema_version;

-- name: schema_version_add :exec
-- in: version:i64 name:str now:i64
INSERT INTO schema_version (version, name, applied_at) VALUES (?, ?, ?);
