"""streams.py - `bench streams`: many event streams at once; how late each event comes, what a stream costs."""
import json
import os
import re
import statistics
import subprocess
import time

from bench_site import HERE, OWN_SHARE, Site, free_port, load_average
from compare import PATH, PORTKEY, portkey

CELLS = [(100, 20), (1000, 20), (2000, 20), (1000, 100), (5000, 20)]  # streams, events/s of each
PORTKEY_MAX = 20_000  # events/s
FIRST_STREAMS = 200
SETTLE_S = 1  # the streams of the turn before are being given up
TARGET_LATE_MS, TARGET_KIB, TARGET_HELD, TARGET_FIRST_MS = 10, 30, 0.98, 1
PORTKEY_INSTALLED = os.path.exists(PORTKEY)
TICK = os.sysconf("SC_CLK_TCK")


def usage(pids):
    """CPU seconds and KiB of their own memory."""
    cpu = kib = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        cpu += (int(fields[11]) + int(fields[12])) / TICK
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
            kib += int(re.search(r"^Pss_Anon:\s+(\d+)", f.read(), re.M).group(1))
    return cpu, kib


def start_client(program, site, what, way, model, n, seconds):
    port, key, headers, _ = way
    for name, text in (("stream-key", key), ("stream-body", f'{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"go"}}]}}')):
        with open(f"{site.dir}/{name}", "w", encoding="utf-8", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
            f.write(text + "\n")
    return subprocess.Popen([program, what, str(port), PATH, str(n), str(seconds), f"{site.dir}/stream-body", f"{site.dir}/stream-key", headers],
                            stdout=subprocess.PIPE, text=True, **OWN_SHARE)


def first_events(program, site, args, ends, model):
    """What each way adds to the time from a request to its first event, one stream at a time."""
    def once(way):
        return json.loads(start_client(program, site, "first", way, model, FIRST_STREAMS, 0).communicate()[0])

    times = {name: [] for name in ends.ways}
    for _ in range(args.rounds):
        for name, way in ends.ways.items():
            times[name].append(once(way))
    other = ends.portkey_turn(site, once)
    if other:
        times["Portkey"] = [other]
    p50 = {name: statistics.median(r["p50_ms"] for r in rows) for name, rows in times.items()}
    added = {name: ms - p50["direct"] for name, ms in p50.items()}
    print("first event of a stream, one at a time")
    for name in times:
        print(f"  {name:12}p50 {p50[name]:.2f} ms, added {added[name]:.2f} ms", flush=True)
    return {"p50_ms": p50, "added_p50_ms": added, "ok": added["gateway"] <= TARGET_FIRST_MS}


def measure(program, site, args, way, model, n):
    """One turn; memory is what the streams added, CPU what a second of them takes."""
    groups = way[3]
    time.sleep(SETTLE_S)
    before = {g: usage(p) for g, p in groups.items()}
    client = start_client(program, site, "client", way, model, n, args.seconds)
    if client.stdout.readline() != "begun\n":
        client.wait()
        return None
    begun = {g: usage(p) for g, p in groups.items()}
    line = client.stdout.readline()
    after = {g: usage(p) for g, p in groups.items()}
    client.wait()
    if not line:
        return None
    row = json.loads(line)
    for g in groups:
        row[g] = {"cpu_us_per_event": (after[g][0] - begun[g][0]) / args.seconds / row["events_per_s"] * 1e6,
                  "kib_per_stream": (begun[g][1] - before[g][1]) / n}
    return row


def show(name, row, direct):
    if row is None or direct is None:
        print(f"  {name:12}  streams broke or did not all begin", flush=True)
        return
    costs = "; ".join(f"{g} {row[g]['cpu_us_per_event']:.1f} us an event, {row[g]['kib_per_stream']:.1f} KiB a stream"
                      for g in ("worker", "web server") if g in row)
    print(f"  {name:12}{row['events_per_s']:10.0f}/s  added p50 {row['p50_ms'] - direct['p50_ms']:.2f}  p99 {row['p99_ms'] - direct['p99_ms']:.2f}"
          f"  max {row['max_ms']:.1f} ms  {costs}", flush=True)


def middle(rows):
    """Of each figure the median over the rounds, of memory the most: later rounds use it again. None when a round broke."""
    if not rows or None in rows:
        return None

    def one(name, values):
        if isinstance(values[0], dict):
            return middle(values)
        return max(values) if name == "kib_per_stream" else statistics.median(values)

    return {k: one(k, [r[k] for r in rows]) for k in rows[0]}


def start_hop(site, program, provider, name):
    """As many as the gateway has workers, behind a lighttpd of their own."""
    port, where = free_port(), f"{site.dir}/{name}"
    os.makedirs(where)
    sockets = [f"{where}/{i}" for i in range(site.workers)]
    pids = []
    for socket in sockets:
        site.start_process([program, socket, str(provider)])
        pids.append(site.processes[-1].pid)
    hosts = ", ".join(f'("socket" => "{s}", "check-local" => "disable", "disable-time" => 0)' for s in sockets)
    with open(f"{where}/conf", "w", encoding="utf-8") as f:
        f.write(f'server.modules = ("mod_fastcgi")\nserver.document-root = "{where}"\nserver.bind = "127.0.0.1"\nserver.port = {port}\n'
                f'server.max-fds = 16384\nserver.max-connections = 8000\nserver.listen-backlog = 4096\nserver.errorlog = "{where}/log"\n'
                f'server.stream-response-body = 1\nfastcgi.server = ("/v1/" => ({hosts}))\n')
    site.run(["lighttpd", "-D", "-f", f"{where}/conf"], port)
    return port, "none", "", {"worker": pids, "web server": [site.processes[-1].pid]}


class Ends:
    """A provider of so many events a second a stream, and the ways to it."""

    def __init__(self, site, program, hop, rate):
        self.rate, provider = rate, free_port()
        site.run([program, "provider", str(provider), str(rate)], provider)
        site.channel(f"streams-{rate}", f"stream-{rate}", provider)
        proxy = site.mod_proxy(provider, f"stream-proxy-{rate}")
        proxy_pid = site.processes[-1].pid
        with open(f"{site.dir}/site/run/lighttpd.pid", encoding="utf-8") as f:
            web = [int(f.read())]
        self.ways = {
            "direct": (provider, "none", "", {}),
            "mod_proxy": (proxy, "none", "", {"web server": [proxy_pid]}),
            "FastCGI hop": start_hop(site, hop, provider, f"stream-hop-{rate}"),
            "gateway": (site.port, site.vars["TOLLGATE_API_KEY"], "", {"worker": site.worker_pids(), "web server": web}),
        }
        self.provider = provider

    def portkey_turn(self, site, measure_it):
        """A Portkey of its own for each turn: it goes on reading streams whose client has left. None when it is not installed."""
        port = portkey(site)
        if not port:
            return None
        p = site.processes.pop()
        try:
            return measure_it((port, "none", f"x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:{self.provider}/v1\r\n",
                               {"worker": [p.pid]}))
        finally:
            p.terminate()
            p.wait()


def holds(rows):
    own, base = rows["gateway"], rows["mod_proxy"]
    if not own or own["worker"]["kib_per_stream"] > TARGET_KIB:
        return False
    if not base:
        return True
    return own["p99_ms"] <= base["p99_ms"] + TARGET_LATE_MS and own["events_per_s"] >= TARGET_HELD * base["events_per_s"]


def run(args):
    result = {"section": "streams", "title": "Delay of an event, p99 in ms", "bars": [], "machine_load": load_average(), "runs": [], "ok": True}
    with Site(args) as site:
        program, hop, ends = f"{site.dir}/streams", f"{site.dir}/hop", {}
        for binary in (program, hop):
            subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", binary, f"{HERE}/{os.path.basename(binary)}.c", "-luring"], check=True)
        e = ends[20] = Ends(site, program, hop, 20)
        result["first_event"] = first_events(program, site, args, e, "stream-20")
        result["ok"] &= result["first_event"]["ok"]
        for n, rate in [c for c in CELLS if c[0] in args.stream_counts]:
            e = ends[rate] = ends.get(rate) or Ends(site, program, hop, rate)
            rounds = {name: [] for name in e.ways}
            for _ in range(args.rounds):
                for name, way in e.ways.items():
                    if None in rounds[name]:
                        continue
                    rounds[name].append(measure(program, site, args, way, f"stream-{rate}", n))
            if n * rate <= PORTKEY_MAX and PORTKEY_INSTALLED:
                rounds["Portkey"] = [e.portkey_turn(site, lambda way: measure(program, site, args, way, f"stream-{rate}", n))]
            rows = {name: middle(r) for name, r in rounds.items()}
            print(f"{n} streams of {rate} events/s")
            result["bars"].append((f"{n} streams of {rate} events/s", None, ""))
            for name, row in rows.items():
                show(name, row, rows["direct"])
                if row:
                    result["bars"].append((name, row["p99_ms"], f"{row['p99_ms']:.1f} ms, {row['events_per_s']:.0f}/s"))
            ok = holds(rows)
            result["runs"].append({"streams": n, "events_per_s": rate, "load": load_average(), "ways": rows, "ok": ok})
            result["ok"] &= ok
    print(f"first event within {TARGET_FIRST_MS} ms, p99 within mod_proxy's + {TARGET_LATE_MS} ms, as many events, {TARGET_KIB} KiB a stream: {'ok' if result['ok'] else 'FAILED'}")
    return result
