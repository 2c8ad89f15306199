-- Models, prices, groups and channels; the site's options; what keeps hosts in step.
-- Names are compared to the byte. Money is quota units, ratios are decimals of nine places (1.0 is
-- 1000000000), times are unix seconds in UTC.

CREATE TABLE IF NOT EXISTS options (
  name        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  value       MEDIUMTEXT NOT NULL,
  PRIMARY KEY (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS `groups` (
  id                BIGINT NOT NULL AUTO_INCREMENT,
  name              VARCHAR(64) NOT NULL,
  description       VARCHAR(255) NOT NULL DEFAULT '',
  ratio             BIGINT NOT NULL DEFAULT 1000000000,
  selectable        BOOLEAN NOT NULL DEFAULT TRUE,  -- else only accounts whose own group it is
  drain             BOOLEAN NOT NULL DEFAULT FALSE, -- a client leaves: read the answer to its end
  clamp_max_tokens  BOOLEAN NOT NULL DEFAULT FALSE,
  hard_stop         BOOLEAN NOT NULL DEFAULT FALSE,
  rpm_limit         BIGINT NOT NULL DEFAULT 0,      -- per user of the group; 0 = none
  tpm_limit         BIGINT NOT NULL DEFAULT 0,
  concurrency_limit BIGINT NOT NULL DEFAULT 0,
  auto_rank         INT NOT NULL DEFAULT -1,        -- place in the site's auto order; -1 = not in it
  PRIMARY KEY (id),
  UNIQUE KEY by_name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

INSERT IGNORE INTO `groups` (name, description, auto_rank) VALUES ('default', 'Default group', 0);

-- What accounts of one group pay in another, where it is not that group's own ratio.
CREATE TABLE IF NOT EXISTS group_ratios (
  user_group_id   BIGINT NOT NULL,
  using_group_id  BIGINT NOT NULL,
  ratio           BIGINT NOT NULL,
  PRIMARY KEY (user_group_id, using_group_id),
  CONSTRAINT group_ratios_user FOREIGN KEY (user_group_id) REFERENCES `groups` (id) ON DELETE CASCADE,
  CONSTRAINT group_ratios_using FOREIGN KEY (using_group_id) REFERENCES `groups` (id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Never updated: a usage row refers to the version it was charged by.
CREATE TABLE IF NOT EXISTS price_versions (
  id               BIGINT NOT NULL AUTO_INCREMENT,
  per_call         BOOLEAN NOT NULL DEFAULT FALSE,
  call_quota       BIGINT NOT NULL DEFAULT 0,
  model            BIGINT NOT NULL DEFAULT 0,
  completion       BIGINT NOT NULL DEFAULT 1000000000,
  cache_read       BIGINT NOT NULL DEFAULT 1000000000,
  cache_write      BIGINT NOT NULL DEFAULT 1000000000,
  cache_write_1h   BIGINT NOT NULL DEFAULT 1000000000,
  image            BIGINT NOT NULL DEFAULT 1000000000,
  audio            BIGINT NOT NULL DEFAULT 1000000000,
  audio_completion BIGINT NOT NULL DEFAULT 1000000000,
  search_quota     BIGINT NOT NULL DEFAULT 0,
  created_s        BIGINT NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS models (
  id                 BIGINT NOT NULL AUTO_INCREMENT,
  name               VARCHAR(255) NOT NULL,
  display_name       VARCHAR(255) NOT NULL DEFAULT '',
  owned_by           VARCHAR(64) NOT NULL DEFAULT 'custom',
  created_s          BIGINT NOT NULL DEFAULT 0,
  price_id           BIGINT NULL,
  default_max_tokens BIGINT NOT NULL DEFAULT 4096, -- answer size held when the client names none
  PRIMARY KEY (id),
  UNIQUE KEY by_name (name),
  CONSTRAINT models_price FOREIGN KEY (price_id) REFERENCES price_versions (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS channels (
  id          BIGINT NOT NULL AUTO_INCREMENT,
  name        VARCHAR(128) NOT NULL,
  type        TINYINT NOT NULL,                 -- 0 openai, 1 anthropic, 2 gemini, 3 sandbox
  base_url    VARCHAR(512) NOT NULL DEFAULT '',
  priority    BIGINT NOT NULL DEFAULT 0,
  weight      BIGINT NOT NULL DEFAULT 1,
  enabled     BOOLEAN NOT NULL DEFAULT TRUE,
  private_ok  BOOLEAN NOT NULL DEFAULT FALSE,   -- may name a private address
  created_s   BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (id),
  UNIQUE KEY by_name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Provider credentials, sealed for "channel_key". A channel without rows needs none.
CREATE TABLE IF NOT EXISTS channel_keys (
  id          BIGINT NOT NULL AUTO_INCREMENT,
  channel_id  BIGINT NOT NULL,
  sealed      VARBINARY(4200) NOT NULL,
  PRIMARY KEY (id),
  KEY by_channel (channel_id, id),
  CONSTRAINT channel_keys_channel FOREIGN KEY (channel_id) REFERENCES channels (id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- A channel serves each of its models in each of its groups.
CREATE TABLE IF NOT EXISTS channel_models (
  channel_id  BIGINT NOT NULL,
  model       VARCHAR(255) NOT NULL,
  PRIMARY KEY (channel_id, model),
  CONSTRAINT channel_models_channel FOREIGN KEY (channel_id) REFERENCES channels (id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS channel_groups (
  channel_id  BIGINT NOT NULL,
  group_id    BIGINT NOT NULL,
  PRIMARY KEY (channel_id, group_id),
  CONSTRAINT channel_groups_channel FOREIGN KEY (channel_id) REFERENCES channels (id) ON DELETE CASCADE,
  CONSTRAINT channel_groups_group FOREIGN KEY (group_id) REFERENCES `groups` (id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The provider's name for a model, where it is another one.
CREATE TABLE IF NOT EXISTS channel_mappings (
  channel_id  BIGINT NOT NULL,
  from_model  VARCHAR(255) NOT NULL,
  to_model    VARCHAR(255) NOT NULL,
  PRIMARY KEY (channel_id, from_model),
  CONSTRAINT channel_mappings_channel FOREIGN KEY (channel_id) REFERENCES channels (id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What changed, for the other hosts: written in the transaction of the change. Ids become visible
-- out of order, so readers look back over a window of time.
CREATE TABLE IF NOT EXISTS changes (
  id          BIGINT NOT NULL AUTO_INCREMENT,
  kind        TINYINT NOT NULL,                 -- enum host_gen
  entity_id   BIGINT NOT NULL,
  created_us  BIGINT NOT NULL,                  -- the database's clock
  PRIMARY KEY (id),
  KEY by_time (created_us)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS workers (
  id          BIGINT NOT NULL AUTO_INCREMENT,
  hostname    VARCHAR(255) NOT NULL,
  pid         BIGINT NOT NULL,
  started_s   BIGINT NOT NULL,
  beat_s      BIGINT NOT NULL,                  -- the database's clock
  PRIMARY KEY (id),
  KEY by_beat (beat_s)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
