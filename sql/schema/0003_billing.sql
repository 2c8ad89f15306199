-- Money: allowances, the workers' leases on them, usage rows and their hourly sums, credits.
-- Money is quota units (500000 = 1 USD), times are unix seconds in UTC unless the name says _us.

-- Anything countable that pays for calls. kind: 1 a user's balance, 2 a user's sandbox balance,
-- 3 a key's quota, 4 a period of a key's budget (period = the second it began).
-- For each: granted = remain + spent + SUM(leases.amount + leases.settled).
-- Shown to people: used = spent + SUM(leases.settled), remaining = granted - used.
CREATE TABLE IF NOT EXISTS allowances (
  kind      TINYINT NOT NULL,
  owner_id  BIGINT NOT NULL,
  period    BIGINT NOT NULL DEFAULT 0,
  granted   BIGINT NOT NULL DEFAULT 0,
  remain    BIGINT NOT NULL DEFAULT 0,
  spent     BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (kind, owner_id, period)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What a worker may spend of an allowance without asking. settled: spent already, not yet moved to
-- allowances.spent. op_no, op_moved: the last transaction between the two (draw.h).
CREATE TABLE IF NOT EXISTS leases (
  worker_id BIGINT NOT NULL,
  kind      TINYINT NOT NULL,
  owner_id  BIGINT NOT NULL,
  period    BIGINT NOT NULL DEFAULT 0,
  amount    BIGINT NOT NULL DEFAULT 0,
  settled   BIGINT NOT NULL DEFAULT 0,
  op_no     BIGINT NOT NULL DEFAULT 0,
  op_moved  BIGINT NOT NULL DEFAULT 0,
  recall    BOOLEAN NOT NULL DEFAULT FALSE, -- another worker asks for what is idle of it
  PRIMARY KEY (worker_id, kind, owner_id, period),
  KEY by_allowance (kind, owner_id, period),
  KEY by_recall (worker_id, recall)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Who keeps a journal. applied_seq: the last ended call of it that is in the database.
CREATE TABLE IF NOT EXISTS ledgers (
  worker_id   BIGINT NOT NULL,
  host        VARCHAR(255) NOT NULL,
  state       TINYINT NOT NULL DEFAULT 1,    -- 1 alive, 2 not heard of: leases taken back, 3 ended
  applied_seq BIGINT NOT NULL DEFAULT 0,
  joined_s    BIGINT NOT NULL,
  beat_s      BIGINT NOT NULL,               -- the database's clock
  PRIMARY KEY (worker_id),
  KEY by_state (state, beat_s)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Numbers are drawn in blocks: an AUTO_INCREMENT of a partitioned table goes back when a partition is
-- made while rows are inserted.
CREATE TABLE IF NOT EXISTS id_blocks (
  name        VARCHAR(32) CHARACTER SET ascii NOT NULL,
  next_id     BIGINT NOT NULL,
  PRIMARY KEY (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT IGNORE INTO id_blocks (name, next_id) VALUES ('usage', 1);

-- One row a metered call, never changed. type as in the log API: 1 top-up, 2 call, 3 management,
-- 5 failed call, 6 refund. Partitions of a month are made ahead and dropped by the ledger.
CREATE TABLE IF NOT EXISTS usage_rows (
  id                  BIGINT NOT NULL AUTO_INCREMENT, -- the ledger's rows have theirs from id_blocks
  created_s           BIGINT NOT NULL,
  type                TINYINT NOT NULL,
  user_id             BIGINT NOT NULL,
  key_id              BIGINT NOT NULL,
  group_id            BIGINT NOT NULL,
  channel_id          BIGINT NOT NULL,
  price_id            BIGINT NOT NULL,
  group_ratio         BIGINT NOT NULL,
  cost                BIGINT NOT NULL,
  prompt              BIGINT NOT NULL,
  completion          BIGINT NOT NULL,
  cached              BIGINT NOT NULL,
  cache_write_5m      BIGINT NOT NULL,
  cache_write_1h      BIGINT NOT NULL,
  image_in            BIGINT NOT NULL,
  audio_in            BIGINT NOT NULL,
  audio_out           BIGINT NOT NULL,
  reasoning           BIGINT NOT NULL,
  searches            BIGINT NOT NULL,
  status              SMALLINT NOT NULL,
  attempts            SMALLINT NOT NULL,
  end_reason          TINYINT NOT NULL,      -- enum end_reason
  policy              TINYINT NOT NULL,      -- enum leave_policy
  stream              BOOLEAN NOT NULL,
  test_mode           BOOLEAN NOT NULL,
  estimated           BOOLEAN NOT NULL,
  interrupted         BOOLEAN NOT NULL,
  started_us          BIGINT NOT NULL,
  first_byte_us       BIGINT NOT NULL,
  duration_us         BIGINT NOT NULL,
  request_id          VARCHAR(80) CHARACTER SET ascii NOT NULL,
  upstream_request_id VARCHAR(96) NOT NULL DEFAULT '',
  model               VARCHAR(160) NOT NULL,
  upstream_model      VARCHAR(160) NOT NULL DEFAULT '',
  ip                  VARCHAR(48) CHARACTER SET ascii NOT NULL DEFAULT '',
  endpoint            VARCHAR(48) NOT NULL DEFAULT '',
  error_code          VARCHAR(48) NOT NULL DEFAULT '',
  content             VARCHAR(255) NOT NULL DEFAULT '',
  PRIMARY KEY (id, created_s),
  KEY by_user (user_id, created_s, id),
  KEY by_key (key_id, created_s, id),
  KEY by_time (created_s, id),
  KEY by_request (request_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
PARTITION BY RANGE (created_s) (PARTITION pmax VALUES LESS THAN MAXVALUE);

-- Sums by hour, written with the rows; kept when their rows are dropped.
CREATE TABLE IF NOT EXISTS usage_hourly (
  user_id     BIGINT NOT NULL,
  key_id      BIGINT NOT NULL,
  hour_s      BIGINT NOT NULL,
  model       VARCHAR(160) NOT NULL,
  group_id    BIGINT NOT NULL,
  test_mode   BOOLEAN NOT NULL,
  calls       BIGINT NOT NULL DEFAULT 0,
  failures    BIGINT NOT NULL DEFAULT 0,
  prompt      BIGINT NOT NULL DEFAULT 0,
  completion  BIGINT NOT NULL DEFAULT 0,
  cost        BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (user_id, key_id, hour_s, model, group_id, test_mode),
  KEY by_hour (hour_s),
  KEY by_user (user_id, hour_s)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Every change of what an account was given; their sum is the allowance's `granted`.
-- source: 1 top-up, 2 redemption, 3 adjustment, 4 refund, 5 gift.
CREATE TABLE IF NOT EXISTS credits (
  id          BIGINT NOT NULL AUTO_INCREMENT,
  kind        TINYINT NOT NULL,               -- of the allowance: 1 or 2
  user_id     BIGINT NOT NULL,
  amount      BIGINT NOT NULL,
  source      TINYINT NOT NULL,
  reason      VARCHAR(255) NOT NULL DEFAULT '',
  actor_id    BIGINT NOT NULL DEFAULT 0,      -- 0 = the operator's command line
  reference   VARCHAR(128) NULL,              -- given: credited once
  created_s   BIGINT NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY by_reference (reference),
  KEY by_user (user_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- An allowance passed 50, 80 or 100 percent of what was granted; for mail and webhooks to read.
CREATE TABLE IF NOT EXISTS balance_events (
  id          BIGINT NOT NULL AUTO_INCREMENT,
  kind        TINYINT NOT NULL,
  owner_id    BIGINT NOT NULL,
  period      BIGINT NOT NULL,
  percent     TINYINT NOT NULL,
  granted     BIGINT NOT NULL,
  created_s   BIGINT NOT NULL,
  handled_s   BIGINT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY once (kind, owner_id, period, percent, granted),
  KEY by_handled (handled_s, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
