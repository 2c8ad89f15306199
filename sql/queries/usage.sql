-- What calls left behind, as people read it. A filter that is not asked for has any_<name> = true,
-- which folds its condition away before the access path is chosen. Newest first by (created_s, id);
-- edge: only rows after this place of that order, with to_s no later; the sums keep the optimizer from
-- merging indexes, which would read and sort everything. FORCE: where ranges look alike it would take the
-- time's, or look up the account alone and walk from its newest row to the edge. So log_rows is for an
-- account or a key, not both, log_rows_any for neither; both are for a request or a row's number.

-- name: log_rows :many
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 any_user:bool user:i64 any_key:bool key:i64 any_id:bool id:i64 any_type:bool type:i64 any_group:bool group:i64 any_channel:bool channel:i64 any_model:bool model:str any_request:bool request:str any_upstream:bool upstream:str any_key_name:bool key_name:str count:i64
-- out: id:i64 created_s:i64 type:i64 user_id:i64 key_id:i64 group_id:i64 channel_id:i64 price_id:i64 group_ratio:i64 cost:i64 prompt:i64 completion:i64 cached:i64 cache_write_5m:i64 cache_write_1h:i64 image_in:i64 audio_in:i64 audio_out:i64 reasoning:i64 searches:i64 images:i64 status:i64 attempts:i64 end_reason:i64 policy:i64 stream:bool test_mode:bool estimated:bool interrupted:bool first_byte_us:i64 duration_us:i64 request_id:str upstream_request_id:str model:str upstream_model:str ip:str endpoint:str error_code:str content:str username:str key_name:str priced:bool price_per_call:bool price_call_quota:i64 price_model:i64 price_completion:i64 price_cache_read:i64 price_cache_write:i64 price_cache_write_1h:i64 price_image:i64 price_audio:i64 price_audio_completion:i64
SELECT r.id, r.created_s, r.type, r.user_id, r.key_id, r.group_id, r.channel_id, r.price_id,
  r.group_ratio, r.cost, r.prompt, r.completion, r.cached, r.cache_write_5m, r.cache_write_1h,
  r.image_in, r.audio_in, r.audio_out, r.reasoning, r.searches, r.images, r.status, r.attempts,
  r.end_reason, r.policy, r.stream, r.test_mode, r.estimated, r.interrupted, r.first_byte_us,
  r.duration_us, r.request_id, r.upstream_request_id, r.model, r.upstream_model, r.ip, r.endpoint,
  r.error_code, r.content, COALESCE(u.username, ''), COALESCE(k.name, ''), p.id IS NOT NULL,
  COALESCE(p.per_call, 0), COALESCE(p.call_quota, 0), COALESCE(p.model, 0),
  COALESCE(p.completion, 0), COALESCE(p.cache_read, 0), COALESCE(p.cache_write, 0),
  COALESCE(p.cache_write_1h, 0), COALESCE(p.image, 0), COALESCE(p.audio, 0),
  COALESCE(p.audio_completion, 0)
FROM usage_rows r FORCE INDEX (PRIMARY, by_user, by_key, by_request)
  LEFT JOIN users u ON u.id = r.user_id LEFT JOIN api_keys k ON k.id = r.key_id
  LEFT JOIN price_versions p ON p.id = r.price_id
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?)
  AND (? OR r.user_id = ?) AND (? OR r.key_id = ?) AND (? OR r.id = ?)
  AND (? OR r.type = ?) AND (? OR r.group_id = ?) AND (? OR r.channel_id = ?)
  AND (? OR r.model LIKE ?) AND (? OR r.request_id = ?) AND (? OR r.upstream_request_id = ?)
  AND (? OR (SELECT n.name FROM api_keys n WHERE n.id = r.key_id) = ?)
ORDER BY r.created_s DESC, r.id DESC LIMIT ?;

-- name: log_rows_any :many
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 any_user:bool user:i64 any_key:bool key:i64 any_id:bool id:i64 any_type:bool type:i64 any_group:bool group:i64 any_channel:bool channel:i64 any_model:bool model:str any_request:bool request:str any_upstream:bool upstream:str any_key_name:bool key_name:str count:i64
-- out: id:i64 created_s:i64 type:i64 user_id:i64 key_id:i64 group_id:i64 channel_id:i64 price_id:i64 group_ratio:i64 cost:i64 prompt:i64 completion:i64 cached:i64 cache_write_5m:i64 cache_write_1h:i64 image_in:i64 audio_in:i64 audio_out:i64 reasoning:i64 searches:i64 images:i64 status:i64 attempts:i64 end_reason:i64 policy:i64 stream:bool test_mode:bool estimated:bool interrupted:bool first_byte_us:i64 duration_us:i64 request_id:str upstream_request_id:str model:str upstream_model:str ip:str endpoint:str error_code:str content:str username:str key_name:str priced:bool price_per_call:bool price_call_quota:i64 price_model:i64 price_completion:i64 price_cache_read:i64 price_cache_write:i64 price_cache_write_1h:i64 price_image:i64 price_audio:i64 price_audio_completion:i64
SELECT r.id, r.created_s, r.type, r.user_id, r.key_id, r.group_id, r.channel_id, r.price_id,
  r.group_ratio, r.cost, r.prompt, r.completion, r.cached, r.cache_write_5m, r.cache_write_1h,
  r.image_in, r.audio_in, r.audio_out, r.reasoning, r.searches, r.images, r.status, r.attempts,
  r.end_reason, r.policy, r.stream, r.test_mode, r.estimated, r.interrupted, r.first_byte_us,
  r.duration_us, r.request_id, r.upstream_request_id, r.model, r.upstream_model, r.ip, r.endpoint,
  r.error_code, r.content, COALESCE(u.username, ''), COALESCE(k.name, ''), p.id IS NOT NULL,
  COALESCE(p.per_call, 0), COALESCE(p.call_quota, 0), COALESCE(p.model, 0),
  COALESCE(p.completion, 0), COALESCE(p.cache_read, 0), COALESCE(p.cache_write, 0),
  COALESCE(p.cache_write_1h, 0), COALESCE(p.image, 0), COALESCE(p.audio, 0),
  COALESCE(p.audio_completion, 0)
FROM usage_rows r FORCE INDEX (PRIMARY, by_time, by_request)
  LEFT JOIN users u ON u.id = r.user_id LEFT JOIN api_keys k ON k.id = r.key_id
  LEFT JOIN price_versions p ON p.id = r.price_id
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?)
  AND (? OR r.user_id = ?) AND (? OR r.key_id = ?) AND (? OR r.id = ?)
  AND (? OR r.type = ?) AND (? OR r.group_id = ?) AND (? OR r.channel_id = ?)
  AND (? OR r.model LIKE ?) AND (? OR r.request_id = ?) AND (? OR r.upstream_request_id = ?)
  AND (? OR (SELECT n.name FROM api_keys n WHERE n.id = r.key_id) = ?)
ORDER BY r.created_s DESC, r.id DESC LIMIT ?;

-- The row at a place of the list: what a page number means. The place is below LOG_COUNT_MAX.

-- name: log_seat :one
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 any_user:bool user:i64 any_key:bool key:i64 any_id:bool id:i64 any_type:bool type:i64 any_group:bool group:i64 any_channel:bool channel:i64 any_model:bool model:str any_request:bool request:str any_upstream:bool upstream:str any_key_name:bool key_name:str offset:i64
-- out: created_s:i64 id:i64
SELECT r.created_s, r.id FROM usage_rows r FORCE INDEX (PRIMARY, by_user, by_key, by_request)
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?)
  AND (? OR r.user_id = ?) AND (? OR r.key_id = ?) AND (? OR r.id = ?)
  AND (? OR r.type = ?) AND (? OR r.group_id = ?) AND (? OR r.channel_id = ?)
  AND (? OR r.model LIKE ?) AND (? OR r.request_id = ?) AND (? OR r.upstream_request_id = ?)
  AND (? OR (SELECT n.name FROM api_keys n WHERE n.id = r.key_id) = ?)
ORDER BY r.created_s DESC, r.id DESC LIMIT 1 OFFSET ?;

-- name: log_seat_any :one
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 any_user:bool user:i64 any_key:bool key:i64 any_id:bool id:i64 any_type:bool type:i64 any_group:bool group:i64 any_channel:bool channel:i64 any_model:bool model:str any_request:bool request:str any_upstream:bool upstream:str any_key_name:bool key_name:str offset:i64
-- out: created_s:i64 id:i64
SELECT r.created_s, r.id FROM usage_rows r FORCE INDEX (PRIMARY, by_time, by_request)
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?)
  AND (? OR r.user_id = ?) AND (? OR r.key_id = ?) AND (? OR r.id = ?)
  AND (? OR r.type = ?) AND (? OR r.group_id = ?) AND (? OR r.channel_id = ?)
  AND (? OR r.model LIKE ?) AND (? OR r.request_id = ?) AND (? OR r.upstream_request_id = ?)
  AND (? OR (SELECT n.name FROM api_keys n WHERE n.id = r.key_id) = ?)
ORDER BY r.created_s DESC, r.id DESC LIMIT 1 OFFSET ?;

-- name: log_count :one
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 any_user:bool user:i64 any_key:bool key:i64 any_id:bool id:i64 any_type:bool type:i64 any_group:bool group:i64 any_channel:bool channel:i64 any_model:bool model:str any_request:bool request:str any_upstream:bool upstream:str any_key_name:bool key_name:str most:i64
-- out: n:i64
SELECT COUNT(*) FROM (
SELECT r.id FROM usage_rows r FORCE INDEX (PRIMARY, by_user, by_key, by_request)
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?)
  AND (? OR r.user_id = ?) AND (? OR r.key_id = ?) AND (? OR r.id = ?)
  AND (? OR r.type = ?) AND (? OR r.group_id = ?) AND (? OR r.channel_id = ?)
  AND (? OR r.model LIKE ?) AND (? OR r.request_id = ?) AND (? OR r.upstream_request_id = ?)
  AND (? OR (SELECT n.name FROM api_keys n WHERE n.id = r.key_id) = ?) LIMIT ?) t;

-- name: log_count_any :one
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 any_user:bool user:i64 any_key:bool key:i64 any_id:bool id:i64 any_type:bool type:i64 any_group:bool group:i64 any_channel:bool channel:i64 any_model:bool model:str any_request:bool request:str any_upstream:bool upstream:str any_key_name:bool key_name:str most:i64
-- out: n:i64
SELECT COUNT(*) FROM (
SELECT r.id FROM usage_rows r FORCE INDEX (PRIMARY, by_time, by_request)
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?)
  AND (? OR r.user_id = ?) AND (? OR r.key_id = ?) AND (? OR r.id = ?)
  AND (? OR r.type = ?) AND (? OR r.group_id = ?) AND (? OR r.channel_id = ?)
  AND (? OR r.model LIKE ?) AND (? OR r.request_id = ?) AND (? OR r.upstream_request_id = ?)
  AND (? OR (SELECT n.name FROM api_keys n WHERE n.id = r.key_id) = ?) LIMIT ?) t;

-- The same where only an account, a key or nobody is asked for: each names no column that its index
-- has not, so that no row is read. A count that would go on longer than `most` gives no row.

-- name: log_seat_all :one
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 offset:i64
-- out: created_s:i64 id:i64
SELECT r.created_s, r.id FROM usage_rows r
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?)
ORDER BY r.created_s DESC, r.id DESC LIMIT 1 OFFSET ?;

-- name: log_count_all :one
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 most:i64
-- out: n:i64
SELECT COUNT(*) FROM usage_rows r
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?) LIMIT ROWS EXAMINED ?;

-- name: log_seat_user :one
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 user:i64 offset:i64
-- out: created_s:i64 id:i64
SELECT r.created_s, r.id FROM usage_rows r
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?) AND r.user_id = ?
ORDER BY r.created_s DESC, r.id DESC LIMIT 1 OFFSET ?;

-- name: log_count_user :one
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 user:i64 most:i64
-- out: n:i64
SELECT COUNT(*) FROM usage_rows r
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?) AND r.user_id = ? LIMIT ROWS EXAMINED ?;

-- name: log_seat_key :one
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 key:i64 offset:i64
-- out: created_s:i64 id:i64
SELECT r.created_s, r.id FROM usage_rows r
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?) AND r.key_id = ?
ORDER BY r.created_s DESC, r.id DESC LIMIT 1 OFFSET ?;

-- name: log_count_key :one
-- in: from_s:i64 to_s:i64 edge_s:i64 edge_id:i64 key:i64 most:i64
-- out: n:i64
SELECT COUNT(*) FROM usage_rows r
WHERE r.created_s BETWEEN ? AND ? AND (r.created_s + 0 <> ? OR r.id + 0 < ?) AND r.key_id = ? LIMIT ROWS EXAMINED ?;

-- name: log_key_named :one
-- in: user_id:i64 name:str
-- out: n:i64 id:i64
SELECT COUNT(*), COALESCE(MIN(id), 0) FROM api_keys WHERE user_id = ? AND name = ?;

-- name: log_key_owner :one
-- in: id:i64
-- out: user_id:i64
SELECT user_id FROM api_keys WHERE id = ?;

-- name: log_user_named :one
-- in: username:str
-- out: id:i64
SELECT id FROM users WHERE username = ?;

-- name: log_price :one
-- in: id:i64
-- out: id:i64 per_call:bool call_quota:i64 model:i64 completion:i64 cache_read:i64 cache_write:i64 cache_write_1h:i64 image:i64 audio:i64 audio_completion:i64 search_quota:i64
SELECT id, per_call, call_quota, model, completion, cache_read, cache_write, cache_write_1h, image,
  audio, audio_completion, search_quota
FROM price_versions WHERE id = ?;

-- Sums of whole hours. What stands at the ends of a time that is no whole hour is added from rows.

-- name: log_sum_hours :one
-- in: from_s:i64 before_s:i64 test_mode:bool any_user:bool user_id:i64 any_key:bool key_id:i64 any_group:bool group_id:i64 any_model:bool model:str any_key_name:bool key_name:str
-- out: cost:i64
SELECT CAST(COALESCE(SUM(h.cost), 0) AS SIGNED) FROM usage_hourly h
WHERE h.hour_s >= ? AND h.hour_s < ? AND h.test_mode = ? AND (? OR h.user_id = ?)
  AND (? OR h.key_id = ?) AND (? OR h.group_id = ?) AND (? OR h.model LIKE ?)
  AND (? OR (SELECT n.name FROM api_keys n WHERE n.id = h.key_id) = ?);

-- name: log_sum_rows :one
-- in: from_s:i64 before_s:i64 test_mode:bool any_user:bool user_id:i64 any_key:bool key_id:i64 any_group:bool group_id:i64 any_model:bool model:str any_key_name:bool key_name:str any_channel:bool channel_id:i64
-- out: cost:i64 calls:i64 tokens:i64
SELECT CAST(COALESCE(SUM(r.cost), 0) AS SIGNED), COUNT(*),
  CAST(COALESCE(SUM(r.prompt + r.completion), 0) AS SIGNED)
FROM usage_rows r
WHERE r.created_s >= ? AND r.created_s < ? AND r.type IN (2, 5) AND r.test_mode = ?
  AND (? OR r.user_id = ?) AND (? OR r.key_id = ?) AND (? OR r.group_id = ?)
  AND (? OR r.model LIKE ?)
  AND (? OR (SELECT n.name FROM api_keys n WHERE n.id = r.key_id) = ?)
  AND (? OR r.channel_id = ?);

-- name: data_by_model :many
-- in: bucket_s:i64 from_s:i64 before_s:i64 test_mode:bool any_user:bool user_id:i64
-- out: created_s:i64 model:str calls:i64 tokens:i64 cost:i64
SELECT CAST(h.hour_s - h.hour_s % ? AS SIGNED) AS at, h.model, CAST(SUM(h.calls) AS SIGNED),
  CAST(SUM(h.prompt + h.completion) AS SIGNED), CAST(SUM(h.cost) AS SIGNED)
FROM usage_hourly h
WHERE h.hour_s >= ? AND h.hour_s < ? AND h.test_mode = ? AND (? OR h.user_id = ?)
GROUP BY at, h.model ORDER BY at, h.model;

-- name: data_by_user :many
-- in: bucket_s:i64 from_s:i64 before_s:i64 test_mode:bool
-- out: created_s:i64 user_id:i64 username:str calls:i64 tokens:i64 cost:i64
SELECT t.at, t.user_id, COALESCE(u.username, ''), t.calls, t.tokens, t.cost
FROM (SELECT CAST(h.hour_s - h.hour_s % ? AS SIGNED) AS at, h.user_id,
    CAST(SUM(h.calls) AS SIGNED) AS calls, CAST(SUM(h.prompt + h.completion) AS SIGNED) AS tokens,
    CAST(SUM(h.cost) AS SIGNED) AS cost
  FROM usage_hourly h WHERE h.hour_s >= ? AND h.hour_s < ? AND h.test_mode = ?
  GROUP BY at, h.user_id) t
LEFT JOIN users u ON u.id = t.user_id ORDER BY t.at, t.user_id;

-- name: credits_of_user :many
-- in: user_id:i64 before_id:i64 count:i64
-- out: id:i64 kind:i64 amount:i64 source:i64 reason:str actor_id:i64 reference:str? created_s:i64
SELECT id, kind, amount, source, reason, actor_id, reference, created_s
FROM credits WHERE user_id = ? AND id < ? ORDER BY id DESC LIMIT ?;
