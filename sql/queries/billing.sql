-- Allowances and leases. Whoever touches both locks the allowance first; several in the order
-- (kind, owner_id, period).

-- name: allow_lock :one
-- in: kind:i64 owner_id:i64 period:i64
-- out: granted:i64 remain:i64 spent:i64
SELECT granted, remain, spent FROM allowances
WHERE kind = ? AND owner_id = ? AND period = ? FOR UPDATE WAIT 2;

-- name: allow_peek :one
-- in: kind:i64 owner_id:i64 period:i64
-- out: remain:i64
SELECT remain FROM allowances WHERE kind = ? AND owner_id = ? AND period = ?;

-- name: allow_add :exec
-- in: kind:i64 owner_id:i64 period:i64 granted:i64 remain:i64
INSERT IGNORE INTO allowances (kind, owner_id, period, granted, remain) VALUES (?, ?, ?, ?, ?);

-- name: allow_grant :exec
-- in: delta:i64 same_delta:i64 kind:i64 owner_id:i64 period:i64
UPDATE allowances SET granted = granted + ?, remain = remain + ?
WHERE kind = ? AND owner_id = ? AND period = ?;

-- name: allow_draw :exec
-- in: take:i64 spent:i64 kind:i64 owner_id:i64 period:i64 at_least:i64
UPDATE allowances SET remain = remain - ?, spent = spent + ?
WHERE kind = ? AND owner_id = ? AND period = ? AND remain >= ?;

-- name: allow_return :bulk
-- in: back:i64 spent:i64 kind:i64 owner_id:i64 period:i64
UPDATE allowances SET remain = remain + ?, spent = spent + ?
WHERE kind = ? AND owner_id = ? AND period = ?;

-- name: allow_view :one
-- in: kind:i64 owner_id:i64 period:i64
-- out: granted:i64 used:i64
SELECT a.granted, CAST(a.spent + COALESCE((SELECT SUM(l.settled) FROM leases l
  WHERE l.kind = a.kind AND l.owner_id = a.owner_id AND l.period = a.period), 0) AS SIGNED)
FROM allowances a WHERE a.kind = ? AND a.owner_id = ? AND a.period = ?;

-- name: allow_recall_all :exec
-- in: kind:i64 owner_id:i64 period:i64
UPDATE leases SET recall = TRUE WHERE kind = ? AND owner_id = ? AND period = ? AND amount > 0;

-- name: credit_add :exec
-- in: kind:i64 user_id:i64 amount:i64 source:i64 reason:str actor_id:i64 reference:str? created_s:i64
INSERT INTO credits (kind, user_id, amount, source, reason, actor_id, reference, created_s)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- An allowance and the lease of one worker on it, both locked.
-- name: lease_look :one
-- in: worker_id:i64 kind:i64 owner_id:i64 period:i64
-- out: granted:i64 remain:i64 spent:i64 settled:i64? op_no:i64? op_moved:i64?
SELECT a.granted, a.remain, a.spent, l.settled, l.op_no, l.op_moved
FROM allowances a LEFT JOIN leases l
  ON l.worker_id = ? AND l.kind = a.kind AND l.owner_id = a.owner_id AND l.period = a.period
WHERE a.kind = ? AND a.owner_id = ? AND a.period = ? FOR UPDATE WAIT 2;

-- name: lease_draw :exec
-- in: worker_id:i64 kind:i64 owner_id:i64 period:i64 amount:i64 minus_spent:i64 op_no:i64 op_moved:i64
INSERT INTO leases (worker_id, kind, owner_id, period, amount, settled, op_no, op_moved)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE amount = amount + VALUES(amount), settled = settled + VALUES(settled),
  op_no = VALUES(op_no), op_moved = VALUES(op_moved);

-- name: lease_return :bulk
-- in: back:i64 spent:i64 op_no:i64 keep_recall:i64 worker_id:i64 kind:i64 owner_id:i64 period:i64
UPDATE leases SET amount = amount - ?, settled = settled - ?, op_no = ?, op_moved = 0,
  recall = recall AND ?
WHERE worker_id = ? AND kind = ? AND owner_id = ? AND period = ?;

-- name: lease_folded :bulk
-- in: spent:i64 worker_id:i64 kind:i64 owner_id:i64 period:i64
UPDATE leases SET settled = settled - ?
WHERE worker_id = ? AND kind = ? AND owner_id = ? AND period = ?;

-- name: lease_spend :bulk
-- in: worker_id:i64 kind:i64 owner_id:i64 period:i64 minus:i64 settled:i64
INSERT INTO leases (worker_id, kind, owner_id, period, amount, settled) VALUES (?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE amount = amount + VALUES(amount), settled = settled + VALUES(settled);

-- name: lease_recall :exec
-- in: kind:i64 owner_id:i64 period:i64 not_worker:i64
UPDATE leases SET recall = TRUE
WHERE kind = ? AND owner_id = ? AND period = ? AND worker_id <> ? AND amount > 0;

-- name: lease_recalling :one
-- in: kind:i64 owner_id:i64 period:i64 not_worker:i64
-- out: n:i64
SELECT COUNT(*) FROM leases
WHERE kind = ? AND owner_id = ? AND period = ? AND worker_id <> ? AND recall AND amount > 0;

-- name: lease_recalled :many
-- in: worker_id:i64
-- out: kind:i64 owner_id:i64 period:i64
SELECT kind, owner_id, period FROM leases WHERE worker_id = ? AND recall = TRUE;

-- name: lease_unrecall :exec
-- in: worker_id:i64 kind:i64 owner_id:i64 period:i64
UPDATE leases SET recall = FALSE WHERE worker_id = ? AND kind = ? AND owner_id = ? AND period = ?;

-- name: lease_tidy :exec
-- in: worker_id:i64
DELETE FROM leases WHERE worker_id = ? AND amount = 0 AND settled = 0;

-- What an unlimited key spent has no allowance until it is first moved to one.
-- name: lease_release_new :exec
-- in: worker_id:i64
INSERT IGNORE INTO allowances (kind, owner_id, period)
SELECT kind, owner_id, period FROM leases WHERE worker_id = ?;

-- name: lease_release :exec
-- in: worker_id:i64
UPDATE allowances a JOIN leases l
  ON l.kind = a.kind AND l.owner_id = a.owner_id AND l.period = a.period
SET a.remain = a.remain + l.amount, a.spent = a.spent + l.settled
WHERE l.worker_id = ?;

-- name: lease_release_rows :exec
-- in: worker_id:i64
DELETE FROM leases WHERE worker_id = ?;

-- Ledgers: the workers that keep journals.

-- name: ledger_add :exec
-- in: worker_id:i64 host:str limits_id:i64
INSERT INTO ledgers (worker_id, host, limits_id, joined_s, beat_s)
VALUES (?, ?, ?, UNIX_TIMESTAMP(), UNIX_TIMESTAMP())
ON DUPLICATE KEY UPDATE state = 1, beat_s = VALUES(beat_s);

-- name: ledger_beat :exec
-- in: worker_id:i64
UPDATE ledgers SET beat_s = UNIX_TIMESTAMP() WHERE worker_id = ? AND state = 1;

-- name: ledger_get :one
-- in: worker_id:i64
-- out: state:i64 applied_seq:i64
SELECT state, applied_seq FROM ledgers WHERE worker_id = ?;

-- name: ledger_apply :exec
-- in: applied_seq:i64 worker_id:i64 below:i64
UPDATE ledgers SET applied_seq = ? WHERE worker_id = ? AND applied_seq < ?;

-- name: ledger_state :exec
-- in: state:i64 worker_id:i64
UPDATE ledgers SET state = ? WHERE worker_id = ?;

-- name: ledger_silent :many
-- in: older_s:i64
-- out: worker_id:i64
SELECT worker_id FROM ledgers WHERE state = 1 AND beat_s < UNIX_TIMESTAMP() - ?;

-- name: ledger_lose :exec
-- in: worker_id:i64 older_s:i64
UPDATE ledgers SET state = 2 WHERE worker_id = ? AND state = 1 AND beat_s < UNIX_TIMESTAMP() - ?;

-- name: ledger_prune :exec
-- in: older_s:i64
DELETE FROM ledgers WHERE state = 3 AND beat_s < UNIX_TIMESTAMP() - ? LIMIT 1000;

-- What calls leave behind.

-- name: usage_ids_lock :one
-- out: next_id:i64
SELECT next_id FROM id_blocks WHERE name = 'usage' FOR UPDATE;

-- name: usage_ids_take :exec
-- in: n:i64
UPDATE id_blocks SET next_id = next_id + ? WHERE name = 'usage';

-- name: usage_add :bulk
-- in: id:i64 created_s:i64 type:i64 user_id:i64 key_id:i64 group_id:i64 channel_id:i64 price_id:i64 group_ratio:i64 cost:i64 prompt:i64 completion:i64 cached:i64 cache_write_5m:i64 cache_write_1h:i64 image_in:i64 audio_in:i64 audio_out:i64 reasoning:i64 searches:i64 images:i64 status:i64 attempts:i64 end_reason:i64 policy:i64 stream:bool test_mode:bool estimated:bool interrupted:bool started_us:i64 first_byte_us:i64 duration_us:i64 request_id:str upstream_request_id:str model:str upstream_model:str ip:str endpoint:str error_code:str content:str
INSERT INTO usage_rows (id, created_s, type, user_id, key_id, group_id, channel_id, price_id,
  group_ratio, cost, prompt, completion, cached, cache_write_5m, cache_write_1h, image_in, audio_in,
  audio_out, reasoning, searches, images, status, attempts, end_reason, policy, stream, test_mode,
  estimated, interrupted, started_us, first_byte_us, duration_us, request_id, upstream_request_id, model,
  upstream_model, ip, endpoint, error_code, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
  ?, ?, ?, ?, ?, ?, ?, ?);

-- name: hourly_add :bulk
-- in: user_id:i64 key_id:i64 hour_s:i64 model:str group_id:i64 test_mode:bool calls:i64 failures:i64 prompt:i64 completion:i64 cost:i64
INSERT INTO usage_hourly (user_id, key_id, hour_s, model, group_id, test_mode, calls, failures,
  prompt, completion, cost)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE calls = calls + VALUES(calls), failures = failures + VALUES(failures),
  prompt = prompt + VALUES(prompt), completion = completion + VALUES(completion),
  cost = cost + VALUES(cost);

-- name: event_add :exec
-- in: kind:i64 owner_id:i64 period:i64 percent:i64 granted:i64 created_s:i64
INSERT IGNORE INTO balance_events (kind, owner_id, period, percent, granted, created_s)
VALUES (?, ?, ?, ?, ?, ?);

-- Budgets of accounts (owner_kind 1) and groups (2); a time zone as it is in force.

-- name: owner_budget_get :one
-- in: owner_kind:i64 owner_id:i64 time_window:str
-- out: id:i64 amount:i64 timezone:str
SELECT b.id, b.amount, IF(b.timezone = '', COALESCE(u.timezone, 'UTC'), b.timezone)
FROM owner_budgets b LEFT JOIN users u ON b.owner_kind = 1 AND u.id = b.owner_id
WHERE b.owner_kind = ? AND b.owner_id = ? AND b.time_window = ? FOR UPDATE;

-- name: owner_budget_put :exec
-- in: owner_kind:i64 owner_id:i64 time_window:str amount:i64 timezone:str
INSERT INTO owner_budgets (owner_kind, owner_id, time_window, amount, timezone) VALUES (?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE amount = VALUES(amount), timezone = VALUES(timezone);

-- name: owner_budget_delete :exec
-- in: id:i64
DELETE FROM owner_budgets WHERE id = ?;

-- name: user_budgets_count :exec
-- in: user_id:i64
UPDATE users SET budgets =
  (SELECT COUNT(*) FROM owner_budgets b WHERE b.owner_kind = 1 AND b.owner_id = users.id)
WHERE id = ?;
