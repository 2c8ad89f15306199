-- Which part of a limit (requests per minute, tokens per minute, requests at once) which host may use
-- without asking. The parts of a limit add up to no more than the limit.

-- The host that a worker counts its limits with.
ALTER TABLE ledgers ADD COLUMN IF NOT EXISTS limits_id BIGINT NOT NULL DEFAULT 0;
CREATE INDEX IF NOT EXISTS by_limits ON ledgers (limits_id, beat_s);

-- kind, id, sub_id: the limit, as in limits.h. host_id 0 is the row that stands for the limit: who
-- changes a part holds its lock.
CREATE TABLE IF NOT EXISTS limit_shares (
  kind      TINYINT NOT NULL,
  id        BIGINT NOT NULL,
  sub_id    BIGINT NOT NULL,
  host_id   BIGINT NOT NULL,
  requests  BIGINT NOT NULL DEFAULT 0,
  tokens    BIGINT NOT NULL DEFAULT 0,
  seats     BIGINT NOT NULL DEFAULT 0,
  wanted    BOOLEAN NOT NULL DEFAULT FALSE, -- another host asks for what is idle of it
  drawn_s   BIGINT NOT NULL,                -- the database's clock
  PRIMARY KEY (kind, id, sub_id, host_id),
  KEY by_host (host_id, wanted),
  KEY by_age (host_id, drawn_s)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
