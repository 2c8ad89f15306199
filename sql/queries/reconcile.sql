-- The invariants of money. Each check is one statement, so it sees one moment of a running site.

-- name: reconcile_balances :many
-- out: kind:i64 owner_id:i64 period:i64 expected:i64 found:i64
SELECT a.kind, a.owner_id, a.period, a.granted,
       CAST(a.remain + a.spent + COALESCE(l.held, 0) AS SIGNED)
FROM allowances a
LEFT JOIN (SELECT kind, owner_id, period, SUM(amount + settled) AS held FROM leases
           GROUP BY kind, owner_id, period) l
  ON l.kind = a.kind AND l.owner_id = a.owner_id AND l.period = a.period
WHERE a.granted <> a.remain + a.spent + COALESCE(l.held, 0);

-- name: reconcile_users :many
-- out: kind:i64 owner_id:i64 period:i64 expected:i64 found:i64
SELECT a.kind, a.owner_id, a.period, CAST(COALESCE(u.cost, 0) AS SIGNED),
       CAST(a.spent + COALESCE(l.settled, 0) AS SIGNED)
FROM allowances a
LEFT JOIN (SELECT kind, owner_id, SUM(settled) AS settled FROM leases WHERE kind IN (1, 2)
           GROUP BY kind, owner_id) l ON l.kind = a.kind AND l.owner_id = a.owner_id
LEFT JOIN (SELECT user_id, test_mode, SUM(cost) AS cost FROM usage_hourly
           GROUP BY user_id, test_mode) u
  ON u.user_id = a.owner_id AND u.test_mode = (a.kind = 2)
WHERE a.kind IN (1, 2) AND a.spent + COALESCE(l.settled, 0) <> COALESCE(u.cost, 0);

-- name: reconcile_keys :many
-- out: kind:i64 owner_id:i64 period:i64 expected:i64 found:i64
SELECT a.kind, a.owner_id, a.period, CAST(COALESCE(u.cost, 0) AS SIGNED),
       CAST(a.spent + COALESCE(l.settled, 0) AS SIGNED)
FROM allowances a
LEFT JOIN (SELECT owner_id, SUM(settled) AS settled FROM leases WHERE kind = 3
           GROUP BY owner_id) l ON l.owner_id = a.owner_id
LEFT JOIN (SELECT key_id, SUM(cost) AS cost FROM usage_hourly GROUP BY key_id) u
  ON u.key_id = a.owner_id
WHERE a.kind = 3 AND a.spent + COALESCE(l.settled, 0) <> COALESCE(u.cost, 0);

-- name: reconcile_rows :many
-- in: from_hour_s:i64 same_hour_s:i64
-- out: key_id:i64 expected:i64 found:i64
SELECT t.key_id, CAST(SUM(t.of_rows) AS SIGNED), CAST(SUM(t.of_hours) AS SIGNED)
FROM (SELECT key_id, 0 AS of_rows, SUM(cost) AS of_hours FROM usage_hourly WHERE hour_s >= ?
      GROUP BY key_id
      UNION ALL
      SELECT key_id, SUM(cost), 0 FROM usage_rows WHERE created_s >= ? AND type IN (2, 5)
      GROUP BY key_id) t
GROUP BY t.key_id HAVING SUM(t.of_rows) <> SUM(t.of_hours);

-- name: reconcile_first_row :one
-- out: created_s:i64
SELECT COALESCE(MIN(created_s), 0) FROM usage_rows WHERE type IN (2, 5);

-- name: reconcile_credits :many
-- in: sandbox_start:i64 same_start:i64
-- out: kind:i64 owner_id:i64 period:i64 expected:i64 found:i64
SELECT a.kind, a.owner_id, a.period,
       CAST(COALESCE(c.amount, 0) + IF(a.kind = 2, ?, 0) AS SIGNED), a.granted
FROM allowances a
LEFT JOIN (SELECT kind, user_id, SUM(amount) AS amount FROM credits GROUP BY kind, user_id) c
  ON c.kind = a.kind AND c.user_id = a.owner_id
WHERE a.kind IN (1, 2) AND a.granted <> COALESCE(c.amount, 0) + IF(a.kind = 2, ?, 0);

-- name: reconcile_set_spent :exec
-- in: found:i64 expected:i64 kind:i64 owner_id:i64 period:i64
UPDATE allowances SET spent = spent + ? - ? WHERE kind = ? AND owner_id = ? AND period = ?;

-- name: reconcile_set_remain :exec
-- in: kind:i64 owner_id:i64 period:i64
UPDATE allowances a SET a.remain = a.granted - a.spent -
  COALESCE((SELECT SUM(l.amount + l.settled) FROM leases l
            WHERE l.kind = a.kind AND l.owner_id = a.owner_id AND l.period = a.period), 0)
WHERE a.kind = ? AND a.owner_id = ? AND a.period = ?;
