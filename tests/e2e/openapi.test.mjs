// Every answer of the documented routes is what docs/openapi.yaml says.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { judge, templateOf } from './lib/openapi.mjs';
import { chatAnswer } from './lib/provider.mjs';
import { Stack } from './lib/stack.mjs';

let s;
before(async () => { s = await Stack.start(); });
after(() => s?.stop());

/* Asks and holds the answer against the description; template is the path as openapi.yaml writes it. */
async function ask(method, target, template, { status = 200, body, headers } = {}) {
  const r = await fetch(s.url + target, {
    method,
    headers: { Authorization: s.token, 'Content-Type': 'application/json', ...headers },
    body: body && JSON.stringify(body),
  });
  const text = await r.text();
  assert.equal(templateOf(target.split('?')[0]), template);
  assert.equal(r.status, status, `${method} ${target}: ${text}`);
  assert.equal(judge(method, target, r.status, (name) => r.headers.get(name), text), null);
  return JSON.parse(text);
}

async function makeKey(body) {
  return (await ask('POST', '/api/token?return=1', '/api/token', { body })).data;
}

test('a key from its making to its end', async () => {
  const full = {
    name: 'described', remain_quota: 1000, expired_time: -1, model_limits_enabled: true, model_limits: ['gpt-4o-mini'],
    allow_ips: '198.51.100.10\n203.0.113.0/24\n2001:db8::/32', rpm_limit: 5, scopes: ['inference'],
    budgets: [{ window: 'day', amount: 500 }],
  };
  assert.equal((await ask('POST', '/api/token/', '/api/token', { body: { name: 'plain', remain_quota: 1 } })).data, undefined);
  const { id } = await makeKey(full);
  await ask('GET', '/api/token/', '/api/token');
  await ask('GET', '/api/token/search?keyword=descr', '/api/token/search');
  const one = await ask('GET', `/api/token/${id}`, '/api/token/{id}');
  assert.equal(one.data.budgets[0].amount, 500);
  await ask('PUT', '/api/token/', '/api/token', { body: { ...one.data, name: 'again' } });
  await ask('PUT', '/api/token/?status_only=1', '/api/token', { body: { id, status: 2 } });
  await ask('POST', `/api/token/${id}/key`, '/api/token/{id}/key');
  await ask('POST', '/api/token/batch/keys', '/api/token/batch/keys', { body: { ids: [id] } });
  await ask('POST', `/api/token/${id}/rotate`, '/api/token/{id}/rotate', { body: { grace_seconds: 60 } });
  await ask('DELETE', `/api/token/${id}/rotate`, '/api/token/{id}/rotate');
  await ask('GET', `/api/token/${id}/audit`, '/api/token/{id}/audit');
  await ask('DELETE', `/api/token/${id}`, '/api/token/{id}');
  assert.equal((await ask('GET', `/api/token/${id}`, '/api/token/{id}')).success, false);
  await ask('POST', '/api/token/batch', '/api/token/batch', { body: { ids: [id] } });
});

test('what a key says of itself', async () => {
  const { id, key } = await makeKey({ name: 'asked', remain_quota: 1000, budgets: [{ window: 'week', amount: 5 }] });
  const self = { Authorization: `Bearer ${key}` };
  await ask('GET', '/api/usage/token/', '/api/usage/token', { headers: self });
  await ask('GET', '/api/log/token', '/api/log/token', { headers: { Authorization: `Bearer ${s.testKey}` } });
  for (const base of ['/v1/dashboard/billing', '/dashboard/billing']) {
    await ask('GET', `${base}/subscription`, `${base}/subscription`, { headers: self });
    await ask('GET', `${base}/usage`, `${base}/usage`, { headers: self });
    await ask('GET', `${base}/usage`, `${base}/usage`, { status: 401, headers: { Authorization: 'Bearer nonsense' } });
  }
  for (const query of ['', '?model=gpt-4o-mini&ip=127.0.0.1', '?model=none']) {
    await ask('GET', `/api/token/${id}/explain${query}`, '/api/token/{id}/explain');
  }
  await ask('GET', '/api/token/999999/explain', '/api/token/{id}/explain');
});

test('access tokens', async () => {
  const made = await ask('POST', '/api/user/tokens', '/api/user/tokens', { body: { name: 'reader', scopes: ['keys:read'] } });
  await ask('POST', '/api/user/tokens', '/api/user/tokens', { body: { name: 'x', scopes: ['nothing'] } });
  await ask('GET', '/api/user/tokens', '/api/user/tokens');
  await ask('GET', '/api/user/token', '/api/user/token');
  await ask('GET', '/api/user/tokens', '/api/user/tokens', { status: 403, headers: { Authorization: made.data.key } });
  await ask('DELETE', `/api/user/tokens/${made.data.id}`, '/api/user/tokens/{id}');
});

test('refusals', async () => {
  const none = { Authorization: '' };
  assert.equal((await ask('POST', '/api/token/', '/api/token', { body: { name: 'x'.repeat(51) } })).code, 'name_too_long');
  assert.equal((await ask('POST', '/api/token/', '/api/token', { status: 400, body: { name: 'x', bogus: 1 } })).code, 'unknown_field');
  await ask('GET', '/api/token/', '/api/token', { status: 401, headers: none });
  await ask('GET', '/v1/models', '/v1/models', { status: 401, headers: none });
  await ask('GET', '/v1beta/models', '/v1beta/models', { status: 401, headers: none });
  await ask('POST', '/v1/chat/completions', '/v1/chat/completions', { status: 401, headers: none, body: { model: 'x', messages: [] } });
});

test('the site, its models and a chat', async () => {
  const key = { Authorization: `Bearer ${s.testKey}` };
  await ask('GET', '/api/status', '/api/status');
  const list = await ask('GET', '/v1/models', '/v1/models', { headers: key });
  const name = list.data[0].id;
  await ask('GET', '/v1/models', '/v1/models', { headers: { ...key, 'anthropic-version': '2023-06-01' } });
  await ask('GET', `/v1/models/${name}`, '/v1/models/{model}', { headers: key });
  await ask('GET', '/v1/models/no-such-model', '/v1/models/{model}', { status: 404, headers: key });
  await ask('GET', '/v1beta/models', '/v1beta/models', { headers: key });
  const body = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'hello' }] };
  const r = await ask('POST', '/v1/chat/completions', '/v1/chat/completions', { headers: key, body });
  assert.equal(r.choices[0].message.content, 'You said: hello');
});

test('what calls cost, after a live one and a test one', async () => {
  for (const key of [s.key, s.testKey]) {
    const c = s.provider.play((x) => x.answer(200, chatAnswer()));
    const r = await s.request('POST', '/v1/chat/completions', { key, body: { model: 'gpt-4o-mini', messages: [{ role: 'user', content: c.mark ?? 'hi' }] } });
    assert.equal(r.status, 200, r.text);
    await s.usageOf(r.headers['x-request-id']);
  }
  for (const path of ['/api/log/self', '/api/log']) {
    const { data } = await ask('GET', `${path}/?page_size=1`, path);
    assert.equal(data.items.length, 1);
    await ask('GET', `${path}/stat`, `${path}/stat`);
    await ask('GET', `/api/log/${data.items[0].id}/explain`, '/api/log/{id}/explain');
  }
  for (const path of ['/api/data', '/api/data/self', '/api/data/users']) assert.ok((await ask('GET', `${path}?test_mode=true`, path)).data.length > 0);
  assert.ok((await ask('GET', '/api/user/self/credits', '/api/user/self/credits')).data.items.length > 0);
  await ask('GET', '/api/log/token', '/api/log/token', { headers: { Authorization: `Bearer ${s.key}` } });
});
