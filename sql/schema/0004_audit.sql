-- The end of each account's chain of audit rows; a missing or edited row, the last one included, does
-- not fit it.
CREATE TABLE IF NOT EXISTS audit_heads (
  user_id BIGINT NOT NULL PRIMARY KEY,
  n BIGINT NOT NULL,
  hash BINARY(32) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
