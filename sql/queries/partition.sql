-- The monthly partitions of usage_rows.

-- name: partition_list :many
-- out: name:str below:str
SELECT partition_name, COALESCE(partition_description, '') FROM information_schema.partitions
WHERE table_schema = DATABASE() AND table_name = 'usage_rows' AND partition_name IS NOT NULL
ORDER BY partition_ordinal_position;

-- name: ledger_first :one
-- in: newer_s:i64
-- out: worker_id:i64
SELECT COALESCE(MIN(worker_id), 0) FROM ledgers
WHERE state = 1 AND beat_s >= UNIX_TIMESTAMP() - ?;
