// What a client is told when its request is refused: status, code and shape, in each dialect.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Raw } from './lib/raw.mjs';
import { Stack } from './lib/stack.mjs';

let s;
before(async () => { s = await Stack.start(); });
after(() => s?.stop());

const DIALECTS = {
  openai: { path: '/v1/chat/completions', body: { model: 'gpt-4o-mini', messages: [] }, header: 'x-api-key' },
  anthropic: { path: '/v1/messages', body: { model: 'claude-haiku-4-5', max_tokens: 1, messages: [] }, header: 'x-api-key' },
  gemini: { path: '/v1beta/models/gemini-2.5-flash:generateContent', body: { contents: [] }, header: 'x-goog-api-key' },
};

/** The shape that the dialect's SDK reads; returns the message. */
function shape(dialect, r) {
  const j = r.json;
  assert.match(r.headers['content-type'], /^application\/json/);
  if (dialect === 'openai') {
    assert.deepEqual(Object.keys(j), ['error']);
    for (const f of ['message', 'type', 'param', 'code']) assert.ok(f in j.error, f);
    return j.error;
  }
  if (dialect === 'anthropic') {
    assert.equal(j.type, 'error');
    assert.equal(typeof j.error.type, 'string');
    assert.equal(j.request_id, r.id);
    return j.error;
  }
  assert.equal(j.error.code, r.status);
  assert.equal(typeof j.error.status, 'string');
  return j.error;
}

async function refused(dialect, options, status, code) {
  const d = DIALECTS[dialect];
  const r = await s.request('POST', options.path ?? d.path, { headers: options.headers, body: 'body' in options ? options.body : d.body, key: options.key });
  assert.equal(r.status, status, r.text);
  assert.ok(r.id, 'X-Request-Id is missing');
  const e = shape(dialect, r);
  assert.ok(e.message.length > 0);
  if (status === 503) assert.ok(Number(r.headers['retry-after']) >= 1);
  if (dialect === 'openai') assert.equal(e.code, code);
  return e;
}

for (const dialect of Object.keys(DIALECTS)) {
  describe(`${dialect} clients`, () => {
    test('no key: 401 and told how to send it', async () => {
      const e = await refused(dialect, {}, 401, 'missing_api_key');
      assert.match(e.message, /Authorization/);
    });
    test('an unknown, a mistyped and a malformed key get one and the same 401', async () => {
      const flipped = s.key.slice(0, -1) + (s.key.endsWith('a') ? 'b' : 'a');
      const texts = new Set();
      for (const key of ['sk-unknown', flipped, `${s.key}x`, 'x']) texts.add((await refused(dialect, { key }, 401, 'invalid_api_key')).message);
      assert.equal(texts.size, 1);
      for (const t of texts) assert.ok(!t.includes(s.key.slice(3, 9)));
    });
    test('a disabled and an expired key are told so', async () => {
      const key = await s.addKey(`off-${dialect}`, ['--unlimited']);
      await s.sql(`UPDATE api_keys SET disabled = 1 WHERE name = 'off-${dialect}'`);
      await refused(dialect, { key }, 401, 'api_key_disabled');
      const old = await s.addKey(`old-${dialect}`, ['--unlimited']);
      await s.sql(`UPDATE api_keys SET expires_at = 1000 WHERE name = 'old-${dialect}'`);
      await refused(dialect, { key: old }, 401, 'api_key_expired');
    });
    test('an address outside the allowlist: 403', async () => {
      const key = await s.addKey(`ip-${dialect}`, ['--unlimited']);
      await s.sql(`UPDATE api_keys SET allow_ips = '192.0.2.0/24' WHERE name = 'ip-${dialect}'`);
      await refused(dialect, { key }, 403, 'ip_not_allowed');
    });
    test('a model outside the key\'s list: 403', async () => {
      const key = await s.addKey(`ml-${dialect}`, ['--unlimited']);
      await s.sql(`UPDATE api_keys SET model_limits_enabled = 1, model_limits = 'something-else' WHERE name = 'ml-${dialect}'`);
      await refused(dialect, { key }, 403, 'model_not_allowed');
    });
    test('a group that the account may not use: 403', async () => {
      const key = await s.addKey(`gr-${dialect}`, ['--unlimited']);
      await s.sql(`UPDATE api_keys SET key_group = 'no-such-group' WHERE name = 'gr-${dialect}'`);
      await refused(dialect, { key }, 403, 'group_not_allowed');
    });
    test('a key without quota: 429', async () => {
      const key = await s.addKey(`poor-${dialect}`, ['--quota', '0']);
      await refused(dialect, { key }, 429, 'key_quota_exhausted');
    });
    test('a body that is no JSON, or none: 400', async () => {
      await refused(dialect, { key: s.key, body: '{"model":' }, 400, 'invalid_json');
      await refused(dialect, { key: s.key, body: '' }, 400, 'empty_body');
      await refused(dialect, { key: s.key, body: '[1]' }, 400, 'invalid_type');
    });
    test('a provider that cannot be reached: 502', async () => {
      const model = `dead-${dialect}`;
      await s.addChannel({ name: `dead-${dialect}`, type: dialect, url: 'http://127.0.0.1:1', models: [model] });
      const path = dialect === 'gemini' ? `/v1beta/models/${model}:generateContent` : DIALECTS[dialect].path;
      await refused(dialect, { key: s.key, path, body: { ...DIALECTS[dialect].body, ...(dialect === 'gemini' ? {} : { model }) } }, 502, 'upstream_unreachable');
    });
    test('an unknown model: 404; one that no channel serves now: 503 with Retry-After', async () => {
      const at = (m) => (dialect === 'gemini' ? { path: `/v1beta/models/${m}:generateContent` } : { body: { ...DIALECTS[dialect].body, model: m } });
      await refused(dialect, { key: s.key, ...at('no-such-model') }, 404, 'model_not_found');
      await s.ctl(['model', 'add', `unserved-${dialect}`, '--input-usd-per-m', '2', '--output-usd-per-m', '4']);
      await sleep(500); // every worker reads its catalog again
      await refused(dialect, { key: s.key, ...at(`unserved-${dialect}`) }, 503, 'no_channel');
    });
    test('a banned account: 403', async () => {
      const key = await s.addUser(`ban-${dialect}@example.org`, 1000000);
      await s.ctl(['user', 'disable', `ban-${dialect}@example.org`]);
      await refused(dialect, { key }, 403, 'user_disabled');
    });
  });
}

test('a model that is missing or no string: 400', async () => {
  await refused('openai', { key: s.key, body: { messages: [] } }, 400, 'model_missing');
  await refused('openai', { key: s.key, body: { model: 7, messages: [] } }, 400, 'invalid_type');
  await refused('openai', { key: s.key, body: '{"model":"gpt-4o-mini","model":"gpt-4o","messages":[]}' }, 400, 'duplicate_field');
});

test('an account without balance: 429 insufficient_user_quota', async () => {
  const key = await s.addUser('poor@example.org', 0);
  const e = await refused('openai', { key }, 429, 'insufficient_user_quota');
  assert.equal(e.type, 'insufficient_quota');
});

test('a model without a price is refused before the provider is asked', async () => {
  await s.addChannel({ name: 'unpriced', url: `${s.provider.url}/v1`, models: ['unpriced-model'], price: false });
  const before = s.provider.seen.length;
  await refused('openai', { key: s.key, body: { model: 'unpriced-model', messages: [] } }, 400, 'model_price_missing');
  assert.equal(s.provider.seen.length, before);
});

test('an unknown path answers 404 and a wrong method 405 with Allow', async () => {
  const r = await s.get('/v1/nothing', { key: s.key });
  assert.equal(r.status, 404);
  assert.equal(shape('openai', r).code, 'unknown_url');
  const m = await s.get('/v1/chat/completions', { key: s.key });
  assert.equal(m.status, 405);
  assert.equal(m.headers.allow.replace(/\s/g, '').split(',').includes('POST'), true);
  const a = await s.request('PATCH', '/api/token/', { headers: { authorization: s.token } });
  assert.equal(a.status, 405);
  assert.equal(a.json.success, false);
  const n = await s.get('/api/nothing');
  assert.equal(n.status, 404);
  assert.equal(n.json.success, false);
});

test('/v1/realtime says why it cannot work: 501', async () => {
  const r = await s.get('/v1/realtime?model=gpt-4o', { key: s.key });
  assert.equal(r.status, 501);
  assert.match(shape('openai', r).message, /WebSocket/);
});

test('a key is found in every place where clients put it', async () => {
  const k = s.key;
  for (const headers of [{ authorization: `Bearer ${k}` }, { authorization: `bearer ${k}` }, { authorization: k }, { 'x-api-key': k }, { 'api-key': k }, { 'x-goog-api-key': k }]) {
    const r = await s.get('/v1/models', { headers });
    assert.equal(r.status, 200, JSON.stringify(Object.keys(headers)));
  }
  assert.equal((await s.get(`/v1beta/models?key=${k}`)).status, 200);
  assert.equal((await s.get(`/v1/models?key=${k}`)).status, 401, '?key= is for Gemini paths only');
});

test('on Anthropic and Gemini paths their own header wins over Authorization', async () => {
  for (const d of ['anthropic', 'gemini']) {
    const { path, body, header } = DIALECTS[d];
    const c = s.provider.play((x) => x.answer(200, { ok: true }));
    const marked = JSON.stringify({ ...body, note: c.mark });
    const ok = await s.request('POST', path, { headers: { authorization: 'Bearer sk-wrong', [header]: s.key }, body: marked });
    assert.equal(ok.status, 200, ok.text);
    const no = await s.request('POST', path, { headers: { authorization: `Bearer ${s.key}`, [header]: 'sk-wrong' }, body: marked });
    assert.equal(no.status, 401);
  }
});

test('every answer carries X-Request-Id: the client\'s when sane, else a new one', async () => {
  assert.equal((await s.get('/v1/models', { key: s.key, headers: { 'x-request-id': 'abc-123' } })).id, 'abc-123');
  const odd = await s.get('/v1/models', { key: s.key, headers: { 'x-request-id': '<script>"\'' } });
  assert.match(odd.id, /^[\w.:-]{8,64}$/);
  const a = await s.get('/api/status');
  assert.ok(a.id);
  assert.equal(a.headers['cache-control'], 'no-store');
});

test('browsers get their preflight answered before any key is asked for', async () => {
  for (const path of ['/v1/chat/completions', '/v1/messages', '/v1beta/models/x:generateContent']) {
    const r = await s.request('OPTIONS', path, { headers: { origin: 'https://app.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' } });
    assert.ok(r.status === 204 || r.status === 200, `${r.status}`);
    assert.equal(r.headers['access-control-allow-origin'], 'https://app.example');
    assert.match(r.headers['access-control-allow-headers'].toLowerCase(), /authorization|\*/);
    assert.equal(r.headers['access-control-allow-credentials'], undefined);
  }
  const r = await s.chat('x', {}, { headers: { origin: 'https://app.example' } });
  assert.equal(r.headers['access-control-allow-origin'], 'https://app.example');
  assert.match(r.headers.vary ?? '', /Origin/i);
});

test('metered answers say what they cost and what the gateway added', async () => {
  const r = await s.chat('x');
  assert.equal(r.status, 200, r.text);
  assert.ok(Number(r.headers['x-tollgate-cost']) > 0, r.headers['x-tollgate-cost']);
  assert.ok(Number(r.headers['x-tollgate-overhead-ms']) >= 0);
});

test('a provider\'s own 4xx reaches the client as it came, its addresses and keys masked', async () => {
  const c = s.provider.play((x) => x.answer(400, { error: { message: `bad thing at ${s.provider.url}/v1 with sk-proj-abcdefghijklmnopqrstuvwxyz0123456789`, type: 'invalid_request_error', param: 'messages', code: 'bad_thing' } }));
  const r = await s.chat(c.mark);
  assert.equal(r.status, 400);
  const e = shape('openai', r);
  assert.equal(e.code, 'bad_thing');
  assert.equal(e.param, 'messages');
  assert.match(e.message, /bad thing/);
  assert.ok(!r.text.includes(String(s.provider.port)), r.text);
  assert.ok(!r.text.includes('abcdefghijklmnop'), r.text);
  assert.equal(c.seen.length, 1, 'a 400 is not tried elsewhere');
});

test('a provider\'s HTML error page becomes an error of the dialect', async () => {
  const c = s.provider.play((x) => x.answer(418, '<html>teapot</html>', { 'content-type': 'text/html' }));
  const r = await s.chat(c.mark);
  assert.equal(r.status, 418);
  shape('openai', r);
});

test('failed calls are recorded and cost nothing', async () => {
  const c = s.provider.play((x) => x.answer(400, { error: { message: 'no', type: 't', param: null, code: 'c' }, usage: { prompt_tokens: 5, completion_tokens: 5, total_tokens: 10 } }));
  const r = await s.chat(c.mark);
  const rows = await s.sql(`SELECT cost AS cost FROM usage_rows WHERE request_id = '${r.id}'`);
  for (const row of rows) assert.equal(row.cost, 0);
});

test('a key does what its scopes say: listing models and calling them are two rights', async () => {
  const make = async (scope) => {
    const r = await s.request('POST', '/api/token?return=1', { headers: { authorization: s.token }, body: { name: scope, unlimited_quota: true, scopes: [scope] } });
    return s.secret(r.json.data.key);
  };
  const lists = await make('models:read'), calls = await make('inference');
  assert.equal((await s.get('/v1/models', { key: lists })).status, 200);
  assert.equal((await s.chat('x', {}, { key: calls })).status, 200);
  for (const r of [await s.get('/v1/models', { key: calls }), await s.get('/v1/models/gpt-4o-mini', { key: calls }), await s.chat('x', {}, { key: lists })]) {
    assert.equal(r.status, 403, r.text);
    assert.equal(r.json.error.code, 'scope_missing');
  }
});

test('a request that is not HTTP does not hurt anybody', async () => {
  const r = await Raw.open(s.port);
  r.socket.write('\x16\x03\x01\x02\x00garbage\r\n\r\n');
  await r.closed;
  assert.equal((await s.get('/healthz')).status, 200);
});
