"""log_fill.py - a history of usage for `bench log`: the calls of one made-up week, repeated, with the hourly sums that agree.

Every table is filled in the order of its primary key and gets its other indexes afterwards, sorted; that is what makes fifty
million rows a matter of minutes.
"""
import datetime
import re
import threading

WEEKS, WEEK = 50, 7 * 86400  # of the long history
USERS, KEYS, MODELS = 1000, 3, 40  # accounts, keys of each, models; a fifth of all calls is account 1's, the administrator's
BULK = ("--innodb-buffer-pool-size=6G --innodb-log-file-size=4G --innodb-doublewrite=OFF --innodb-flush-log-at-trx-commit=0"
        " --innodb-flush-method=nosync --innodb-sort-buffer-size=64M --innodb-io-capacity=20000")
FAST = "SET SESSION foreign_key_checks = 0, sort_buffer_size = 1 << 28, tmp_table_size = 1 << 29, max_heap_table_size = 1 << 29;"
# What calls have of their own; the rest is alike for all. n: number in the week, h and g: numbers that look random.
HEAVY, SKEWED = "h % 5 = 0", f"2 + (h DIV 5 % 30011) * (h DIV 5 % 30011) * {USERS - 1} DIV 900660121"
WEEK_COLUMNS = """n, s, h, g, user_id, user_id * {keys} + k AS key_id, IF(user_id % 50 = 0, 2, 1) AS group_id, 1 + g % 3 AS channel_id,
 CONCAT('model-', (user_id + k + (g % 8 = 0)) % {models}) AS model, IF(g DIV 3 % 100 = 0, 5, 2) AS type,
 IF(g DIV 3 % 100 = 0, 0, 50 + g % 5000) AS cost, IF(g DIV 3 % 100 = 0, 0, 20 + g % 3000) AS prompt,
 IF(g DIV 3 % 100 = 0, 0, g DIV 8 % 900) AS completion, CONCAT('192.0.2.', user_id % 250) AS ip"""
ROW = """{base} + n, {start} + s, type, user_id, key_id, group_id, channel_id, 1, 1000000000, cost, prompt, completion, 0, 0, 0, 0, 0, 0, 0, 0,
 IF(type = 5, 502, 200), 1, IF(type = 5, 2, 0), 0, g & 1, 0, 0, 0, ({start} + s) * 1000000 - 2500000, 400000, 2500000,
 CONCAT('req_', HEX({base} + n), HEX(h), HEX(g)), CONCAT('chatcmpl-', HEX({base} + n), HEX(g)), model, model, ip, '/v1/chat/completions',
 IF(type = 5, 'upstream_error', ''), ''"""


def months(now):
    """Partitions as the ledger names them: this year's months and those of the year before."""
    first = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    at = first.replace(year=first.year - 1)
    out = []
    while len(out) < 16:
        end = at.replace(year=at.year + at.month // 12, month=at.month % 12 + 1)
        out.append((f"p{at.year:04d}_{at.month:02d}", int(at.timestamp()), int(end.timestamp())))
        at = end
    return out


def prepare(site, now, week_rows):
    """Accounts, keys, monthly partitions, the week of calls and its hourly sums."""
    parts = ", ".join(f"PARTITION {name} VALUES LESS THAN ({end})" for name, _, end in months(now))
    site.sql(f"ALTER TABLE usage_rows PARTITION BY RANGE (created_s) ({parts}, PARTITION pmax VALUES LESS THAN MAXVALUE)")
    site.sql("INSERT IGNORE INTO users (id, username, created_at)"
             f" SELECT seq, CONCAT('user-', seq), {now} FROM seq_2_to_{USERS}")
    site.sql("INSERT IGNORE INTO api_keys (id, user_id, name, created_at)"
             f" SELECT seq, seq DIV {KEYS}, CONCAT('key-', seq % {KEYS}), {now} FROM seq_{KEYS}_to_{USERS * KEYS + KEYS - 1}")
    site.sql(f"""{FAST} CREATE TABLE bench_week ENGINE=MyISAM AS SELECT {WEEK_COLUMNS.format(keys=KEYS, models=MODELS)}
 FROM (SELECT n, s, h, g, IF({HEAVY}, 1, {SKEWED}) AS user_id, h DIV 7 % {KEYS} AS k
  FROM (SELECT seq AS n, seq * {WEEK} DIV {week_rows} AS s, CRC32(seq) AS h, CRC32(seq * 7 + 3) AS g
   FROM seq_0_to_{week_rows - 1}) a) b ORDER BY n;
CREATE TABLE bench_hours ENGINE=MyISAM AS SELECT user_id, key_id, s - s % 3600 AS at, model, group_id, COUNT(*) AS calls,
 SUM(type = 5) AS failures, SUM(prompt) AS prompt, SUM(completion) AS completion, SUM(cost) AS cost
 FROM bench_week GROUP BY user_id, key_id, at, model, group_id""")


COLUMNS = ("id, created_s, type, user_id, key_id, group_id, channel_id, price_id, group_ratio, cost, prompt, completion, cached, cache_write_5m,"
           " cache_write_1h, image_in, audio_in, audio_out, reasoning, searches, status, attempts, end_reason, policy, stream, test_mode, estimated,"
           " interrupted, started_us, first_byte_us, duration_us, request_id, upstream_request_id, model, upstream_model, ip, endpoint, error_code,"
           " content")  # of ROW


def bare(site, table):
    """Empties a table and takes its secondary indexes away; returns what brings them back."""
    made = site.sql(f"SHOW CREATE TABLE {table}").replace("\\n", "\n")
    keys = re.findall(r"^\s+(?:UNIQUE )?KEY `(\w+)` (\(.*\))", made, re.M)
    site.sql(f"TRUNCATE TABLE {table}; ALTER TABLE {table} " + ", ".join(f"DROP KEY {name}" for name, _ in keys))
    return f"ALTER TABLE {table} " + ", ".join(f"ADD KEY {name} {columns}" for name, columns in keys)


def fill_month(site, now, week_rows, weeks, begin, end):
    """The rows of a month, oldest first, from all the weeks that it touches."""
    text = FAST
    for w in reversed(range(weeks)):
        start = now - (w + 1) * WEEK
        if start < end and start + WEEK > begin:
            row = ROW.format(base=1 + (WEEKS - 1 - w) * week_rows, start=start)
            text += f"INSERT INTO usage_rows ({COLUMNS}) SELECT {row} FROM bench_week WHERE s >= {begin - start} AND s < {end - start};"
    site.sql(text)


def fill_hours(site, now, weeks):
    site.sql(f"""{FAST} INSERT INTO usage_hourly (user_id, key_id, hour_s, model, group_id, test_mode, calls, failures, prompt, completion, cost)
 SELECT user_id, key_id, {now} - (w.seq + 1) * {WEEK} + at AS hour_s, model, group_id, 0, calls, failures, prompt, completion, cost
 FROM bench_hours JOIN seq_0_to_{weeks - 1} w ORDER BY hour_s, user_id, key_id, model, group_id""")


def in_pairs(jobs):
    """Two at a time: as many as the machine has cores to spare."""
    failures = []

    def work():
        while jobs and not failures:
            job, args = jobs.pop(0)
            try:
                job(*args)
            except Exception as e:  # pylint: disable=broad-except
                failures.append(e)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


def fill(site, now, week_rows, weeks):
    """Puts the newest weeks into the tables, in place of what they had."""
    indexes = [bare(site, table) for table in ("usage_rows", "usage_hourly")]
    in_pairs([(fill_hours, (site, now, weeks))]
             + [(fill_month, (site, now, week_rows, weeks, begin, end)) for _, begin, end in months(now)])
    in_pairs([(site.sql, (text,)) for text in indexes])
    site.sql("ANALYZE TABLE usage_rows, usage_hourly PERSISTENT FOR COLUMNS () INDEXES ()")
