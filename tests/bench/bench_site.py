"""bench_site.py - what a measurement runs against: a private gateway, a provider stand-in, lighttpd as plain proxy."""
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
HERE = os.path.dirname(os.path.abspath(__file__))
ANSWER = (
    '{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench-model","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"' + "Lorem ipsum dolor sit amet, consectetur elit. " * 9 + '"},'
    '"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":90,"total_tokens":109}}'
)
BODY = '{"model":"bench-model","messages":[{"role":"user","content":"Say something about the weather in Reykjavik, please."}]}'
AS_ROOT = "user root;\n" if os.geteuid() == 0 else ""  # its files are in a private folder
# Every process is a session of its own, as the gateway's are: where the kernel shares the processor out by session
# (sched_autogroup), some would otherwise share one share.
OWN_SHARE = {"start_new_session": True}
LONG_ANSWERS = (10_000, 1_000_000)  # what the provider says under /10000/ and /1000000/


def answer_of(size):
    return ANSWER.replace("Lorem ipsum", "Lorem ipsum " * ((size - len(ANSWER)) // 12) + "Lorem ipsum", 1)


def body_of(size, model):
    body = BODY.replace("bench-model", model)
    return body.replace("Say", "Say " * (max(0, size - len(body)) // 4) + "Say", 1)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Site:
    """Everything lives in a folder of its own and is stopped by its own pid."""

    def __init__(self, args, conf=""):
        """conf: lines for the gateway's configuration."""
        self.dir = tempfile.mkdtemp(prefix="tollgate-bench.")
        self.processes = []
        self.env = dict(os.environ)
        self.env["TOLLGATE_CONF_LINES"] = conf
        if args.build:
            self.env["TOLLGATE_BUILD"] = os.path.abspath(args.build)
        self.build = self.env.get("TOLLGATE_BUILD", os.path.join(self.dir, "site", "build"))
        self.workers = args.workers

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for p in self.processes:
            if p.poll() is not None:
                name = os.path.basename(p.args[0])
                with open(f"{self.dir}/{name}.err", encoding="utf-8") as err:
                    print(f"{name} ended by itself with {p.returncode}: {err.read()[-300:]}", flush=True)
            p.send_signal(signal.SIGTERM)
        for p in self.processes:
            p.wait()
        subprocess.run([f"{TOP}/scripts/quickstart", "--dir", f"{self.dir}/site", "--stop"], stdout=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self):
        os.makedirs(f"{self.dir}/site", exist_ok=True)
        subprocess.run(
            [f"{TOP}/scripts/quickstart", "--dir", f"{self.dir}/site", "--port", str(free_port()), "--workers", str(self.workers)],
            check=True, env=self.env, stdout=subprocess.DEVNULL)
        self.vars = {}
        for line in open(f"{self.dir}/site/quickstart.env", encoding="utf-8"):
            name, value = line.rstrip("\n").split("=", 1)
            self.vars[name] = value
        self.url = self.vars["TOLLGATE_URL"]
        self.port = int(self.url.rsplit(":", 1)[1])
        self.client = f"{self.dir}/load"
        subprocess.run(["cc", "-std=gnu17", "-O2", "-o", self.client, f"{HERE}/load.c"], check=True)
        self.provider = self.nginx()
        self.proxy = self.mod_proxy(self.provider)

    def start_process(self, argv, env=None):
        with open(f"{self.dir}/{os.path.basename(argv[0])}.err", "a", encoding="utf-8") as err:
            self.processes.append(subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=err, **OWN_SHARE))

    def run(self, argv, port, env=None):
        self.start_process(argv, env)
        for _ in range(200):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{argv[0]} does not listen")

    def nginx(self):
        port, where = free_port(), f"{self.dir}/nginx"
        os.makedirs(where)
        with open(f"{where}/nginx.conf", "w", encoding="utf-8") as f:
            f.write(
                f"{AS_ROOT}worker_processes 1; daemon off; pid {where}/pid; error_log {where}/log;\n"
                "events { worker_connections 8192; }\n"
                "http { access_log off; keepalive_requests 10000000; client_body_buffer_size 2m; client_max_body_size 100m;\n"
                + "".join(f"{d}_temp_path {where}/{d};\n" for d in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
                + f"server {{ listen 127.0.0.1:{port} backlog=4096;\n"
                f" location / {{ default_type application/json; return 200 '{ANSWER}'; }}\n"
                + "".join(f" location /{n}/ {{ error_page 405 =200 /{n}.json; return 405; }}\n location = /{n}.json {{ root {where}; }}\n"
                          for n in LONG_ANSWERS)
                + " types { application/json json; } } }\n")
        for n in LONG_ANSWERS:  # files: a configuration's string is short
            with open(f"{where}/{n}.json", "w", encoding="utf-8") as f:
                f.write(answer_of(n))
        self.run(["nginx", "-c", f"{where}/nginx.conf"], port)
        return port

    def mod_proxy(self, provider, name="proxy"):
        port, where = free_port(), f"{self.dir}/{name}"
        os.makedirs(where)
        with open(f"{where}/conf", "w", encoding="utf-8") as f:
            f.write(
                'server.modules = ("mod_proxy")\n' f'server.document-root = "{where}"\nserver.bind = "127.0.0.1"\n'
                f"server.port = {port}\nserver.max-keep-alive-requests = 65535\nserver.max-fds = 16384\n"
                f'server.errorlog = "{where}/log"\nserver.stream-response-body = 1\n'
                f'proxy.server = ("" => (("host" => "127.0.0.1", "port" => {provider})))\n')
        self.run(["lighttpd", "-D", "-f", f"{where}/conf"], port)
        self.proxy_process = self.processes[-1]
        return port

    def ctl(self, *words, stdin=""):
        return subprocess.run([f"{self.build}/tollgatectl", "--config", f"{self.dir}/site/tollgate.conf", *words],
                              input=stdin, text=True, check=True, capture_output=True).stdout

    def channel(self, name, model, port, path="", scheme="http"):
        """A priced model that only the provider on this port serves."""
        self.ctl("channel", "add", "--name", name, "--type", "openai", "--base-url", f"{scheme}://127.0.0.1:{port}{path}", "--models",
                 model, "--groups", "default", "--private", "--key-stdin", stdin="sk-provider-stand-in\n")
        self.ctl("model", "add", model, "--input-usd-per-m", "0.15", "--output-usd-per-m", "0.60")
        time.sleep(1)  # every worker has read the catalogue by then

    def sql(self, text):
        return subprocess.run(["mariadb", "--no-defaults", "-N", "--socket", self.vars["TOLLGATE_DB_SOCKET"],
                               self.vars["TOLLGATE_DB_NAME"], "-e", text], text=True, check=True, capture_output=True).stdout.strip()

    def restart_database(self, options):
        """The same data under a server with these options; workers find it again by themselves."""
        where = os.path.dirname(self.vars["TOLLGATE_DB_SOCKET"])
        self.sql("SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0.001, GLOBAL innodb_max_dirty_pages_pct = 0.001")
        while int(self.sql("SHOW STATUS LIKE 'Innodb_buffer_pool_pages_dirty'").split()[1]) > 5000:
            time.sleep(0.2)  # a server that stops with little to write stops soon
        subprocess.run([f"{TOP}/scripts/devdb", "stop", where], check=True)
        subprocess.run([f"{TOP}/scripts/devdb", "start", where], check=True, env=dict(self.env, TOLLGATE_DEVDB_OPTIONS=options))

    def restart_workers(self):
        """With what self.env says by now."""
        subprocess.run([f"{TOP}/scripts/quickstart", "--dir", f"{self.dir}/site", "--port", str(self.port), "--workers", str(self.workers)],
                       check=True, env=self.env, stdout=subprocess.DEVNULL)

    def logged(self, event, seconds):
        """The workers' log records of an event, as soon as there is one."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with open(f"{self.dir}/site/log/tollgate.log", encoding="utf-8") as f:
                found = [x for x in map(json.loads, f) if x.get("event") == event]
            if found:
                return found
            time.sleep(0.1)
        raise RuntimeError(f"nothing logged: {event}")

    def count_rows(self):
        return int(self.sql("SELECT COUNT(*) FROM usage_rows"))

    def count_rollup(self):
        return int(self.sql("SELECT COALESCE(SUM(calls), 0) FROM usage_hourly"))

    def metric(self, name, labels=""):
        """The sum of a metric's series that have these labels."""
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(int(float(x.rsplit(" ", 1)[1])) for x in lines if x.startswith(f"tollgate_{name}{{") and labels in x)

    def load(self, port, connections, seconds, keys, body=BODY, path="/v1/chat/completions", headers=""):
        """Every request that was begun is finished: what is counted is exact. An answer that is not 2xx is an error."""
        for name, text in (("keys", "\n".join(keys)), ("body", body)):
            with open(f"{self.dir}/{name}", "w", encoding="utf-8", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
                f.write(text)
        argv = [self.client, str(port), path, str(connections), str(seconds), f"{self.dir}/body", f"{self.dir}/keys", headers]
        done = subprocess.run(argv, text=True, capture_output=True, **OWN_SHARE)
        if done.returncode:
            raise RuntimeError(f"{done.stderr[:400]}{done.stdout}")
        return json.loads(done.stdout)

    def pid_of(self, name):
        with open(f"{self.dir}/site/{name}.pid", encoding="utf-8") as f:
            return int(f.readline())

    def worker_pids(self):
        with open(f"{self.dir}/site/run/pool.pid", encoding="utf-8") as f:
            return [int(x) for x in f.read().split()[1:]]


def median(rows, what):
    return statistics.median(r[what] for r in rows)


def cpu_us(pids):
    """Processor time that processes have used so far."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            total += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return total * 1_000_000 // os.sysconf("SC_CLK_TCK")


def load_average():
    return os.getloadavg()[0]


def show(rows, base):
    """A table of medians; returns the ratios to the base."""
    print(f"  {'':12}{'requests/s':>12}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}{'ratio':>8}")
    ratios = []
    for name, r in rows.items():
        ratio = median(r, "rps") / median(rows[base], "rps")
        print(f"  {name:12}{median(r, 'rps'):12.0f}{median(r, 'p50_ms'):10.2f}{median(r, 'p90_ms'):10.2f}{median(r, 'p99_ms'):10.2f}{ratio:8.2f}")
        if name != base:
            ratios.append(ratio)
    return ratios
