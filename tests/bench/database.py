"""database.py - `bench database`: what one MariaDB carries, fed by two workers' ledgers without a web server in front.

Usage rows: calls of one key on leases that last, so that nearly every statement writes rows and sums. Leases: calls of many keys,
most of which no worker has met, so that a call takes a lease of its own in a transaction; at the end all are given back, which is
counted in (a key that both workers met counts once). Both with a log that is
flushed to the disk at each commit (innodb_flush_log_at_trx_commit = 1, as a site should have it) and once a second (2).
"""
import os
import subprocess
import time

from bench_site import TOP, Site, load_average

WORKERS, THREADS = 2, 4
KEYS = 100_000  # of an account of the teller
BALANCE = 10**12


class Database:
    """A server of its own with an empty schema."""

    def __init__(self, site, flush):
        self.where, self.name = f"{site.dir}/database-{flush}", f"bench{flush}"
        self.teller_path = f"{site.build}/tests/faults/teller"
        self.env = dict(os.environ, TOLLGATE_DEVDB_FLUSH=str(flush), TOLLGATE_DEVDB_POOL="512M")
        subprocess.run([f"{TOP}/scripts/devdb", "start", self.where], check=True, env=self.env)
        subprocess.run([f"{TOP}/scripts/devdb", "create", self.where, self.name], check=True)
        subprocess.run(self.teller("migrate"), check=True)

    def stop(self):
        subprocess.run([f"{TOP}/scripts/devdb", "stop", self.where], check=True)

    def teller(self, *words):
        return [self.teller_path, f"{self.where}/db.sock", self.name, *words]

    def sql(self, text):
        return int(subprocess.run(["mariadb", "--no-defaults", "-N", "-S", f"{self.where}/db.sock", self.name, "-e", text],
                                  check=True, capture_output=True, text=True).stdout)

    def run(self, user, seconds, *options):
        """Calls until every row is written; returns seconds and the calls that were answered."""
        begun, tellers = time.monotonic(), []
        for i in range(WORKERS):
            run_dir = f"{self.where}/run-{user}-{i}"
            os.makedirs(run_dir)
            tellers.append(subprocess.Popen(self.teller("work", run_dir, f"user={user}", f"threads={THREADS}", f"seconds={seconds}",
                                                        "idle=600", *options), stdout=subprocess.PIPE, text=True))
        answered = sum(int(t.communicate()[0].split()[1]) for t in tellers)
        return time.monotonic() - begun, answered


def measure(site, flush, seconds):
    d = Database(site, flush)
    try:
        subprocess.run(d.teller("setup", "1", str(BALANCE), "1", str(BALANCE)), check=True)
        took, answered = d.run(1, seconds, "keys=1")
        rows = d.sql("SELECT COUNT(*) FROM usage_rows")
        subprocess.run(d.teller("setup", "2", str(BALANCE), str(KEYS), "700"), check=True)
        lease_took, lease_calls = d.run(2, seconds, f"keys={KEYS}", "unlimited=0")
        leases = d.sql("SELECT COUNT(DISTINCT key_id) FROM usage_rows WHERE user_id = 2")
        return {"rows_per_s": rows / took, "leases_per_s": leases / lease_took, "exact": rows == answered,
                "rows": rows, "leases": leases, "lease_calls": lease_calls}
    finally:
        d.stop()


def run(args):
    result = {"section": "database", "title": "What one MariaDB carries, a second", "bars": [], "machine_load": load_average(), "flush": {}}
    with Site(args) as site:
        subprocess.run(["make", "-s", "-C", site.build, "tests/faults/teller"], check=True, stdout=subprocess.DEVNULL)
        for flush in (1, 2):
            f = result["flush"][str(flush)] = measure(site, flush, args.seconds)
            when = "at each commit" if flush == 1 else "once a second"
            print(f"log flushed {when}: {f['rows_per_s']:.0f} usage rows/s, {f['leases_per_s']:.0f} leases/s", flush=True)
            result["bars"] += [(f"log flushed {when}", None, ""), ("usage rows", f["rows_per_s"], f"{f['rows_per_s']:,.0f}"),
                               ("leases taken and given back", f["leases_per_s"], f"{f['leases_per_s']:,.0f}")]
    result["ok"] = all(f["exact"] for f in result["flush"].values())
    print(f"each answered call is one row: {'ok' if result['ok'] else 'FAILED'}")
    return result
