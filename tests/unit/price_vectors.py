#!/usr/bin/env python3
"""Random prices and usages with their costs by exact fractions: the model price.c is held to."""
import random
import sys
from fractions import Fraction
from math import floor

ONE = 10**9
CAP = 10**15
RATIOS = "model completion cache_read cache_write cache_write_1h image audio audio_completion".split()
COUNTS = "prompt completion cached cache_write_5m cache_write_1h image_in audio_in audio_out tool_searches images".split()


def cost(per_call, call_quota, r, search_quota, group, u):
    f = {k: Fraction(max(v, 0), ONE) for k, v in r.items()}
    c = {k: max(v, 0) for k, v in u.items()}
    base = max(c["prompt"] - c["cached"] - c["cache_write_5m"] - c["cache_write_1h"] - c["image_in"] - c["audio_in"], 0)
    text_out = max(c["completion"] - c["audio_out"], 0)
    tokens = (base + c["cached"] * f["cache_read"] + c["cache_write_5m"] * f["cache_write"]
              + c["cache_write_1h"] * f["cache_write_1h"] + c["image_in"] * f["image"] + c["audio_in"] * f["audio"]
              + text_out * f["completion"] + c["audio_out"] * f["audio"] * f["audio_completion"]) * f["model"]
    exact = Fraction(max(call_quota, 0)) * max(c["images"], 1) if per_call else tokens
    exact = (exact + c["tool_searches"] * max(search_quota, 0)) * Fraction(max(group, 0), ONE)
    if exact == 0:
        return 0
    return min(max(floor(exact + Fraction(1, 2)), 1), CAP)


def some_ratio(rnd):
    kind = rnd.randrange(10)
    if kind == 0:
        return 0
    if kind == 1:
        return rnd.randrange(2**63)
    if kind == 2:
        return -rnd.randrange(1, 5) * ONE
    if kind < 6:
        return rnd.choice([ONE, ONE // 2, ONE // 10, ONE * 5 // 4, ONE * 2, ONE * 4, ONE * 8, 37 * ONE + ONE // 2])
    return rnd.randrange(1, 100 * ONE)


def some_count(rnd):
    kind = rnd.randrange(12)
    if kind < 4:
        return 0
    if kind == 4:
        return rnd.randrange(2**63)
    if kind == 5:
        return -rnd.randrange(1, 1000)
    return rnd.randrange(1, 200000)


def main():
    seed, n = int(sys.argv[1]), int(sys.argv[2])
    rnd = random.Random(seed)
    for _ in range(n):
        per_call = rnd.randrange(6) == 0
        call_quota = rnd.choice([0, 1, 250, 20000, rnd.randrange(2**63), -5])
        search = rnd.choice([0, 5000, 12500, rnd.randrange(2**63)])
        r = {k: some_ratio(rnd) for k in RATIOS}
        u = {k: some_count(rnd) for k in COUNTS}
        group = some_ratio(rnd)
        fields = [int(per_call), call_quota, search, group] + [r[k] for k in RATIOS] + [u[k] for k in COUNTS]
        print(*fields, cost(per_call, call_quota, r, search, group, u))


main()
