-- Usage rows, rollups, leases, journals, credits.

CREATE TABLE IF NOT EXISTS usage_rows (
  id BIGINT NOT NULL AUTO_INCREMENT,
  created_at BIGINT NOT NULL,
  type TINYINT NOT NULL DEFAULT 2,
  user_id BIGINT NOT NULL,
  key_id BIGINT NOT NULL,
  group_id BIGINT NOT NULL,
  channel_id BIGINT NOT NULL,
  model VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  upstream_model VARCHAR(255) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  endpoint VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  request_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  upstream_request_id VARCHAR(128) NOT NULL DEFAULT '',
  prompt_tokens BIGINT NOT NULL DEFAULT 0,
  completion_tokens BIGINT NOT NULL DEFAULT 0,
  cached_tokens BIGINT NOT NULL DEFAULT 0,
  cache_write_tokens BIGINT NOT NULL DEFAULT 0,
  cache_write_1h_tokens BIGINT NOT NULL DEFAULT 0,
  image_tokens BIGINT NOT NULL DEFAULT 0,
  audio_in_tokens BIGINT NOT NULL DEFAULT 0,
  audio_out_tokens BIGINT NOT NULL DEFAULT 0,
  reasoning_tokens BIGINT NOT NULL DEFAULT 0,
  searches BIGINT NOT NULL DEFAULT 0,
  quota BIGINT NOT NULL DEFAULT 0,
  price_id BIGINT NOT NULL DEFAULT 0,
  group_ratio BIGINT NOT NULL DEFAULT 1000000000,
  status SMALLINT NOT NULL DEFAULT 0,
  end_reason TINYINT NOT NULL DEFAULT 0,
  policy TINYINT NOT NULL DEFAULT 0,
  flags INT NOT NULL DEFAULT 0,
  attempts SMALLINT NOT NULL DEFAULT 0,
  error_code VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  ip VARBINARY(46) NOT NULL DEFAULT '',
  first_byte_us BIGINT NOT NULL DEFAULT 0,
  duration_us BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (id, created_at),
  KEY usage_user (user_id, id),
  KEY usage_key (key_id, id),
  KEY usage_request (request_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci
PARTITION BY RANGE (created_at) (PARTITION p_rest VALUES LESS THAN MAXVALUE);

CREATE TABLE IF NOT EXISTS usage_hours (
  hour BIGINT NOT NULL,
  user_id BIGINT NOT NULL,
  key_id BIGINT NOT NULL,
  group_id BIGINT NOT NULL,
  channel_id BIGINT NOT NULL,
  model VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  calls BIGINT NOT NULL DEFAULT 0,
  failures BIGINT NOT NULL DEFAULT 0,
  prompt_tokens BIGINT NOT NULL DEFAULT 0,
  completion_tokens BIGINT NOT NULL DEFAULT 0,
  quota BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (user_id, hour, key_id, model, group_id, channel_id),
  KEY usage_hours_hour (hour)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS leases (
  worker_id BIGINT NOT NULL,
  kind TINYINT NOT NULL,
  owner_id BIGINT NOT NULL,
  amount BIGINT NOT NULL,
  recall BOOLEAN NOT NULL DEFAULT FALSE,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (worker_id, kind, owner_id),
  KEY leases_owner (kind, owner_id),
  KEY leases_expiry (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS journals (
  worker_id BIGINT NOT NULL PRIMARY KEY,
  name VARCHAR(190) NOT NULL,
  position BIGINT NOT NULL DEFAULT 0
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS credits (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  user_id BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  amount BIGINT NOT NULL,
  balance BIGINT NOT NULL,
  reason VARCHAR(255) NOT NULL DEFAULT '',
  actor_id BIGINT NOT NULL DEFAULT 0,
  actor VARCHAR(64) NOT NULL DEFAULT '',
  KEY credits_user (user_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
