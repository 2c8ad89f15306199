-- Accounts, API keys and their secrets, personal access tokens, sessions, audit.
-- Times are unix seconds (BIGINT, UTC), money is quota (500000 = 1 USD, BIGINT). What accounts, keys
-- and budgets may spend and have spent stands in allowances (0003; domain/billing/credit.h).

CREATE TABLE IF NOT EXISTS users (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email VARCHAR(190) NULL,
  username VARCHAR(190) NOT NULL,
  display_name VARCHAR(190) NOT NULL DEFAULT '',
  password_hash VARCHAR(190) NULL,
  role SMALLINT NOT NULL DEFAULT 1,
  status TINYINT NOT NULL DEFAULT 1,
  user_group VARCHAR(64) NOT NULL DEFAULT 'default',
  language VARCHAR(8) NOT NULL DEFAULT '',
  timezone VARCHAR(48) NOT NULL DEFAULT 'UTC',
  request_count BIGINT NOT NULL DEFAULT 0,
  live_keys INT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  deleted_at BIGINT NULL,
  UNIQUE KEY users_email (email),
  UNIQUE KEY users_username (username)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS api_keys (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  user_id BIGINT NOT NULL,
  name VARCHAR(50) NOT NULL DEFAULT '',
  disabled BOOLEAN NOT NULL DEFAULT FALSE,
  test_mode BOOLEAN NOT NULL DEFAULT FALSE,
  expires_at BIGINT NOT NULL DEFAULT -1,
  unlimited BOOLEAN NOT NULL DEFAULT FALSE,
  model_limits_enabled BOOLEAN NOT NULL DEFAULT FALSE,
  model_limits TEXT NOT NULL DEFAULT '',
  allow_ips TEXT NOT NULL DEFAULT '',
  key_group VARCHAR(64) NOT NULL DEFAULT '',
  auto_groups TEXT NOT NULL DEFAULT '',
  cross_group_retry BOOLEAN NOT NULL DEFAULT FALSE,
  scopes BIGINT NOT NULL DEFAULT 0,
  rpm_limit BIGINT NOT NULL DEFAULT 0,
  tpm_limit BIGINT NOT NULL DEFAULT 0,
  concurrency_limit BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  accessed_at BIGINT NOT NULL DEFAULT 0,
  last_used_ip VARBINARY(46) NOT NULL DEFAULT '',
  last_used_model VARCHAR(255) NOT NULL DEFAULT '',
  deleted_at BIGINT NULL,
  KEY api_keys_user (user_id, deleted_at, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS key_secrets (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  key_id BIGINT NOT NULL,
  hash BINARY(32) NOT NULL,
  sealed VARBINARY(512) NULL,
  hint VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL DEFAULT -1,
  last_used_at BIGINT NOT NULL DEFAULT 0,
  last_used_ip VARBINARY(46) NOT NULL DEFAULT '',
  last_used_agent VARCHAR(190) NOT NULL DEFAULT '',
  last_used_model VARCHAR(255) NOT NULL DEFAULT '',
  UNIQUE KEY key_secrets_hash (hash),
  KEY key_secrets_key (key_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS key_budgets (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  key_id BIGINT NOT NULL,
  time_window CHAR(1) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  amount BIGINT NOT NULL,
  timezone VARCHAR(48) NOT NULL DEFAULT 'UTC',
  UNIQUE KEY key_budgets_window (key_id, time_window)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS access_tokens (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  user_id BIGINT NOT NULL,
  name VARCHAR(50) NOT NULL DEFAULT '',
  hash BINARY(32) NOT NULL,
  hint VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  scopes BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL DEFAULT -1,
  last_used_at BIGINT NOT NULL DEFAULT 0,
  last_used_ip VARBINARY(46) NOT NULL DEFAULT '',
  UNIQUE KEY access_tokens_hash (hash),
  KEY access_tokens_user (user_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS idempotency (
  user_id BIGINT NOT NULL,
  name VARBINARY(190) NOT NULL,
  request_hash BINARY(32) NOT NULL,
  status SMALLINT NOT NULL DEFAULT 0,
  answer MEDIUMBLOB NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (user_id, name),
  KEY idempotency_age (created_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE IF NOT EXISTS audit (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  at BIGINT NOT NULL,
  kind VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  user_id BIGINT NOT NULL,
  key_id BIGINT NOT NULL DEFAULT 0,
  actor_id BIGINT NOT NULL DEFAULT 0,
  actor VARCHAR(64) NOT NULL DEFAULT '',
  ip VARBINARY(46) NOT NULL DEFAULT '',
  request_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT '',
  previous_hash BINARY(32) NOT NULL,
  hash BINARY(32) NOT NULL,
  KEY audit_key (key_id, id),
  KEY audit_user (user_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
