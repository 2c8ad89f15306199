-- How many live keys an account has among each 1024 ids: the list finds any page without walking
-- over the keys before it.
CREATE TABLE IF NOT EXISTS key_buckets (
  user_id  BIGINT NOT NULL,
  bucket   BIGINT NOT NULL,   -- id >> 10
  n        BIGINT NOT NULL,
  PRIMARY KEY (user_id, bucket)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

INSERT IGNORE INTO key_buckets (user_id, bucket, n)
SELECT user_id, id >> 10, COUNT(*) FROM api_keys WHERE deleted_at IS NULL GROUP BY user_id, id >> 10;
