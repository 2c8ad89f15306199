"""relay.py - `bench relay`: the gateway beside lighttpd's mod_proxy, and what an idle stream costs."""
import json
import os
import subprocess

import compare
from bench_site import HERE, Site, free_port, load_average, show

TARGET_RATIO = 0.60
TARGET_KIB = 40


def measure(site, args):
    ways = {"mod_proxy": site.proxy, "gateway": site.port}
    rows = {name: [] for name in ways}
    keys = [site.vars["TOLLGATE_API_KEY"]]
    for port in ways.values():  # connections and caches warm
        site.load(port, args.connections, 1, keys)
    for _ in range(args.rounds):
        for name, port in ways.items():
            rows[name].append(site.load(port, args.connections, args.seconds, keys))
    return rows


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
    return compare.run(args) if args.full else quick(args)


def quick(args):
    result = {"section": "relay", "connections": args.connections, "workers": args.workers, "seconds": args.seconds,
              "machine_load": load_average(), "idle_streams": args.streams}
    with Site(args) as site:
        site.channel("bench", "bench-model", site.provider)
        rows = measure(site, args)
        idle = idle_streams(site, args)
    print(f"{args.connections} connections, {args.workers} workers, {args.rounds} rounds of {args.seconds} s, medians; "
          f"load average before {result['machine_load']}")
    ratio = show(rows, "mod_proxy")[0]
    result |= {"rounds": rows, "ratio": ratio, "kib_per_idle_stream": idle["kib_per_stream"],
               "ok": ratio >= TARGET_RATIO and idle["kib_per_stream"] <= TARGET_KIB}
    print(f"{args.streams} idle streams: {idle['kib_per_stream']:.1f} KiB of worker memory each (target {TARGET_KIB})")
    print(f"ratio to mod_proxy: {ratio:.2f} (target {TARGET_RATIO}): {'ok' if result['ok'] else 'FAILED'}")
    return result
