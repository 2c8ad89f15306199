// What an operator relies on: health, metrics, reload, schema versions, logs, management over HTTP.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chatStream, sleep } from './lib/provider.mjs';
import { Stack, build, eventually, root, run, slow } from './lib/stack.mjs';

let s;
before(async () => { s = await Stack.start(); });
after(() => s?.stop());

test('the dashboard folder is served, dot files and templates are not', async () => {
  const r = await s.get('/');
  assert.equal(r.status, 200);
  assert.match(r.headers['content-type'], /^text\/html/);
  assert.equal(r.headers.server, undefined);
  fs.writeFileSync(path.join(s.dir, 'web/.secret'), 'x');
  fs.writeFileSync(path.join(s.dir, 'web/x~'), 'x');
  assert.notEqual((await s.get('/.secret')).status, 200);
  assert.notEqual((await s.get('/x~')).status, 200);
  assert.notEqual((await s.get('/../tollgate.conf')).status, 200);
  assert.notEqual((await s.get('/%2e%2e/tollgate.conf')).status, 200);
});

test('/healthz tells the process, /readyz the database and its schema', async () => {
  assert.equal((await s.get('/healthz')).status, 200);
  assert.equal((await s.get('/readyz')).status, 200);
});

test('no thread of a worker pushes the web server off its processor', async () => {
  const policies = await eventually(() => {
    const all = s.workers().flatMap((pid) => fs.readdirSync(`/proc/${pid}/task`)
      .map((tid) => fs.readFileSync(`/proc/${pid}/task/${tid}/stat`, 'utf8').split(') ')[1].split(' ')[38]));
    return all.length >= 14 && all; // a main, a ledger and five fronts each
  }, 'all threads run');
  assert.deepEqual(new Set(policies), new Set(['3'])); // SCHED_BATCH, proc(5) field 41
});

test('each worker of the pool is a session, which has a share of the processor of its own', () => {
  for (const pid of s.workers()) {
    const session = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')[3];
    assert.equal(Number(session), pid);
  }
});

test('/api/status needs no credential and tells the site', async () => {
  const r = await s.get('/api/status');
  assert.equal(r.status, 200);
  assert.equal(r.json.success, true);
  assert.equal(typeof r.json.data, 'object');
});

test('/metrics counts requests, tokens and charges, whichever worker is asked', async () => {
  const sum = (m, re) => Object.entries(m).filter(([k]) => re.test(k)).reduce((n, [, v]) => n + v, 0);
  const before = await s.metrics();
  const ids = [];
  for (let i = 0; i < 10; i++) ids.push((await s.chat('x')).id);
  for (const id of ids) await s.usageOf(id);
  const then = await s.metrics();
  const grew = (re) => sum(then, re) - sum(before, re);
  assert.equal(grew(/^tollgate_attempts_total\{/), 10);
  assert.equal(grew(/^tollgate_tokens_total\{/), 10 * (11 + 7));
  assert.equal(grew(/^tollgate_quota_charged_total/), 250);
  assert.equal(grew(/^tollgate_ledger_rows_total/), 10);
  assert.ok(grew(/^tollgate_requests_total\{.*status="2xx"/) >= 10);
});

test('/metrics is for loopback or who has its token', async () => {
  const t = await Stack.start({ channels: false, conf: { 'metrics.token': 'metrics-secret-123456', trusted_proxies: '127.0.0.1' } });
  try {
    t.secret('metrics-secret-123456');
    const far = { 'x-forwarded-for': '192.0.2.1' };
    assert.ok([401, 403].includes((await t.get('/metrics', { headers: far })).status));
    assert.equal((await t.get('/metrics', { headers: { ...far, authorization: 'Bearer metrics-secret-123456' } })).status, 200);
  } finally {
    await t.stop();
  }
});

test('a forwarded address is not believed unless the proxy is trusted', async () => {
  const key = await s.addKey('near', ['--unlimited']);
  await s.sql("UPDATE api_keys SET allow_ips = '192.0.2.7' WHERE name = 'near'");
  const r = await s.chat('x', {}, { key, headers: { 'x-forwarded-for': '192.0.2.7', 'x-real-ip': '192.0.2.7' } });
  assert.equal(r.status, 403, r.text);
});

test('SIGHUP applies a changed setting and refuses a bad file, serving on', async () => {
  s.writeConf({ 'log.level': 'debug', 'limit.headers': '8K' });
  for (const p of s.workers()) process.kill(p, 'SIGHUP');
  await eventually(() => s.logLines('reloaded').length >= 2, 'both workers reloaded');
  assert.equal((await s.get('/v1/models', { key: s.key, headers: { 'x-pad': 'a'.repeat(9000) } })).status, 431);
  fs.appendFileSync(s.confFile(), 'no.such.key = 1\n');
  for (const p of s.workers()) process.kill(p, 'SIGHUP');
  await eventually(() => s.logLines('config_bad').length >= 2, 'both workers refuse');
  assert.match(JSON.stringify(s.logLines('config_bad')[0]), /no\.such\.key/);
  assert.equal((await s.chat('x')).status, 200);
  s.writeConf({ 'limit.headers': '64K' });
  for (const p of s.workers()) process.kill(p, 'SIGHUP');
  await sleep(300);
});

test('a worker asked to reload while it starts, and while it waits for its database, does so once it runs', async () => {
  const conf = path.join(s.dir, 'early.conf'), late = path.join(s.dir, 'late.sock'), asked = path.join(s.dir, 'asked');
  fs.writeFileSync(conf, fs.readFileSync(s.confFile(), 'utf8').replace(/^db\.hosts.*$/m, `db.hosts = ${late}`), { mode: 0o600 });
  const reloads = s.logLines('reloaded').length;
  const early = s.spawn(path.join(root, 'scripts/pool'), ['--socket', path.join(s.dir, 'early.sock'), '--workers', '1', '--',
    'sh', '-c', 'kill -HUP $$; echo $$ >"$0"; exec "$@"', asked, path.join(build, 'tollgate.fcgi'), '--config', conf]);
  try {
    const pid = await eventually(() => fs.existsSync(asked) && Number(fs.readFileSync(asked, 'utf8')), 'it was asked before it ran');
    await sleep(700 * slow); // it has looked for its database more than once
    fs.symlinkSync(path.join(s.dbDir, 'db.sock'), late);
    await eventually(() => s.logLines('worker_started').some((l) => l.pid === pid), 'that worker runs');
    await eventually(() => s.logLines('reloaded').length === reloads + 1, 'it reloads, and no other worker');
  } finally {
    early.kill('SIGTERM');
    await early.done;
  }
});

test('every log line is JSON with time, level, event; what concerns a request has its id', async () => {
  s.writeConf({ 'log.level': 'debug' });
  for (const p of s.workers()) process.kill(p, 'SIGHUP');
  await sleep(300);
  const r = await s.chat('x');
  await eventually(() => s.logLines('request').some((l) => l.request_id === r.id && l.cost === 25), 'the request is logged');
  const c = s.provider.play((x) => x.answer(500, { error: { message: 'no' } }));
  const failed = await s.chat(c.mark);
  await eventually(() => s.logLines('attempt_failed').some((l) => l.request_id === failed.id), 'the failed attempt is logged');
  const lines = s.log().trim().split('\n').map((l) => JSON.parse(l));
  for (const l of lines) assert.ok(l.event && l.level && (l.time ?? l.ts ?? l.at), JSON.stringify(l));
});

test('no secret is ever logged, whatever is sent where', async () => {
  const k = s.key;
  await s.get(`/v1beta/models?key=${k}`);
  await s.get(`/v1/models?key=${k}`);
  await s.get(`/v1/nothing/${k}`, { key: k });
  await s.get('/v1/models', { headers: { authorization: `Basic ${k}` } });
  await s.chat('x', {}, { key: `${k}-1` });
  await s.post('/v1/chat/completions', `{"model": "${k}", "messages": []}`);
  await s.post('/v1/chat/completions', `{"model": ${k}`);
  await s.get('/v1/models', { key: k, headers: { 'x-request-id': k } });
  await s.request('GET', '/api/token/', { headers: { authorization: `${s.token}x` } });
  const c = s.provider.play((x) => x.answer(500, { error: { message: `key ${x.headers.authorization} is bad` } }));
  await s.chat(c.mark);
  await sleep(200);
  assert.deepEqual(s.complaints(), []);
});

test('a worker refuses a schema older than it needs, with a clear message', async () => {
  const [{ v }] = await s.sql('SELECT MAX(version) AS v FROM schema_version');
  await s.sql(`CREATE TABLE kept AS SELECT * FROM schema_version; DELETE FROM schema_version WHERE version = ${v}`);
  try {
    const e = await run('timeout', ['10', path.join(build, 'tollgate.fcgi'), '--config', s.confFile(), '--socket', path.join(s.dir, 'run/other.sock')], { env: s.env() }).catch((x) => x);
    assert.ok(e.code && e.code !== 124, `it runs: ${e.code}`);
    assert.match(`${e.err}${s.log()}`, /schema_old/);
    assert.match(`${e.err}${s.log()}`, /migrate/);
  } finally {
    await s.sql('INSERT IGNORE INTO schema_version SELECT * FROM kept; DROP TABLE kept');
  }
});

test('a worker serves a schema one step newer', async () => {
  const [{ v }] = await s.sql('SELECT MAX(version) AS v FROM schema_version');
  await s.sql(`CREATE TABLE kept AS SELECT * FROM schema_version; INSERT INTO schema_version SELECT * FROM kept WHERE version = ${v} ON DUPLICATE KEY UPDATE version = ${v + 1}`);
  try {
    const [old] = s.workers();
    s.mayDie = true;
    process.kill(old, 'SIGTERM');
    await eventually(() => !s.workers().includes(old) && s.workers().length === 2, 'a new worker starts');
    await sleep(500);
    assert.equal(s.workers().length, 2);
    for (let i = 0; i < 10; i++) assert.equal((await s.chat('x')).status, 200);
  } finally {
    await s.sql('DELETE FROM schema_version; INSERT INTO schema_version SELECT * FROM kept; DROP TABLE kept');
    s.mayDie = false;
  }
});

test('/api/token with a personal access token: create, list, get, update, status only, delete', async () => {
  const api = (method, target, body) => s.request(method, target, { headers: { authorization: s.token }, body: body ?? null });
  const made = await api('POST', '/api/token/', { name: 'via-api', remain_quota: 500000, unlimited_quota: false, expired_time: -1, model_limits_enabled: false, model_limits: '', allow_ips: '', group: '' });
  assert.deepEqual(made.json, { success: true, message: '' });
  const list = await api('GET', '/api/token?p=1&page_size=50');
  assert.equal(list.json.success, true, list.text);
  const item = list.json.data.items.find((t) => t.name === 'via-api');
  assert.ok(item);
  assert.deepEqual([list.json.data.page, list.json.data.page_size], [1, 50]);
  assert.deepEqual([item.status, item.remain_quota, item.unlimited_quota, item.expired_time], [1, 500000, false, -1]);
  const one = await api('GET', `/api/token/${item.id}`);
  assert.equal(one.json.data.name, 'via-api');
  const upd = await api('PUT', '/api/token/', { ...item, name: 'renamed', key: undefined });
  assert.equal(upd.json.success, true, upd.text);
  const off = await api('PUT', '/api/token/?status_only=1', { id: item.id, status: 2 });
  assert.equal(off.json.success, true, off.text);
  assert.equal((await api('GET', `/api/token/${item.id}`)).json.data.status, 2);
  assert.equal((await api('GET', `/api/token/${item.id}`)).json.data.name, 'renamed');
  assert.equal((await api('DELETE', `/api/token/${item.id}`)).json.success, true);
  assert.equal((await api('GET', `/api/token/${item.id}`)).json.success, false);
});

test('a key made over the API works at once, and not after it was disabled or deleted', async () => {
  const api = (method, target, body) => s.request(method, target, { headers: { authorization: `Bearer ${s.token}` }, body: body ?? null });
  const made = await api('POST', '/api/token/?return=1', { name: 'fresh', unlimited_quota: true });
  assert.equal(made.json.success, true, made.text);
  const { id, key } = made.json.data;
  s.secret(key);
  const tries = async (want) => { for (let i = 0; i < 8; i++) assert.equal((await s.chat('x', {}, { key })).status, want); };
  await tries(200);
  await api('PUT', '/api/token/?status_only=1', { id, status: 2 });
  await tries(401);
  await api('PUT', '/api/token/?status_only=1', { id, status: 1 });
  await tries(200);
  await api('DELETE', `/api/token/${id}`);
  await tries(401);
});

test('/api refuses wrong credentials with its own envelope', async () => {
  for (const headers of [{}, { authorization: 'wrong' }, { authorization: s.token, 'new-api-user': '99999' }]) {
    const r = await s.request('GET', '/api/token/', { headers });
    assert.equal(r.status, 401, JSON.stringify(r.text));
    assert.equal(r.json.success, false);
    assert.ok(r.json.message);
  }
});

test('an API key without management scopes does not manage keys', async () => {
  const r = await s.get('/api/token/', { key: s.key });
  assert.equal(r.status, 403);
  assert.equal(r.json.code, 'scope_missing');
});

test('tollgatectl: wrong use, bad configuration and failures have their own exit codes', async () => {
  const code = (args) => s.ctl(args).then(() => 0, (e) => e.code);
  assert.equal(await code(['config', 'check']), 0);
  assert.equal(await code(['no-such-command']), 2);
  assert.equal(await code(['user', 'add', '--no-such-option']), 2);
  assert.equal(await code(['migrate', '--check']), 0);
  fs.writeFileSync(path.join(s.dir, 'bad.conf'), 'nonsense = 1\n');
  const bad = await run(path.join(build, 'tollgatectl'), ['--config', path.join(s.dir, 'bad.conf'), 'config', 'check'], { env: s.env() }).catch((e) => e);
  assert.equal(bad.code, 3);
  assert.match(bad.err, /bad\.conf:1/);
  assert.match(await s.ctl(['--version']), /\d+\.\d+\.\d+/);
  assert.match(await s.ctl(['--help']), /migrate/);
  assert.ok(Array.isArray(JSON.parse(await s.ctl(['--json', 'user', 'list'])).data));
  assert.ok(!(await s.ctl(['config', 'dump'])).includes('metrics-secret'));
});

test('after everything above, both workers still serve streams', async () => {
  const c = s.provider.play((x) => chatStream(x, { n: 5 }));
  const all = await Promise.all(Array.from({ length: 20 }, () => s.chat(c.mark, { stream: true })));
  for (const r of all) assert.ok(r.text.endsWith('data: [DONE]\n\n'));
});
