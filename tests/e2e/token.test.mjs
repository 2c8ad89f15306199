// API keys over the wire: made, used, changed and ended, on every worker and on another host.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { chatAnswer } from './lib/provider.mjs';
import { Stack, eventually } from './lib/stack.mjs';

let s;
before(async () => { s = await Stack.start({ workers: 3 }); });
after(() => s?.stop());

const auth = (more = {}) => ({ headers: { authorization: s.token, ...more } });
const api = (method, target, body = null, more = {}, stack = s) =>
  stack.request(method, target, { ...auth(more), body });

/** Makes a key; resolves with its id and text. */
async function make(settings) {
  const r = await api('POST', '/api/token/?return=1', { name: 'e2e', unlimited_quota: true, ...settings });
  assert.equal(r.json.success, true, r.text);
  s.secret(r.json.data.key);
  return r.json.data;
}

/** Calls the chat route with a key; the provider answers whatever is asked. */
async function chat(key, model = 'gpt-4o-mini', stack = s) {
  const c = s.provider.play((x) => x.answer(200, chatAnswer()));
  return stack.request('POST', '/v1/chat/completions', { key, body: { model, messages: [{ role: 'user', content: c.mark ?? 'hi' }] } });
}

/** The same request as often as it takes to meet each worker. */
async function statuses(key, times = 12) {
  const all = await Promise.all(Array.from({ length: times }, () => s.get('/v1/models', { key })));
  return [...new Set(all.map((r) => r.status))];
}

test('the exchange the documentation shows, with and without a slash, without redirects', async () => {
  for (const target of ['/api/token', '/api/token/']) {
    const made = await s.request('POST', target, {
      headers: { authorization: s.token },
      body: { name: 'production', expired_time: -1, remain_quota: 100000, unlimited_quota: false, model_limits_enabled: false, model_limits: '', allow_ips: null, group: '', cross_group_retry: false },
    });
    assert.equal(made.status, 200);
    assert.equal(made.text, '{"success":true,"message":""}');
    assert.match(made.headers['content-type'], /^application\/json/);
    assert.equal(made.headers['cache-control'], 'no-store');
    assert.ok(made.headers['x-request-id']);
    const list = await api('GET', `${target}?p=1&page_size=1`);
    assert.equal(list.json.data.items[0].name, 'production');
    assert.equal(list.json.data.items[0].remain_quota, 100000);
  }
});

test('a key is refused on every worker from the moment it is disabled, and again after it is deleted', async () => {
  const { id, key } = await make({});
  assert.deepEqual(await statuses(key), [200]);
  await api('PUT', '/api/token/?status_only=true', { id, status: 2 });
  assert.deepEqual(await statuses(key), [401]);
  assert.equal((await chat(key)).json.error.code, 'api_key_disabled');
  await api('PUT', '/api/token/?status_only=true', { id, status: 1 });
  assert.deepEqual(await statuses(key), [200]);
  await api('DELETE', `/api/token/${id}/`);
  assert.deepEqual(await statuses(key), [401]);
  assert.equal((await chat(key)).json.error.code, 'invalid_api_key');
});

test('expiry, model, address and quota decide as they are set', async () => {
  const { id, key } = await make({ model_limits_enabled: true, model_limits: 'gpt-4o-mini,claude-*' });
  assert.equal((await chat(key)).status, 200);
  const other = await chat(key, 'gpt-4o');
  assert.equal(other.status, 403);
  assert.equal(other.json.error.code, 'model_not_allowed');
  await api('PUT', '/api/token/', { id, name: 'e2e', unlimited_quota: true, allow_ips: '203.0.113.0/24' });
  const away = await chat(key);
  assert.equal(away.status, 403);
  assert.equal(away.json.error.code, 'ip_not_allowed');
  await api('PUT', '/api/token/', { id, name: 'e2e', unlimited_quota: true, allow_ips: '127.0.0.0/8' });
  assert.equal((await chat(key)).status, 200);
  await api('PUT', '/api/token/', { id, name: 'e2e', remain_quota: 0 });
  const empty = await chat(key);
  assert.equal(empty.status, 429);
  assert.equal(empty.json.error.code, 'key_quota_exhausted');
  await api('PUT', '/api/token/', { id, name: 'e2e', unlimited_quota: true, expired_time: 1000000000 });
  const late = await chat(key);
  assert.equal(late.status, 401);
  assert.equal(late.json.error.code, 'api_key_expired');
});

test('a client cannot write its own address', async () => {
  const { key } = await make({ allow_ips: '203.0.113.9' });
  for (const name of ['x-forwarded-for', 'x-real-ip', 'forwarded', 'cf-connecting-ip']) {
    const r = await s.get('/v1/models', { key, headers: { [name]: '203.0.113.9' } });
    assert.equal(r.status, 403, name);
  }
});

test('during a rotation both secrets work on every worker, then the old one ends', async () => {
  const { id, key } = await make({});
  const r = await api('POST', `/api/token/${id}/rotate`, { grace_seconds: 3600 });
  const fresh = s.secret(r.json.data.key);
  assert.deepEqual(await statuses(key), [200]);
  assert.deepEqual(await statuses(fresh), [200]);
  await api('DELETE', `/api/token/${id}/rotate`);
  assert.deepEqual(await statuses(key), [401]);
  assert.deepEqual(await statuses(fresh), [200]);
});

test('what a call spends shows in the list and through the key itself', async () => {
  const { id, key } = await make({ unlimited_quota: false, remain_quota: 100000 });
  const r = await chat(key);
  assert.equal(r.status, 200, r.text);
  const row = await s.usageOf(r.id);
  const usage = (await s.get('/api/usage/token/', { key })).json;
  assert.equal(usage.code, true);
  assert.equal(usage.data.total_used, row.cost);
  assert.equal(usage.data.total_available, 100000 - row.cost);
  const shown = (await api('GET', `/api/token/${id}`)).json.data;
  assert.equal(shown.used_quota, row.cost);
  assert.equal(shown.remain_quota, 100000 - row.cost);
  assert.equal((await s.get('/api/log/token', { key })).json.data[0].request_id, r.id);
  await api('PUT', '/api/token/', { id, name: 'e2e', remain_quota: 5000 });
  const after = (await s.get('/api/usage/token/', { key })).json.data;
  assert.equal(after.total_available, 5000);
  assert.equal(after.total_used, row.cost);
});

test('the last use of a secret is shown', async () => {
  const { id, key } = await make({});
  await s.request('POST', '/v1/chat/completions', { key, headers: { 'user-agent': 'probe/1' }, body: { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'x' }] } });
  const used = await eventually(async () => {
    const k = (await api('GET', `/api/token/${id}`)).json.data;
    return k.secrets[0].last_used_time > 0 && k.last_used_ip ? k : null; // read one after the other
  }, 'last use is written', 15000);
  assert.equal(used.last_used_ip, '127.0.0.1');
  assert.equal(used.secrets[0].last_used_agent, 'probe/1');
});

test('50 creates at once stop exactly at the limit', async () => {
  const have = (await api('GET', '/api/token')).json.data.total;
  await s.ctl(['option', 'set', 'max_user_tokens', String(have + 20)]);
  await sleep(500); // every worker reads its options again
  const all = await Promise.all(Array.from({ length: 50 }, () => api('POST', '/api/token', { name: 'race' })));
  const refused = all.filter((r) => !r.json.success);
  assert.equal(refused.length, 30);
  for (const r of refused) assert.equal(r.json.code, 'too_many_tokens', r.text);
  assert.equal((await api('GET', '/api/token')).json.data.total, have + 20);
  const rows = await s.sql('SELECT COUNT(*) AS n FROM api_keys WHERE user_id = 1 AND deleted_at IS NULL');
  assert.equal(rows[0].n, have + 20);
  const race = (await api('GET', '/api/token/search?keyword=race&page_size=100')).json.data.items.map((k) => k.id);
  assert.equal((await api('POST', '/api/token/batch', { ids: race })).json.data, 20);
  await s.ctl(['option', 'unset', 'max_user_tokens']);
});

test('errors keep their envelope: 401, 403, 404, 405, 409, 413, 415', async () => {
  const cases = [
    [401, 'unauthorized', await s.get('/api/token')],
    [401, 'invalid_access_token', await s.get('/api/token', { headers: { authorization: 'nonsense' } })],
    [401, 'user_mismatch', await api('GET', '/api/token', null, { 'new-api-user': '77' })],
    [404, 'unknown_url', await api('GET', '/api/nothing')],
    [405, 'method_not_allowed', await api('PATCH', '/api/token', {})],
    [415, 'unsupported_content_type', await api('POST', '/api/token', 'a=b', { 'content-type': 'text/plain' })],
    [400, 'empty_body', await api('POST', '/api/token', '')],
  ];
  for (const [status, code, r] of cases) {
    assert.equal(r.status, status, r.text);
    assert.equal(r.json.success, false);
    assert.equal(r.json.code, code);
    assert.ok(r.json.message);
  }
  assert.match(cases[4][2].headers.allow, /GET.*POST.*PUT/);
});

test('bad input is refused and named, whatever its size, at create and at update', async () => {
  const { id } = await make({});
  const send = (method, body, more) => api(method, '/api/token/', typeof body === 'string' || Buffer.isBuffer(body) ? body : { name: 'x', ...more, ...body });
  const post = (body) => send('POST', body);
  const rows = [
    ['{', 400, 'invalid_json'],
    ['[]', 400, 'invalid_type'],
    ['{"name":"a","name":"b"}', 400, 'duplicate_field', 'name'],
    [Buffer.from([0x7b, 0x22, 0x6e, 0x61, 0x6d, 0x65, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d]), 400, 'invalid_json'],
    [`{"name":${'['.repeat(100000)}`, 400, 'invalid_json'],
    ['{"remain_quota":9223372036854775808}', 400, 'invalid_type', 'remain_quota'],
    [{ name: '\u0000' }, 400, 'invalid_value', 'name'],
    [{ name: '键'.repeat(51) }, 200, 'name_too_long', 'name'],
    [{ name: 'x'.repeat(900000) }, 200, 'name_too_long', 'name'],
    [{ nmae: 'x' }, 400, 'unknown_field', 'nmae'],
    [{ remain_quota: -1 }, 200, 'quota_negative', 'remain_quota'],
    [{ remain_quota: 1.5 }, 400, 'invalid_type', 'remain_quota'],
    [{ remain_quota: '7' }, 400, 'invalid_type', 'remain_quota'],
    [{ remain_quota: 500000000000001 }, 200, 'quota_too_large', 'remain_quota'],
    [{ allow_ips: '1.2.3.4\n'.repeat(10000) }, 200, 'invalid_allow_ips', 'allow_ips'],
    ...['1.2.3', '1.2.3.256', '1.2.3.4/33', '1.2.3.4/', '::1/129', 'fe80::1%eth0', 'example.org', '1.2.3.4/08', '*'].map((ip) =>
      [{ allow_ips: `198.51.100.1\n${ip}` }, 200, 'invalid_allow_ips', 'allow_ips']),
    [{ group: 'no-such-group' }, 200, 'group_not_allowed', 'group'],
    [{ model_limits_enabled: true, model_limits: 'gpt-4o-mini,no-such-model' }, 200, 'model_not_found', 'model_limits'],
    [{ scopes: ['everything'] }, 200, 'unknown_scope', 'scopes'],
  ];
  for (const [method, more] of [['POST', {}], ['PUT', { id }]]) {
    for (const [body, status, code, param] of rows) {
      const r = await send(method, body, more);
      const what = `${method} ${(JSON.stringify(body) ?? '').slice(0, 80)}: ${r.status} ${r.text.slice(0, 200)}`;
      assert.equal(r.status, status, what);
      assert.equal(r.json.success, false, what);
      assert.equal(r.json.code, code, what);
      if (param) assert.equal(r.json.param, param, what);
    }
    const none = await api(method, '/api/token/', '', more);
    assert.deepEqual([none.status, none.json.code], [400, 'empty_body']);
    const form = await api(method, '/api/token/', 'name=x', { 'content-type': 'application/x-www-form-urlencoded' });
    assert.deepEqual([form.status, form.json.code], [415, 'unsupported_content_type']);
    assert.equal((await send(method, { name: '键'.repeat(50) }, more)).json.success, true);
    assert.equal((await send(method, { expired_time: 1000000000 }, more)).json.success, true, 'an expiry in the past only blocks calls');
  }
  const past = (await api('GET', `/api/token/${id}`)).json.data;
  assert.deepEqual([past.status, past.expired_time], [3, 1000000000]);
  const huge = await post({ name: 'x'.repeat(10 << 20) });
  assert.equal(huge.status, 413);
  assert.equal(huge.json.code, 'request_too_large');
  await s.addUser('neighbour@example.org', 1000);
  const foreign = (await s.sql("SELECT k.id FROM api_keys k JOIN users u ON u.id = k.user_id WHERE u.email = 'neighbour@example.org'"))[0].id;
  for (const no of ['0', '-1', '9223372036854775808', '999999999', foreign]) {
    const target = `/api/token/${no}`;
    const all = [['GET', target], ['DELETE', target], ['POST', `${target}/key`], ['POST', `${target}/rotate`], ['DELETE', `${target}/rotate`],
      ['GET', `${target}/audit`], ['GET', `${target}/explain`]];
    for (const [method, path] of all) {
      const r = await api(method, path);
      assert.deepEqual([r.status, r.json.code], [200, 'record_not_found'], `${method} ${path}`);
    }
    if (Number(no) < 2 ** 53) assert.equal((await api('PUT', '/api/token', { id: Number(no), name: 'x' })).json.code, 'record_not_found', no);
  }
  assert.equal((await api('PUT', '/api/token', '{"id":9223372036854775808}')).json.param, 'id');
  for (const [query, size] of [['page_size=0', 10], ['page_size=-1', 10], ['page_size=1000000000', 100], ['ps=7', 7], ['size=8', 8]]) {
    const page = (await api('GET', `/api/token?${query}`)).json.data;
    assert.equal(page.page_size, size, query);
  }
  for (const [p, page] of [['0', 1], ['-1', 1], ['1000000000', 1000000000], ['x', 1]]) assert.equal((await api('GET', `/api/token?p=${p}`)).json.data.page, page, p);
});

test('texts follow Accept-Language, codes do not', async () => {
  const texts = { 'en-GB': 'token name is too long', 'zh-CN,zh;q=0.9': '令牌名称过长', vi: 'tên token quá dài', 'fr,xx': 'token name is too long' };
  for (const [language, text] of Object.entries(texts)) {
    const r = await api('POST', '/api/token', { name: 'x'.repeat(51) }, { 'accept-language': language });
    assert.equal(r.json.message, text);
    assert.equal(r.json.code, 'name_too_long');
  }
});

test('explain names the rule that decides', async () => {
  const { id } = await make({ allow_ips: '10.0.0.0/8', budgets: [{ window: 'day', amount: 100, timezone: 'Europe/Berlin' }] });
  const explain = async (query) => (await api('GET', `/api/token/${id}/explain?${query}`)).json.data;
  assert.equal((await explain('ip=127.0.0.1&model=gpt-4o-mini')).code, 'ip_not_allowed');
  assert.equal((await explain('ip=10.1.1.1&model=nothing')).code, 'model_not_found');
  const fine = await explain('ip=10.1.1.1&model=gpt-4o-mini');
  assert.equal(fine.allowed, true, JSON.stringify(fine));
  assert.ok(fine.next_reset > Date.now() / 1000);
});

test('a repeated create with the same Idempotency-Key makes one key, also when sent at once', async () => {
  const before = (await api('GET', '/api/token')).json.data.total;
  const all = await Promise.all(Array.from({ length: 8 }, () =>
    api('POST', '/api/token/?return=1', { name: 'once' }, { 'idempotency-key': 'order 1' })));
  for (const r of all) s.secret(r.json.data.key);
  assert.equal(new Set(all.map((r) => r.text)).size, 1);
  assert.equal((await api('GET', '/api/token')).json.data.total, before + 1);
  assert.equal((await api('POST', '/api/token/', { name: 'else' }, { 'idempotency-key': 'order 1' })).status, 409);
});

test('another host knows a change within a second', async () => {
  const far = new Stack({ workers: 2 });
  Object.assign(far, { dir: fs.mkdtempSync(path.join(process.env.TOLLGATE_E2E_WORK || '/tmp', 'far-')), dbDir: s.dbDir, secrets: s.secrets });
  for (const d of ['run', 'log', 'upload', 'web']) fs.mkdirSync(path.join(far.dir, d), { mode: 0o700 });
  fs.writeFileSync(path.join(far.dir, 'web/index.html'), 'far');
  far.dbName = s.dbName;
  far.writeConf({ 'secrets.dir': path.join(s.dir, 'secrets'), 'sync.interval': '300ms' });
  try {
    await far.startWorkers();
    await far.startWeb();
    await eventually(async () => (await far.get('/readyz').catch(() => ({}))).status === 200, 'the other host is ready', 15000);
    const { id, key } = await make({});
    assert.equal((await far.get('/v1/models', { key })).status, 200);
    for (const [status, want] of [[2, 401], [1, 200], [2, 401]]) {
      await api('PUT', '/api/token/?status_only=1', { id, status });
      const from = performance.now();
      await eventually(async () => {
        const all = await Promise.all(Array.from({ length: 6 }, () => far.get('/v1/models', { key })));
        return all.every((r) => r.status === want);
      }, `status ${want} on the other host`, 2000);
      assert.ok(performance.now() - from < 1000, `took ${performance.now() - from} ms`);
    }
  } finally {
    far.dbName = null;
    const own = far.sql;
    far.sql = async () => [];
    await far.stop();
    far.sql = own;
  }
});

test('every change is in the audit and the chain holds', async () => {
  const { id } = await make({});
  await api('PUT', '/api/token/', { id, name: 'renamed', unlimited_quota: true });
  await api('POST', `/api/token/${id}/key`);
  await api('DELETE', `/api/token/${id}`);
  const rows = (await api('GET', `/api/token/${id}/audit`)).json.data.items;
  assert.deepEqual(rows.map((r) => r.action), ['delete', 'reveal', 'update', 'create']);
  assert.deepEqual(rows[2].detail, { before: { name: 'e2e' }, after: { name: 'renamed' } });
  assert.equal(rows[2].ip, '127.0.0.1');
  assert.ok(rows[2].request_id);
  assert.match(await s.ctl(['audit', 'verify']), /are what was written/);
  await s.sql(`UPDATE audit SET detail = '{}' WHERE key_id = ${id} LIMIT 1`);
  await assert.rejects(s.ctl(['audit', 'verify']), /was changed/);
});
