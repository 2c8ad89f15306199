-- The pictures an image call asked for: a price per call counts for each. 0 = another call.
ALTER TABLE usage_rows
  ADD COLUMN IF NOT EXISTS images INT NOT NULL DEFAULT 0;
