// A provider that does what a test tells it to.
//
// A test registers a script and puts the returned mark (e.g. "case-7.") anywhere into its request body; bodies pass
// through the gateway, so the mark finds the script, whatever the dialect. Requests without a mark get a plain answer.
//
//   const c = provider.play(async (x) => { x.head(429, { 'retry-after': '3' }); x.end('{"error":{}}'); });
//   ... request with content `hello ${c.mark}` ...
//   c.seen[0].headers, .json, .body, .closed (promise of the time the gateway closed the connection)
import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import zlib from 'node:zlib';

export { sleep };
let next = 1;

/** One request as the provider saw it, and the means to answer it. */
class Exchange {
  constructor(req, res, body) {
    this.method = req.method;
    this.url = req.url;
    this.headers = req.headers;
    this.body = body;
    this.at = performance.now();
    this.socket = req.socket;
    this.res = res;
    this.finished = false;
    this.left = null; // when the gateway closed before the answer was complete
    this.closed = new Promise((done) => {
      res.on('close', () => {
        if (!this.finished) this.left = performance.now();
        done(performance.now());
      });
    });
  }
  get text() { return this.body.toString('utf8'); }
  get json() { return JSON.parse(this.text); }
  /** Status line and headers, at once. */
  head(status = 200, headers = {}) {
    this.res.writeHead(status, { 'content-type': 'application/json', ...headers });
    this.res.flushHeaders();
  }
  write(bytes) { return this.res.write(bytes); }
  /** An answer in one piece. */
  answer(status, value, headers = {}) {
    const text = typeof value === 'string' || Buffer.isBuffer(value) ? value : JSON.stringify(value);
    this.finished = true;
    this.res.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...headers });
    this.res.end(text);
  }
  stream(headers = {}) { this.head(200, { 'content-type': 'text/event-stream', ...headers }); }
  /** One event: an object as its data, or the event's own text. */
  event(data, name) {
    const text = typeof data === 'string' ? data : JSON.stringify(data);
    return this.res.write(`${name ? `event: ${name}\n` : ''}data: ${text}\n\n`);
  }
  end(bytes) {
    this.finished = true;
    this.res.end(bytes);
  }
  /** Breaks the connection off: 'fin' or 'rst'. */
  cut(how = 'fin') {
    this.finished = true;
    if (how === 'rst') this.socket.resetAndDestroy();
    else this.socket.destroy();
  }
}

export const usage = (prompt, completion, more = {}) => ({
  prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion, ...more,
});

export const chatAnswer = (text = 'hello', more = {}) => ({
  id: 'chatcmpl-1', object: 'chat.completion', created: 1700000000, model: 'provider-model',
  choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
  usage: usage(11, 7), ...more,
});

export const chatChunk = (text, more = {}) => ({
  id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1700000000, model: 'provider-model',
  choices: [{ index: 0, delta: { content: text }, finish_reason: null }], ...more,
});

/** A whole chat stream: n text events `gap` ms apart, usage only when the request asks for it. */
export async function chatStream(x, { n = 5, gap = 0, usage: u = usage(11, 7), done = true } = {}) {
  x.stream();
  for (let i = 0; i < n && x.left === null; i++) {
    if (gap) await sleep(gap);
    x.event(chatChunk(`w${i} `));
  }
  if (x.left !== null) return;
  x.event({ ...chatChunk(''), choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
  if (u && x.json.stream_options?.include_usage) x.event({ ...chatChunk(''), choices: [], usage: u });
  if (done) x.event('[DONE]');
  x.end();
}

async function plain(x) {
  const path = x.url.split('?')[0];
  let body = {};
  try { body = x.json; } catch { /* multipart */ }
  if (path.endsWith('/chat/completions')) {
    if (body.stream) return chatStream(x);
    return x.answer(200, chatAnswer('hello'));
  }
  if (path.endsWith('/embeddings')) {
    return x.answer(200, { object: 'list', model: body.model, data: [{ object: 'embedding', index: 0, embedding: [0.5, -0.25] }],
      usage: { prompt_tokens: 3, total_tokens: 3 } });
  }
  return x.answer(200, { ok: true, path, usage: usage(5, 0) });
}

export class Provider {
  constructor() {
    this.scripts = new Map();
    this.seen = [];
    this.sockets = new Set();
    this.fallback = plain;
  }

  static async start({ tls = null } = {}) {
    const p = new Provider();
    const take = (req, res) => p.take(req, res);
    p.server = tls ? https.createServer(tls, take) : http.createServer(take);
    p.server.keepAliveTimeout = 30000;
    p.server.requestTimeout = 0;
    p.server.on('connection', (s) => {
      s.setNoDelay(true);
      p.sockets.add(s);
      s.on('error', () => {});
      s.on('close', () => p.sockets.delete(s));
    });
    await new Promise((done) => { p.server.listen(0, '127.0.0.1', 8192, done); });
    p.port = p.server.address().port;
    p.url = `${tls ? 'https' : 'http'}://127.0.0.1:${p.port}`;
    return p;
  }

  /** Registers a script; returns its mark and what it has seen. */
  play(script) {
    const c = { mark: `case-${next++}.`, seen: [], script };
    this.scripts.set(c.mark, c);
    return c;
  }

  async take(req, res) {
    const parts = [];
    req.on('error', () => {});
    res.on('error', () => {});
    try {
      for await (const b of req) parts.push(b);
    } catch { return; }
    let body = Buffer.concat(parts);
    if (req.headers['content-encoding'] === 'gzip') body = zlib.gunzipSync(body);
    const x = new Exchange(req, res, body);
    const found = /case-\d+\./.exec(body.length > 1 << 20 ? body.subarray(0, 4096).toString('latin1') : body.toString('latin1'));
    const c = found && this.scripts.get(found[0]);
    this.seen.push(x);
    if (c) c.seen.push(x);
    try {
      await (c ? c.script(x, c.seen.length) : this.fallback(x));
    } catch (e) {
      if (!res.destroyed) res.destroy(e);
    }
  }

  async stop() {
    this.server.close();
    for (const s of this.sockets) s.destroy();
  }
}

/** A port on which nobody listens. */
export async function deadPort() {
  const s = http.createServer();
  await new Promise((done) => { s.listen(0, '127.0.0.1', done); });
  const { port } = s.address();
  await new Promise((done) => { s.close(done); });
  return port;
}
