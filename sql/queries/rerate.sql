-- What calls cost by their own price version, and would cost by today's.

-- name: rerate_rows :many
-- in: after_id:i64 since_s:i64 until_s:i64 most:i64
-- out: id:i64 user_id:i64 model:str cost:i64 group_ratio:i64 estimated:bool prompt:i64 completion:i64 cached:i64 cache_write_5m:i64 cache_write_1h:i64 image_in:i64 audio_in:i64 audio_out:i64 searches:i64 images:i64 price_id:i64 per_call:bool call_quota:i64 model_ratio:i64 completion_ratio:i64 cache_read:i64 cache_write:i64 cache_write_long:i64 image:i64 audio:i64 audio_completion:i64 search_quota:i64 now_id:i64 now_per_call:bool now_call_quota:i64 now_model_ratio:i64 now_completion_ratio:i64 now_cache_read:i64 now_cache_write:i64 now_cache_write_long:i64 now_image:i64 now_audio:i64 now_audio_completion:i64 now_search_quota:i64
SELECT u.id, u.user_id, u.model, u.cost, u.group_ratio, u.estimated, u.prompt, u.completion,
  u.cached, u.cache_write_5m, u.cache_write_1h, u.image_in, u.audio_in, u.audio_out, u.searches,
  u.images,
  COALESCE(p.id, 0), COALESCE(p.per_call, 0), COALESCE(p.call_quota, 0), COALESCE(p.model, 0),
  COALESCE(p.completion, 0), COALESCE(p.cache_read, 0), COALESCE(p.cache_write, 0),
  COALESCE(p.cache_write_1h, 0), COALESCE(p.image, 0), COALESCE(p.audio, 0),
  COALESCE(p.audio_completion, 0), COALESCE(p.search_quota, 0),
  COALESCE(n.id, 0), COALESCE(n.per_call, 0), COALESCE(n.call_quota, 0), COALESCE(n.model, 0),
  COALESCE(n.completion, 0), COALESCE(n.cache_read, 0), COALESCE(n.cache_write, 0),
  COALESCE(n.cache_write_1h, 0), COALESCE(n.image, 0), COALESCE(n.audio, 0),
  COALESCE(n.audio_completion, 0), COALESCE(n.search_quota, 0)
FROM usage_rows u
LEFT JOIN price_versions p ON p.id = u.price_id
LEFT JOIN models m ON m.name = u.model
LEFT JOIN price_versions n ON n.id = m.price_id
WHERE u.id > ? AND u.created_s >= ? AND u.created_s < ? AND u.type = 2 AND u.cost > 0
  AND NOT u.test_mode AND NOT u.interrupted
ORDER BY u.id LIMIT ?;
