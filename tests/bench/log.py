"""log.py - `bench log`: list pages, sums and dashboard days beside a short and a long history; dropping a month."""
import http.client
import json
import statistics
import subprocess
import threading
import time

import log_fill
from bench_site import Site

TARGET = 2.0  # times of the short history
TARGET_DROP_S = 1.0
SERVING = "--innodb-buffer-pool-size=1G --innodb-log-file-size=512M"
SMALL = 77  # an account with few calls


def asked(now, weeks):
    """Half of the history is older than `middle`: a cursor reaches any place of it."""
    day = f"start_timestamp={now - 86400}&end_timestamp={now - 1}"
    broken = f"start_timestamp={now - 86400 - 1234}&end_timestamp={now - 777}"
    middle = now - weeks * log_fill.WEEK // 2
    return {
        "own page 1": "/api/log/self?page_size=50",
        "own page 10, by number": "/api/log/self?p=10&page_size=50",
        "own page 90, by number": "/api/log/self?p=90&page_size=50",
        "own page half-way, by cursor": f"/api/log/self?page_size=50&before={middle}-1",
        "own page of a day": f"/api/log/self?page_size=50&{day}",
        "own page of a key": "/api/log/self?page_size=50&token_name=key-1",
        "own page of a model": "/api/log/self?page_size=50&model_name=model-2",
        "own page of a group": "/api/log/self?page_size=50&group=default",
        "own page of failures": "/api/log/self?page_size=50&type=5",
        "own page, no such model": "/api/log/self?page_size=50&model_name=no-such",
        "a small account's page": f"/api/log?user_id={SMALL}&page_size=50",
        "all page 1": "/api/log?page_size=50",
        "all page 90, by number": "/api/log?p=90&page_size=50",
        "all page of a day and model": f"/api/log?page_size=50&model_name=model-1&{day}",
        "all page of a model": "/api/log?page_size=50&model_name=model-1",
        "all page of failures": "/api/log?page_size=50&type=5",
        "all page, no such model": "/api/log?page_size=50&model_name=no-such",
        "one request": "/api/log?request_id=REQUEST",
        "own stat of a day": f"/api/log/self/stat?{day}",
        "own stat, broken hours": f"/api/log/self/stat?{broken}",
        "all stat of a day": f"/api/log/stat?{day}",
        "all stat, broken hours": f"/api/log/stat?{broken}",
        "all stat of a day and model": f"/api/log/stat?{day}&model_name=model-1",
        "own dashboard day": f"/api/data/self?{day}",
        "all dashboard day": f"/api/data?{day}",
        "users' dashboard day": f"/api/data/users?{day}",
    }


def measure(site, now, weeks, rounds):
    """Medians in ms, first answers in ms, what was answered, rows and index entries that were read for an answer. One client, one
    question after the other."""
    times, first, totals, reads = {}, {}, {}, {}
    c = http.client.HTTPConnection("127.0.0.1", site.port)
    request = site.sql("SELECT request_id FROM usage_rows ORDER BY created_s, id LIMIT 1")

    def ask(target):
        begin = time.perf_counter()
        c.request("GET", target.replace("REQUEST", request), headers={"Authorization": site.vars["TOLLGATE_ACCESS_TOKEN"]})
        r = c.getresponse()
        text = r.read()
        if r.status != 200 or b'"success":true' not in text:
            raise RuntimeError(f"{target}: {r.status} {text[:200]!r}")
        return (time.perf_counter() - begin) * 1000, json.loads(text)["data"]

    def read_so_far():
        return sum(int(line.split()[1]) for line in site.sql("SHOW GLOBAL STATUS LIKE 'Handler_read%'").splitlines())

    for _ in range(3):  # the quietest of three moments
        for name, target in asked(now, weeks).items():
            before = read_so_far()
            took = [ask(target) for _ in range(rounds + 2)]
            reads[name] = min((read_so_far() - before) // len(took), reads.get(name, 1 << 62))
            first.setdefault(name, took[0][0])
            times[name] = min(statistics.median(t for t, _ in took[2:]), times.get(name, 1e9))  # sessions and pages are warm by then
            data = took[0][1]
            totals[name] = data.get("total", data.get("quota")) if isinstance(data, dict) else len(data)
    return times, first, totals, reads


class Asking:
    """Statements one after the other on a session of its own, and the longest that one took."""

    def __init__(self, site, statement):
        self.argv = ["mariadb", "--no-defaults", "-N", "--unbuffered", "--socket", site.vars["TOLLGATE_DB_SOCKET"],
                     site.vars["TOLLGATE_DB_NAME"]]
        self.statement, self.longest, self.n, self.stop = statement, 0.0, 0, threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        with subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as p:
            while not self.stop.is_set():
                begin = time.perf_counter()
                p.stdin.write(self.statement.replace("NUMBER", str(self.n)) + "; SELECT 1;\n")
                p.stdin.flush()
                if not p.stdout.readline():
                    raise RuntimeError(f"refused: {self.statement[:80]}")
                if self.n:
                    self.longest = max(self.longest, time.perf_counter() - begin)
                self.n += 1
            p.stdin.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def drop_month(site, now):
    """The workers drop the oldest month as `usage.keep_months` says, while rows are inserted and somebody reads for seconds."""
    begin, end = next(m[1:] for m in log_fill.months(now) if m[2] > now - log_fill.WEEKS * log_fill.WEEK)
    rows = int(site.sql(f"SELECT COUNT(*) FROM usage_rows WHERE created_s >= {begin} AND created_s < {end}"))
    row = log_fill.ROW.format(base="1000000000 + NUMBER", start=f"{now} - s").replace("+ n", "")
    insert = f"INSERT INTO usage_rows SELECT {row} FROM (SELECT * FROM bench_week LIMIT 1) w"
    kept = sum(1 for m in log_fill.months(now) if end <= m[1] <= now) - 1  # whole months before this one
    with Asking(site, insert) as inserts:
        with Asking(site, "SELECT COUNT(*), SLEEP(3) FROM (SELECT id FROM usage_rows LIMIT 1) r"):
            site.env["TOLLGATE_CONF_LINES"] = f"usage.keep_months = {kept}"
            site.restart_workers()
            time.sleep(4)  # a reader or two: the month has to wait, inserts have not
        dropped = site.logged("month_dropped", 90)
        time.sleep(0.5)
    if int(site.sql(f"SELECT COUNT(*) FROM usage_rows WHERE created_s < {end}")):
        raise RuntimeError("the month is still there")
    return {"rows": rows, "seconds": max(x["us"] for x in dropped) / 1e6, "inserts": inserts.n, "longest_insert_s": inserts.longest}


def run(args):
    week_rows, weeks = args.rows // log_fill.WEEKS, log_fill.WEEKS // args.times
    if args.rows % log_fill.WEEKS or log_fill.WEEKS % args.times:
        raise SystemExit(f"log: --rows in steps of {log_fill.WEEKS}, --times a divisor of it")
    with Site(args) as site:
        now = int(time.time()) // 3600 * 3600
        site.restart_database(log_fill.BULK)
        log_fill.prepare(site, now, week_rows)
        spent = {}
        taken = {}
        for name, n in (("short", weeks), ("long", log_fill.WEEKS)):
            begin = time.perf_counter()
            site.restart_database(log_fill.BULK)
            log_fill.fill(site, now, week_rows, n)
            site.restart_database(SERVING)
            spent[name] = time.perf_counter() - begin
            print(f"{site.count_rollup()} calls in place after {spent[name]:.0f} s", flush=True)
            taken[name] = measure(site, now, n, 15)
        drop = drop_month(site, now)
    (short, first_short, _, reads_short), (long, first_long, answers, reads_long) = taken["short"], taken["long"]
    ratios = {name: long[name] / short[name] for name in short}
    print(f"{week_rows * weeks} and {args.rows} usage rows, {week_rows // 7} a day, of {log_fill.USERS} accounts; best of three medians of 15 in ms")
    for name, r in ratios.items():
        print(f"  {name:30} {short[name]:8.2f} {long[name]:8.2f}  {r:5.2f} (target {TARGET}){'' if r <= TARGET else '  FAILED'}"
              f"  first {first_short[name]:.1f} {first_long[name]:.1f}, reads {reads_short[name]} {reads_long[name]}; {answers[name]}")
    print(f"dropping a month of {drop['rows']} rows: {drop['seconds']:.3f} s; longest of {drop['inserts']} inserts meanwhile, with a"
          f" long reader: {drop['longest_insert_s']:.3f} s (target {TARGET_DROP_S})")
    ok = max(ratios.values()) <= TARGET and max(drop["seconds"], drop["longest_insert_s"]) < TARGET_DROP_S
    bars = [(name, r, f"{short[name]:.1f} ms, {long[name]:.1f} ms: {r:.2f}") for name, r in ratios.items()]
    return {"section": "log", "title": f"{args.rows:,} usage rows beside {week_rows * weeks:,}: times as long", "bars": bars,
            "rows": args.rows, "few": week_rows * weeks, "fill_s": spent, "short_ms": short, "long_ms": long, "ratios": ratios,
            "first_ms": {"short": first_short, "long": first_long}, "reads": {"short": reads_short, "long": reads_long}, "drop": drop, "ok": ok}
