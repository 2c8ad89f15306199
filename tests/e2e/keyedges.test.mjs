// API keys where two features meet: what a key keeps when something around it changes, who sees what, many hands at once.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Stack, eventually } from './lib/stack.mjs';

let s;
before(async () => { s = await Stack.start({ workers: 3 }); });
after(() => s?.stop());

const api = (method, target, body = null, headers = {}) => s.request(method, target, { headers: { authorization: s.token, ...headers }, body });
const shown = async (id) => (await api('GET', `/api/token/${id}`)).json.data;

async function make(settings = {}) {
  const r = await api('POST', '/api/token?return=1', { name: 'edge', unlimited_quota: true, ...settings });
  assert.equal(r.json.success, true, r.text);
  s.secret(r.json.data.key);
  return r.json.data;
}

/** Waits until every worker answers so: what was changed is in force in each, and of many at once each takes some. */
async function everyWorker(ask, what) {
  await s.changesKnown();
  return eventually(async () => (await Promise.all(Array.from({ length: 24 }, ask))).every(Boolean), what);
}

async function accessToken(settings) {
  const r = await api('POST', '/api/user/tokens', settings);
  assert.equal(r.json.success, true, r.text);
  s.secret(r.json.data.key);
  return r.json.data;
}

test('a key found by its whole text must also have the name that is asked for, and stands on the first page alone', async () => {
  const { id, key } = await make({ name: 'Whole Text' });
  const search = async (q) => (await api('GET', `/api/token/search?token=${key}${q}`)).json.data;
  for (const q of ['', '&keyword=whole', '&keyword=whole&p=1&page_size=1']) assert.deepEqual((await search(q)).items.map((k) => k.id), [id], q);
  assert.deepEqual([(await search('&keyword=other')).total, (await search('&keyword=other')).items], [0, []]);
  const second = await search('&p=2');
  assert.deepEqual([second.total, second.items], [1, []], 'a client that reads pages until one is empty would never end');
});

test('a search for a hint that no key can have finds nothing instead of failing', async () => {
  for (const token of ['ä', '密钥', '😀', 'sk-ä%']) {
    const r = await api('GET', `/api/token/search?token=${encodeURIComponent(token)}`);
    assert.deepEqual([r.status, r.json.success, r.json.data?.total], [200, true, 0], `${token}: ${r.text}`);
  }
});

test('a repeated create has its first answer also when the group it names was taken away since', async () => {
  const group = `passing-${Date.now()}`;
  await s.ctl(['group', 'add', group, '--selectable', 'yes']);
  const create = (key) => api('POST', '/api/token?return=1', { name: 'once', unlimited_quota: true, group }, { 'idempotency-key': key });
  await everyWorker(async () => (await create(`try-${Math.random()}`)).json.success, 'the group is known');
  const first = await create('group-that-goes');
  assert.equal(first.json.success, true, first.text);
  await s.ctl(['group', 'set', group, '--selectable', 'no']);
  await everyWorker(async () => (await create(`try-${Math.random()}`)).json.code === 'group_not_allowed', 'the group is taken away');
  const again = await create('group-that-goes');
  assert.equal(again.text, first.text);
  s.secret(first.json.data.key);
});

test('an enabled key takes a form that says so with whatever quota and expiry', async () => {
  const { id } = await make();
  const form = { id, name: 'edge', status: 1 };
  const past = (await api('PUT', '/api/token', { ...form, unlimited_quota: true, expired_time: 1000000000 })).json;
  assert.deepEqual([past.success, past.data?.status], [true, 3], JSON.stringify(past));
  assert.equal((await api('PUT', '/api/token?status_only=1', { id, status: 1 })).json.code, 'token_expired', 'what is not enabled cannot be by the switch alone');
  assert.equal((await api('PUT', '/api/token', { ...form, remain_quota: 500 })).json.data.status, 1);
  const drained = (await api('PUT', '/api/token', { ...form, remain_quota: 0 })).json;
  assert.deepEqual([drained.success, drained.data?.status], [true, 4], JSON.stringify(drained));
  assert.equal((await api('PUT', '/api/token?status_only=1', { id, status: 1 })).json.code, 'token_exhausted');
});

test('an update that would make a live key a test key is refused, not passed over', async () => {
  const { id } = await make();
  const r = await api('PUT', '/api/token', { id, name: 'edge', unlimited_quota: true, mode: 'test' });
  assert.deepEqual([r.status, r.json.code, r.json.param], [400, 'invalid_value', 'mode']);
  assert.equal((await api('PUT', '/api/token', { id, name: 'edge', unlimited_quota: true, mode: 'live' })).json.success, true);
});

test('a credential that only reads keys sees no secret, also where lists show them', async () => {
  const { id, key } = await make();
  const reader = await accessToken({ name: 'reader', scopes: ['keys:read'] });
  const readerKey = await make({ scopes: ['keys:read'] });
  await s.ctl(['option', 'set', 'key_reveal', 'always']);
  await everyWorker(async () => (await shown(id)).key === key, 'every worker shows keys');
  for (const authorization of [reader.key, readerKey.key]) {
    for (const target of [`/api/token/${id}`, '/api/token?page_size=100', `/api/token/search?token=${key}`]) {
      const r = await s.get(target, { headers: { authorization } });
      assert.equal(r.json.success, true, r.text);
      assert.ok(!r.text.includes(key), `${target} shows a secret to who may only read`);
    }
  }
  await s.ctl(['option', 'unset', 'key_reveal']);
});

test('a key whose service was removed can still be changed, and does not become one that calls models', async () => {
  await s.ctl(['service', 'add', '--name', 'passing', '--prefix', '/passing', '--base-url', 'http://127.0.0.1:9']);
  await s.ctl(['service', 'scope', '--service', 'passing', '--name', 'Visitor', '--allow', 'GET /x']);
  await everyWorker(async () => (await api('POST', '/api/token', { name: 'guest', unlimited_quota: true, scopes: ['Visitor'] })).json.success, 'the scope is known');
  const { id, key } = await make({ scopes: ['Visitor'] });
  const calls = async () => (await s.get('/v1/models', { key })).json.error?.code;
  assert.equal(await calls(), 'scope_missing');
  await s.ctl(['service', 'delete', 'passing']);
  await everyWorker(async () => (await shown(id)).scopes.length === 0, 'the scope is gone');
  const renamed = (await api('PUT', '/api/token', { id, name: 'renamed', unlimited_quota: true })).json;
  assert.equal(renamed.success, true, JSON.stringify(renamed));
  const form = await shown(id);
  assert.equal((await api('PUT', '/api/token', { id, name: 'saved', unlimited_quota: true, scopes: form.scopes })).json.success, true);
  assert.deepEqual([(await shown(id)).scopes, await calls()], [[], 'scope_missing']);
  const named = (await api('PUT', '/api/token', { id, name: 'named', unlimited_quota: true, scopes: ['models:read'] })).json;
  assert.deepEqual(named.data.scopes, ['models:read']);
  assert.equal(await calls(), undefined);
});

test('a key that names no scopes reads its own usage, not what the account\'s other keys use', async () => {
  const { key } = await make();
  const ask = async (authorization) => Promise.all(['/api/log/self/stat', '/api/data/self'].map(async (t) => (await s.get(t, { headers: { authorization } })).status));
  assert.deepEqual(await ask(key), [403, 403]);
  assert.equal((await s.get('/api/usage/token', { headers: { authorization: key } })).status, 200);
  assert.deepEqual(await ask((await make({ scopes: ['usage:read'] })).key), [200, 200]);
});

test('the one token of the base contract replaces itself alone', async () => {
  const names = ['Default', 'default ', 'défault', 'DEFAULT'];
  const tokens = await Promise.all(names.map((name) => accessToken({ name })));
  const one = async () => s.secret((await api('GET', '/api/user/token')).json.data);
  const [first, second] = [await one(), await one()];
  const status = async (authorization) => (await s.get('/api/token', { headers: { authorization } })).status;
  assert.deepEqual(await Promise.all([first, second, ...tokens.map((t) => t.key)].map(status)), [401, 200, 200, 200, 200, 200]);
  for (const name of ['a\u0000b', 'line\nbreak']) {
    const r = await api('POST', '/api/user/tokens', { name });
    assert.deepEqual([r.status, r.json.code, r.json.param], [400, 'invalid_value', 'name']);
  }
});

test('many hands on one account\'s keys never make the service look unavailable, and the audit holds', async () => {
  const ids = [];
  for (let i = 0; i < 8; i++) ids.push((await make()).id);
  const any = () => ids[Math.floor(Math.random() * ids.length)];
  const acts = [
    () => api('PUT', '/api/token', { id: any(), name: 'x', unlimited_quota: true }),
    () => api('PUT', '/api/token?status_only=1', { id: any(), status: 1 + Math.floor(Math.random() * 2) }),
    () => api('POST', '/api/token/batch/keys', { ids }),
    () => api('POST', `/api/token/${any()}/rotate`, { grace_seconds: 1 }),
    () => api('DELETE', `/api/token/${any()}/rotate`),
    async () => {
      const fresh = await Promise.all([api('POST', '/api/token?return=1', { name: 'y' }), api('POST', '/api/token?return=1', { name: 'z' }, { 'idempotency-key': `k${Math.random()}` })]);
      if (fresh.some((r) => r.status !== 200)) return fresh.find((r) => r.status !== 200);
      fresh.forEach((r) => s.secret(r.json.data.key));
      return api('POST', '/api/token/batch', { ids: fresh.map((r) => r.json.data.id) });
    },
  ];
  const hand = async (n) => {
    const told = [];
    for (let i = 0; i < 20; i++) told.push(await acts[(n + i) % acts.length]());
    return told;
  };
  const told = (await Promise.all(Array.from({ length: 24 }, (_, n) => hand(n)))).flat();
  told.forEach((r) => Object.values(r.json.data?.keys ?? {}).forEach((k) => s.secret(k)));
  told.forEach((r) => r.json.data?.key && s.secret(r.json.data.key));
  assert.deepEqual([...new Set(told.filter((r) => r.status !== 200).map((r) => r.text))], []);
  await s.ctl(['audit', 'verify']);
});

test('a batch reveals what can be revealed', async () => {
  const kept = await make();
  await s.ctl(['option', 'set', 'key_reveal', 'once']);
  const known = (m) => everyWorker(async () => (await s.get('/api/status')).json.data.key_reveal === m, m);
  await known('once');
  const lost = await make();
  await s.ctl(['option', 'unset', 'key_reveal']);
  await known('endpoint');
  const r = (await api('POST', '/api/token/batch/keys', { ids: [lost.id, kept.id] })).json;
  assert.deepEqual([r.success, r.data], [true, { keys: { [kept.id]: kept.key } }]);
});

test('a model named twice is limited and shown once', async () => {
  const [model] = (await s.get('/v1/models', { key: s.key })).json.data.map((m) => m.id);
  const { id, key } = await make({ model_limits_enabled: true, model_limits: `${model}, ${model},${model}` });
  assert.equal((await shown(id)).model_limits, model);
  const usage = await s.get('/api/usage/token', { headers: { authorization: key } });
  assert.equal(usage.text.split(`"${model}":true`).length, 2, usage.text);
});

test('key scan tells a secret that was rotated away from one that works', async () => {
  const { id, key } = await make();
  const r = (await api('POST', `/api/token/${id}/rotate`, { grace_seconds: 0 })).json.data;
  s.secret(r.key);
  await sleep(1100);
  const file = path.join(s.dir, 'rotated.txt');
  const scan = async (text) => {
    fs.writeFileSync(file, text);
    const { code, out } = await s.ctl(['--json', 'key', 'scan', file]).then((o) => ({ code: 0, out: o }), (e) => e);
    return [code, ...JSON.parse(out).data.map((row) => row.state)];
  };
  assert.deepEqual(await scan(key), [0, 'rotated']);
  assert.deepEqual(await scan(`${key}\n${r.key}`), [1, 'rotated', 'live']);
});

test('a key that manages shows its last use, and keeps the model it called before', async () => {
  const { id, key } = await make({ scopes: ['keys:read'] });
  assert.equal((await s.get('/api/token', { headers: { authorization: key, 'user-agent': 'terraform/1' } })).status, 200);
  const used = await eventually(async () => {
    const k = await shown(id);
    return k.accessed_time > 0 ? k : null;
  }, 'the use is written');
  assert.deepEqual([used.last_used_ip, used.last_used_model, used.secrets[0].last_used_agent], ['127.0.0.1', '', 'terraform/1']);
  await s.sql(`UPDATE api_keys SET accessed_at = 5, last_used_model = 'gpt-before' WHERE id = ${id}`);
  await s.sql(`UPDATE key_secrets SET last_used_at = 5, last_used_model = 'gpt-before' WHERE key_id = ${id}`);
  const again = await eventually(async () => {
    await Promise.all(Array.from({ length: 6 }, () => s.get('/api/token', { headers: { authorization: key } }))); // a worker that has not told yet
    const k = await shown(id);
    return k.accessed_time > 5 ? k : null;
  }, 'the next use is written', 90000);
  assert.deepEqual([again.last_used_model, again.secrets[0].last_used_model], ['gpt-before', 'gpt-before']);
});

test('explain judges management paths as they judge the key', async () => {
  const keys = { plain: await make(), reads: await make({ scopes: ['keys:read'] }), usage: await make({ scopes: ['usage:read'] }) };
  const paths = ['/api/token', '/api/token/', `/api/token/${keys.plain.id}/audit`, '/api/log/self/stat', '/api/usage/token', '/api/log/token', '/v1/dashboard/billing/usage', '/api/log', '/api/status', '/api/nowhere'];
  for (const [name, { id, key }] of Object.entries(keys)) {
    for (const target of paths) {
      const { checks } = (await api('GET', `/api/token/${id}/explain?path=${encodeURIComponent(target)}`)).json.data;
      const r = await s.get(target, { headers: { authorization: key } });
      const scope = checks.find((c) => c.check === 'scope');
      assert.deepEqual([scope.passed, scope.code], [r.status === 200, r.status === 200 ? undefined : r.json.code ?? r.json.error.code], `${name} ${target}`);
    }
  }
});

test('a slip of the pen in an option that decides about keys is told', async () => {
  for (const [name, value] of [['key_reveal', 'Once'], ['key_prefix_live', 'two words'], ['key_prefix_test', 'sktest'], ['key_prefix_live', ''], ['max_user_tokens', 'many'], ['max_user_tokens', '-1']]) {
    const { code, out } = await s.ctl(['option', 'set', name, value]).then((o) => ({ code: 0, out: o }), (e) => e);
    assert.notEqual(code, 0, `${name} ${value}: ${out}`);
  }
});

test('the audit tells which access token was made and which was revoked', async () => {
  const { id } = await accessToken({ name: 'for "CI"', scopes: ['keys:read', 'logs:read'] });
  s.secret((await api('GET', '/api/user/token')).json.data);
  s.secret((await api('GET', '/api/user/token')).json.data);
  assert.equal((await api('DELETE', `/api/user/tokens/${id}`)).json.success, true);
  const rows = (await api('GET', '/api/token/0/audit?page_size=4')).json.data.items;
  assert.deepEqual(rows[0].detail, { id });
  assert.deepEqual([rows[1].detail.name, rows[1].detail.replaced], ['default', 1]);
  assert.deepEqual(rows[3].detail, { id, name: 'for "CI"', scopes: ['keys:read', 'logs:read'], expired_time: -1, replaced: 0 });
  await s.ctl(['audit', 'verify']);
});

test('a newer generation of the secrets takes no credential away, whichever worker knows it first', async () => {
  const { id, key } = await make();
  const idle = await make(); // no worker has met it
  const reader = await accessToken({ name: 'over a rotation', scopes: ['keys:read'] });
  const everybody = (target, authorization) => Promise.all(Array.from({ length: 24 }, () => s.get(target, { headers: { authorization } }))).then((all) => [...new Set(all.map((r) => r.status))]);
  assert.deepEqual(await everybody('/v1/models', key), [200]);
  await s.ctl(['secrets', 'rotate']);
  const [one] = s.workers();
  process.kill(one, 'SIGTERM'); // the pool starts another, which knows two generations; the others know one
  await eventually(async () => !s.workers().includes(one) && s.workers().length === 3, 'the worker is back');
  for (let round = 0; round < 3; round++) {
    assert.deepEqual(await everybody('/api/token', reader.key), [200], 'an access token is refused');
    assert.deepEqual(await everybody('/v1/models', idle.key), [200], 'a key is refused');
    const fresh = await make();
    assert.deepEqual(await everybody('/v1/models', fresh.key), [200], 'a key that was made now is refused');
    const shownKey = await Promise.all(Array.from({ length: 12 }, () => api('POST', `/api/token/${fresh.id}/key`)));
    assert.deepEqual([...new Set(shownKey.map((r) => r.json.data?.key))], [fresh.key]);
  }
  assert.match(await s.ctl(['secrets', 'reseal']), / 0 cannot be opened/);
  assert.deepEqual(await everybody('/v1/models', key), [200]);
  assert.equal((await api('POST', `/api/token/${id}/key`)).json.data.key, key);
});

test('audit verify on a site that is in use takes nobody who writes for a forger', async () => {
  const ids = (await Promise.all([make(), make(), make(), make()])).map((k) => k.id);
  let writing = true;
  const hands = ids.map(async (id) => { for (let n = 1; writing; n++) await api('PUT', '/api/token?status_only=1', { id, status: 1 + (n % 2) }); });
  try {
    for (let i = 0; i < 12; i++) assert.match(await s.ctl(['audit', 'verify']), /are what was written/);
  } finally {
    writing = false;
    await Promise.all(hands);
  }
  await s.sql(`UPDATE audit SET detail = '{}' WHERE key_id = ${ids[1]} ORDER BY id LIMIT 1`);
  await assert.rejects(s.ctl(['audit', 'verify']));
});
