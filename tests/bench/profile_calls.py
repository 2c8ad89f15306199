"""profile_calls.py - `bench profile`: instructions a metered request takes, by part and function, held to budget.json.

One thread does all of a call; what it does in the loop's rounds, or starts in the loop's stead, is the loop's part, the rest the front's.
The ledger is a thread of its own. One worker runs under callgrind and answers a fixed number of calls on one connection, with the plainest variants of libc's
functions, so that neither the machine's other work nor its processor counts and the budget can be narrow: a thread that needs
5 % more fails, and so does one that needs 5 % less, until the table says so. Each thread's share by floor stands beside it.
"""
import collections
import glob
import json
import os
import re
import subprocess

from bench_site import HERE, Site

WITHIN = 0.05
WARM_UP, CALLS = "200x", "1000x"
# What any x86-64 has; valgrind shows the program the processor it runs on.
BASELINE = ",".join(f"-{f}" for f in ("AVX2", "AVX", "AVX_Fast_Unaligned_Load", "BMI1", "BMI2", "ERMS", "FSRM", "LZCNT", "MOVBE", "POPCNT", "RTM",
                                      "SSE4_1", "SSE4_2", "SSSE3", "Fast_Unaligned_Copy", "Prefer_No_VZEROUPPER"))
FLOORS = ("util", "door", "domain", "relay", "api", "app")
THREADS = {"front": "front_main", "ledger": "ledger_run"}
LOOP = ("loop_round", "loop_hand_over")  # called by the front's part only


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
        self.env["GLIBC_TUNABLES"] = f"glibc.cpu.hwcaps={BASELINE}:glibc.cpu.x86_rep_movsb_threshold=1000000"
        super().start()

    def control(self, option):
        subprocess.run(["callgrind_control", option, str(self.worker_pids()[0])], check=True, capture_output=True)


def floor_of(source, library):
    """The program's own floor, else the library's name."""
    of = re.search(r"/fcgi/(\w+)/", source or "")
    return of.group(1) if of and of.group(1) in FLOORS else re.sub(r"\.so.*", "", os.path.basename(library or "?"))


def read_profile(path):
    """Instructions of each function itself, and of each floor or library; what it called stands behind calls= and is left out,
    but for the loop's part, the third result.
    Names are told once and then referred to by number; those of callees (cfn, cfi, cob) share the callers' numbers."""
    names, at, calls, callee_name, loop = {}, {"ob": None, "fl": None, "fn": None}, False, None, 0
    functions, floors = collections.Counter(), collections.Counter()
    for line in open(path, encoding="utf-8", errors="replace"):
        told = re.match(r"(c?)(ob|fl|fi|fe|fn)=(\(\d+\))(?: (.*))?", line)
        if told:
            callee, kind, number, name = told.groups()
            kind = "fl" if kind in ("fi", "fe") else kind
            name = names.setdefault(kind + number, name)
            if not callee:
                at[kind] = name
            elif kind == "fn":
                callee_name = name
        elif line.startswith("calls="):
            calls = True
        elif re.match(r"[0-9+*-]", line):
            if calls and callee_name in LOOP:
                loop += int(line.split()[1])
            if not calls and at["fn"]:
                functions[at["fn"]] += int(line.split()[1])
                floors[floor_of(at["fl"], at["ob"])] += int(line.split()[1])
            calls = False
    return functions, floors, loop


class Thread:
    def __init__(self):
        self.functions, self.floors, self.loop = collections.Counter(), collections.Counter(), 0

    def instructions(self):
        return sum(self.functions.values())


def by_thread(folder):
    threads = {name: Thread() for name in THREADS}
    for path in glob.glob(f"{folder}/profile.*-[0-9]*"):
        functions, floors, loop = read_profile(path)
        for name, main in THREADS.items():
            if any(f.split("'")[0] == main for f in functions):
                threads[name].functions.update(functions)
                threads[name].floors.update(floors)
                threads[name].loop += loop
    return threads


def measure(args):
    with ProfiledSite(args) as site:
        site.channel("bench", "bench-model", site.provider)
        keys = [site.vars["TOLLGATE_API_KEY"]]
        site.load(site.port, 1, WARM_UP, keys)
        site.control("-z")
        answers = site.load(site.port, 1, CALLS, keys)["answers"]
        site.control("-d")
        return answers, by_thread(site.dir)


def published(args):
    """Instructions by thread as the last published run has them, and when that was."""
    try:
        with open(os.path.join(args.out, "profile.json"), encoding="utf-8") as f:
            last = json.load(f)
        return {"date": last["conditions"]["date"], "threads": {name: t["instructions"] for name, t in last["threads"].items()}}
    except FileNotFoundError:
        return None


def parts(threads, answers):
    """(name, instructions a request, the thread whose floors and functions stand below it)."""
    for name, thread in threads.items():
        yield name, (thread.instructions() - thread.loop) / answers, thread
        if thread.loop:
            yield "loop", thread.loop / answers, Thread()


def run(args):
    args.workers, before = 1, published(args)
    answers, threads = measure(args)
    with open(f"{HERE}/budget.json", encoding="utf-8") as f:
        budget = json.load(f)
    result = {"section": "profile", "title": "Instructions a metered request takes, by part", "answers": answers, "before": before, "threads": {},
              "bars": [], "ok": answers > 100}
    for name, each, thread in parts(threads, answers):
        top = {f: round(n / answers) for f, n in thread.functions.most_common(12)}
        shares = {f: round(n / answers) for f, n in thread.floors.most_common()}
        result["threads"][name] = {"instructions": round(each), "budget": budget.get(name), "floors": shares, "functions": top}
        if before and name in before["threads"]:
            result["bars"].append((f"before: {name}", before["threads"][name], f"{before['threads'][name]:,}"))
        result["bars"].append((f"gateway {name}", each, f"{each:,.0f}"))
        verdict = ""
        if name in budget:
            fits = abs(each / budget[name] - 1) <= WITHIN
            result["ok"] &= fits
            verdict = f"  budget {budget[name]}: {'ok' if fits else 'FAILED, tests/bench/budget.json says otherwise'}"
        print(f"{name:8}{each:10.0f} instructions a request{verdict}")
        if shares:
            print("    " + ", ".join(f"{f} {n}" for f, n in shares.items() if n > each / 100))
        for f, n in top.items():
            print(f"    {n:8} {f}")
    return result
