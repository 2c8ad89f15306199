"""memory.py - `bench memory`: what the workers hold after 1, a tenth of and all --requests."""
import re

from bench_site import Site, load_average

TARGET_GROWTH_KIB = 4096  # of all workers together, from the tenth to the end: arenas settle, nothing may climb


def anon_kib(site):
    total = 0
    for pid in site.worker_pids():
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
            total += int(re.search(r"^Pss_Anon:\s+(\d+)", f.read(), re.M).group(1))
    return total


def run(args):
    result = {"section": "memory", "title": "Memory of the workers by requests served (KiB)", "machine_load": load_average(), "points": []}
    done = 0
    with Site(args) as site:
        site.channel("bench", "bench-model", site.provider)
        site.channel("long", "bench-long", site.provider, "/10000")
        keys = [site.vars["TOLLGATE_API_KEY"]]
        turns = [("bench-model", "Say something."), ("bench-long", "Say something."), ("bench-model", "word " * 4000)]
        for want in (1, args.requests // 10, args.requests):
            turn = 0
            while done < want:
                model, text = turns[turn % len(turns)]
                body = '{"model":"%s","messages":[{"role":"user","content":"%s"}]}' % (model, text)
                done += site.load(site.port, 1 if want == 1 else 32, 0.001 if want == 1 else 3, keys, body)["answers"]
                turn += 1
            result["points"].append({"requests": done, "kib": anon_kib(site)})
            print(f"{done:>10} requests: {result['points'][-1]['kib']} KiB in {args.workers} workers", flush=True)
    growth = result["points"][2]["kib"] - result["points"][1]["kib"]
    result |= {"growth_kib": growth, "ok": growth <= TARGET_GROWTH_KIB,
               "bars": [(f"{p['requests']} requests", p["kib"], f"{p['kib']}") for p in result["points"]]}
    print(f"growth from a tenth to all: {growth} KiB (target {TARGET_GROWTH_KIB}): {'ok' if result['ok'] else 'FAILED'}")
    return result
