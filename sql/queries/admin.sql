-- What an operator changes: accounts, groups, models with their prices, channels, options.

-- name: user_insert :exec
-- in: email:str username:str password_hash:str role:i64 user_group:str created_at:i64
INSERT INTO users (email, username, password_hash, role, user_group, created_at)
VALUES (?, ?, ?, ?, ?, ?);

-- By number, e-mail or name.
-- name: user_by_name :one
-- in: id:i64 email:str username:str
-- out: id:i64 username:str role:i64 status:i64
SELECT id, username, role, status FROM users
WHERE deleted_at IS NULL AND (id = ? OR email = ? OR username = ?) ORDER BY id LIMIT 1;

-- name: user_rows :many
-- out: id:i64 email:str? username:str role:i64 status:i64 user_group:str granted:i64 used:i64 live_keys:i64 created_at:i64 rpm_limit:i64 tpm_limit:i64 concurrency_limit:i64 budgets:str
SELECT u.id, u.email, u.username, u.role, u.status, u.user_group, COALESCE(a.granted, 0),
       CAST(COALESCE(a.spent, 0) + COALESCE((SELECT SUM(l.settled) FROM leases l
            WHERE l.kind = 1 AND l.owner_id = u.id AND l.period = 0), 0) AS SIGNED),
       u.live_keys, u.created_at, u.rpm_limit, u.tpm_limit, u.concurrency_limit,
       COALESCE((SELECT GROUP_CONCAT(CASE b.time_window WHEN 'd' THEN 'day' WHEN 'w' THEN 'week'
           WHEN 'm' THEN 'month' ELSE 'total' END, '=', b.amount,
           IF(b.timezone = '', '', CONCAT('@', b.timezone)) ORDER BY b.id)
         FROM owner_budgets b WHERE b.owner_kind = 1 AND b.owner_id = u.id), '')
FROM users u LEFT JOIN allowances a ON a.kind = 1 AND a.owner_id = u.id AND a.period = 0
WHERE u.deleted_at IS NULL ORDER BY u.id;

-- name: user_set_password :exec
-- in: password_hash:str id:i64
UPDATE users SET password_hash = ? WHERE id = ?;

-- name: user_set_status :exec
-- in: status:i64 id:i64
UPDATE users SET status = ? WHERE id = ?;

-- name: user_limits_get :one
-- in: id:i64
-- out: rpm_limit:i64 tpm_limit:i64 concurrency_limit:i64
SELECT rpm_limit, tpm_limit, concurrency_limit FROM users WHERE id = ? FOR UPDATE;

-- name: user_limits_set :exec
-- in: rpm_limit:i64 tpm_limit:i64 concurrency_limit:i64 id:i64
UPDATE users SET rpm_limit = ?, tpm_limit = ?, concurrency_limit = ? WHERE id = ?;

-- name: group_rows :many
-- out: id:i64 name:str description:str ratio:i64 selectable:bool drain:bool clamp_max_tokens:bool hard_stop:bool rpm_limit:i64 tpm_limit:i64 concurrency_limit:i64 auto_rank:i64 budgets:str
SELECT g.id, g.name, g.description, g.ratio, g.selectable, g.drain, g.clamp_max_tokens, g.hard_stop,
       g.rpm_limit, g.tpm_limit, g.concurrency_limit, g.auto_rank,
       COALESCE((SELECT GROUP_CONCAT(CASE b.time_window WHEN 'd' THEN 'day' WHEN 'w' THEN 'week'
           WHEN 'm' THEN 'month' ELSE 'total' END, '=', b.amount,
           IF(b.timezone = '', '', CONCAT('@', b.timezone)) ORDER BY b.id)
         FROM owner_budgets b WHERE b.owner_kind = 2 AND b.owner_id = g.id), '')
FROM `groups` g ORDER BY g.id;

-- name: group_by_name :one
-- in: name:str
-- out: id:i64
SELECT id FROM `groups` WHERE name = ?;

-- name: group_insert :exec
-- in: name:str
INSERT INTO `groups` (name) VALUES (?);

-- name: group_get :one
-- in: id:i64
-- out: name:str description:str ratio:i64 selectable:bool drain:bool clamp_max_tokens:bool hard_stop:bool rpm_limit:i64 tpm_limit:i64 concurrency_limit:i64 auto_rank:i64
SELECT name, description, ratio, selectable, drain, clamp_max_tokens, hard_stop, rpm_limit,
       tpm_limit, concurrency_limit, auto_rank
FROM `groups` WHERE id = ? FOR UPDATE;

-- name: group_update :exec
-- in: description:str ratio:i64 selectable:bool drain:bool clamp_max_tokens:bool hard_stop:bool rpm_limit:i64 tpm_limit:i64 concurrency_limit:i64 auto_rank:i64 id:i64
UPDATE `groups`
SET description = ?, ratio = ?, selectable = ?, drain = ?, clamp_max_tokens = ?, hard_stop = ?,
    rpm_limit = ?, tpm_limit = ?, concurrency_limit = ?, auto_rank = ?
WHERE id = ?;

-- name: group_ratio_put :exec
-- in: user_group_id:i64 using_group_id:i64 ratio:i64
INSERT INTO group_ratios (user_group_id, using_group_id, ratio) VALUES (?, ?, ?)
ON DUPLICATE KEY UPDATE ratio = VALUES(ratio);

-- name: price_insert :exec
-- in: per_call:bool call_quota:i64 model:i64 completion:i64 cache_read:i64 cache_write:i64 cache_write_1h:i64 image:i64 audio:i64 audio_completion:i64 search_quota:i64 created_s:i64
INSERT INTO price_versions (per_call, call_quota, model, completion, cache_read, cache_write,
    cache_write_1h, image, audio, audio_completion, search_quota, created_s)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: model_by_name :one
-- in: name:str
-- out: id:i64 display_name:str owned_by:str price_id:i64? default_max_tokens:i64
SELECT id, display_name, owned_by, price_id, default_max_tokens FROM models WHERE name = ?
FOR UPDATE;

-- name: model_insert :exec
-- in: name:str display_name:str owned_by:str created_s:i64 price_id:i64? default_max_tokens:i64
INSERT INTO models (name, display_name, owned_by, created_s, price_id, default_max_tokens)
VALUES (?, ?, ?, ?, ?, ?);

-- name: model_update :exec
-- in: display_name:str owned_by:str price_id:i64? default_max_tokens:i64 id:i64
UPDATE models SET display_name = ?, owned_by = ?, price_id = ?, default_max_tokens = ?
WHERE id = ?;

-- name: channel_by_name :one
-- in: id:i64 name:str
-- out: id:i64 name:str
SELECT id, name FROM channels WHERE id = ? OR name = ? ORDER BY id LIMIT 1;

-- name: channel_insert :exec
-- in: name:str type:i64 base_url:str priority:i64 weight:i64 private_ok:bool created_s:i64
INSERT INTO channels (name, type, base_url, priority, weight, private_ok, created_s)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: channel_key_insert :exec
-- in: channel_id:i64 sealed:bytes
INSERT INTO channel_keys (channel_id, sealed) VALUES (?, ?);

-- name: channel_model_insert :exec
-- in: channel_id:i64 model:str
INSERT INTO channel_models (channel_id, model) VALUES (?, ?);

-- name: channel_group_insert :exec
-- in: channel_id:i64 group_id:i64
INSERT INTO channel_groups (channel_id, group_id) VALUES (?, ?);

-- name: channel_mapping_insert :exec
-- in: channel_id:i64 from_model:str to_model:str
INSERT INTO channel_mappings (channel_id, from_model, to_model) VALUES (?, ?, ?);

-- name: channel_set_enabled :exec
-- in: enabled:bool id:i64
UPDATE channels SET enabled = ? WHERE id = ?;

-- name: channel_delete :exec
-- in: id:i64
DELETE FROM channels WHERE id = ?;

-- name: channel_rows :many
-- out: id:i64 name:str type:i64 base_url:str priority:i64 weight:i64 enabled:bool models:str? group_names:str? keys_n:i64
SELECT c.id, c.name, c.type, c.base_url, c.priority, c.weight, c.enabled,
       (SELECT JSON_ARRAYAGG(m.model ORDER BY m.model) FROM channel_models m
        WHERE m.channel_id = c.id),
       (SELECT JSON_ARRAYAGG(g.name ORDER BY g.name) FROM channel_groups cg
        JOIN `groups` g ON g.id = cg.group_id WHERE cg.channel_id = c.id),
       (SELECT COUNT(*) FROM channel_keys k WHERE k.channel_id = c.id)
FROM channels c ORDER BY c.id;

-- name: option_put :exec
-- in: name:str value:str
INSERT INTO options (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value);

-- name: option_delete :exec
-- in: name:str
DELETE FROM options WHERE name = ?;
