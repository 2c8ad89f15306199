// SIGHUP: every key that conf.def marks reloadable takes its new value in the running worker; of every other one the
// worker says that it needs a restart. A new key without a test here fails.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ask } from './lib/fcgi.mjs';
import { chatAnswer, chatChunk, sleep } from './lib/provider.mjs';
import { Stack, eventually, root, slow } from './lib/stack.mjs';

const keys = [...fs.readFileSync(path.join(root, 'fcgi/door/conf.def'), 'utf8')
  .matchAll(/^CONF\("([^"]+)", \w+, (\w+), "([^"]*)", [^,]+, [^,]+, ([^,]+),/gm)]
  .map(([, name, type, def, flags]) => ({ name, type, def, reloads: flags.includes('CONF_RELOAD') }));

let s;
const base = {};
before(async () => {
  s = await Stack.start({ workers: 1, conf: { 'lease.idle': '20s' } });
  Object.assign(base, s.conf);
  await s.addChannel({ name: 'second', url: `${s.provider.url}/v1`, models: ['twice'] });
  await s.addChannel({ name: 'third', url: `${s.provider.url}/v1`, models: ['twice'] });
});
after(() => s?.stop());

/** The worker's settings are the stack's own and these; resolves when the worker has them. */
async function reload(more = {}) {
  s.conf = { ...base };
  s.writeConf(more);
  const n = s.logLines('reloaded').length;
  process.kill(s.workers()[0], 'SIGHUP');
  await eventually(() => s.logLines('reloaded').length > n, 'the worker has reloaded');
  return s.logLines('reloaded').at(-1);
}

const sum = async (name) => Object.entries(await s.metrics()).filter(([k]) => k.startsWith(name)).reduce((n, [, v]) => n + v, 0);
const script = (fn) => s.provider.play(fn);
const timed = async (promise) => {
  const t = performance.now();
  const r = await promise;
  return [r, performance.now() - t];
};
/** A body of which a part comes and nothing more for ms, or a byte each `gap`. */
async function* drip(ms, gap = ms) {
  yield '{';
  for (const end = performance.now() + ms; performance.now() < end;) {
    await sleep(gap);
    yield ' '.repeat(200);
  }
}
const upload = (ms, gap) => ask(s.socket, 'POST', '/v1/chat/completions', { key: s.key, size: 1 << 20, pieces: drip(ms, gap) });
const quiet = (x) => { x.stream(); x.event(chatChunk('first')); };

/** key: [its new value, what is so with the stack's own value, what is so with the new one] */
const probes = {
  'log.level': ['debug',
    async () => { await s.chat('x'); assert.equal(s.logLines('request').length, 0); },
    async () => { await s.chat('x'); await eventually(() => s.logLines('request').length > 0, 'requests are logged'); }],
  'worker.max_exchanges': ['1', ...[200, 503].map((want) => async () => {
    let go;
    const gate = new Promise((done) => { go = done; });
    const c = script(async (x) => { quiet(x); await gate; x.event('[DONE]'); x.end(); });
    const open = s.chat(c.mark, { stream: true });
    await eventually(() => c.seen.length === 1, 'one is open');
    const r = await s.chat('x');
    go();
    await open;
    await eventually(async () => await sum('tollgate_exchanges_in_flight') === 0, 'it is over');
    assert.equal(r.status, want);
  })],
  'limit.body': ['2K', ...[200, 413].map((want) => async () => assert.equal((await s.chat('x'.repeat(4000))).status, want))],
  'limit.api_body': ['1K', ...[200, 413].map((want) => async () => {
    const r = await s.request('POST', '/api/token/?return=1', { headers: { authorization: s.token }, body: { name: 'x', unlimited_quota: true, model_limits: 'm,'.repeat(600) } });
    if (r.status === 200) s.secret(r.json.data.key);
    assert.equal(r.status, want);
  })],
  'limit.headers': ['1K', ...[200, 431].map((want) => async () => assert.equal((await s.get('/v1/models', { key: s.key, headers: { 'x-pad': 'a'.repeat(2000) } })).status, want))],
  'limit.response_headers': ['1K', ...[200, 502].map((want) => async () => {
    const c = script((x) => x.answer(200, chatAnswer(), { 'x-pad': 'a'.repeat(2000) }));
    assert.equal((await s.chat(c.mark)).status, want);
  })],
  'limit.error_body': ['1K', ...[true, false].map((whole) => async () => {
    const c = script((x) => x.answer(400, { error: { message: 'm'.repeat(4000), type: 't', param: null, code: 'c' } }));
    assert.equal((await s.chat(c.mark)).text.includes('m'.repeat(4000)), whole);
  })],
  'limit.sse_event': ['4K', ...[true, false].map((whole) => async () => {
    const c = script((x) => { x.stream(); x.event(chatChunk('first')); x.event(chatChunk('y'.repeat(8000))); x.event('[DONE]'); x.end(); });
    assert.equal((await s.chat(c.mark, { stream: true })).text.includes('[DONE]'), whole);
  })],
  'body.deadline': ['1s', null, async () => {
    const [r, ms] = await timed(upload(20000, 100));
    assert.equal(r.status, 408, r.text);
    assert.ok(ms >= 900 && ms < 4000 * slow, `${ms} ms`);
  }],
  'body.min_rate': ['1G', null, async () => {
    const [r, ms] = await timed(upload(30000, 50));
    assert.equal(r.status, 408, r.text);
    assert.ok(ms >= 9900 && ms < 20000 * slow, `${ms} ms`);
  }],
  'upstream.connect_timeout': ['300ms', null, async () => {
    const mute = net.createServer(() => {}); // takes connections and never speaks TLS
    await new Promise((done) => { mute.listen(0, '127.0.0.1', done); });
    await s.addChannel({ name: 'mute', url: `https://127.0.0.1:${mute.address().port}/v1`, models: ['mute-model'] });
    const [r, ms] = await timed(s.chat('x', { model: 'mute-model' }));
    mute.close();
    assert.equal(r.status, 504, r.text);
    assert.ok(ms >= 300 && ms < 3000 * slow, `${ms} ms`);
  }],
  'upstream.first_byte_timeout': ['300ms', null, async () => {
    const [r, ms] = await timed(s.chat(script(() => {}).mark));
    assert.equal(r.status, 504, r.text);
    assert.ok(ms >= 300 && ms < 3000 * slow, `${ms} ms`);
  }],
  'upstream.idle_timeout': ['300ms', null, async () => {
    const [r, ms] = await timed(s.chat(script(quiet).mark, { stream: true }));
    assert.match(r.text, /"error"/);
    assert.ok(ms >= 300 && ms < 3000 * slow, `${ms} ms`);
  }],
  'upstream.error_body_timeout': ['300ms', null, async () => {
    const [r, ms] = await timed(s.chat(script((x) => { x.head(400); x.write('{"error":'); }).mark));
    assert.equal(r.status, 400, r.text);
    assert.ok(ms >= 300 && ms < 2000 * slow, `${ms} ms`);
  }],
  'upstream.total_timeout': ['700ms', null, async () => {
    const c = script(async (x) => { quiet(x); while (x.left === null) { await sleep(50); x.event(chatChunk('more')); } });
    const [r, ms] = await timed(s.chat(c.mark, { stream: true }));
    assert.match(r.text, /"error"/);
    assert.ok(ms >= 700 && ms < 4000 * slow, `${ms} ms`);
  }],
  'upstream.max_attempts': ['1', ...[2, 1].map((want) => async () => {
    const c = script((x) => x.answer(500, { error: { message: 'no' } }));
    await s.chat(c.mark, { model: 'twice' });
    assert.equal(c.seen.length, want);
  })],
  'stream.ping_interval': ['100ms', ...[false, true].map((pinged) => async () => {
    const c = script(async (x) => { quiet(x); await sleep(500); x.event('[DONE]'); x.end(); });
    assert.equal((await s.chat(c.mark, { stream: true })).text.includes(': ping'), pinged);
  })],
  'cooldown.failures': ['1', ...[false, true].map((cools) => () => fail({}, cools ? 5000 : 0))],
  'cooldown.first': ['2s', null, () => fail({ 'cooldown.failures': '1' }, 2000)],
  'cooldown.max': ['1s', null, () => fail({ 'cooldown.failures': '1' }, 1000)],
  'auth.cache_ttl': ['0', ...[200, 401].map((want) => async () => {
    const key = await s.addKey(`cached-${want}`);
    assert.equal((await s.get('/v1/models', { key })).status, 200);
    await s.sql(`UPDATE api_keys SET disabled = TRUE WHERE name = 'cached-${want}'`); // which tells nobody
    assert.equal((await s.get('/v1/models', { key })).status, want);
  })],
  'sync.interval': ['10s', ...[[50, 401], [1500, 200]].map(([ms, want]) => async () => {
    const key = await s.addKey(`far-${want}`);
    await sleep(300);
    assert.equal((await s.get('/v1/models', { key })).status, 200);
    const [{ id }] = await s.sql(`SELECT id FROM api_keys WHERE name = 'far-${want}'`);
    // as another host does it
    await s.sql(`UPDATE api_keys SET disabled = TRUE WHERE id = ${id}; INSERT INTO changes (kind, entity_id, created_us) VALUES (0, ${id}, UNIX_TIMESTAMP(NOW(6)) * 1000000)`);
    if (want === 401) await eventually(async () => (await s.get('/v1/models', { key })).status === 401, 'the change is seen');
    else await sleep(ms);
    assert.equal((await s.get('/v1/models', { key })).status, want);
  })],
  trusted_proxies: ['127.0.0.1', ...[403, 200].map((want) => async () => {
    const key = await s.addKey(`near-${want}`, ['--unlimited']);
    await s.sql(`UPDATE api_keys SET allow_ips = '192.0.2.7' WHERE name = 'near-${want}'`);
    assert.equal((await s.get('/v1/models', { key, headers: { 'x-forwarded-for': '192.0.2.7' } })).status, want);
  })],
  'leak.github_keys': [() => {
    const pem = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' });
    fs.writeFileSync(path.join(s.dir, 'github.json'), JSON.stringify({ public_keys: [{ key_identifier: 'a', key: pem, is_current: true }] }));
    return path.join(s.dir, 'github.json');
  }, ...[404, 401].map((want) => async () => assert.equal((await s.request('POST', '/api/leak/github', { body: [] })).status, want))],
  'metrics.token': ['metrics-secret-654321', ...[401, 200].map((want) => async () => {
    await reload({ ...s.conf, trusted_proxies: '127.0.0.1' });
    const r = await s.get('/metrics', { headers: { 'x-forwarded-for': '192.0.2.1', authorization: `Bearer ${s.secret('metrics-secret-654321')}` } });
    assert.equal(r.status, want);
  })],
  'ledger.flush_interval': ['3s', ...[true, false].map((soon) => async () => {
    const { id } = await s.chat('x');
    await sleep(soon ? 1500 : 1000);
    assert.equal((await s.sql(`SELECT 1 FROM usage_rows WHERE request_id = '${id}'`)).length, soon ? 1 : 0);
    await s.usageOf(id);
  })],
  'ledger.batch': ['1', ...[(n) => n < 25, (n) => n >= 30].map((ok) => async () => {
    await reload({ ...s.conf, 'ledger.flush_interval': '2s' });
    await s.sql('CREATE TABLE IF NOT EXISTS test_batches (n INT)');
    await s.sql('CREATE OR REPLACE TRIGGER test_batch AFTER UPDATE ON ledgers FOR EACH ROW INSERT INTO test_batches SELECT 1 WHERE NEW.applied_seq > OLD.applied_seq');
    const batches = async () => Number((await s.sql('SELECT COUNT(*) AS n FROM test_batches'))[0].n);
    await s.usageOf((await s.chat('x')).id);
    const before = await batches();
    const all = await Promise.all(Array.from({ length: 30 }, () => s.chat('x')));
    for (const r of all) await s.usageOf(r.id);
    const n = await batches() - before;
    await s.sql('DROP TRIGGER test_batch');
    assert.ok(ok(n), `${n} transactions for 30 rows`);
  })],
  'ledger.max_backlog': ['100', null, async () => {
    await reload({ ...s.conf, 'ledger.flush_interval': '10s' });
    const all = [];
    for (let i = 0; i < 101; i++) all.push(await s.chat('x'));
    assert.deepEqual([...new Set(all.map((r) => r.status))], [200]);
    await eventually(async () => await sum('tollgate_ledger_backlog') === 101, 'all of them wait');
    const refused = await s.chat('x');
    assert.equal(refused.status, 503, refused.text);
    assert.ok(Number(refused.headers['retry-after']) >= 1);
    await eventually(async () => (await s.chat('x')).status === 200, 'served again when they are written', 15000 * slow);
  }],
  'lease.idle': ['1s', async () => {
    await s.chat('x');
    await sleep(2500);
    assert.ok((await s.sql('SELECT SUM(amount) AS n FROM leases'))[0].n > 0, 'the lease is kept');
  }, () => eventually(async () => !(await s.sql('SELECT SUM(amount) AS n FROM leases'))[0].n, 'the lease went back', 6000 * slow)],
  'lease.kept': ['0', async () => {
    await s.chat('x');
    await sleep(2500); // a twentieth of lease.idle is one second here
    assert.ok((await s.sql('SELECT SUM(amount) AS n FROM leases'))[0].n > 0, 'the lease is kept');
    assert.equal((await s.sql('SELECT SUM(settled) AS n FROM leases WHERE kind = 1'))[0].n, 0, 'what it has spent was moved');
  }, () => eventually(async () => !(await s.sql('SELECT SUM(amount) AS n FROM leases'))[0].n, 'the lease went back', 6000 * slow)],
  'billing.interrupted_full': ['on', ...[(r) => r.cost < 100, (r) => r.cost >= 2000].map((ok, i) => async () => {
    const id = `interrupted-${i}`;
    const c = script(quiet);
    const open = s.chat(c.mark, { stream: true, max_tokens: 1000 }, { headers: { 'x-request-id': id } }).catch(() => {});
    await eventually(() => c.seen.length === 1, 'it is open');
    s.mayDie = true;
    const [old] = s.workers();
    process.kill(old, 'SIGKILL');
    await open;
    await eventually(() => s.workers().length === 1 && !s.workers().includes(old), 'another worker runs');
    const row = await s.usageOf(id);
    assert.equal(row.interrupted, 1);
    assert.ok(ok(row), `${row.cost} charged`);
  })],
  'usage.keep_months': ['2', async () => {
    const [{ name, below }] = await s.sql("SELECT PARTITION_NAME AS name, PARTITION_DESCRIPTION AS below FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'usage_rows' ORDER BY PARTITION_ORDINAL_POSITION LIMIT 1");
    await s.sql(`ALTER TABLE usage_rows REORGANIZE PARTITION ${name} INTO (PARTITION p2020_01 VALUES LESS THAN (1580515200), PARTITION ${name} VALUES LESS THAN (${below}))`);
    await sleep(500);
    assert.equal(await oldPartitions(), 1);
  }, () => eventually(async () => await oldPartitions() === 0, 'the old month is dropped')],
};

async function oldPartitions() {
  return (await s.sql("SELECT COUNT(*) AS n FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'usage_rows' AND PARTITION_NAME = 'p2020_01'"))[0].n;
}

let failing = 0;
/** A fresh channel fails once: it is left alone for `ms`, or not. */
async function fail(more, ms) {
  if (Object.keys(more).length) await reload({ ...s.conf, ...more });
  const name = `failing-${++failing}`;
  await s.addChannel({ name, url: `${s.provider.url}/v1`, models: [name] });
  const before = s.logLines('channel_cooling').length;
  const c = script((x) => x.answer(500, { error: { message: 'no' } }));
  await s.chat(c.mark, { model: name });
  await sleep(200);
  const lines = s.logLines('channel_cooling').slice(before);
  assert.equal(lines.length, ms ? 1 : 0);
  if (ms) assert.ok(lines[0].for_ms > ms * 0.6 && lines[0].for_ms <= ms * 1.4, `for ${lines[0].for_ms} ms`);
}

for (const [name, [value, then, now]] of Object.entries(probes)) {
  test(`${name} is in force as soon as the worker has reloaded`, async () => {
    await reload();
    if (then) await then();
    await reload({ [name]: typeof value === 'function' ? value() : value });
    await now();
    await reload();
  });
}

test('log.file: lines go to the new file, and to the old one again', async () => {
  const other = path.join(s.dir, 'log/other.log');
  s.conf = { ...base };
  s.writeConf({ 'log.file': other });
  process.kill(s.workers()[0], 'SIGHUP');
  await eventually(() => fs.existsSync(other) && fs.readFileSync(other, 'utf8').includes('"reloaded"'), 'the new file is used');
  await reload();
});

test('worker.drain_timeout: a stream that is open at SIGTERM is cut when it has passed', async () => {
  await reload({ 'worker.drain_timeout': '1s' });
  const c = script(quiet);
  const open = timed(s.chat(c.mark, { stream: true }));
  await eventually(() => c.seen.length === 1, 'it is open');
  const [old] = s.workers();
  process.kill(old, 'SIGTERM');
  const [r, ms] = await open;
  assert.match(r.text, /"error"/);
  assert.ok(ms >= 900 && ms < 8000 * slow, `${ms} ms`);
  await eventually(() => s.workers().length === 1 && !s.workers().includes(old), 'another worker runs', 10000 * slow);
});

test('each reloadable key has its test above', () => {
  const reloads = keys.filter((k) => k.reloads).map((k) => k.name).sort();
  assert.ok(reloads.length > 25, 'conf.def was read');
  assert.deepEqual([...Object.keys(probes), 'log.file', 'worker.drain_timeout'].sort(), reloads);
});

test('a changed key that needs a restart is named in the log, each of them, and the old value stays', async () => {
  await eventually(async () => (await s.get('/readyz').catch(() => ({}))).status === 200, 'the new worker is ready', 10000 * slow);
  const other = { STR: '/nowhere/else', INT: '2', MS: '20s', SIZE: '8M', BOOL: 'on' };
  const fixed = keys.filter((k) => !k.reloads);
  const line = await reload(Object.fromEntries(fixed.map((k) => [k.name, other[k.type]])));
  assert.deepEqual(line.needs_restart.split(', ').sort(), fixed.map((k) => k.name).sort());
  assert.equal((await s.chat('x')).status, 200);
  assert.equal((await reload()).needs_restart, '');
});
