-- name: change_add :exec
-- in: kind:i64 entity_id:i64
INSERT INTO changes (kind, entity_id, created_us)
VALUES (?, ?, CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED));

-- name: change_since :many
-- in: after_id:i64
-- out: id:i64 kind:i64 entity_id:i64 age_ms:i64
SELECT id, kind, entity_id,
       CAST((UNIX_TIMESTAMP(NOW(6)) * 1000000 - created_us) / 1000 AS SIGNED)
FROM changes WHERE id > ? ORDER BY id;

-- name: change_prune :exec
-- in: age_s:i64
DELETE FROM changes
WHERE created_us < CAST((UNIX_TIMESTAMP(NOW(6)) - ?) * 1000000 AS SIGNED) LIMIT 10000;

-- name: worker_add :exec
-- in: hostname:str pid:i64
INSERT INTO workers (hostname, pid, started_s, beat_s)
VALUES (?, ?, UNIX_TIMESTAMP(), UNIX_TIMESTAMP());

-- A worker that was away so long that its row was pruned comes back under the same id.
-- name: worker_beat :exec
-- in: id:i64 hostname:str pid:i64
INSERT INTO workers (id, hostname, pid, started_s, beat_s)
VALUES (?, ?, ?, UNIX_TIMESTAMP(), UNIX_TIMESTAMP())
ON DUPLICATE KEY UPDATE beat_s = VALUES(beat_s);

-- name: worker_remove :exec
-- in: id:i64
DELETE FROM workers WHERE id = ?;

-- name: worker_prune :exec
-- in: age_s:i64
DELETE FROM workers WHERE beat_s < UNIX_TIMESTAMP() - ? LIMIT 1000;
