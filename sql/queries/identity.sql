-- Who calls: API keys and their secrets, personal access tokens, idempotency, audit.
-- A list of ids is a JSON array; JSON_TABLE makes rows of it, so a page is one statement.

-- Which secret is this? One hash for each generation of the pepper (repeated when there are fewer).
-- A use of a key asks caller_get first, which needs no more.

-- name: secret_find :one
-- in: hash0:bytes hash1:bytes hash2:bytes hash3:bytes
-- out: secret_id:i64 key_id:i64 user_id:i64 expires_at:i64 hash:bytes
SELECT s.id, s.key_id, k.user_id, s.expires_at, s.hash
FROM key_secrets s JOIN api_keys k ON k.id = s.key_id
WHERE s.hash IN (?, ?, ?, ?) LIMIT 1;

-- name: secret_rehash :exec
-- in: hash:bytes id:i64
UPDATE key_secrets SET hash = ? WHERE id = ?;

-- name: secret_hash :one
-- in: secret_id:i64
-- out: hash:bytes
SELECT hash FROM key_secrets WHERE id = ?;

-- Each table is read by a whole unique key, so the optimizer has nothing to weigh.
-- name: caller_get :one
-- in: hash:bytes
-- out: secret_id:i64 key_id:i64 user_id:i64 secret_expires_at:i64 name:str disabled:bool test_mode:bool expires_at:i64 unlimited:bool model_limits_enabled:bool model_limits:str allow_ips:str key_group:str auto_groups:str cross_group_retry:bool scopes:i64 rpm_limit:i64 tpm_limit:i64 concurrency_limit:i64 user_name:str user_group:str language:str user_role:i64 user_status:i64 user_rpm_limit:i64 user_tpm_limit:i64 user_concurrency_limit:i64 user_budgets:i64 budgets:i64
SELECT s.id, k.id, k.user_id, s.expires_at, k.name, k.disabled, k.test_mode, k.expires_at,
       k.unlimited, k.model_limits_enabled, k.model_limits, k.allow_ips, k.key_group, k.auto_groups,
       k.cross_group_retry, k.scopes, k.rpm_limit, k.tpm_limit, k.concurrency_limit,
       u.username, u.user_group, u.language, u.role, u.status, u.rpm_limit, u.tpm_limit,
       u.concurrency_limit, u.budgets, (SELECT COUNT(*) FROM key_budgets b WHERE b.key_id = k.id)
FROM key_secrets s JOIN api_keys k ON k.id = s.key_id JOIN users u ON u.id = k.user_id
WHERE s.hash = ? AND k.deleted_at IS NULL AND u.deleted_at IS NULL;

-- name: caller_budgets :many
-- in: key_id:i64 user_id:i64
-- out: owner:i64 id:i64 time_window:str amount:i64 timezone:str
SELECT 0, id, time_window, amount, timezone FROM key_budgets WHERE key_id = ?
UNION ALL
SELECT 1, b.id, b.time_window, b.amount, IF(b.timezone = '', u.timezone, b.timezone)
FROM owner_budgets b JOIN users u ON u.id = b.owner_id
WHERE b.owner_kind = 1 AND b.owner_id = ? ORDER BY 1, 2;

-- Each worker tells of a use once a minute; the condition makes it one write for all of them.

-- name: secret_used :bulk
-- in: at:i64 ip:str agent:str model:str id:i64 before:i64
UPDATE key_secrets
SET last_used_at = ?, last_used_ip = ?, last_used_agent = ?,
    last_used_model = COALESCE(NULLIF(?, ''), last_used_model)
WHERE id = ? AND last_used_at <= ?;

-- name: key_used :bulk
-- in: at:i64 ip:str model:str id:i64 before:i64
UPDATE api_keys SET accessed_at = ?, last_used_ip = ?,
    last_used_model = COALESCE(NULLIF(?, ''), last_used_model)
WHERE id = ? AND accessed_at <= ?;

-- Keys as their owners see them.

-- name: key_rows :many
-- in: ids:str
-- out: id:i64 user_id:i64 name:str disabled:bool test_mode:bool created_at:i64 accessed_at:i64 expires_at:i64 unlimited:bool granted:i64 used:i64 model_limits_enabled:bool model_limits:str allow_ips:str key_group:str auto_groups:str cross_group_retry:bool scopes:i64 rpm_limit:i64 tpm_limit:i64 concurrency_limit:i64 last_used_ip:str last_used_model:str
SELECT STRAIGHT_JOIN k.id, k.user_id, k.name, k.disabled, k.test_mode, k.created_at, k.accessed_at,
       k.expires_at, k.unlimited, COALESCE(a.granted, 0),
       CAST(COALESCE(a.spent, 0) + COALESCE((SELECT SUM(l.settled) FROM leases l
            WHERE l.kind = 3 AND l.owner_id = k.id AND l.period = 0), 0) AS SIGNED),
       k.model_limits_enabled, k.model_limits, k.allow_ips, k.key_group, k.auto_groups,
       k.cross_group_retry, k.scopes, k.rpm_limit, k.tpm_limit, k.concurrency_limit,
       k.last_used_ip, k.last_used_model
FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) j JOIN api_keys k ON k.id = j.id
     LEFT JOIN allowances a ON a.kind = 3 AND a.owner_id = k.id AND a.period = 0
WHERE k.deleted_at IS NULL;

-- name: key_secrets :many
-- in: ids:str now:i64
-- out: id:i64 key_id:i64 hint:str sealed:bytes? created_at:i64 expires_at:i64 last_used_at:i64 last_used_ip:str last_used_agent:str last_used_model:str
SELECT STRAIGHT_JOIN s.id, s.key_id, s.hint, s.sealed, s.created_at, s.expires_at, s.last_used_at,
       s.last_used_ip, s.last_used_agent, s.last_used_model
FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) j JOIN key_secrets s ON s.key_id = j.id
WHERE s.expires_at = -1 OR s.expires_at > ?
ORDER BY s.id DESC;

-- name: key_budget_rows :many
-- in: ids:str
-- out: id:i64 key_id:i64 time_window:str amount:i64 timezone:str
SELECT STRAIGHT_JOIN b.id, b.key_id, b.time_window, b.amount, b.timezone
FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) j JOIN key_budgets b ON b.key_id = j.id
ORDER BY b.id;

-- name: key_lock :one
-- in: user_id:i64 id:i64
-- out: id:i64
SELECT id FROM api_keys WHERE user_id = ? AND id = ? AND deleted_at IS NULL FOR UPDATE;

-- name: key_ids :many
-- in: user_id:i64 below_id:i64 limit:i64 offset:i64
-- out: id:i64
SELECT id FROM api_keys WHERE user_id = ? AND deleted_at IS NULL AND id < ?
ORDER BY id DESC LIMIT ? OFFSET ?;

-- name: key_buckets :many
-- in: user_id:i64
-- out: bucket:i64 n:i64
SELECT bucket, n FROM key_buckets WHERE user_id = ? ORDER BY bucket DESC;

-- name: key_bucket_add :exec
-- in: user_id:i64 id:i64 n:i64
INSERT INTO key_buckets (user_id, bucket, n) VALUES (?, ? >> 10, ?)
ON DUPLICATE KEY UPDATE n = n + VALUES(n);

-- name: key_total :one
-- in: user_id:i64
-- out: live_keys:i64
SELECT live_keys FROM users WHERE id = ?;

-- The ids are a range, so that one key by its number is read by its number.

-- name: key_search_ids :many
-- in: user_id:i64 first_id:i64 last_id:i64 name:str hint:str hint_again:str limit:i64 offset:i64
-- out: id:i64
SELECT k.id FROM api_keys k
WHERE k.user_id = ? AND k.deleted_at IS NULL AND k.id BETWEEN ? AND ?
  AND LOWER(k.name) LIKE CONCAT('%', LOWER(?), '%') ESCAPE '!'
  AND (? = '' OR EXISTS (SELECT 1 FROM key_secrets s
                         WHERE s.key_id = k.id AND s.hint LIKE ? ESCAPE '!'))
ORDER BY k.id DESC LIMIT ? OFFSET ?;

-- name: key_search_total :one
-- in: user_id:i64 first_id:i64 last_id:i64 name:str hint:str hint_again:str
-- out: n:i64
SELECT COUNT(*) FROM api_keys k
WHERE k.user_id = ? AND k.deleted_at IS NULL AND k.id BETWEEN ? AND ?
  AND LOWER(k.name) LIKE CONCAT('%', LOWER(?), '%') ESCAPE '!'
  AND (? = '' OR EXISTS (SELECT 1 FROM key_secrets s
                         WHERE s.key_id = k.id AND s.hint LIKE ? ESCAPE '!'));

-- name: key_slot_take :exec
-- in: user_id:i64 max_keys:i64
UPDATE users SET live_keys = live_keys + 1 WHERE id = ? AND live_keys < ?;

-- name: key_slot_give :exec
-- in: user_id:i64
UPDATE users SET live_keys = live_keys - 1 WHERE id = ?;

-- name: key_insert :exec
-- in: user_id:i64 name:str test_mode:bool expires_at:i64 unlimited:bool model_limits_enabled:bool model_limits:str allow_ips:str key_group:str auto_groups:str cross_group_retry:bool scopes:i64 rpm_limit:i64 tpm_limit:i64 concurrency_limit:i64 created_at:i64
INSERT INTO api_keys (user_id, name, test_mode, expires_at, unlimited, model_limits_enabled,
    model_limits, allow_ips, key_group, auto_groups, cross_group_retry, scopes, rpm_limit,
    tpm_limit, concurrency_limit, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: key_update :exec
-- in: name:str disabled:bool expires_at:i64 unlimited:bool model_limits_enabled:bool model_limits:str allow_ips:str key_group:str auto_groups:str cross_group_retry:bool scopes:i64 rpm_limit:i64 tpm_limit:i64 concurrency_limit:i64 id:i64
UPDATE api_keys
SET name = ?, disabled = ?, expires_at = ?, unlimited = ?, model_limits_enabled = ?,
    model_limits = ?, allow_ips = ?, key_group = ?, auto_groups = ?, cross_group_retry = ?,
    scopes = ?, rpm_limit = ?, tpm_limit = ?, concurrency_limit = ?
WHERE id = ?;

-- name: key_set_disabled :exec
-- in: disabled:bool id:i64
UPDATE api_keys SET disabled = ? WHERE id = ?;

-- name: key_delete :exec
-- in: now:i64 user_id:i64 id:i64
UPDATE api_keys SET deleted_at = ? WHERE user_id = ? AND id = ? AND deleted_at IS NULL;

-- name: key_secrets_delete :exec
-- in: key_id:i64
DELETE FROM key_secrets WHERE key_id = ?;

-- name: secret_insert :exec
-- in: key_id:i64 hash:bytes sealed:bytes? hint:str created_at:i64
INSERT INTO key_secrets (key_id, hash, sealed, hint, created_at) VALUES (?, ?, ?, ?, ?);

-- name: secret_expire :exec
-- in: expires_at:i64 id:i64
UPDATE key_secrets SET expires_at = ? WHERE id = ?;

-- name: secret_delete :exec
-- in: id:i64
DELETE FROM key_secrets WHERE id = ?;

-- name: budget_put :exec
-- in: key_id:i64 time_window:str amount:i64 timezone:str
INSERT INTO key_budgets (key_id, time_window, amount, timezone) VALUES (?, ?, ?, ?)
ON DUPLICATE KEY UPDATE amount = VALUES(amount), timezone = VALUES(timezone);

-- name: budget_delete :exec
-- in: key_id:i64 time_window:str
DELETE FROM key_budgets WHERE key_id = ? AND time_window = ?;

-- Personal access tokens.

-- name: access_token_find :one
-- in: hash0:bytes hash1:bytes hash2:bytes hash3:bytes now:i64
-- out: id:i64 user_id:i64 hash:bytes scopes:i64 last_used_at:i64 username:str user_group:str language:str role:i64 status:i64
SELECT t.id, t.user_id, t.hash, t.scopes, t.last_used_at, u.username, u.user_group, u.language,
       u.role, u.status
FROM access_tokens t JOIN users u ON u.id = t.user_id
WHERE t.hash IN (?, ?, ?, ?) AND (t.expires_at = -1 OR t.expires_at > ?) AND u.deleted_at IS NULL
LIMIT 1;

-- name: access_token_used :exec
-- in: at:i64 ip:str hash:bytes id:i64
UPDATE access_tokens SET last_used_at = ?, last_used_ip = ?, hash = ? WHERE id = ?;

-- name: access_token_count :one
-- in: user_id:i64
-- out: n:i64
SELECT COUNT(*) FROM access_tokens WHERE user_id = ?;

-- name: access_token_total :one
-- out: n:i64
SELECT COUNT(*) FROM access_tokens;

-- name: access_token_insert :exec
-- in: user_id:i64 name:str hash:bytes hint:str scopes:i64 created_at:i64 expires_at:i64
INSERT INTO access_tokens (user_id, name, hash, hint, scopes, created_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: access_token_list :many
-- in: user_id:i64
-- out: id:i64 name:str hint:str scopes:i64 created_at:i64 expires_at:i64 last_used_at:i64 last_used_ip:str
SELECT id, name, hint, scopes, created_at, expires_at, last_used_at, last_used_ip
FROM access_tokens WHERE user_id = ? ORDER BY id DESC;

-- name: access_token_delete :exec
-- in: user_id:i64 id:i64
DELETE FROM access_tokens WHERE user_id = ? AND id = ?;

-- name: access_token_delete_named :exec
-- in: user_id:i64 name:str
DELETE FROM access_tokens WHERE user_id = ? AND name COLLATE utf8mb4_nopad_bin = ?;

-- Serialises the changes of one account.
-- name: user_lock :one
-- in: id:i64
-- out: id:i64
SELECT id FROM users WHERE id = ? FOR UPDATE;

-- Answers by Idempotency-Key.

-- name: idempotency_drop_old :exec
-- in: user_id:i64 name:bytes before:i64
DELETE FROM idempotency WHERE user_id = ? AND name = ? AND created_at < ?;

-- name: idempotency_claim :exec
-- in: user_id:i64 name:bytes request_hash:bytes created_at:i64
INSERT INTO idempotency (user_id, name, request_hash, created_at) VALUES (?, ?, ?, ?);

-- name: idempotency_keep :exec
-- in: status:i64 answer:bytes user_id:i64 name:bytes
UPDATE idempotency SET status = ?, answer = ? WHERE user_id = ? AND name = ?;

-- name: idempotency_get :one
-- in: user_id:i64 name:bytes
-- out: request_hash:bytes status:i64 answer:bytes?
SELECT request_hash, status, answer FROM idempotency WHERE user_id = ? AND name = ?;

-- name: idempotency_prune :exec
-- in: before:i64
DELETE FROM idempotency WHERE created_at < ? LIMIT 1000;

-- Audit: one chain of hashes for each account, its end in audit_heads.

-- name: audit_head_make :exec
-- in: user_id:i64 hash:bytes
INSERT IGNORE INTO audit_heads (user_id, n, hash) VALUES (?, 0, ?);

-- name: audit_head_lock :one
-- in: user_id:i64
-- out: n:i64 hash:bytes
SELECT n, hash FROM audit_heads WHERE user_id = ? FOR UPDATE;

-- name: audit_head_set :exec
-- in: n:i64 hash:bytes user_id:i64
UPDATE audit_heads SET n = ?, hash = ? WHERE user_id = ?;

-- name: audit_add :exec
-- in: at:i64 kind:str user_id:i64 key_id:i64 actor_id:i64 actor:str ip:str request_id:str detail:str previous_hash:bytes hash:bytes
INSERT INTO audit (at, kind, user_id, key_id, actor_id, actor, ip, request_id, detail,
    previous_hash, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: audit_of_key :many
-- in: user_id:i64 key_id:i64 limit:i64 offset:i64
-- out: id:i64 at:i64 kind:str actor_id:i64 actor:str ip:str request_id:str detail:str
SELECT id, at, kind, actor_id, actor, ip, request_id, detail FROM audit
WHERE user_id = ? AND key_id = ? ORDER BY id DESC LIMIT ? OFFSET ?;

-- name: audit_of_key_total :one
-- in: user_id:i64 key_id:i64
-- out: n:i64
SELECT COUNT(*) FROM audit WHERE user_id = ? AND key_id = ?;

-- name: audit_users :many
-- in: after_user:i64
-- out: user_id:i64
SELECT user_id FROM audit_heads WHERE user_id > ? ORDER BY user_id LIMIT 1000;

-- name: audit_head :one
-- in: user_id:i64
-- out: n:i64 hash:bytes
SELECT n, hash FROM audit_heads WHERE user_id = ?;

-- name: audit_chain :many
-- in: user_id:i64 after_id:i64
-- out: id:i64 at:i64 kind:str user_id:i64 key_id:i64 actor_id:i64 actor:str ip:str request_id:str detail:str previous_hash:bytes hash:bytes
SELECT id, at, kind, user_id, key_id, actor_id, actor, ip, request_id, detail, previous_hash, hash
FROM audit WHERE user_id = ? AND id > ? ORDER BY id LIMIT 1000;

-- name: audit_orphans :one
-- out: n:i64
SELECT COUNT(*) FROM audit a LEFT JOIN audit_heads h ON h.user_id = a.user_id
WHERE h.user_id IS NULL;

-- What older generations of the keyring sealed.

-- name: secrets_after :many
-- in: after_id:i64
-- out: id:i64 hash:bytes sealed:bytes?
SELECT id, hash, sealed FROM key_secrets WHERE id > ? ORDER BY id LIMIT 500;

-- name: secret_reseal :exec
-- in: hash:bytes sealed:bytes id:i64 old_hash:bytes
UPDATE key_secrets SET hash = ?, sealed = ? WHERE id = ? AND hash = ?;

-- name: channel_keys_after :many
-- in: after_id:i64
-- out: id:i64 sealed:bytes
SELECT id, sealed FROM channel_keys WHERE id > ? ORDER BY id LIMIT 500;

-- name: channel_key_reseal :exec
-- in: sealed:bytes id:i64
UPDATE channel_keys SET sealed = ? WHERE id = ?;
