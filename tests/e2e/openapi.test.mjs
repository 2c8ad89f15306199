// docs/openapi.yaml describes every route and every answer; lib/witness.mjs holds those of all other tests against it, too.
import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { api, judge, operations, templateOf } from './lib/openapi.mjs';
import { chatAnswer } from './lib/provider.mjs';
import { Raw } from './lib/raw.mjs';
import { Stack } from './lib/stack.mjs';
import * as witness from './lib/witness.mjs';

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
  assert.equal(templateOf(target.split('?')[0], method), template);
  assert.equal(r.status, status, `${method} ${target}: ${text}`);
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

test('every path that works is described, and nothing else is', () => {
  const source = (file) => readFileSync(new URL(`../../fcgi/${file}`, import.meta.url), 'utf8');
  const rows = (file, macro) => [...source(file).matchAll(new RegExp(`^${macro}\\("(\\w+)", "([^"]+)"`, 'gm'))].map((m) => [m[1], m[2]]);
  const actions = [...source('app/inference.c').match(/known\[\] = \{([^}]+)\}/)[1].matchAll(/"(\w+)"/g)].map((m) => m[1]);
  const routes = rows('app/routes.def', 'ROUTE').flatMap(([method, path]) => {
    if (method === 'POST' && path === '/v1beta/models/*') return actions.map((a) => `POST /v1beta/models/{model}:${a}`);
    return [`${method} ${path.replace('*', '{model}')}`];
  });
  for (const [method, path] of rows('api/routes.def', 'API_ROUTE')) routes.push(`${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
  assert.ok(routes.length > 60, `${routes.length} routes were found`);
  // services are the operator's, so they have no row
  const described = operations().filter((o) => !o.includes(' /svc/'));
  assert.deepEqual(described.sort(), routes.sort());
});

test('every code of a refusal is described with its status, and no other is', () => {
  const table = readFileSync(new URL('../../fcgi/util/err.def', import.meta.url), 'utf8');
  const rows = [...table.matchAll(/^ERR\((\w+), (\d+), "\w+", "(\w+)", ([\w |]+),/gm)].map(([, name, status, code, flags]) => ({ name, status: Number(status), code, rule: flags.includes('BUSINESS') }));
  assert.ok(rows.length > 60);
  // told to the operator, kept inside, or (UPSTREAM_STATUS) the text about a provider's error
  const inside = ['DB_NO_ROW', 'DB_DUPLICATE', 'DB_CONFLICT', 'CONFIG', 'EXISTS', 'ABSENT', 'CLIENT_GONE', 'UPSTREAM_STATUS'];
  const answered = rows.filter((r) => !inside.includes(r.name));
  const { RuleCode, ErrorCode } = api.components.schemas;
  const want = Object.fromEntries(answered.filter((r) => !r.rule).map((r) => [r.code, r.status]).sort());
  assert.deepEqual(RuleCode.enum, [...new Set(answered.filter((r) => r.rule).map((r) => r.code))].sort());
  assert.deepEqual(ErrorCode['x-status'], want);
  assert.deepEqual(ErrorCode.enum, Object.keys(want));
});

test('no client\'s answer goes unseen', async () => {
  const key = s.testKey, body = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'x' }] };
  const openai = new OpenAI({ apiKey: key, baseURL: `${s.url}/v1`, maxRetries: 0 });
  const anthropic = new Anthropic({ apiKey: key, baseURL: s.url, maxRetries: 0 });
  const gemini = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: s.url } });
  const agent = new http.Agent({ keepAlive: true });
  const raw = async (path) => {
    const r = await Raw.open(s.port);
    r.send('POST', path, { key, body, headers: { connection: 'close' } });
    await r.closed;
  };
  const ways = {
    'the OpenAI SDK': () => openai.chat.completions.create(body),
    'a refusal through the OpenAI SDK': () => assert.rejects(openai.chat.completions.create({ ...body, model: 'none' })),
    'a stream through the OpenAI SDK': async () => { for await (const c of await openai.chat.completions.create({ ...body, stream: true })) assert.ok(c.id); },
    'the Anthropic SDK': () => anthropic.messages.create({ ...body, model: 'claude-haiku-4-5', max_tokens: 5 }),
    'the Gemini SDK': () => gemini.models.generateContent({ model: 'gemini-2.5-flash', contents: 'x' }),
    fetch: async () => (await fetch(`${s.url}/api/status`)).text(),
    'http.request on a kept connection': () => new Promise((done) => { http.get(`${s.url}/api/status`, { agent }, (r) => r.resume().on('end', done)); }),
    'the same connection again': () => new Promise((done) => { http.get(`${s.url}/v1/models`, { agent }, (r) => r.resume().on('end', done)); }),
    'a raw socket': () => raw('/v1/chat/completions'),
    'Stack.request': () => s.get('/api/status'),
  };
  for (const [what, ask] of Object.entries(ways)) {
    const before = witness.judged;
    await ask();
    assert.equal(witness.judged, before + 1, what);
  }
  agent.destroy();
});

test('an answer that is not as described does not pass', () => {
  const fine = {
    method: 'GET', target: '/api/user/tokens/', sent: {}, status: 200, whole: true, body: '{"success":true,"message":"","data":[]}',
    headers: { 'content-type': 'application/json', 'x-request-id': 'a-1', 'cache-control': 'no-store' },
  };
  const without = (name) => Object.fromEntries(Object.entries(fine.headers).filter(([n]) => n !== name));
  const refused = (code, status = 401) => ({ status, body: `{"success":false,"message":"no","code":"${code}"}` });
  const error = { message: 'no', type: 'authentication_error', param: null, code: 'invalid_api_key' };
  const chat = { method: 'POST', target: '/v1/chat/completions', status: 401, body: JSON.stringify({ error }) };
  const tried = { headers: { ...fine.headers, 'x-tollgate-overhead-ms': '0.1' } };
  const stream = (...events) => ({ ...chat, ...tried, status: 200, headers: { ...tried.headers, 'content-type': 'text/event-stream' }, body: events.map((e) => `data: ${JSON.stringify(e)}\n\n`).join('') });
  const passes = [{}, refused('unauthorized'), chat, { ...chat, ...tried, body: '{"error":{"message":"theirs","more":1}}' }, stream({ any: 1 }, { error: { ...error, code: 'upstream_broke', type: 'upstream_error' } })];
  const fails = [
    { body: '{"success":true,"message":"","data":[],"more":1}' }, { body: '{"success":true,"message":""}' }, { status: 201 },
    { target: '/api/user/nothing' }, { method: 'PATCH' }, { headers: without('x-request-id') }, { headers: without('cache-control') },
    { headers: { ...fine.headers, 'cache-control': 'public' } }, { headers: { ...fine.headers, 'content-type': 'text/plain' } },
    refused('nothing_known'), refused('unauthorized', 403), refused('name_too_long'), { ...refused('database_unavailable', 503) },
    { ...chat, body: JSON.stringify({ error: { ...error, more: 1 } }) }, { ...chat, body: '{"error":{"message":"theirs"}}' }, { ...chat, status: 302 },
    { ...chat, target: '/v1/messages' }, stream({ any: 1 }, { error: { message: 'no', code: 'upstream_broke' } }),
    { ...chat, ...tried, status: 502, body: JSON.stringify({ error: { ...error, type: 'upstream_error', code: 'upstream_broke', more: 1 } }) },
    { ...chat, ...tried, status: 500, body: JSON.stringify({ error: { ...error, type: 'upstream_error', code: 'upstream_broke' } }) },
  ];
  for (const change of passes) assert.equal(judge({ ...fine, ...change }), null);
  for (const change of fails) assert.ok(judge({ ...fine, ...change }), JSON.stringify(change));
});
