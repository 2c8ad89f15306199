"""report.py - how a section's figures are kept: a JSON file and an SVG picture, with the conditions beside them."""
import datetime
import html
import json
import os
import platform
import re
import subprocess


def first_line(*argv):
    try:
        p = subprocess.run(argv, text=True, capture_output=True, check=False)
    except FileNotFoundError:
        return ""
    return ((p.stdout or p.stderr).strip().splitlines() or [""])[0]


def version(*argv):
    found = re.search(r"\d+(?:\.\d+)+", first_line(*argv))
    return found.group() if found else ""


def conditions(args):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = re.search(r"^model name\s*:\s*(.+)$", f.read(), re.M)
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {
            "lighttpd": version("lighttpd", "-v"),
            "nginx": version("nginx", "-v"),
            "mariadb": version("mariadbd", "--version"),
            "node": version("node", "--version"),
        },
        "seconds": args.seconds,
        "rounds": args.rounds,
        "workers": args.workers,
    }


def sentence(c):
    v = ", ".join(f"{name} {number}" for name, number in c["versions"].items() if number)
    load = f"load average {c['load_before']} before, {c['load_after']} after"
    return [f"{c['date']}: {c['cpu']}, {c['cores']} cores; {load}", f"{c['rounds']} rounds of {c['seconds']} s; {v}"]


STYLE = """<style>
text { font: 13px sans-serif; fill: #222 } .small { font-size: 11px; fill: #666 } .title { font-size: 15px; font-weight: bold }
rect.bar { fill: #8aa4c0 } rect.own { fill: #2f7d4f }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .small { fill: #999 } rect.bar { fill: #5d7896 } rect.own { fill: #4fae78 } }
</style>"""


def svg(title, bars, notes):
    """bars: (name, value, what stands behind it); the gateway's own is marked. A None is a gap with a heading."""
    lines, y = [], 56
    most = max((b[1] for b in bars if b[1] is not None), default=0) or 1
    for name, value, text in bars:
        if value is None:
            lines.append(f'<text x="12" y="{y + 18}" class="small">{html.escape(name)}</text>')
        else:
            own = "own" if name.startswith("gateway") else "bar"
            lines.append(f'<text x="12" y="{y + 15}">{html.escape(name)}</text>'
                         f'<rect class="{own}" x="190" y="{y + 2}" width="{max(1, 340 * value / most):.0f}" height="16"/>'
                         f'<text x="{198 + 340 * value / most:.0f}" y="{y + 15}">{html.escape(text)}</text>')
        y += 24
    for note in notes:
        lines.append(f'<text x="12" y="{y + 18}" class="small">{html.escape(note)}</text>')
        y += 16
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {y + 16}" width="760" height="{y + 16}" role="img">'
            f"<title>{html.escape(title)}</title>\n{STYLE}\n"
            f'<text x="12" y="30" class="title">{html.escape(title)}</text>\n' + "\n".join(lines) + "\n</svg>\n")


def publish(folder, result, before):
    """result: section, ok, title, bars and whatever figures the section has."""
    os.makedirs(folder, exist_ok=True)
    where = dict(before, load_after=round(os.getloadavg()[0], 2))
    name = os.path.join(folder, result["section"])
    kept = {k: v for k, v in result.items() if k not in ("bars", "title")}
    with open(f"{name}.json", "w", encoding="utf-8") as f:
        json.dump({"conditions": where, **kept}, f, indent=1)
        f.write("\n")
    if result.get("bars"):
        with open(f"{name}.svg", "w", encoding="utf-8") as f:
            f.write(svg(result["title"], result["bars"], sentence(where)))
