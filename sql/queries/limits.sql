-- The hosts' shares of limits (domain/billing/share.h). A host that is not heard of for stale_s, or that
-- ended over a minute ago, has none.

-- name: share_lead :exec
-- in: kind:i64 id:i64 sub_id:i64
INSERT INTO limit_shares (kind, id, sub_id, host_id, drawn_s) VALUES (?, ?, ?, 0, UNIX_TIMESTAMP())
ON DUPLICATE KEY UPDATE drawn_s = VALUES(drawn_s);

-- name: share_others :many
-- in: stale_s:i64 kind:i64 id:i64 sub_id:i64 not_host:i64
-- out: requests:i64 tokens:i64 seats:i64
SELECT s.requests, s.tokens, s.seats FROM limit_shares s
WHERE EXISTS (SELECT 1 FROM ledgers l WHERE l.limits_id = s.host_id
    AND l.beat_s >= UNIX_TIMESTAMP() - IF(l.state = 3, 70, ?))
  AND s.kind = ? AND s.id = ? AND s.sub_id = ? AND s.host_id NOT IN (0, ?);

-- name: share_put :exec
-- in: kind:i64 id:i64 sub_id:i64 host_id:i64 requests:i64 tokens:i64 seats:i64
INSERT INTO limit_shares (kind, id, sub_id, host_id, requests, tokens, seats, drawn_s)
VALUES (?, ?, ?, ?, ?, ?, ?, UNIX_TIMESTAMP())
ON DUPLICATE KEY UPDATE requests = VALUES(requests), tokens = VALUES(tokens), seats = VALUES(seats),
  wanted = FALSE, drawn_s = VALUES(drawn_s);

-- name: share_drop :exec
-- in: kind:i64 id:i64 sub_id:i64 host_id:i64
DELETE FROM limit_shares WHERE kind = ? AND id = ? AND sub_id = ? AND host_id = ?;

-- name: share_want :exec
-- in: kind:i64 id:i64 sub_id:i64 not_host:i64
UPDATE limit_shares SET wanted = TRUE
WHERE kind = ? AND id = ? AND sub_id = ? AND host_id NOT IN (0, ?);

-- name: share_awaited :one
-- in: kind:i64 id:i64 sub_id:i64 not_host:i64
-- out: n:i64
SELECT COUNT(*) FROM limit_shares s
WHERE s.kind = ? AND s.id = ? AND s.sub_id = ? AND s.host_id NOT IN (0, ?) AND s.wanted
  AND EXISTS (SELECT 1 FROM ledgers l WHERE l.limits_id = s.host_id AND l.state = 1
    AND l.beat_s >= UNIX_TIMESTAMP() - 6);

-- name: share_wanted :many
-- in: host_id:i64
-- out: kind:i64 id:i64 sub_id:i64
SELECT kind, id, sub_id FROM limit_shares WHERE host_id = ? AND wanted = TRUE LIMIT 100;

-- name: share_age :exec
-- in: host_id:i64
UPDATE limit_shares SET wanted = TRUE
WHERE host_id = ? AND drawn_s < UNIX_TIMESTAMP() - 86400 ORDER BY drawn_s LIMIT 100;

-- name: share_prune :exec
DELETE FROM limit_shares WHERE host_id = 0 AND drawn_s < UNIX_TIMESTAMP() - 604800 LIMIT 1000;

-- name: share_dead_hosts :many
-- in: stale_s:i64
-- out: host_id:i64
SELECT limits_id FROM ledgers WHERE limits_id <> 0 GROUP BY limits_id
HAVING MAX(beat_s) < UNIX_TIMESTAMP() - ?;

-- name: share_bury :exec
-- in: host_id:i64
DELETE FROM limit_shares WHERE host_id = ? LIMIT 1000;
