"""relay.py - `bench relay`: the gateway beside lighttpd's mod_proxy, and what an idle stream costs."""
import json
import os
import subprocess
import time

from bench_site import HERE, Site, free_port, median, wrk

TARGET_RATIO = 0.60
TARGET_KIB = 40


def measure(site, args):
    path = "/v1/chat/completions"
    ways = {
        "mod_proxy": (f"http://127.0.0.1:{site.proxy}{path}", "none"),
        "gateway": (f"{site.url}{path}", site.vars["TOLLGATE_API_KEY"]),
    }
    rows = {name: [] for name in ways}
    for url, key in ways.values():  # connections and caches warm
        wrk(url, key, args.connections, 1)
    before = int(site.sql("SELECT COUNT(*) FROM usage_rows"))
    for _ in range(args.rounds):
        for name, (url, key) in ways.items():
            rows[name].append(wrk(url, key, args.connections, args.seconds))
    return rows, before


def rows_written(site, before, answered):
    """wrk cuts its last requests off, so the rows may exceed what it counted by the connections."""
    for _ in range(100):
        n = int(site.sql("SELECT COUNT(*) FROM usage_rows")) - before
        if n >= answered:
            break
        time.sleep(0.1)
    return n


def idle_streams(site, args):
    port = free_port()
    provider = subprocess.Popen(["node", os.path.join(HERE, "idle_provider.mjs"), str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert provider.stdout.readline().strip() == "ready"
        site.channel("idle", "idle-model", port)
        client = subprocess.run(["node", os.path.join(HERE, "idle_client.mjs"), site.url, str(args.streams)], text=True,
                                input=site.vars["TOLLGATE_API_KEY"] + "\n", stdout=subprocess.PIPE, check=True,
                                env=dict(os.environ, BENCH_PIDS=" ".join(map(str, site.worker_pids()))))
        return json.loads(client.stdout)
    finally:
        provider.terminate()
        provider.wait()


def run(args):
    with Site(args) as site:
        site.channel("bench", "bench-model", site.provider)
        rows, before = measure(site, args)
        answered = sum(r["answers"] for r in rows["gateway"])
        written = rows_written(site, before, answered)
        idle = idle_streams(site, args)
    ratio = median(rows["gateway"], "rps") / median(rows["mod_proxy"], "rps")
    result = {
        "section": "relay", "connections": args.connections, "workers": args.workers, "rounds": rows, "ratio": ratio,
        "answered": answered, "rows_written": written, "idle_streams": args.streams, "kib_per_idle_stream": idle["kib_per_stream"],
        "ok": ratio >= TARGET_RATIO and idle["kib_per_stream"] <= TARGET_KIB and written >= answered,
    }
    print(f"{args.connections} connections, {args.workers} workers, {args.rounds} rounds of {args.seconds} s, medians")
    print(f"{'':12}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'ratio':>8}")
    for name, r in rows.items():
        share = median(r, "rps") / median(rows["mod_proxy"], "rps")
        print(f"{name:12}{median(r, 'rps'):12.0f}{median(r, 'p50_ms'):10.2f}{median(r, 'p99_ms'):10.2f}{share:8.2f}")
    print(f"usage rows: {written} for {answered} answers counted by the client")
    print(f"{args.streams} idle streams: {idle['kib_per_stream']:.1f} KiB of worker memory each (target {TARGET_KIB})")
    print(f"ratio to mod_proxy: {ratio:.2f} (target {TARGET_RATIO}): {'ok' if result['ok'] else 'FAILED'}")
    return result
