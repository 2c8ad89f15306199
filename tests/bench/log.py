"""log.py - `bench log`: a list page, a stat and a dashboard day beside a short and a long history; dropping a month."""
import datetime
import http.client
import statistics
import threading
import time

from bench_site import Site

TARGET = 2.0  # times of the short history
TARGET_DROP_S = 1.0
USERS, KEYS, MODELS = 200, 3, 20  # of each: an account has this many keys
DAYS = 350  # of the long history: the short one has the same calls a day, and fewer days
STEP = 250_000
COLUMNS = ("created_s, type, user_id, key_id, group_id, channel_id, price_id, group_ratio, cost, prompt, completion, cached,"
           " cache_write_5m, cache_write_1h, image_in, audio_in, audio_out, reasoning, searches, status, attempts, end_reason,"
           " policy, stream, test_mode, estimated, interrupted, started_us, first_byte_us, duration_us, request_id, model")
VALUES = ("1, 1, 1, 1000000000, 5, 100, 20, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1, 0, 0, 0, 0, 0, 0, 0, 100000, 900000")


def months(now):
    """Partitions as the ledger names them: this year's months and those of the year before."""
    first = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    at = first.replace(year=first.year - 1)
    out = []
    while len(out) < 16:
        end = at.replace(year=at.year + at.month // 12, month=at.month % 12 + 1)
        out.append((f"p{at.year:04d}_{at.month:02d}", int(end.timestamp())))
        at = end
    return out


def partition(site, now):
    parts = ", ".join(f"PARTITION {name} VALUES LESS THAN ({end})" for name, end in months(now))
    site.sql(f"ALTER TABLE usage_rows PARTITION BY RANGE (created_s) ({parts}, PARTITION pmax VALUES LESS THAN MAXVALUE)")


def fill(site, now, first, end, per_day):
    """Calls number first..end-1 counted back from now; account 1 (the administrator) has its share."""
    for at in range(first, end, STEP):
        last = min(end, at + STEP) - 1
        user = f"(1 + seq * 2654435761 DIV 1000 % {USERS})"
        site.sql(f"INSERT INTO usage_rows ({COLUMNS}) SELECT {now} - seq * 86400 DIV {per_day}, 2, {user},"
                 f" {user} * {KEYS} + seq % {KEYS}, {VALUES}, CONCAT('bench-', seq), CONCAT('model-', seq * 7919 DIV 100 % {MODELS})"
                 f" FROM seq_{at}_to_{last} ORDER BY seq DESC")
    reach = [now - n * 86400 // per_day for n in (end, first)]
    site.sql("INSERT INTO usage_hourly (user_id, key_id, hour_s, model, group_id, test_mode, calls, prompt, completion, cost)"
             " SELECT user_id, key_id, created_s - created_s % 3600, model, 1, 0, COUNT(*), SUM(prompt), SUM(completion), SUM(cost)"
             f" FROM usage_rows WHERE created_s BETWEEN {reach[0]} AND {reach[1]} AND request_id LIKE 'bench-%'"
             " GROUP BY 1, 2, 3, 4 ON DUPLICATE KEY UPDATE calls = VALUES(calls), prompt = VALUES(prompt),"
             " completion = VALUES(completion), cost = VALUES(cost)")
    site.sql("ANALYZE TABLE usage_rows, usage_hourly PERSISTENT FOR COLUMNS () INDEXES ()")


def asked(now):
    day = f"start_timestamp={now - 86400}&end_timestamp={now}"
    return {
        "own page 1": "/api/log/self?page_size=50",
        "own page 10, by number": "/api/log/self?p=10&page_size=50",
        "all page 1": "/api/log?page_size=50",
        "all page of a day and model": f"/api/log?page_size=50&model_name=model-1&{day}",
        "one request": "/api/log?request_id=bench-7",
        "own stat of a day": f"/api/log/self/stat?{day}",
        "all stat of a day": f"/api/log/stat?{day}",
        "own dashboard day": f"/api/data/self?{day}",
        "all dashboard day": f"/api/data?{day}",
    }


def measure(site, now, rounds):
    out = {}
    c = http.client.HTTPConnection("127.0.0.1", site.port)
    for name, target in asked(now).items():
        times = []
        for i in range(rounds + 3):
            begin = time.perf_counter()
            c.request("GET", target, headers={"Authorization": site.vars["TOLLGATE_ACCESS_TOKEN"]})
            r = c.getresponse()
            text = r.read()
            if r.status != 200 or b'"success":true' not in text:
                raise RuntimeError(f"{target}: {r.status} {text[:200]!r}")
            if i >= 3:  # sessions and pages warm
                times.append((time.perf_counter() - begin) * 1000)
        out[name] = statistics.median(times)
    return out


def drop_month(site, now):
    """Seconds to drop the oldest full month, and the longest that an insert took meanwhile."""
    name = next(n for n, end in months(now) if end > now - (DAYS - 62) * 86400)
    n = int(site.sql(f"SELECT COUNT(*) FROM usage_rows PARTITION ({name})"))
    longest, stop = [0.0], threading.Event()

    def insert():
        i = 0
        while not stop.is_set():
            i += 1
            begin = time.perf_counter()
            site.sql(f"INSERT INTO usage_rows ({COLUMNS}) SELECT UNIX_TIMESTAMP(), 2, 1, 1, {VALUES}, 'drop-{i}', 'model-1'")
            longest[0] = max(longest[0], time.perf_counter() - begin)

    t = threading.Thread(target=insert)
    t.start()
    time.sleep(0.5)
    begin = time.perf_counter()
    site.sql(f"ALTER TABLE usage_rows WAIT 1 DROP PARTITION {name}")
    took = time.perf_counter() - begin
    stop.set()
    t.join()
    return {"month": name, "rows": n, "seconds": took, "longest_insert_s": longest[0]}


def run(args):
    many, few = args.rows, args.rows // args.times
    per_day = max(1, many // DAYS)
    with Site(args) as site:
        now = int(time.time()) // 3600 * 3600
        partition(site, now)
        fill(site, now, 1, few + 1, per_day)
        short = measure(site, now, 30)
        fill(site, now, few + 1, many + 1, per_day)
        long = measure(site, now, 30)
        drop = drop_month(site, now)
    ratios = {name: long[name] / short[name] for name in short}
    print(f"{few} and {many} usage rows, {per_day} a day, of {USERS} accounts; medians of 30 in ms")
    for name, r in ratios.items():
        print(f"  {name:30} {short[name]:8.2f} {long[name]:8.2f}  {r:5.2f} (target {TARGET}){'' if r <= TARGET else '  FAILED'}")
    print(f"dropping {drop['month']} ({drop['rows']} rows): {drop['seconds']:.3f} s, longest insert meanwhile "
          f"{drop['longest_insert_s']:.3f} s (target {TARGET_DROP_S})")
    ok = max(ratios.values()) <= TARGET and max(drop["seconds"], drop["longest_insert_s"]) < TARGET_DROP_S
    return {"section": "log", "rows": many, "few": few, "short_ms": short, "long_ms": long, "ratios": ratios, "drop": drop, "ok": ok}
