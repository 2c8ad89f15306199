// What API keys promise beyond single calls: over restarts, without a database, behind a proxy, in both spellings.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { operations } from './lib/openapi.mjs';
import { Stack, eventually, printed, root } from './lib/stack.mjs';

/** The way to the database, which can be cut. */
class Wire {
  async open(from, to) {
    this.ends = new Set();
    this.server = net.createServer((near) => {
      const far = net.connect(to);
      for (const [s, other] of [[near, far], [far, near]]) {
        this.ends.add(s);
        s.on('error', () => {});
        s.on('close', () => { this.ends.delete(s); other.destroy(); });
        s.pipe(other);
      }
    });
    await new Promise((done) => { this.server.listen(from, done); });
  }
  async cut() {
    const closed = new Promise((done) => { this.server.close(done); });
    for (const s of this.ends) s.destroy();
    await closed;
  }
}

let s;
before(async () => { s = await Stack.start({ workers: 3 }); });
after(() => s?.stop());

const api = (method, target, body = null, headers = {}) => s.request(method, target, { headers: { authorization: s.token, ...headers }, body });

/** Makes a key; resolves with its id and text. */
async function make(settings = {}) {
  const r = await api('POST', '/api/token/?return=1', { name: 'e2e', unlimited_quota: true, ...settings });
  assert.equal(r.json.success, true, r.text);
  s.secret(r.json.data.key);
  return r.json.data;
}

/** Stops the workers as an operator does, and starts them again. */
async function restart() {
  s.pool.kill('SIGTERM');
  await s.pool.done;
  await s.startWorkers();
  await eventually(async () => (await s.get('/readyz').catch(() => ({}))).status === 200, 'ready again', 15000);
}

test('every management path answers alike with and without a slash at its end', async () => {
  const { id } = await make();
  const paths = operations().filter((o) => /^GET \/(api|dashboard|v1\/dashboard)/.test(o) && !o.includes('/user/token')).map((o) => o.slice(4).replace('{id}', id));
  assert.ok(paths.length > 15);
  const plain = (r) => [r.status, r.text.replaceAll(/"(rpm|tpm|start_time)":\d+/g, '')];
  for (const p of paths) {
    for (const credential of [s.token, s.key]) {
      const headers = { authorization: credential };
      const [bare, slash] = [await s.get(p, { headers }), await s.get(`${p}/`, { headers })];
      assert.deepEqual(plain(slash), plain(bare), p);
      assert.notEqual(bare.status, 404, p);
    }
  }
  for (const [method, p] of [['POST', `/api/token/${id}/key`], ['POST', `/api/token/${id}/rotate`], ['DELETE', `/api/token/${id}/rotate`], ['DELETE', `/api/token/${id}`]]) {
    const r = await api(method, `${p}/`);
    assert.equal(r.json.success, true, `${method} ${p}/: ${r.text}`);
  }
});

test('of several faults the first in the order of the checks is told, at create and at update', async () => {
  const { id } = await make();
  const wrong = { name: 'x'.repeat(51), remain_quota: -1, allow_ips: '1.2.3', group: 'none', model_limits_enabled: true, model_limits: 'none', scopes: ['inference', 'none'] };
  const right = { name: 'x', remain_quota: 1, allow_ips: '', group: '', model_limits: '', scopes: ['inference'] };
  const order = [['name', 'name_too_long'], ['remain_quota', 'quota_negative'], ['allow_ips', 'invalid_allow_ips'], ['group', 'group_not_allowed'],
    ['model_limits', 'model_not_found'], ['scopes', 'unknown_scope']];
  for (const [method, more] of [['POST', {}], ['PUT', { id }]]) {
    const body = { ...wrong, ...more };
    for (const [field, code] of order) {
      const r = await api(method, '/api/token', body);
      assert.deepEqual([r.json.code, r.json.param], [code, field], r.text);
      body[field] = right[field];
    }
    assert.equal((await api(method, '/api/token', body)).json.success, true);
  }
});

test('batches take 1 to 100 ids, once each, and leave out what is not yours', async () => {
  const { id, key } = await make();
  for (const p of ['/api/token/batch', '/api/token/batch/keys']) {
    const rows = [
      [{}, 200, 'invalid_parameters'], [{ ids: [] }, 200, 'invalid_parameters'], [{ ids: null }, 200, 'invalid_parameters'],
      [{ ids: 7 }, 400, 'invalid_type'], [{ ids: ['7'] }, 400, 'invalid_type'], [{ ids: [1.5] }, 400, 'invalid_type'],
      [{ ids: [id], more: 1 }, 400, 'unknown_field'], [{ ids: Array.from({ length: 101 }, (_, i) => i + 1) }, 200, 'batch_too_large'],
    ];
    for (const [body, status, code] of rows) {
      const r = await api('POST', p, body);
      assert.deepEqual([r.status, r.json.code], [status, code], `${p} ${JSON.stringify(body)}`);
    }
  }
  await s.addUser('other@example.org', 1000);
  const foreign = (await s.sql("SELECT k.id FROM api_keys k JOIN users u ON u.id = k.user_id WHERE u.email = 'other@example.org'"))[0].id;
  const ids = [id, foreign, 0, -1, 999999999, id];
  assert.deepEqual((await api('POST', '/api/token/batch/keys', { ids })).json.data, { keys: { [id]: key } });
  assert.equal((await api('POST', '/api/token/batch', { ids })).json.data, 1);
  assert.equal((await s.sql(`SELECT deleted_at FROM api_keys WHERE id = ${foreign}`))[0].deleted_at, null);
});

test('every POST that gives something is done once for an Idempotency-Key', async () => {
  const { id } = await make();
  const once = { 'idempotency-key': 'twice sent' };
  for (const [n, [p, body, other]] of [[`/api/token/${id}/rotate`, { grace_seconds: 60 }, { grace_seconds: 61 }], ['/api/user/tokens', { name: 'a' }, { name: 'b' }]].entries()) {
    const headers = { 'idempotency-key': `${once['idempotency-key']} ${n}` };
    const [one, two] = [await api('POST', p, body, headers), await api('POST', p, body, headers)];
    s.secret(one.json.data.key);
    assert.equal(two.text, one.text);
    assert.equal(two.headers['idempotency-replayed'], 'true');
    const no = await api('POST', p, other, headers);
    assert.deepEqual([no.status, no.json.code], [409, 'idempotency_conflict']);
  }
  assert.equal((await api('GET', `/api/token/${id}`)).json.data.secrets.length, 2);
});

test('an account\'s language comes before Accept-Language', async () => {
  await s.sql("UPDATE users SET language = 'vi' WHERE id = 1");
  try {
    const r = await api('POST', '/api/token', { name: 'x'.repeat(51) }, { 'accept-language': 'zh' });
    assert.deepEqual([r.json.message, r.json.code], ['tên token quá dài', 'name_too_long']);
    const { key } = await make({ scopes: ['keys:read'] });
    const byKey = (target) => s.get(target, { headers: { authorization: key, 'accept-language': 'zh' } });
    assert.equal((await byKey('/api/token/0')).json.message, 'không tìm thấy bản ghi');
    assert.equal((await byKey('/api/usage/token')).json.message.slice(0, 4), 'Thôn');
  } finally {
    await s.sql("UPDATE users SET language = '' WHERE id = 1");
  }
});

test('a banned account manages nothing: 403', async () => {
  await s.addUser('banned@example.org', 1000);
  const token = s.secret(printed(await s.ctl(['access-token', 'add', '--user', 'banned@example.org', '--name', 't'])));
  assert.equal((await s.get('/api/token', { headers: { authorization: token } })).status, 200);
  await s.ctl(['user', 'disable', 'banned@example.org']);
  const r = await s.get('/api/token', { headers: { authorization: `Bearer ${token}` } });
  assert.deepEqual([r.status, r.json.code], [403, 'user_disabled']);
});

test('a mistyped key is refused without the database being asked, and counted', async () => {
  const count = async () => {
    const all = Object.entries(await s.metrics());
    const sum = (name) => all.filter(([k]) => k.startsWith(name)).reduce((n, [, v]) => n + v, 0);
    return sum('tollgate_key_checksum_refused_total');
  };
  const first = await count();
  for (let i = 0; i < 20; i++) assert.equal((await s.get('/v1/models', { key: s.key.slice(0, -1) + (s.key.endsWith('a') ? 'b' : 'a') })).status, 401);
  await eventually(async () => (await count()) - first === 20, 'all are counted');
});

test('a secret\'s last use is written once a minute for all workers together', async () => {
  const { id, key } = await make();
  const call = (agent) => s.request('POST', '/v1/chat/completions', { key, headers: { 'user-agent': agent }, body: { model: 'gpt-4o-mini', messages: [] } });
  const seen = async () => (await api('GET', `/api/token/${id}`)).json.data.secrets[0].last_used_agent;
  await call('first/1');
  await eventually(async () => (await seen()) === 'first/1', 'the first use is written', 10000);
  await Promise.all(Array.from({ length: 24 }, () => call('later/1')));
  await sleep(1000);
  assert.equal(await seen(), 'first/1');
});

test('what a key\'s rules refused is counted in its audit, on every kind of path, also when the worker stops', async () => {
  const { id, key } = await make({ scopes: ['inference'] });
  const all = [
    await s.get('/v1/models', { key }), await s.get('/v1/models/gpt-4o', { key }), await s.get('/api/token', { headers: { authorization: key } }),
    await s.get('/api/usage/token', { key }), await s.get('/v1/dashboard/billing/usage', { key }),
  ];
  for (const r of all) assert.equal(r.status, 403, r.text);
  await api('PUT', '/api/token', { id, name: 'e2e', unlimited_quota: true, allow_ips: '192.0.2.1' });
  for (let i = 0; i < 7; i++) assert.equal((await s.chat('x', {}, { key })).status, 403);
  await restart();
  const rows = (await api('GET', `/api/token/${id}/audit`)).json.data.items.filter((r) => r.action === 'refused');
  const sum = (code) => rows.filter((r) => r.detail.code === code).reduce((n, r) => n + r.detail.count, 0);
  assert.deepEqual([sum('scope_missing'), sum('ip_not_allowed')], [5, 7], JSON.stringify(rows));
  assert.ok(rows.length <= 6, 'a row a worker and reason, not one a call');
  assert.equal(rows[0].ip, '127.0.0.1');
  await s.ctl(['audit', 'verify']);
});

test('key scan finds keys in files, offline by checksum alone, and says which are live', async () => {
  const { key } = await make();
  const gone = await make();
  await api('DELETE', `/api/token/${gone.id}`);
  const dir = path.join(s.dir, 'tree');
  fs.mkdirSync(path.join(dir, 'deep/er'), { recursive: true });
  fs.writeFileSync(path.join(dir, 'deep/er/.env'), `A=1\nKEY=${key}\nOLD="${gone.key}"\n`);
  fs.writeFileSync(path.join(dir, 'test.json'), JSON.stringify({ key: s.testKey }));
  fs.writeFileSync(path.join(dir, 'none.txt'), `sk-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLM ${key.slice(0, -1)}${key.endsWith('a') ? 'b' : 'a'}`);
  const scan = async (...more) => {
    const { code, out } = await s.ctl(['--json', 'key', 'scan', ...more, dir]).then((o) => ({ code: 0, out: o }), (e) => e);
    assert.ok(![key, gone.key, s.testKey].some((k) => out.includes(k)), 'a whole key is printed');
    return { code, rows: JSON.parse(out).data.map((r) => [path.relative(dir, r.file), r.line, r.state]).sort() };
  };
  assert.deepEqual(await scan(), { code: 1, rows: [['deep/er/.env', 2, 'live'], ['deep/er/.env', 3, 'unknown'], ['test.json', 1, 'live']] });
  const offline = [['deep/er/.env', 2, 'not asked'], ['deep/er/.env', 3, 'not asked'], ['test.json', 1, 'not asked']];
  assert.deepEqual(await scan('--offline'), { code: 1, rows: offline });
});

test('behind a trusted proxy the allowlist judges the address it forwards', async () => {
  const t = await Stack.start({ channels: false, conf: { trusted_proxies: '127.0.0.1, 10.0.0.0/8' } });
  try {
    const { key } = (await t.request('POST', '/api/token?return=1', { headers: { authorization: t.token }, body: { name: 'x', unlimited_quota: true, allow_ips: '198.51.100.0/24\n2001:db8::/32' } })).json.data;
    t.secret(key);
    const rows = [
      ['198.51.100.7', 200], ['::ffff:198.51.100.7', 200], ['2001:db8::7', 200], ['[2001:db8::7]:4711', 200], ['203.0.113.1', 403], ['2001:db9::7', 403],
      ['203.0.113.1, 198.51.100.7', 200], ['198.51.100.7, 203.0.113.1', 403], ['198.51.100.7, 10.1.2.3', 200], ['198.51.100.7, nonsense', 403], [undefined, 403],
    ];
    for (const [forwarded, status] of rows) {
      const r = await t.get('/v1/models', { key, headers: forwarded ? { 'x-forwarded-for': forwarded } : {} });
      assert.equal(r.status, status, `${forwarded}: ${r.text}`);
    }
  } finally {
    await t.stop();
  }
});

test('behind a web server that knows its proxies the allowlist judges the address that it names', async () => {
  const knows = (text) => `${text}\nserver.modules += ( "mod_extforward" )\nextforward.forwarder = ( "127.0.0.1" => "trust", "10.0.0.0/8" => "trust" )\n`;
  const t = await Stack.start({ channels: false, lighttpd: knows });
  try {
    const { key } = (await t.request('POST', '/api/token?return=1', { headers: { authorization: t.token }, body: { name: 'x', unlimited_quota: true, allow_ips: '198.51.100.0/24' } })).json.data;
    t.secret(key);
    for (const [forwarded, status] of [['198.51.100.7', 200], ['203.0.113.1', 403], ['198.51.100.7, 203.0.113.1', 403], ['203.0.113.1, 198.51.100.7', 200], ['198.51.100.7, 10.1.2.3', 200]]) {
      assert.equal((await t.get('/v1/models', { key, headers: { 'x-forwarded-for': forwarded } })).status, status, forwarded);
    }
  } finally {
    await t.stop();
  }
});

test('a personal access token shows when and from where it was last used', async () => {
  const made = (await api('POST', '/api/user/tokens', { name: 'watched', scopes: ['keys:read'] })).json.data;
  s.secret(made.key);
  const shown = async () => (await api('GET', '/api/user/tokens')).json.data.find((t) => t.id === made.id);
  assert.deepEqual([(await shown()).last_used_time, (await shown()).last_used_ip], [0, '']);
  assert.equal((await s.get('/api/token', { headers: { authorization: made.key } })).status, 200);
  const used = await shown();
  assert.ok(used.last_used_time >= Date.now() / 1000 - 60);
  assert.deepEqual([used.last_used_ip, used.scopes], ['127.0.0.1', ['keys:read']]);
  for (const [method, target] of [['POST', '/api/token'], ['GET', '/api/log/self'], ['GET', '/api/user/tokens'], ['DELETE', '/api/token/1']]) {
    const r = await s.request(method, target, { headers: { authorization: made.key }, body: method === 'POST' ? {} : null });
    assert.deepEqual([r.status, r.json.code], [403, 'scope_missing'], `${method} ${target}`);
  }
});

test('the scanners\' expression of the documentation finds this site\'s keys', async () => {
  const text = fs.readFileSync(path.join(root, 'docs/leaked-keys.md'), 'utf8');
  const expressions = [...text.matchAll(/^(\\b.*\\b)$/gm)].map((m) => new RegExp(m[1]));
  for (const key of [s.key, s.testKey]) assert.equal(expressions.filter((e) => e.exec(`KEY="${key}"`)?.[0] === key).length, 1);
  for (const no of ['sk-proj-abc', 'sk-', `${s.key}x`]) assert.ok(!expressions.some((e) => e.test(no)), no);
});

test('without the database a key in use goes on, another is told to come again, and no worker falls', async () => {
  const wire = new Wire(), dir = fs.mkdtempSync('/tmp/wire-'), socket = path.join(dir, 'db.sock');
  const t = new Stack({ workers: 2, channels: false, conf: { 'db.hosts': socket, 'db.connect_timeout': '1s' } });
  const real = path.join(process.env.TOLLGATE_E2E_WORK ?? '', 'db/db.sock');
  try {
    await wire.open(socket, real);
    await t.prepare();
    await t.startWorkers();
    await t.startWeb();
    await eventually(async () => (await t.get('/readyz').catch(() => ({}))).status === 200, 'ready', 15000);
    const fresh = await t.addKey('fresh', ['--unlimited']);
    const models = (key) => t.get('/v1/models', { key });
    for (let i = 0; i < 30; i++) assert.equal((await models(t.key)).status, 200);
    const pids = t.workers();
    await wire.cut();
    const mistyped = fresh.slice(0, -1) + (fresh.endsWith('a') ? 'b' : 'a');
    for (let i = 0; i < 6; i++) {
      assert.equal((await models(t.key)).status, 200);
      assert.equal((await models(mistyped)).json.error.code, 'invalid_api_key', 'the checksum needs no database');
      for (const [r, code] of [[await models(fresh), (j) => j.error.code], [await t.get('/api/token', { headers: { authorization: t.token } }), (j) => j.code]]) {
        assert.equal(r.status, 503, r.text);
        assert.equal(code(r.json), 'database_unavailable');
        assert.ok(Number(r.headers['retry-after']) >= 1);
      }
    }
    assert.equal((await t.get('/readyz')).status, 503);
    assert.deepEqual(t.workers(), pids);
    await wire.open(socket, real);
    await eventually(async () => (await models(fresh)).status === 200, 'the key works again', 15000);
    assert.deepEqual(t.workers(), pids);
  } finally {
    await t.stop();
    await wire.cut().catch(() => {});
    fs.rmSync(dir, { recursive: true, force: true });
  }
});
