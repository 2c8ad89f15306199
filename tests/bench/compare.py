"""compare.py - `bench relay --full`: what each way to a provider adds to a direct call, measured in turns."""
import os
import subprocess

from bench_site import ANSWER, HERE, Site, body_of, free_port, load_average, median

PORTKEY = os.path.join(HERE, "node_modules", "@portkey-ai", "gateway", "build", "start-server.js")
PATH = "/v1/chat/completions"
# connections, bytes of the request's body, bytes of the answer
CELLS = [(1, 200, 700), (16, 200, 700), (64, 200, 700), (256, 200, 700), (16, 10_000, 700), (16, 1_000_000, 700),
         (16, 200, 10_000), (16, 200, 1_000_000)]
ONE_AT_A_TIME = 4  # times as many rounds: microseconds decide
TARGET_RATIO, TARGET_ADDED, TARGET_LARGE, TARGET_PORTKEY = 0.80, 1.5, 2.0, 10


def hello(site):
    """A FastCGI program that does nothing, behind a lighttpd of its own."""
    port, where = free_port(), f"{site.dir}/hello"
    os.makedirs(where)
    subprocess.run(["cc", "-std=gnu17", "-O2", "-o", f"{where}/hello", f"{HERE}/hello.c", "-lfcgi"], check=True)
    with open(f"{where}/conf", "w", encoding="utf-8") as f:
        f.write('server.modules = ("mod_fastcgi")\n' f'server.document-root = "{where}"\nserver.bind = "127.0.0.1"\n'
                f'server.port = {port}\nserver.max-keep-alive-requests = 65535\nserver.errorlog = "{where}/log"\n'
                f'fastcgi.server = ("" => (("bin-path" => "{where}/hello", "socket" => "{where}/socket", "check-local" => "disable",'
                ' "max-procs" => 2, "bin-copy-environment" => ("BENCH_ANSWER"))))\n')
    site.run(["lighttpd", "-D", "-f", f"{where}/conf"], port, dict(os.environ, BENCH_ANSWER=ANSWER))
    return port


def static(site):
    """The answer as a file, behind a lighttpd of its own."""
    port, where = free_port(), f"{site.dir}/static"
    os.makedirs(f"{where}/v1/chat")
    with open(f"{where}{PATH}", "w", encoding="utf-8") as f:
        f.write(ANSWER)
    with open(f"{where}.conf", "w", encoding="utf-8") as f:
        f.write(f'server.document-root = "{where}"\nserver.bind = "127.0.0.1"\nserver.port = {port}\nserver.errorlog = "{where}.log"\n'
                'server.max-keep-alive-requests = 65535\nmimetype.assign = ("" => "application/json")\n')
    site.run(["lighttpd", "-D", "-f", f"{where}.conf"], port)
    return port


def nginx_proxy(site):
    port, where = free_port(), f"{site.dir}/nginx-proxy"
    os.makedirs(where)
    with open(f"{where}/conf", "w", encoding="utf-8") as f:
        f.write(f"worker_processes 1; daemon off; pid {where}/pid; error_log {where}/log;\nevents {{ worker_connections 8192; }}\n"
                "http { access_log off; keepalive_requests 10000000; client_body_buffer_size 2m; client_max_body_size 100m;\n"
                + "".join(f"{d}_temp_path {where}/{d};\n" for d in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
                + f"upstream provider {{ server 127.0.0.1:{site.provider}; keepalive 256; keepalive_requests 10000000; }}\n"
                f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://provider; proxy_buffering off;\n"
                ' proxy_http_version 1.1; proxy_set_header Connection ""; } } }\n')
    site.run(["nginx", "-c", f"{where}/conf"], port)
    return port


def portkey(site):
    if not os.path.exists(PORTKEY):
        print("Portkey is not installed (npm ci in tests/bench): left out")
        return None
    port = free_port()
    site.run(["node", PORTKEY, "--headless", f"--port={port}"], port,
             dict(os.environ, NODE_ENV="production", TRUSTED_CUSTOM_HOSTS="127.0.0.1"))
    return port


def ways_to(site, ports, prefix, answer):
    """name: port, path, keys, headers"""
    key = [site.vars["TOLLGATE_API_KEY"]]
    ways = {name: (ports[name], prefix + PATH, ["none"], "") for name in ("direct", "mod_proxy", "nginx")}
    if not prefix:
        ways["static file"] = (ports["static"], PATH, ["none"], "")
        ways["FastCGI hello"] = (ports["hello"], PATH, ["none"], "")
    ways["gateway"] = (site.port, PATH, key, "")
    if ports["portkey"] and answer < 1_000_000:
        host = f"http://127.0.0.1:{site.provider}{prefix}/v1"
        ways["Portkey"] = (ports["portkey"], PATH, ["none"],
                           f"x-portkey-provider: openai\r\nx-portkey-custom-host: {host}\r\n")
    return ways


def measure(site, args, ports, cell):
    connections, size, answer = cell
    prefix = "" if answer == 700 else f"/{answer}"
    body = body_of(size, f"bench-{answer}")
    ways = ways_to(site, ports, prefix, answer)
    rows = {name: [] for name in ways}
    rounds = args.rounds * (ONE_AT_A_TIME if connections == 1 else 1)
    for turn in range(rounds + 1):  # the first warms up
        for name, (port, path, keys, headers) in ways.items():
            sent = "" if name == "static file" else body  # a body that nobody reads ends the connection
            row = site.load(port, connections, args.seconds if turn else 0.3, keys, sent, path, headers)
            if turn:
                rows[name].append(row)
    return rows


def summary(rows):
    """Medians; latency is what the way adds to a direct call of the same round's conditions."""
    direct, base = rows["direct"], median(rows["mod_proxy"], "rps")
    return {name: {"rps": median(r, "rps"), "to_mod_proxy": median(r, "rps") / base,
                   **{f"added_{p}_ms": median(r, f"{p}_ms") - median(direct, f"{p}_ms") for p in ("p50", "p90", "p99")}}
            for name, r in rows.items()}


def at_once(n):
    return f"{n} connection{'' if n == 1 else 's'}"


def show_ways(title, figures):
    print(title)
    print(f"  {'':14}{'requests/s':>12}{'to mod_proxy':>14}{'added p50':>12}{'p90':>9}{'p99 ms':>9}")
    for name, f in figures.items():
        print(f"  {name:14}{f['rps']:12.0f}{f['to_mod_proxy']:14.2f}{f['added_p50_ms']:12.2f}{f['added_p90_ms']:9.2f}{f['added_p99_ms']:9.2f}",
              flush=True)


def target(what, is_, least=None, most=None):
    ok = is_ >= least if least is not None else is_ <= most
    return {"what": what, "is": is_, "target": f"at least {least}" if least is not None else f"at most {most}", "ok": ok}


def judge(cells):
    one, many, large = cells[(1, 200, 700)], cells[(64, 200, 700)], cells[(16, 1_000_000, 700)]
    fair = one["FastCGI hello"]["added_p50_ms"] - one["static file"]["added_p50_ms"] + one["mod_proxy"]["added_p50_ms"]
    out = [
        target("64 connections, requests/s to mod_proxy's", many["gateway"]["to_mod_proxy"], least=TARGET_RATIO),
        target("1 connection, added p50 to what FastCGI hello adds to a file and mod_proxy to direct",
               one["gateway"]["added_p50_ms"] / fair, most=TARGET_ADDED),
        target("body of 1 MB, added p50 to mod_proxy's", large["gateway"]["added_p50_ms"] / large["mod_proxy"]["added_p50_ms"], most=TARGET_LARGE),
    ]
    if "Portkey" in many:
        out.append(target("64 connections, requests/s to Portkey's", many["gateway"]["rps"] / many["Portkey"]["rps"], least=TARGET_PORTKEY))
    return out


def run(args):
    result = {"section": "relay", "title": "Requests/s by way to the provider (ratio to lighttpd mod_proxy)", "bars": [], "cells": []}
    with Site(args) as site:
        for answer in (700, 10_000, 1_000_000):
            site.channel(f"bench-{answer}", f"bench-{answer}", site.provider, "" if answer == 700 else f"/{answer}")
        ports = {"direct": site.provider, "mod_proxy": site.proxy, "nginx": nginx_proxy(site), "hello": hello(site),
                 "static": static(site), "portkey": portkey(site)}
        for cell in CELLS:
            figures = summary(measure(site, args, ports, cell))
            show_ways(f"{at_once(cell[0])}, body {cell[1]} B, answer {cell[2]} B", figures)
            result["cells"].append({"connections": cell[0], "body": cell[1], "answer": cell[2], "load": load_average(), "ways": figures})
            if cell[1:] == (200, 700):
                result["bars"].append((at_once(cell[0]), None, ""))
                result["bars"] += [(name, f["rps"], f"{f['rps']:.0f}  ({f['to_mod_proxy']:.2f})") for name, f in figures.items()
                                   if name not in ("direct", "static file")]
    result["targets"] = judge({(c["connections"], c["body"], c["answer"]): c["ways"] for c in result["cells"]})
    result["ok"] = all(t["ok"] for t in result["targets"])
    for t in result["targets"]:
        print(f"{t['what']}: {t['is']:.2f} (target {t['target']}): {'ok' if t['ok'] else 'FAILED'}")
    return result
