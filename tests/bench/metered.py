"""metered.py - `bench metered`: keys, leases, limits, usage rows and rollups all on, beside lighttpd's mod_proxy."""
import json
import random
import statistics
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from bench_site import Site, cpu_us, load_average
from compare import at_once, show_ways, summary

TARGET_RATIOS = {64: 0.80, 2: 0.60}  # from so many connections on; with one, latency decides (bench relay --full has its target)
TARGET_CPU_US = 100  # from 64 connections on, or at the most there are
HIGH = 1_000_000_000  # limits that are counted and never reached
WARM_CONNECTIONS = 64


def make_keys(site, n):
    """Through the API, with quota, rate and concurrency limits of their own."""
    site.ctl("option", "set", "max_user_tokens", str(n + 100))
    time.sleep(1)  # every worker has heard of it by then
    body = {"name": "bench", "remain_quota": 100_000_000, "unlimited_quota": False, "rpm_limit": HIGH, "tpm_limit": HIGH,
            "concurrency_limit": HIGH}

    def make(_):
        ask = urllib.request.Request(f"{site.url}/api/token?return=1", json.dumps(body).encode(), {
            "Authorization": f"Bearer {site.vars['TOLLGATE_ACCESS_TOKEN']}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(ask) as answer:
                return json.load(answer)["data"]["key"]
        except urllib.error.HTTPError as refused:
            raise RuntimeError(refused.read().decode()) from None

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(make, range(n)))


def wait_rows(site, want):
    """What the ledger still has is written within its flush interval; nothing may come after it."""
    for _ in range(100):
        if site.count_rows() >= want:
            break
        time.sleep(0.1)
    time.sleep(1)
    return site.count_rows()


def meet(site, args, keys):
    """Every worker meets 86 of 100 keys (1 - e^-2) again: how long the other ways' turns took, in which leases go back, does not
    count. Returns the calls answered."""
    return site.load(site.port, WARM_CONNECTIONS, f"{2 * len(keys) * args.workers}x", keys)["answers"]


def measure(site, args, keys, connections):
    ways = {
        "direct": (site.provider, ["none"]),
        "mod_proxy": (site.proxy, ["none"]),
        "one key": (site.port, keys[:1]),
        f"{len(keys)} keys": (site.port, keys),
    }
    parts = {
        "web server": [site.proxy_process.pid, site.pid_of("run/lighttpd")],
        "workers": site.worker_pids(),
        "database": [site.pid_of("db/db")],
    }
    rows, met = {name: [] for name in ways}, 0
    for _ in range(args.rounds):
        for name, (port, list_) in ways.items():
            if list_ is keys:
                met += meet(site, args, keys)
            before = {part: cpu_us(pids) for part, pids in parts.items()}
            row = site.load(port, connections, args.seconds, list_)
            row["cpu_us"] = {part: round((cpu_us(pids) - before[part]) / row["answers"], 1) for part, pids in parts.items()}
            rows[name].append(row)
    return rows, met


def show_cpu(rows):
    for name, r in rows.items():
        parts = {part: statistics.median(x["cpu_us"][part] for x in r) for part in r[0]["cpu_us"]}
        if name != "direct":
            print(f"  {name:14} CPU a request: " + ", ".join(f"{part} {us:.0f} us" for part, us in parts.items()))


def ratios(run):
    return {name: f["to_mod_proxy"] for name, f in run["ways"].items() if name not in ("direct", "mod_proxy")}


def target_ratio(connections):
    return next((ratio for least, ratio in TARGET_RATIOS.items() if connections >= least), 0)


def cpu_of(rows):
    return statistics.median(r["cpu_us"]["web server"] + r["cpu_us"]["workers"] for r in rows)


def bars(runs):
    out = []
    for r in runs:
        out.append((f"{at_once(r['connections'])}, requests/s", None, ""))
        for name, f in r["ways"].items():
            if name != "direct":
                own = "" if name == "mod_proxy" else "gateway, "
                out.append((own + name, f["rps"], f"{f['rps']:,.0f} ({f['to_mod_proxy']:.2f})"))
    return out


def run(args):
    result = {"section": "metered", "workers": args.workers, "seconds": args.seconds, "machine_load": load_average(), "runs": []}
    with Site(args) as site:
        site.channel("bench", "bench-model", site.provider)
        keys = make_keys(site, args.metered_keys)
        random.shuffle(keys)
        before = {"rows": site.count_rows(), "rollup": site.count_rollup(), "requests": site.metric("requests_total", 'route="chat"')}
        cold = site.load(site.port, WARM_CONNECTIONS, 3, keys)
        answered = cold["answers"] + meet(site, args, keys)
        result["first_met"] = cold
        for connections in args.metered_connections:
            rows, met = measure(site, args, keys, connections)
            answered += met + sum(r["answers"] for name in rows if name not in ("direct", "mod_proxy") for r in rows[name])
            result["runs"].append({"connections": connections, "ways": summary(rows), "rounds": rows})
        result["answered"] = answered
        result["rows_written"] = wait_rows(site, before["rows"] + answered) - before["rows"]
        result["calls_in_rollup"] = site.count_rollup() - before["rollup"]
        result["requests_counted"] = site.metric("requests_total", 'route="chat"') - before["requests"]
    print(f"{args.workers} workers, {args.rounds} rounds of {args.seconds} s, medians; load average before {result['machine_load']}")
    print(f"keys met for the first time: {cold['rps']:.0f} requests/s in the first 3 s at 64 connections")
    fits, cpu, most = True, 0, max(args.metered_connections)
    for r in result["runs"]:
        show_ways(at_once(r["connections"]), r["ways"])
        show_cpu(r["rounds"])
        fits &= min(ratios(r).values()) >= target_ratio(r["connections"])
        if r["connections"] >= min(64, most):
            cpu = max(cpu, cpu_of(r["rounds"]["one key"]))
    exact = result["answered"] == result["rows_written"] == result["calls_in_rollup"] == result["requests_counted"]
    result |= {"title": "Metered calls beside lighttpd's mod_proxy", "bars": bars(result["runs"]), "cpu_us_per_call": cpu,
               "ok": fits and exact and cpu <= TARGET_CPU_US}
    print(f"answered {result['answered']}, counted by the workers {result['requests_counted']}, usage rows {result['rows_written']}, "
          f"calls in the rollup {result['calls_in_rollup']}: {'exact' if exact else 'NOT EQUAL'}")
    least = ", ".join(f"{min(ratios(r).values()):.2f} at {r['connections']}" for r in result["runs"])
    targets = ", ".join(f"{ratio:.2f} from {n} on" for n, ratio in TARGET_RATIOS.items())
    print(f"least ratios {least} connections (targets {targets}); web server and workers {cpu:.0f} us a call with one key "
          f"(target {TARGET_CPU_US}): {'ok' if result['ok'] else 'FAILED'}")
    return result
