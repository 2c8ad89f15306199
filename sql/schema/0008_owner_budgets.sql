-- Limits of accounts, and budgets of accounts and groups.

-- Of all keys of the account together; 0 = none. budgets: how many rows it has in owner_budgets, so
-- that callers without any ask for none.
ALTER TABLE users
  ADD COLUMN IF NOT EXISTS rpm_limit BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS tpm_limit BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS concurrency_limit BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS budgets SMALLINT NOT NULL DEFAULT 0;

-- owner_kind: 1 an account, 2 a group. time_window: d day, w week, m month, t total (never anew).
-- timezone '': the account's; a group's is UTC. A window of it is an allowance of kind 5, whose owner_id
-- is the id here.
CREATE TABLE IF NOT EXISTS owner_budgets (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  owner_kind TINYINT NOT NULL,
  owner_id BIGINT NOT NULL,
  time_window CHAR(1) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  amount BIGINT NOT NULL,
  timezone VARCHAR(48) NOT NULL DEFAULT '',
  UNIQUE KEY owner_budgets_window (owner_kind, owner_id, time_window)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
