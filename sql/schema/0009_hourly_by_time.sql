-- Hourly sums stand in the order of time: what calls of this hour add to lies together, and a day of the
-- whole site is one range. An account's own day comes from by_user.
ALTER TABLE usage_hourly
  DROP PRIMARY KEY, ADD PRIMARY KEY (hour_s, user_id, key_id, model, group_id, test_mode),
  DROP KEY IF EXISTS by_hour;
