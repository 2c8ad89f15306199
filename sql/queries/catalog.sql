-- Everything a catalogue is made of; read in one transaction.

-- name: catalog_options :many
-- out: name:str value:str
SELECT name, value FROM options;

-- name: catalog_groups :many
-- out: id:i64 name:str description:str ratio:i64 selectable:bool drain:bool clamp_max_tokens:bool hard_stop:bool rpm_limit:i64 tpm_limit:i64 concurrency_limit:i64 auto_rank:i64
SELECT id, name, description, ratio, selectable, drain, clamp_max_tokens, hard_stop, rpm_limit,
       tpm_limit, concurrency_limit, auto_rank
FROM `groups` ORDER BY id;

-- name: catalog_budgets :many
-- out: id:i64 group_id:i64 time_window:str amount:i64 timezone:str
SELECT id, owner_id, time_window, amount, timezone FROM owner_budgets
WHERE owner_kind = 2 ORDER BY owner_id, id;

-- name: catalog_ratios :many
-- out: user_group_id:i64 using_group_id:i64 ratio:i64
SELECT user_group_id, using_group_id, ratio FROM group_ratios;

-- name: catalog_models :many
-- out: id:i64 name:str display_name:str owned_by:str created_s:i64 default_max_tokens:i64 price_id:i64? per_call:bool call_quota:i64 model:i64 completion:i64 cache_read:i64 cache_write:i64 cache_write_1h:i64 image:i64 audio:i64 audio_completion:i64 search_quota:i64
SELECT m.id, m.name, m.display_name, m.owned_by, m.created_s, m.default_max_tokens, p.id,
       COALESCE(p.per_call, 0), COALESCE(p.call_quota, 0), COALESCE(p.model, 0),
       COALESCE(p.completion, 0), COALESCE(p.cache_read, 0), COALESCE(p.cache_write, 0),
       COALESCE(p.cache_write_1h, 0), COALESCE(p.image, 0), COALESCE(p.audio, 0),
       COALESCE(p.audio_completion, 0), COALESCE(p.search_quota, 0)
FROM models m LEFT JOIN price_versions p ON p.id = m.price_id ORDER BY m.id;

-- name: catalog_channels :many
-- out: id:i64 name:str type:i64 base_url:str priority:i64 weight:i64 enabled:bool private_ok:bool
SELECT id, name, type, base_url, priority, weight, enabled, private_ok FROM channels ORDER BY id;

-- name: catalog_channel_keys :many
-- out: id:i64 channel_id:i64 sealed:bytes
SELECT id, channel_id, sealed FROM channel_keys ORDER BY channel_id, id;

-- name: catalog_channel_mappings :many
-- out: channel_id:i64 from_model:str to_model:str
SELECT channel_id, from_model, to_model FROM channel_mappings ORDER BY channel_id, from_model;

-- name: catalog_channel_groups :many
-- out: channel_id:i64 group_id:i64
SELECT channel_id, group_id FROM channel_groups ORDER BY channel_id, group_id;

-- name: catalog_channel_models :many
-- out: channel_id:i64 model:str
SELECT channel_id, model FROM channel_models ORDER BY channel_id, model;
