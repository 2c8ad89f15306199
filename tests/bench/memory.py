"""memory.py - `bench memory`: what each worker holds of its own while it answers --requests calls. After a warm-up nothing grows."""
import re
import time

from bench_site import LONG_ANSWERS, Site, load_average

WARM_UP = 100_000  # calls until every cache, arena and connection of each worker is what it stays
GROWTH_KIB, GROWTH = 256, 0.01  # the larger of both
TURN_S = 3


def anon_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return int(re.search(r"^RssAnon:\s+(\d+)", f.read(), re.M).group(1))


def bodies():
    """In turns: a short call, one with a long answer, one with a long prompt."""
    for model, text in (("bench-model", "Say something."), ("bench-long", "Say something."), ("bench-model", "word " * 4000)):
        yield '{"model":"%s","messages":[{"role":"user","content":"%s"}]}' % (model, text)


def sample(site, args):
    """[calls answered, KiB of each worker], taken between turns, when no call is under way and the ledger has written."""
    site.channel("bench", "bench-model", site.provider)
    site.channel("long", "bench-long", site.provider, f"/{LONG_ANSWERS[0]}")
    keys, turns = [site.vars["TOLLGATE_API_KEY"]], list(bodies())
    points, done = [(0, [anon_kib(p) for p in site.worker_pids()])], 0
    while done < args.requests:
        done += site.load(site.port, 64, TURN_S, keys, turns[len(points) % len(turns)])["answers"]
        time.sleep(0.2)
        points.append((done, [anon_kib(p) for p in site.worker_pids()]))
        print(f"{done:>10} calls: {' + '.join(map(str, points[-1][1]))} KiB", flush=True)
    return points


def verdict(points):
    """How far the workers' floor has risen: each one's least in the last third over its least in the first one after the warm-up.
    What is gone by the next look is a batch under way; what never goes raises the floor."""
    warm = [kib for calls, kib in points if calls >= WARM_UP]
    third = len(warm) // 3
    if not third:
        return None, False
    begin = sum(min(kib[i] for kib in warm[:third]) for i in range(len(warm[0])))
    growth = sum(min(kib[i] for kib in warm[-third:]) for i in range(len(warm[0]))) - begin
    return growth, growth <= max(GROWTH_KIB, GROWTH * begin)


def run(args):
    result = {"section": "memory", "title": "Memory of the workers by calls answered (KiB)", "machine_load": load_average()}
    with Site(args) as site:
        points = sample(site, args)
    growth, ok = verdict(points)
    shown = points[:: max(1, len(points) // 10)] + points[-1:]
    result |= {"points": [{"requests": n, "kib": sum(kib), "workers": kib} for n, kib in points], "growth_kib": growth, "ok": ok,
               "bars": [(f"{n} calls", sum(kib), f"{sum(kib)}") for n, kib in shown]}
    print(f"growth after {WARM_UP} calls: {growth} KiB (at most {GROWTH_KIB} or {GROWTH:.0%}): {'ok' if ok else 'FAILED'}")
    return result
