"""keys.py - `bench keys`: what a million keys change. One account holds a tenth of them.

Two sites stand side by side, one with 1,000 keys in its database and one with all of them. Cold authentication and list pages
are measured by one client on one connection to each, a request here and a request there in turns, so that whatever else runs on
the machine hits both; every cold key is one that no worker has met. Then every worker of the large site meets more keys than it
remembers, and its memory is read. --pool is the buffer pool of both databases: the default holds a million keys (about 310 MB),
as a site that has so many would; with less, what a cold key costs is what the disk takes to read its pages.
"""
import hashlib
import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
import zlib

from bench_site import Site

DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TABLE = bytes(DIGITS[i % 62] for i in range(256))
PREFIX = b"sk-"
PER_ACCOUNT = 1000
TARGET_RATIO = 2.0
COLD = 500  # keys met for the first time, on each side
TARGET_MIB = 64


def key_text():
    text = PREFIX + os.urandom(43).translate(TABLE)
    crc, check = zlib.crc32(text), b""
    for _ in range(6):
        check = DIGITS[crc % 62:crc % 62 + 1] + check
        crc //= 62
    return text + check


def pepper(site):
    folder = f"{site.dir}/site/secrets"
    with open(f"{folder}/1.key", encoding="ascii") as f:
        return bytes.fromhex(f.readline().split()[1])


def load(site, table, columns, rows):
    """Rows of text fields, as the server's own bulk loader takes them."""
    with tempfile.NamedTemporaryFile("w", dir=site.dir, encoding="ascii") as f:
        f.writelines("\t".join(r) + "\n" for r in rows)
        f.flush()
        subprocess.run(["mariadb", "--no-defaults", "--local-infile=1", "--socket", site.vars["TOLLGATE_DB_SOCKET"],
                        site.vars["TOLLGATE_DB_NAME"], "-e",
                        "SET unique_checks=0, foreign_key_checks=0; "
                        f"LOAD DATA LOCAL INFILE '{f.name}' INTO TABLE {table} {columns}"], check=True)


def add_keys(site, first, count, owner):
    """Keys first..first+count-1; owner(i) names the account. Returns a sample of their texts."""
    secret, sample = pepper(site), []

    def secrets():
        for i in range(first, first + count):
            text = key_text()
            if len(sample) < 200000:
                sample.append(text.decode())
            digest = hashlib.blake2b(b"api_key\0" + text, digest_size=32, key=secret).hexdigest()
            yield str(i), digest, text[:7].decode() + "*" * 10 + text[-4:].decode()

    load(site, "key_secrets", "(key_id, @h, hint) SET hash = UNHEX(@h), created_at = 1", secrets())
    load(site, "api_keys", "(id, user_id, name) SET unlimited = 1, created_at = 1",
         ((str(i), str(owner(i)), f"key {i}") for i in range(first, first + count)))
    load(site, "allowances", "(owner_id) SET kind = 3", ((str(i),) for i in range(first, first + count)))
    site.sql("INSERT IGNORE INTO users (id, username, created_at) SELECT user_id, CONCAT('bench', user_id), 1 FROM api_keys GROUP BY user_id;"
             "UPDATE users u SET live_keys = (SELECT COUNT(*) FROM api_keys k WHERE k.user_id = u.id AND k.deleted_at IS NULL);"
             "DELETE FROM key_buckets; INSERT INTO key_buckets SELECT user_id, id >> 10, COUNT(*) FROM api_keys "
             "WHERE deleted_at IS NULL GROUP BY user_id, id >> 10;"
             "ANALYZE TABLE api_keys, key_secrets, allowances")
    return sample


class Client:
    def __init__(self, site):
        host, port = site.url.removeprefix("http://").split(":")
        self.http = http.client.HTTPConnection(host, int(port))

    def get(self, path, credential):
        """Milliseconds of one answered request."""
        start = time.perf_counter()
        self.http.request("GET", path, headers={"Authorization": credential})
        answer = self.http.getresponse()
        body = answer.read()
        ms = (time.perf_counter() - start) * 1000
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:200]}")
        return ms, body


def quick(times):
    """The lower quartile: what else runs on the machine only ever adds."""
    return statistics.quantiles(times, n=4)[0]


def settle(site):
    """What loading has left to write is written, and every row was read once."""
    site.sql("SET GLOBAL innodb_max_dirty_pages_pct = 0, innodb_max_dirty_pages_pct_lwm = 0")
    for _ in range(300):
        if int(site.sql("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'").split()[1]) < 50:
            break
        time.sleep(0.2)
    site.sql("SET GLOBAL innodb_max_dirty_pages_pct = 90")
    site.sql("SELECT COUNT(created_at) FROM key_secrets FORCE INDEX (PRIMARY) WHERE id > 0;"
             "SELECT COUNT(hash) FROM key_secrets FORCE INDEX (key_secrets_hash) WHERE hash > '';"
             "SELECT COUNT(created_at) FROM api_keys FORCE INDEX (PRIMARY) WHERE id > 0")


class Side:
    """One site as measured: its keys in random order, the account's pages, the times."""

    def __init__(self, site, sample, account):
        self.client, self.token = Client(site), site.vars["TOLLGATE_ACCESS_TOKEN"]
        self.picked = random.sample(sample, 100 + COLD)
        self.pages = {"first": 1, "middle": account // 200, "last": account // 100}
        self.times = {what: [] for what in ("cold", "warm", *self.pages)}

    def ask(self, what, i):
        if what in self.pages:
            ms, body = self.client.get(f"/api/token/?p={self.pages[what]}&page_size=100", self.token)
            assert len(json.loads(body)["data"]["items"]) > 50, body[:200]
        else:
            ms, _ = self.client.get("/v1/models", self.picked[100 + i if what == "cold" else 0])
        self.times[what].append(ms)

    def result(self):
        return {"cold_ms": quick(self.times["cold"]), "warm_ms": quick(self.times["warm"]),
                "pages_ms": {page: quick(self.times[page]) for page in self.pages if self.times[page]}}


LISTS = (("first", 40), ("middle", 40), ("last", 40))


def measure(sides, lists=LISTS):
    for side in sides:
        for key in side.picked[:100]:  # threads, connections and plans warm; these keys are not measured
            side.client.get("/v1/models", key)
    for what, times in (("cold", COLD), ("warm", COLD), *lists):
        for i in range(times):
            for side in sides if i % 2 else reversed(sides):
                side.ask(what, i)
    return [side.result() for side in sides]


def fill_caches(site, sample, seconds):
    """More keys than a worker remembers, on every worker; returns requests/s."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua", dir=site.dir) as f, tempfile.NamedTemporaryFile("w", dir=site.dir) as k:
        k.write("\n".join(sample))
        k.flush()
        f.write(f'local keys = {{}}; for l in io.lines("{k.name}") do keys[#keys + 1] = l end\nlocal i = 0\n'
                'request = function() i = i % #keys + 1; return wrk.format("GET", "/v1/models", {Authorization = keys[i]}) end\n'
                'done = function(s, l, r) io.write(string.format("RESULT %d %d %d\\n", s.requests, s.duration, s.errors.status)) end\n')
        f.flush()
        out = subprocess.run(["wrk", "-t1", "-c32", f"-d{seconds}", "-s", f.name, site.url], text=True, check=True, capture_output=True).stdout
    n, us, errors = (int(x) for x in out.split("RESULT ", 1)[1].split()[:3])
    if errors:
        raise RuntimeError(f"{errors} keys were refused\n{out}")
    return n, n / (us / 1e6)


def rss_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:")) / 1024


def fill(args, small, site):
    """Both sites with their keys; returns samples of them and how many the account has."""
    n, first = args.keys, int(site.sql("SELECT MAX(id) FROM api_keys")) + 1
    big = n // 10
    few = add_keys(small, first, 1000, lambda i: 1)
    many = add_keys(site, first, n, lambda i: 1 if i < first + big else 100 + (i - first) // PER_ACCOUNT)
    settle(small)
    settle(site)
    return few, many, big


def show_cold(args, few, many):
    auth = many["cold_ms"] / few["cold_ms"]
    print(f"buffer pool of {args.pool}, read before; requests to both sites in turns")
    print(f"{'':28}{'1,000 keys':>12}{format(args.keys, ',') + ' keys':>16}{'ratio':>8}")
    print(f"{'authentication, cold, ms':28}{few['cold_ms']:12.2f}{many['cold_ms']:16.2f}{auth:8.2f}")
    print(f"{'authentication, known, ms':28}{few['warm_ms']:12.2f}{many['warm_ms']:16.2f}{many['warm_ms'] / few['warm_ms']:8.2f}")
    return auth


def bars(args, few, many):
    return [(f"{title}, ms, with 1,000 and with {args.keys:,} keys", None, "") if value is None else (title, value, f"{value:.2f} ms")
            for what, title in (("cold_ms", "a key that no worker has met"), ("warm_ms", "a known key"))
            for title, value in ((title, None), ("1,000 keys", few[what]), (f"gateway, {args.keys:,}", many[what]))]


def cold(args):
    os.environ["TOLLGATE_DEVDB_POOL"] = args.pool
    with Site(args) as small, Site(args) as site:
        sample_of_few, sample, big = fill(args, small, site)
        few, many = measure([Side(small, sample_of_few, 1000), Side(site, sample, big)], lists=())
    auth = show_cold(args, few, many)
    ok = auth <= TARGET_RATIO
    print(f"cold authentication {auth:.2f} (target {TARGET_RATIO}): {'ok' if ok else 'FAILED'}")
    return {"section": "cold", "title": "Authentication over HTTP", "bars": bars(args, few, many), "keys": args.keys,
            "buffer_pool": args.pool, "few": few, "many": many, "auth_ratio": auth, "ok": ok}


def run(args):
    if not shutil.which("wrk"):  # before a million keys are made
        raise SystemExit("bench keys: the program wrk is missing")
    n = args.keys
    os.environ["TOLLGATE_DEVDB_POOL"] = args.pool
    with Site(args) as small, Site(args) as site:
        sample_of_few, sample, big = fill(args, small, site)
        few, many = measure([Side(small, sample_of_few, 1000), Side(site, sample, big)])
        asked, rate = fill_caches(site, sample, max(30, args.seconds))
        memory = max(rss_mib(p) for p in site.worker_pids())
    auth = show_cold(args, few, many)
    page = max(many["pages_ms"][p] / few["pages_ms"][p] for p in few["pages_ms"])
    result = {"section": "keys", "title": "Keys: authentication over HTTP", "bars": bars(args, few, many), "keys": n, "buffer_pool": args.pool,
              "few": few, "many": many, "auth_ratio": auth, "page_ratio": page, "asked": asked,
              "cold_rps": rate, "worker_mib": memory, "ok": auth <= TARGET_RATIO and page <= TARGET_RATIO and memory < TARGET_MIB}
    for name in few["pages_ms"]:
        a, b = few["pages_ms"][name], many["pages_ms"][name]
        print(f"{'list, ' + name + ' page of 100, ms':28}{a:12.2f}{b:16.2f}{b / a:8.2f}")
    print(f"{asked} requests with {len(sample)} keys in turn: {rate:.0f}/s; a worker holds {memory:.1f} MiB (target {TARGET_MIB})")
    print(f"cold authentication {auth:.2f}, list {page:.2f} (target {TARGET_RATIO}): {'ok' if result['ok'] else 'FAILED'}")
    return result
