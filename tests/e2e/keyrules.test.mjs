// What a key's settings do to its calls: groups, limits, the three ways to show a key; in force with the next request.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chatAnswer } from './lib/provider.mjs';
import { Stack, eventually, slow } from './lib/stack.mjs';

const CALL = 25; // 11 prompt and 7 completion tokens at ratios 1 and 2
let s;
before(async () => { s = await Stack.start({ workers: 3 }); });
after(() => s?.stop());

const api = (method, target, body = null) => s.request(method, target, { headers: { authorization: s.token }, body });
async function make(settings = {}) {
  const r = await api('POST', '/api/token/?return=1', { name: 'e2e', unlimited_quota: true, ...settings });
  assert.equal(r.json.success, true, r.text);
  s.secret(r.json.data.key);
  return r.json.data;
}
const call = (key, model = 'gpt-4o-mini') => {
  const c = s.provider.play((x) => x.answer(200, chatAnswer()));
  return s.chat(c.mark, { model }, { key });
};
/** Status and code of the same call on every worker, each pair once. */
async function everywhere(key, ask = call) {
  const all = await Promise.all(Array.from({ length: 12 }, () => ask(key)));
  return [...new Set(all.map((r) => (r.status === 200 ? '200' : `${r.status} ${r.json.error.code}`)))];
}

test('each rule is in force with the next request of every worker', async () => {
  const { id, key } = await make();
  assert.deepEqual(await everywhere(key), ['200']);
  const rows = [
    [{ allow_ips: '192.0.2.0/24' }, '403 ip_not_allowed'], [{ allow_ips: '127.0.0.1' }, '200'], [{ allow_ips: '::ffff:127.0.0.0/104' }, '200'],
    [{ model_limits_enabled: true, model_limits: 'gpt-4o' }, '403 model_not_allowed'], [{ model_limits_enabled: true, model_limits: 'gpt-*' }, '200'],
    [{ model_limits_enabled: false, model_limits: 'gpt-4o' }, '200'], [{ expired_time: 1000000000 }, '401 api_key_expired'], [{ expired_time: -1 }, '200'],
    [{ status: 2 }, '401 api_key_disabled'], [{ status: 1 }, '200'], [{ unlimited_quota: false, remain_quota: 0 }, '429 key_quota_exhausted'], [{}, '200'],
    [{ scopes: ['models:read'] }, '403 scope_missing'], [{ scopes: ['inference'] }, '200'],
  ];
  for (const [settings, want] of rows) {
    const r = await api('PUT', '/api/token', { id, name: 'e2e', unlimited_quota: true, ...settings });
    assert.equal(r.json.success, true, r.text);
    assert.deepEqual(await everywhere(key), [want], JSON.stringify(settings));
  }
});

test('a key calls in its group: its own, a usable one, the site\'s order or its own order, and pays that group\'s price', async () => {
  for (const [name, ratio, rank, selectable] of [['gold', '2', '1', 'yes'], ['iron', '3', '2', 'yes'], ['closed', '5', '3', 'no']]) {
    await s.ctl(['group', 'add', name, '--ratio', ratio, '--auto-rank', rank, '--selectable', selectable]);
  }
  await s.addChannel({ name: 'gold', url: `${s.provider.url}/v1`, models: ['both', 'golden'], group: 'gold' });
  await s.addChannel({ name: 'iron', url: `${s.provider.url}/v1`, models: ['both', 'ironic'], group: 'iron' });
  await s.addChannel({ name: 'closed', url: `${s.provider.url}/v1`, models: ['closed-model'], group: 'closed' });
  assert.deepEqual((await api('GET', '/api/token/auto-groups/')).json.data, { groups: ['default', 'gold', 'iron'], max_count: 16 });
  const refused = await api('POST', '/api/token', { name: 'x', group: 'closed' });
  assert.match(refused.json.message, /^no access to group closed/);
  const rows = [
    [{ group: '' }, 'gpt-4o-mini', CALL], [{ group: '' }, 'golden', 503], [{ group: 'gold' }, 'golden', 2 * CALL], [{ group: 'gold' }, 'ironic', 503],
    [{ group: 'iron' }, 'both', 3 * CALL], [{ group: 'auto' }, 'both', 2 * CALL], [{ group: 'auto' }, 'ironic', 3 * CALL], [{ group: 'auto' }, 'closed-model', 503],
    [{ group: 'auto', auto_groups: ['iron', 'gold'] }, 'both', 3 * CALL], [{ group: 'auto', auto_groups: 'gold, iron' }, 'both', 2 * CALL],
    [{ group: 'auto', auto_groups: ['iron'] }, 'golden', 503],
  ];
  for (const [settings, model, want] of rows) {
    const { key } = await make(settings);
    const r = await call(key, model);
    const what = `${JSON.stringify(settings)} ${model}: ${r.text}`;
    if (want === 503) assert.deepEqual([r.status, r.json.error.code], [503, 'no_channel'], what);
    else assert.deepEqual([r.status, Number(r.headers['x-tollgate-cost'])], [200, want], what);
    const listed = (await s.get('/v1/models', { key })).json.data.some((m) => m.id === model);
    assert.equal(listed, want !== 503, `listed: ${what}`);
  }
  const { id, key } = await make({ group: 'gold' });
  assert.deepEqual(await everywhere(key, (k) => call(k, 'golden')), ['200']);
  await s.ctl(['group', 'set', 'gold', '--selectable', 'no']);
  await s.changesKnown();
  await eventually(async () => (await everywhere(key, (k) => call(k, 'golden'))).join() === '403 group_not_allowed', 'the group is closed on every worker');
  assert.equal((await api('GET', `/api/token/${id}/explain?model=golden`)).json.data.code, 'group_not_allowed');
  await s.ctl(['group', 'set', 'gold', '--selectable', 'yes']);
  await s.changesKnown();
  await eventually(async () => (await everywhere(key, (k) => call(k, 'golden'))).join() === '200', 'the group is open again');
});

test('cross_group_retry goes on with the next group and pays there; without it the client sees the error', async () => {
  await s.addChannel({ name: 'gold-fails', url: `${s.provider.url}/v1`, models: ['shaky'], group: 'gold', key: 'sk-upstream-gold-fails-0123456789' });
  await s.addChannel({ name: 'iron-works', url: `${s.provider.url}/v1`, models: ['shaky'], group: 'iron', key: 'sk-upstream-iron-works-0123456789' });
  for (const [retry, status] of [[true, 200], [false, 500]]) {
    const { key } = await make({ group: 'auto', cross_group_retry: retry });
    const c = s.provider.play((x) => (x.headers.authorization.includes('gold') ? x.answer(500, { error: { message: 'no' } }) : x.answer(200, chatAnswer())));
    const r = await s.chat(c.mark, { model: 'shaky' }, { key });
    assert.equal(r.status, status, r.text);
    if (retry) assert.equal(Number(r.headers['x-tollgate-cost']), 3 * CALL);
  }
});

test('a call spends the budget of the group that its plan begins with: the first that serves the model, also when a retry goes elsewhere', async () => {
  await s.ctl(['group', 'set', 'gold', '--budget', 'total=100000000']);
  await s.ctl(['group', 'set', 'iron', '--budget', 'total=100000000']);
  await s.addChannel({ name: 'iron-alone', url: `${s.provider.url}/v1`, models: ['ironic'], group: 'iron', key: 'sk-upstream-iron-alone-0123456789' });
  const { key } = await make({ group: 'auto', cross_group_retry: true });
  const spent = async (group) => (await s.sql(`SELECT CAST(a.spent + COALESCE((SELECT SUM(settled) FROM leases l WHERE l.kind = 5 AND l.owner_id = b.id), 0) AS SIGNED) AS n
    FROM owner_budgets b JOIN \`groups\` g ON g.id = b.owner_id JOIN allowances a ON a.kind = 5 AND a.owner_id = b.id WHERE g.name = '${group}'`))[0]?.n ?? 0;
  const shaky = () => {
    const c = s.provider.play((x) => (x.headers.authorization.includes('gold') ? x.answer(500, { error: { message: 'no' } }) : x.answer(200, chatAnswer())));
    return s.chat(c.mark, { model: 'shaky' }, { key });
  };
  await eventually(async () => (await call(key, 'ironic')).status === 200 && (await spent('iron')) > 0, 'the only group that serves a model pays');
  await eventually(async () => { // once every worker has read the catalogue
    const before = await spent('gold');
    for (const r of await Promise.all(Array.from({ length: 12 }, shaky))) assert.equal(r.status, 200, r.text);
    return eventually(async () => (await spent('gold')) - before === 12 * 3 * CALL, 'all are charged', 1000 * slow).catch(() => false);
  }, 'the first group\'s budget pays for what another served', 15000 * slow);
  for (const g of ['gold', 'iron']) await s.ctl(['group', 'set', g, '--budget', 'total=0']);
  await s.ctl(['reconcile']);
});

test('a key\'s limits hold over all workers and say when to come again', async () => {
  const { key } = await make({ rpm_limit: 5, tpm_limit: 1000000 });
  const all = await Promise.all(Array.from({ length: 20 }, () => call(key)));
  const served = all.filter((r) => r.status === 200), refused = all.filter((r) => r.status !== 200);
  assert.equal(served.length, 5);
  for (const r of refused) {
    assert.deepEqual([r.status, r.json.error.type, r.json.error.code], [429, 'rate_limit_error', 'rate_limit_exceeded']);
    assert.ok(Number(r.headers['retry-after']) >= 1);
  }
  for (const r of [served[0], refused[0]]) {
    assert.deepEqual([r.headers['x-ratelimit-limit-requests'], r.headers['x-ratelimit-limit-tokens']], ['5', '1000000']);
    for (const what of ['remaining', 'reset']) for (const of of ['requests', 'tokens']) assert.ok(`x-ratelimit-${what}-${of}` in r.headers, `${what} ${of}`);
  }
  const one = await make({ concurrency_limit: 1 });
  let go;
  const gate = new Promise((done) => { go = done; });
  const c = s.provider.play(async (x) => { await gate; x.answer(200, chatAnswer()); });
  const first = s.chat(c.mark, {}, { key: one.key });
  await eventually(() => c.seen.length === 1, 'the first call is with the provider');
  assert.deepEqual(await everywhere(one.key), ['429 rate_limit_exceeded']);
  go();
  assert.equal((await first).status, 200);
  await eventually(async () => (await call(one.key)).status === 200, 'there is room again');
});

test('key_reveal: always in every list, by its endpoint, or only once', async () => {
  const mode = async (m) => {
    await s.ctl(['option', 'set', 'key_reveal', m]);
    await s.changesKnown();
    assert.equal((await s.get('/api/status')).json.data.key_reveal, m);
  };
  const shown = async (id) => {
    const one = (await api('GET', `/api/token/${id}`)).json.data;
    const row = (await api('GET', '/api/token?page_size=100')).json.data.items.find((k) => k.id === id);
    const put = (await api('PUT', '/api/token?status_only=1', { id, status: 1 })).json.data;
    const found = (await api('GET', `/api/token/search?token=${encodeURIComponent(one.key_hint.slice(0, 7))}&page_size=100`)).json.data.items.find((k) => k.id === id);
    assert.deepEqual([row.key, put.key, found.key], [one.key, one.key, one.key]);
    return one;
  };
  const reveal = async (id) => [(await api('POST', `/api/token/${id}/key`)).json, (await api('POST', '/api/token/batch/keys', { ids: [id] })).json];
  const { id, key } = await make();
  await mode('always');
  assert.equal((await shown(id)).key, key);
  assert.deepEqual((await reveal(id)).map((r) => r.data), [{ key }, { keys: { [id]: key } }]);
  await mode('endpoint');
  const hidden = await shown(id);
  assert.equal(hidden.key, hidden.key_hint);
  assert.match(hidden.key, /^sk-[0-9A-Za-z]{4}\*{10}[0-9A-Za-z]{4}$/);
  assert.deepEqual((await reveal(id)).map((r) => r.data), [{ key }, { keys: { [id]: key } }]);
  await mode('once');
  const once = await make();
  for (const k of [id, once.id]) {
    assert.match((await shown(k)).key, /\*{10}/);
    for (const r of await reveal(k)) assert.deepEqual([r.success, r.code], [false, 'key_not_recoverable']);
  }
  assert.deepEqual(await everywhere(once.key), ['200']);
  assert.equal((await s.sql(`SELECT COUNT(*) AS n FROM key_secrets WHERE key_id = ${once.id} AND sealed IS NOT NULL AND sealed <> ''`))[0].n, 0);
  await mode('endpoint');
  assert.equal((await reveal(once.id))[0].code, 'key_not_recoverable', 'what was not kept cannot come back');
  await s.ctl(['option', 'unset', 'key_reveal']);
});

test('the pepper and the sealing key are files that only their owner reads, and no key is in the database', async () => {
  const dir = path.join(s.dir, 'secrets'), files = fs.readdirSync(dir);
  assert.ok(files.length >= 1);
  assert.equal(fs.statSync(dir).mode & 0o777, 0o700);
  for (const f of files) assert.equal(fs.statSync(path.join(dir, f)).mode & 0o777, 0o600, f);
  const { key } = await make();
  for (const [table] of Object.values((await s.sql("SELECT table_name AS t FROM information_schema.tables WHERE table_schema = DATABASE()")).map((r) => [r.t]))) {
    const text = JSON.stringify(await s.sql(`SELECT * FROM ${table}`));
    assert.ok(!text.includes(key.slice(8, -8)), table);
  }
});
