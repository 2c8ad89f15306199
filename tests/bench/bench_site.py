"""site.py - what a measurement runs against: a private gateway, a provider stand-in, lighttpd as plain proxy."""
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
HERE = os.path.dirname(os.path.abspath(__file__))
ANSWER = (
    '{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench-model","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"' + "Lorem ipsum dolor sit amet, consectetur elit. " * 9 + '"},'
    '"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":90,"total_tokens":109}}'
)
BODY = '{"model":"bench-model","messages":[{"role":"user","content":"Say something about the weather in Reykjavik, please."}]}'


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Site:
    """Everything lives in a folder of its own and is stopped by its own pid."""

    def __init__(self, args):
        self.dir = tempfile.mkdtemp(prefix="tollgate-bench.")
        self.processes = []
        self.env = dict(os.environ)
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
        self.provider = self.nginx()
        self.proxy = self.mod_proxy(self.provider)

    def run(self, argv, port):
        self.processes.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
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
                f"worker_processes 1; daemon off; pid {where}/pid; error_log {where}/log;\n"
                "events { worker_connections 8192; }\n"
                "http { access_log off; keepalive_requests 10000000; client_body_buffer_size 2m; client_max_body_size 100m;\n"
                + "".join(f"{d}_temp_path {where}/{d};\n" for d in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
                + f"server {{ listen 127.0.0.1:{port} backlog=4096;\n"
                f" location / {{ default_type application/json; return 200 '{ANSWER}'; }} }} }}\n")
        self.run(["nginx", "-c", f"{where}/nginx.conf"], port)
        return port

    def mod_proxy(self, provider):
        port, where = free_port(), f"{self.dir}/proxy"
        os.makedirs(where)
        with open(f"{where}/conf", "w", encoding="utf-8") as f:
            f.write(
                'server.modules = ("mod_proxy")\n' f'server.document-root = "{where}"\nserver.bind = "127.0.0.1"\n'
                f"server.port = {port}\nserver.max-keep-alive-requests = 10000000\nserver.max-fds = 16384\n"
                f'server.errorlog = "{where}/log"\nserver.stream-response-body = 1\n'
                f'proxy.server = ("" => (("host" => "127.0.0.1", "port" => {provider})))\n')
        self.run(["lighttpd", "-D", "-f", f"{where}/conf"], port)
        return port

    def ctl(self, *words, stdin=""):
        return subprocess.run([f"{self.build}/tollgatectl", "--config", f"{self.dir}/site/tollgate.conf", *words],
                              input=stdin, text=True, check=True, capture_output=True).stdout

    def channel(self, name, model, port):
        """A priced model that only the provider on this port serves."""
        self.ctl("channel", "add", "--name", name, "--type", "openai", "--base-url", f"http://127.0.0.1:{port}", "--models",
                 model, "--groups", "default", "--private", "--key-stdin", stdin="sk-provider-stand-in\n")
        self.ctl("model", "add", model, "--input-usd-per-m", "0.15", "--output-usd-per-m", "0.60")
        time.sleep(1)  # every worker has read the catalogue by then

    def sql(self, text):
        return subprocess.run(["mariadb", "--no-defaults", "-N", "--socket", self.vars["TOLLGATE_DB_SOCKET"],
                               self.vars["TOLLGATE_DB_NAME"], "-e", text], text=True, check=True, capture_output=True).stdout.strip()

    def worker_pids(self):
        with open(f"{self.dir}/site/run/pool.pid", encoding="utf-8") as f:
            return [int(x) for x in f.read().split()[1:]]


def wrk(url, key, connections, seconds, body=BODY):
    """Requests/s, answers counted, p50 and p99 in ms; an answer that is not 2xx is an error."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as f:
        f.write('wrk.method="POST"; wrk.headers["Content-Type"]="application/json"\n'
                f'wrk.headers["Authorization"]="Bearer {key}"\nwrk.body=[==[{body}]==]\n'
                'done = function(s, l, r) io.write(string.format("RESULT %d %d %d %f %f\\n", s.requests, s.duration,'
                " s.errors.status + s.errors.connect + s.errors.read + s.errors.timeout, l:percentile(50), l:percentile(99))) end\n")
        f.flush()
        os.chmod(f.name, 0o600)
        out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "-s", f.name, url], text=True, check=True,
                             capture_output=True).stdout
    n, us, errors, p50, p99 = out.split("RESULT ", 1)[1].split()[:5]
    if int(errors):
        raise RuntimeError(f"{url}: {errors} errors\n{out}")
    return {"rps": int(n) / (int(us) / 1e6), "answers": int(n), "p50_ms": float(p50) / 1000, "p99_ms": float(p99) / 1000}


def median(rows, what):
    return statistics.median(r[what] for r in rows)
