"""tls.py - `bench tls`: a provider over HTTPS, HTTP/1.1 and HTTP/2: requests/s, connections opened, full handshakes."""
import subprocess
import tempfile

from bench_site import AS_ROOT, Site, free_port, load_average, median

TARGET_EXCHANGES = 100
MODELS = {"plain": "bench-plain", "HTTP/1.1": "bench-one", "HTTP/2": "bench-two"}


def authority(where):
    """A CA and a certificate for 127.0.0.1 that it signed."""
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=test CA", "-keyout", f"{where}/ca.key", "-out", f"{where}/ca.pem")
    openssl("req", *new_key, "-subj", "/CN=provider", "-keyout", f"{where}/key", "-out", f"{where}/csr")
    with open(f"{where}/ext", "w", encoding="utf-8") as f:
        f.write("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", f"{where}/csr", "-CA", f"{where}/ca.pem", "-CAkey", f"{where}/ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", f"{where}/ext", "-out", f"{where}/pem")
    return f"{where}/ca.pem"


class Tls:
    """nginx with TLS; what every request says of its connection is in its log."""

    def __init__(self, site, where, name, http2):
        self.port, self.log = free_port(), f"{where}/{name}.log"
        conf = f"{where}/{name}.conf"
        with open(conf, "w", encoding="utf-8") as f:
            f.write(f"{AS_ROOT}worker_processes 1; daemon off; pid {where}/{name}.pid; error_log {where}/{name}.err;\n"
                    "events { worker_connections 8192; }\nhttp { keepalive_requests 10000000; http2_max_concurrent_streams 1000; client_body_buffer_size 2m;\n"
                    + "".join(f"{d}_temp_path {where}/{name}-{d};\n" for d in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
                    + f"log_format c '$connection $ssl_session_reused $server_protocol'; access_log {self.log} c;\n"
                    f"server {{ listen 127.0.0.1:{self.port} ssl {'http2' if http2 else ''} backlog=4096;\n"
                    f" ssl_certificate {where}/pem; ssl_certificate_key {where}/key; ssl_session_cache shared:s:1m;\n"
                    # passed on, so that the body is read: nginx resets an HTTP/2 stream that it answers without reading
                    ' location / { proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; } }\n'
                    f"upstream provider {{ server 127.0.0.1:{site.provider}; keepalive 256; keepalive_requests 10000000; }} }}\n")
        site.run(["nginx", "-c", conf], self.port)

    def seen(self):
        connections, full, versions, exchanges = set(), set(), set(), 0
        with open(self.log, encoding="utf-8") as f:
            for line in f:
                number, reused, version = line.split()
                connections.add(number)
                exchanges += 1
                versions.add(version)
                if reused == ".":
                    full.add(number)
        return {"exchanges": exchanges, "connections": len(connections), "full_handshakes": len(full), "versions": sorted(versions)}


def run(args):
    result = {"section": "tls", "title": f"Requests/s by the provider's protocol, {args.connections} connections (ratio to plain HTTP)",
              "connections": args.connections, "machine_load": load_average()}
    with tempfile.TemporaryDirectory(prefix="tollgate-bench-tls.") as where, Site(args, f"upstream.ca_file = {authority(where)}") as site:
        servers = {"HTTP/1.1": Tls(site, where, "one", False), "HTTP/2": Tls(site, where, "two", True)}
        site.channel("plain", MODELS["plain"], site.provider)
        for name, server in servers.items():
            site.channel(MODELS[name], MODELS[name], server.port, scheme="https")
        rows = {name: [] for name in MODELS}
        for _ in range(args.rounds):
            for name, model in MODELS.items():
                body = '{"model":"%s","messages":[{"role":"user","content":"Say something."}]}' % model
                rows[name].append(site.load(site.port, args.connections, args.seconds, [site.vars["TOLLGATE_API_KEY"]], body))
        seen = {name: server.seen() for name, server in servers.items()}
    base = median(rows["plain"], "rps")
    result |= {"rounds": rows, "provider_saw": seen, "bars": []}
    print(f"{args.connections} connections, {args.workers} workers, {args.rounds} rounds of {args.seconds} s, medians")
    print(f"  {'':10}{'requests/s':>12}{'ratio':>8}{'p50 ms':>9}{'connections':>13}{'handshakes':>12}")
    for name, r in rows.items():
        rps, s = median(r, "rps"), seen.get(name, {"connections": "-", "full_handshakes": "-"})
        print(f"  {name:10}{rps:12.0f}{rps / base:8.2f}{median(r, 'p50_ms'):9.2f}{s['connections']:>13}{s['full_handshakes']:>12}")
        result["bars"].append((name, rps, f"{rps:.0f}  ({rps / base:.2f})"))
    two = seen["HTTP/2"]
    each = two["exchanges"] / max(1, two["connections"])
    errors = sum(r["errors"] for part in rows.values() for r in part)
    result |= {"exchanges_per_http2_connection": each, "errors": errors}
    result["ok"] = each >= TARGET_EXCHANGES and two["connections"] <= args.workers and two["versions"] == ["HTTP/2.0"] and not errors
    print(f"HTTP/2: {two['connections']} connections (target: one a worker), {each:.0f} exchanges each (target {TARGET_EXCHANGES}), "
          f"{errors} errors in all: {'ok' if result['ok'] else 'FAILED'}")
    return result
