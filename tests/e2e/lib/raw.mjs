// A client that holds the socket itself: for leaving, for reading slowly, for seeing when each byte came.
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export class Raw {
  constructor(port) {
    this.port = port;
    this.got = ''; // the answer so far, chunked framing included
    this.times = []; // [ms since the request, bytes] of each read
    this.ended = false;
    this.waiting = [];
  }

  static async open(port, options = {}) {
    const r = new Raw(port);
    r.socket = net.connect({ port, host: '127.0.0.1', ...options });
    r.socket.setNoDelay(true);
    r.socket.on('error', () => {});
    r.socket.on('data', (b) => {
      r.times.push([performance.now() - r.at, b.length]);
      r.got += b.toString('latin1');
      r.wake();
    });
    r.closed = new Promise((done) => {
      r.socket.on('close', () => { r.ended = true; r.wake(); done(); });
      r.socket.on('end', () => { r.ended = true; r.wake(); });
    });
    await new Promise((done, fail) => { r.socket.once('connect', done); r.socket.once('error', fail); });
    r.at = performance.now();
    return r;
  }

  wake() {
    for (const w of this.waiting.splice(0)) w();
  }

  /** Sends a request; body is an object (JSON), a string or bytes. */
  send(method, path, { key, headers = {}, body = '' } = {}) {
    const b = Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
    const all = { host: '127.0.0.1', 'content-length': b.length, ...headers };
    if (key) all.authorization = `Bearer ${key}`;
    if (b.length && !all['content-type']) all['content-type'] = 'application/json';
    const head = `${method} ${path} HTTP/1.1\r\n${Object.entries(all).map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`;
    this.at = performance.now();
    this.socket.write(Buffer.concat([Buffer.from(head, 'latin1'), b]));
    return this;
  }

  /** Waits until `what` (text, or a test of everything so far) has come. */
  async until(what, ms = 10000) {
    const ok = typeof what === 'string' ? () => this.got.includes(what) : () => what(this.got);
    const end = performance.now() + ms;
    while (!ok()) {
      if (this.ended) throw new Error(`connection ended before ${what}: ${this.got.slice(-300)}`);
      const left = end - performance.now();
      if (left <= 0) throw new Error(`timed out before ${what}: ${this.got.slice(-300)}`);
      await Promise.race([new Promise((w) => { this.waiting.push(w); }), sleep(left, undefined, { ref: false })]);
    }
    return this;
  }

  status() { return Number(/^HTTP\/1\.[01] (\d+)/.exec(this.got)?.[1]); }
  /** FIN: what a client's close() does. */
  leave() { this.socket.destroy(); }
  /** RST: what a crash or close() with unread data does. */
  reset() { this.socket.resetAndDestroy(); }
  /** Stops reading: the kernel's window fills up. */
  pause() { this.socket.pause(); }
  resume() { this.socket.resume(); }
}

/** The body of a chunked answer. */
export function dechunk(text) {
  const at = text.indexOf('\r\n\r\n');
  const head = text.slice(0, at).toLowerCase();
  let rest = text.slice(at + 4);
  if (!head.includes('transfer-encoding: chunked')) return rest;
  let out = '';
  for (;;) {
    const eol = rest.indexOf('\r\n');
    const n = parseInt(rest.slice(0, eol), 16);
    if (eol < 0 || Number.isNaN(n) || n === 0) return out;
    out += rest.slice(eol + 2, eol + 2 + n);
    rest = rest.slice(eol + 2 + n + 2);
  }
}

/** The data of each event of an event stream. */
export function events(text) {
  return text.split('\n\n').map((e) => e.split('\n').filter((l) => l.startsWith('data:')).map((l) => l.slice(5).trim()).join('\n'))
    .filter((e) => e !== '');
}
