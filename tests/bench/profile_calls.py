"""profile_calls.py - `bench profile`: instructions a metered request takes, by thread and function, held to budget.json.

One worker runs under callgrind and answers one connection. Instructions do not depend on the machine's other work, so the
budget is narrow: a thread that needs 5 % more fails, and so does one that needs 5 % less, until the table says so.
"""
import collections
import glob
import json
import os
import re
import subprocess

from bench_site import HERE, Site

WITHIN = 0.05
THREADS = {"front": "front_main", "loop": "loop_main", "writer": "writer_main", "ledger": "ledger_run"}


class ProfiledSite(Site):
    """The build folder that quickstart gets starts the worker under callgrind."""

    def start(self):
        real, wrapped = self.build, f"{self.dir}/build"
        os.makedirs(wrapped)
        os.symlink(f"{real}/tollgatectl", f"{wrapped}/tollgatectl")
        with open(f"{wrapped}/tollgate.fcgi", "w", encoding="utf-8", opener=lambda p, flags: os.open(p, flags, 0o755)) as f:
            f.write("#!/bin/sh\nexec valgrind -q --tool=callgrind --separate-threads=yes --callgrind-out-file="
                    f"'{self.dir}/profile.%p' '{real}/tollgate.fcgi' \"$@\"\n")
        self.env["TOLLGATE_BUILD"] = wrapped
        super().start()

    def control(self, option):
        subprocess.run(["callgrind_control", option, str(self.worker_pids()[0])], check=True, capture_output=True)


def read_profile(path):
    """Instructions of each function itself; what it called stands in a line behind calls= and is left out."""
    names, cost, function, skip = {}, collections.Counter(), None, False
    for line in open(path, encoding="utf-8", errors="replace"):
        if line.startswith("fn="):
            number, name = re.match(r"fn=(\(\d+\))(?: (.*))?", line).groups()
            function = names.setdefault(number, name)
        elif line.startswith("cfn="):
            number, name = re.match(r"cfn=(\(\d+\))(?: (.*))?", line).groups()
            names.setdefault(number, name)
        elif line.startswith("calls="):
            skip = True
        elif re.match(r"[0-9+*-]", line):
            if not skip and function:
                cost[function] += int(line.split()[1])
            skip = False
    return cost


def by_thread(folder):
    threads = {name: collections.Counter() for name in THREADS}
    for path in glob.glob(f"{folder}/profile.*-[0-9]*"):
        cost = read_profile(path)
        for name, main in THREADS.items():
            if any(f.split("'")[0] == main for f in cost):
                threads[name] += cost
    return threads


def measure(args):
    with ProfiledSite(args) as site:
        site.channel("bench", "bench-model", site.provider)
        keys = [site.vars["TOLLGATE_API_KEY"]]
        site.load(site.port, 1, args.seconds, keys)
        site.control("-z")
        answers = site.load(site.port, 1, args.seconds * 2, keys)["answers"]
        site.control("-d")
        return answers, by_thread(site.dir)


def run(args):
    args.workers = 1
    answers, threads = measure(args)
    with open(f"{HERE}/budget.json", encoding="utf-8") as f:
        budget = json.load(f)
    result = {"section": "profile", "title": "Instructions a metered request takes, by thread", "answers": answers, "threads": {},
              "bars": [], "ok": answers > 100}
    for name, cost in threads.items():
        each = sum(cost.values()) / answers
        top = {f: round(n / answers) for f, n in cost.most_common(12)}
        result["threads"][name] = {"instructions": round(each), "budget": budget.get(name), "functions": top}
        result["bars"].append((f"gateway {name}", each, f"{each:,.0f}"))
        verdict = ""
        if name in budget:
            fits = abs(each / budget[name] - 1) <= WITHIN
            result["ok"] &= fits
            verdict = f"  budget {budget[name]}: {'ok' if fits else 'FAILED, tests/bench/budget.json says otherwise'}"
        print(f"{name:8}{each:10.0f} instructions a request{verdict}")
        for f, n in top.items():
            print(f"    {n:8} {f}")
    return result
