// A whole private installation: its own database, workers, lighttpd. One a test file, or more.
//
//   const s = await Stack.start({ workers: 2, conf: { 'stream.ping_interval': '1s' } });
//   s.url, s.key (live API key), s.testKey, s.token (personal access token), s.provider
//   await s.usageOf(requestId)   await s.sql('SELECT ...')   await s.ctl(['user', 'list'])   s.log()   await s.metrics()
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Provider } from './provider.mjs';
import { unwatch, watch } from './witness.mjs';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
export const build = process.env.TOLLGATE_BUILD ?? path.join(root, 'build');
/** Sanitizer builds are slower: waits are stretched by this. */
export const slow = /asan|tsan/.test(build) ? 4 : 1;
const work = process.env.TOLLGATE_E2E_WORK ?? '';
let number = 0;

export const OPENAI_MODELS = ['gpt-4o-mini', 'gpt-4o', 'text-embedding-3-small', 'o4-mini', 'whisper-1', 'tts-1', 'rerank-1', 'gpt-image-1'];
export const ANTHROPIC_MODELS = ['claude-haiku-4-5', 'claude-opus-9'];
export const GEMINI_MODELS = ['gemini-2.5-flash'];

/** Runs a command; resolves with its standard output, fails with its standard error. */
export function run(file, args, { input = '', env = process.env, cwd } = {}) {
  return new Promise((done, fail) => {
    const p = execFile(file, args, { env, cwd, maxBuffer: 64 << 20 }, (e, out, err) => {
      if (e) fail(Object.assign(new Error(`${path.basename(file)} ${args.join(' ')}: ${err || out || e.message}`), { code: e.code, out, err }));
      else done(out);
    });
    p.stdin.on('error', () => {});
    p.stdin.end(input);
  });
}

/** Calls `probe` until it returns something true. */
export async function eventually(probe, what = 'the expected state', ms = 5000 * slow) {
  const end = performance.now() + ms;
  for (;;) {
    const v = await probe();
    if (v) return v;
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(20);
  }
}

export async function freePort() {
  const s = net.createServer();
  await new Promise((done) => { s.listen(0, '127.0.0.1', done); });
  const { port } = s.address();
  await new Promise((done) => { s.close(done); });
  return port;
}

/** The secret that tollgatectl printed: its last word. */
export const printed = (out) => out.trim().split(/\s/).at(-1);

export class Stack {
  static async start(options = {}) {
    const s = new Stack(options);
    try {
      await s.prepare();
      await s.startWorkers();
      await s.startWeb();
      await eventually(async () => (await s.get('/readyz').catch(() => ({}))).status === 200, '/readyz answers 200', 15000 * slow);
      // one worker answers already; the others are waited for
      await eventually(async () => Object.keys(await s.metrics()).filter((k) => k.startsWith('tollgate_worker_start_time')).length === s.nWorkers, 'all workers run');
    } catch (e) {
      e.message += `\n${s.log().slice(-3000)}`;
      await s.stop().catch(() => {});
      throw e;
    }
    return s;
  }

  constructor({ workers = 2, conf = {}, lighttpd = (text) => text, channels = true, fileLimit = 0 } = {}) {
    Object.assign(this, { nWorkers: workers, conf, editLighttpd: lighttpd, withChannels: channels, fileLimit });
    this.models = new Set();
    this.undescribed = []; // answers that are not what docs/openapi.yaml says (see witness.mjs)
    this.secrets = new Set(); // every credential this stack knows: none may be logged
  }

  async prepare() {
    this.dir = fs.mkdtempSync(path.join(work || '/tmp', 'stack-'));
    for (const d of ['run', 'log', 'upload', 'web']) fs.mkdirSync(path.join(this.dir, d), { mode: 0o700 });
    fs.writeFileSync(path.join(this.dir, 'web/index.html'), '<!doctype html><title>Tollgate</title>');
    this.dbDir = work ? path.join(work, 'db') : path.join(this.dir, 'db');
    if (!work) await run(path.join(root, 'scripts/devdb'), ['start', this.dbDir]);
    this.dbName = `e2e_${process.pid}_${++number}`;
    await run(path.join(root, 'scripts/devdb'), ['create', this.dbDir, this.dbName]);
    this.writeConf();
    await this.ctl(['secrets', 'init']);
    await this.ctl(['migrate']);
    this.provider = await Provider.start();
    await this.provision();
  }

  writeConf(more = {}) {
    Object.assign(this.conf, more);
    const all = {
      'run.dir': path.join(this.dir, 'run'), 'secrets.dir': path.join(this.dir, 'secrets'), 'log.file': path.join(this.dir, 'log/tollgate.log'),
      'db.hosts': path.join(this.dbDir, 'db.sock'), 'db.name': this.dbName, 'db.user': os.userInfo().username, 'sync.interval': '50ms',
      'ledger.flush_interval': '10ms', ...this.conf,
    };
    fs.writeFileSync(this.confFile(), Object.entries(all).map(([k, v]) => `${k} = ${v}\n`).join(''), { mode: 0o600 });
  }
  confFile() { return path.join(this.dir, 'tollgate.conf'); }

  // ---- the operator's command ----

  ctl(args, input = '') {
    return run(path.join(build, 'tollgatectl'), ['--config', this.confFile(), ...args], { input, env: this.env() });
  }

  env() {
    const report = path.join(this.dir, 'log/sanitizer');
    return {
      ...process.env,
      ASAN_OPTIONS: `log_path=${report}:detect_leaks=1:abort_on_error=0`,
      UBSAN_OPTIONS: `log_path=${report}:print_stacktrace=1`,
      TSAN_OPTIONS: `log_path=${report}:history_size=4`,
    };
  }

  secret(text) {
    this.secrets.add(text);
    return text;
  }

  async provision() {
    this.email = 'root@example.org';
    this.password = this.secret('correct horse battery 9');
    await this.ctl(['user', 'add', '--email', this.email, '--role', 'root', '--quota', '1000000000000'], `${this.password}\n`);
    this.token = this.secret(printed(await this.ctl(['access-token', 'add', '--user', this.email, '--name', 'e2e'])));
    this.key = await this.addKey('live', ['--unlimited']);
    this.testKey = await this.addKey('test', ['--test', '--unlimited']);
    const { url } = this.provider;
    if (this.withChannels) {
      await this.addChannel({ name: 'openai', type: 'openai', url: `${url}/v1`, models: OPENAI_MODELS });
      await this.addChannel({ name: 'anthropic', type: 'anthropic', url, models: ANTHROPIC_MODELS });
      await this.addChannel({ name: 'gemini', type: 'gemini', url, models: GEMINI_MODELS });
    }
  }

  async addKey(name, more = ['--quota', '500000']) {
    return this.secret(printed(await this.ctl(['key', 'add', '--user', this.email, '--name', name, ...more])));
  }

  /** Another account and a key of it. */
  async addUser(email, quota) {
    await this.ctl(['user', 'add', '--email', email, '--quota', String(quota)], 'a long password 12\n');
    return this.secret(printed(await this.ctl(['key', 'add', '--user', email, '--name', 'k', '--unlimited'])));
  }

  /** A channel with its models, each of them priced; the workers know it when this returns. */
  async addChannel({ name, type = 'openai', url, models, key = `sk-upstream-${name}-0123456789abcdefghij`, priority = 0, weight = 1, mapping = {}, price = true, group = 'default' }) {
    const keys = [].concat(key).map((k) => this.secret(k));
    // ratio 1, completion ratio 2: a prompt token costs 1, an answer's token 2
    const dollars = price ? ['--input-usd-per-m', '2', '--output-usd-per-m', '4'] : [];
    for (const m of models.filter((n) => !this.models.has(n))) {
      await this.ctl(['model', 'add', m, ...dollars]);
      this.models.add(m);
    }
    const args = ['channel', 'add', '--name', name, '--type', type, '--base-url', url, '--models', models.join(','), '--groups', group,
      '--priority', String(priority), '--weight', String(weight), '--private', '--key-stdin'];
    const map = Object.entries(mapping).map(([from, to]) => `${from}=${to}`);
    if (map.length) args.push('--mapping', map.join(','));
    await this.ctl(args, keys.map((k) => `${k}\n`).join(''));
    if (this.pool) await sleep(300);
    return name;
  }

  // ---- database ----

  /** Rows as objects. */
  async sql(text) {
    const out = await run('mariadb', ['--no-defaults', `--socket=${path.join(this.dbDir, 'db.sock')}`, '--batch', '--raw', this.dbName, '-e', text]);
    const lines = out.split('\n').filter((l) => l !== '').map((l) => l.split('\t'));
    const names = lines.shift() ?? [];
    return lines.map((l) => Object.fromEntries(l.map((v, i) => [names[i], v === 'NULL' ? null : /^-?\d+$/.test(v) && v.length < 16 ? Number(v) : v])));
  }

  /** What was changed so far is in force in every worker. */
  async changesKnown() {
    const [{ newest }] = await this.sql('SELECT COALESCE(MAX(id), 0) AS newest FROM changes');
    await eventually(async () => {
      const seen = Object.entries(await this.metrics()).filter(([name]) => name.startsWith('tollgate_changes_seen{'));
      return seen.length === this.nWorkers && seen.every(([, id]) => id >= newest);
    }, `every worker knows change ${newest}`);
  }

  /** The usage row of a request; waits until it is written. */
  usageOf(requestId) {
    return eventually(async () => (await this.sql(`SELECT * FROM usage_rows WHERE request_id = '${requestId}'`))[0], `a usage row of ${requestId}`);
  }

  // ---- processes ----

  spawn(file, args, more = {}) {
    const err = fs.openSync(path.join(this.dir, `log/${path.basename(file)}.err`), 'a');
    const p = spawn(file, args, { stdio: ['ignore', err, err], env: this.env(), ...more });
    fs.closeSync(err);
    p.done = new Promise((done) => { p.on('exit', (code, signal) => { p.ended = { code, signal }; done(p.ended); }); });
    p.on('error', () => {});
    return p;
  }

  async startWorkers() {
    this.socket = path.join(this.dir, 'run/fcgi.sock');
    this.pool = this.spawn(path.join(root, 'scripts/pool'), ['--socket', this.socket, '--workers', String(this.nWorkers),
      '--pid-file', path.join(this.dir, 'run/pool.pid'), '--', path.join(build, 'tollgate.fcgi'), '--config', this.confFile()]);
    await eventually(() => this.workers().length === this.nWorkers, 'the workers run');
  }

  /** The workers' pids. */
  workers() {
    try {
      return fs.readFileSync(path.join(this.dir, 'run/pool.pid'), 'utf8').trim().split('\n').slice(1).map(Number);
    } catch {
      return [];
    }
  }

  async startWeb() {
    this.port = await freePort();
    watch(this.port, (wrong) => this.undescribed.push(wrong));
    this.url = `http://127.0.0.1:${this.port}`;
    const names = { BIND: '127.0.0.1', PORT: this.port, WEB_DIR: path.join(this.dir, 'web'), RUN_DIR: path.join(this.dir, 'run'),
      LOG_DIR: path.join(this.dir, 'log'), UPLOAD_DIR: path.join(this.dir, 'upload'), SOCKET: this.socket };
    const text = fs.readFileSync(path.join(root, 'webserver-conf/lighttpd.conf.in'), 'utf8').replace(/@([A-Z_]+)@/g, (_, n) => names[n]);
    const file = path.join(this.dir, 'lighttpd.conf');
    fs.writeFileSync(file, this.editLighttpd(text));
    this.web = this.spawn('/usr/sbin/lighttpd', ['-D', '-f', file]);
    await eventually(async () => {
      if (this.web.ended) throw new Error(`lighttpd ended: ${fs.readFileSync(path.join(this.dir, 'log/lighttpd.err'))}`);
      return (await this.get('/').catch(() => null))?.status === 200;
    }, 'lighttpd answers');
  }

  /** Everything the workers logged. */
  log() {
    try { return fs.readFileSync(path.join(this.dir, 'log/tollgate.log'), 'utf8'); } catch { return ''; }
  }
  logLines(event) {
    return this.log().split('\n').filter((l) => l.startsWith('{')).map((l) => JSON.parse(l)).filter((l) => !event || l.event === event);
  }

  /** Stops everything; fails when a worker crashed, a sanitizer spoke or a secret was logged. */
  async stop() {
    for (const p of [this.web, this.pool]) {
      if (!p || p.ended) continue;
      p.kill('SIGTERM');
      await Promise.race([p.done, sleep(15000 * slow, undefined, { ref: false })]);
      if (!p.ended) {
        for (const w of this.workers()) try { process.kill(w, 'SIGKILL'); } catch { /* gone */ }
        p.kill('SIGKILL');
        await p.done;
        this.complaint ??= `${path.basename(p.spawnfile)} did not stop on SIGTERM`;
      }
    }
    unwatch(this.port);
    await this.provider?.stop();
    const wrong = this.complaints();
    if (this.dbName) await this.sql(`DROP DATABASE ${this.dbName}`).catch(() => {});
    if (!work) await run(path.join(root, 'scripts/devdb'), ['stop', this.dbDir]).catch(() => {});
    if (!process.env.TOLLGATE_E2E_KEEP) fs.rmSync(this.dir, { recursive: true, force: true });
    assert.deepEqual(wrong, []);
  }

  complaints() {
    const wrong = this.complaint ? [this.complaint] : [];
    wrong.push(...this.undescribed);
    const dir = path.join(this.dir, 'log');
    for (const f of fs.readdirSync(dir)) {
      const text = fs.readFileSync(path.join(dir, f), 'utf8');
      if (f.startsWith('sanitizer')) wrong.push(text.slice(0, 4000));
      if (f === 'pool.err') for (const l of text.split('\n')) if (/was killed by (?!SIGTERM)|ended with|[Aa]ssertion/.test(l) && !this.mayDie) wrong.push(l);
      for (const s of this.secrets) if (text.includes(s)) wrong.push(`a secret (${s.slice(0, 8)}...) is in ${f}`);
    }
    return wrong;
  }

  // ---- HTTP ----

  /** One request on a connection of its own; never throws for a status. */
  request(method, target, { key, headers = {}, body = null, timeout = 60000 } = {}) {
    return new Promise((done, fail) => {
      const bytes = body === null ? null : Buffer.isBuffer(body) || typeof body === 'string' ? Buffer.from(body) : Buffer.from(JSON.stringify(body));
      const all = { ...headers };
      if (key) all.authorization = `Bearer ${key}`;
      if (bytes && !Object.keys(all).some((h) => h.toLowerCase() === 'content-type')) all['content-type'] = 'application/json';
      if (bytes) all['content-length'] = bytes.length;
      const q = http.request({ host: '127.0.0.1', port: this.port, method, path: target, headers: all, agent: false, timeout }, (res) => {
        const parts = [];
        res.on('data', (b) => parts.push(b));
        res.on('error', fail);
        res.on('end', () => {
          const text = Buffer.concat(parts).toString('utf8');
          done({
            status: res.statusCode, headers: res.headers, text, id: res.headers['x-request-id'],
            get json() { return JSON.parse(text); },
          });
        });
      });
      q.on('timeout', () => q.destroy(new Error(`${method} ${target}: no answer in ${timeout} ms`)));
      q.on('error', fail);
      q.end(bytes ?? undefined);
    });
  }
  get(target, options) { return this.request('GET', target, options); }
  post(target, body, options) { return this.request('POST', target, { key: this.key, body, ...options }); }
  /** A chat request with `text` as its only message. */
  chat(text, more = {}, options = {}) {
    return this.post('/v1/chat/completions', { model: 'gpt-4o-mini', messages: [{ role: 'user', content: text }], ...more }, options);
  }

  /** Prometheus lines as a map from name{labels} to number. */
  async metrics() {
    const out = {};
    for (const l of (await this.get('/metrics')).text.split('\n')) {
      const m = /^([a-zA-Z_:][^ ]*(?:\{[^}]*\})?) ([0-9.e+-]+)$/.exec(l);
      if (m) out[m[1]] = Number(m[2]);
    }
    return out;
  }

  /** Resident memory of a worker in KiB. */
  rss(pid) {
    return Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
  }
}
