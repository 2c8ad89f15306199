// A platform's own REST API behind API keys: its scopes, live and test keys, rotation, prices.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Stack, eventually } from './lib/stack.mjs';

/** An upstream that tells what it was asked. */
async function upstream(name) {
  const seen = [];
  const server = http.createServer(async (q, a) => {
    const parts = [];
    for await (const b of q) parts.push(b);
    const call = { name, method: q.method, url: q.url, headers: q.headers, body: Buffer.concat(parts).toString() };
    seen.push(call);
    if (q.url.startsWith('/base/fails')) {
      a.writeHead(422, { 'content-type': 'application/problem+json' });
      a.end('{"title":"no such bid"}');
    } else if (q.url.startsWith('/base/moved')) {
      a.writeHead(303, { location: `http://${q.headers.host}/base/tasks/7/bids` });
      a.end();
    } else if (q.url.startsWith('/base/stream')) {
      a.writeHead(200, { 'content-type': 'text/event-stream' });
      a.write('data: one\n\n');
      await sleep(700);
      a.end('data: two\n\n');
    } else if (q.headers['if-none-match'] === '"v1"') {
      a.writeHead(304, { etag: '"v1"' });
      a.end();
    } else if (q.method === 'DELETE') {
      a.writeHead(204);
      a.end();
    } else {
      a.writeHead(q.method === 'POST' ? 201 : 200, { 'content-type': 'application/json', etag: '"v1"', 'x-powered-by': 'secret sauce' });
      a.end(JSON.stringify({ upstream: name, method: q.method, url: q.url }));
    }
  });
  await new Promise((done) => { server.listen(0, '127.0.0.1', done); });
  return { seen, url: `http://127.0.0.1:${server.address().port}/base`, close: () => { server.closeAllConnections(); server.close(); } };
}

let s, live, sandbox;
before(async () => {
  s = await Stack.start({ workers: 2 });
  [live, sandbox] = [await upstream('live'), await upstream('sandbox')];
  await s.ctl(['option', 'set', 'key_prefix_live', 'aitk_live_']);
  await s.ctl(['option', 'set', 'key_prefix_test', 'aitk_test_']);
  await s.ctl(['service', 'add', '--name', 'aitasker', '--prefix', '/svc/aitasker', '--base-url', live.url, '--test-base-url', sandbox.url,
    '--per-call-usd', '0.001', '--key-stdin'], `${s.secret('Bearer upstream-credential-4711')}\n`);
  await s.ctl(['service', 'scope', '--service', 'aitasker', '--name', 'Task Poster', '--read-only-name', 'Task Poster (read-only)',
    '--allow', 'POST /tasks, GET /tasks/:id/bids, POST /tasks/:id/approve, * /webhooks/*, DELETE /tasks/:id, GET /fails, GET /moved, GET /stream']);
  await s.ctl(['service', 'scope', '--service', 'aitasker', '--name', 'Agent Manager', '--read-only-name', 'Agent Manager (read-only)',
    '--allow', '* /agents, * /agents/*, POST /benchmarks, GET /bids']);
  await sleep(500);
});
after(async () => {
  live?.close();
  sandbox?.close();
  await s?.stop();
});

async function make(scopes, more = {}) {
  const r = await s.request('POST', '/api/token/?return=1', { headers: { authorization: s.token }, body: { name: scopes.join(), unlimited_quota: true, scopes, ...more } });
  assert.equal(r.json.success, true, r.text);
  s.secret(r.json.data.key);
  return r.json.data;
}

test('keys have the platform\'s prefixes', async () => {
  assert.match((await make(['Task Poster'])).key, /^aitk_live_[0-9A-Za-z]{49}$/);
  assert.match((await make(['Task Poster'], { mode: 'test' })).key, /^aitk_test_[0-9A-Za-z]{49}$/);
});

test('each scope opens its own paths and no others; read-only variants only read', async () => {
  const keys = {};
  for (const scope of ['Task Poster', 'Task Poster (read-only)', 'Agent Manager', 'Agent Manager (read-only)']) keys[scope] = (await make([scope])).key;
  const plain = s.key;
  const rows = [
    // method, path, who may
    ['POST', '/tasks', ['Task Poster']],
    ['GET', '/tasks/7/bids', ['Task Poster', 'Task Poster (read-only)']],
    ['POST', '/tasks/7/approve', ['Task Poster']],
    ['GET', '/webhooks/3', ['Task Poster', 'Task Poster (read-only)']],
    ['PUT', '/webhooks/3', ['Task Poster']],
    ['DELETE', '/tasks/7', ['Task Poster']],
    ['GET', '/agents', ['Agent Manager', 'Agent Manager (read-only)']],
    ['POST', '/agents', ['Agent Manager']],
    ['PATCH', '/agents/5/profile', ['Agent Manager']],
    ['POST', '/benchmarks', ['Agent Manager']],
    ['GET', '/bids', ['Agent Manager', 'Agent Manager (read-only)']],
    ['GET', '/admin', []],
    ['GET', '/tasks/7/bids/8', []],
  ];
  for (const [method, path, may] of rows) {
    for (const [scope, key] of [...Object.entries(keys), ['none', plain]]) {
      const r = await s.request(method, `/svc/aitasker${path}`, { key, body: method === 'GET' ? null : {} });
      assert.equal(r.status < 300, may.includes(scope), `${method} ${path} with ${scope}: ${r.status} ${r.text}`);
      if (may.includes(scope)) assert.equal(live.seen.at(-1).method, method);
      if (!may.includes(scope)) assert.equal(r.json.error.code, 'scope_missing');
    }
  }
});

test('explain says which scope of the service decides', async () => {
  const { id } = await make(['Task Poster (read-only)']);
  const explain = async (method, path) => (await s.get(`/api/token/${id}/explain?method=${method}&path=${encodeURIComponent(path)}`, { headers: { authorization: s.token } })).json.data;
  assert.equal((await explain('GET', '/svc/aitasker/tasks/7/bids')).allowed, true);
  for (const [method, path] of [['POST', '/svc/aitasker/tasks'], ['GET', '/svc/aitasker/agents'], ['POST', '/v1/chat/completions'], ['GET', '/v1/models']]) {
    const said = await explain(method, path);
    assert.deepEqual([said.allowed, said.code], [false, 'scope_missing'], `${method} ${path}`);
  }
});

test('the call arrives as it was made, with the operator\'s credential and without the key', async () => {
  const { key } = await make(['Task Poster']);
  const r = await s.request('POST', '/svc/aitasker/tasks?draft=1', { key, body: { title: 'Logo' } });
  assert.equal(r.status, 201);
  assert.deepEqual(r.json, { upstream: 'live', method: 'POST', url: '/base/tasks?draft=1' });
  const call = live.seen.at(-1);
  assert.equal(call.body, '{"title":"Logo"}');
  assert.equal(call.headers.authorization, 'Bearer upstream-credential-4711');
  assert.equal(call.headers['x-request-id'], r.id);
  assert.ok(!JSON.stringify(call).includes(key));
  assert.equal((await s.request('DELETE', '/svc/aitasker/tasks/7', { key })).status, 204);
  const bad = await s.get('/svc/aitasker/fails', { key });
  assert.equal(bad.status, 422);
  assert.equal(bad.text, '{"title":"no such bid"}');
});

test('conditions, redirects and streams pass; what tells of the upstream does not', async () => {
  const { key } = await make(['Task Poster (read-only)']);
  const first = await s.get('/svc/aitasker/tasks/7/bids', { key });
  assert.equal(first.headers.etag, '"v1"');
  assert.equal(first.headers['x-powered-by'], undefined);
  const same = await s.get('/svc/aitasker/tasks/7/bids', { key, headers: { 'if-none-match': '"v1"' } });
  assert.equal(same.status, 304);
  const moved = await s.get('/svc/aitasker/moved', { key });
  assert.equal(moved.status, 303);
  assert.equal(moved.headers.location, '/svc/aitasker/tasks/7/bids');
  const began = performance.now();
  let firstByte = 0;
  const r = await fetch(`${s.url}/svc/aitasker/stream`, { headers: { authorization: `Bearer ${key}` } });
  let text = '';
  for await (const part of r.body) {
    firstByte ||= performance.now() - began;
    text += Buffer.from(part).toString();
  }
  assert.equal(text, 'data: one\n\ndata: two\n\n');
  assert.ok(firstByte < 600, `the first event came after ${firstByte} ms`);
});

test('no spelling of a path leaves what a scope allows', async () => {
  const { key } = await make(['Agent Manager']);
  const seen = live.seen.length;
  for (const path of ['/agents/%2e%2e/admin', '/agents/..%2fadmin', '/agents/..;/admin', '/agents/%252e%252e/admin', '/agents//admin', '/agents/a%00b', '/agents/%5c..', '/Agents']) {
    const r = await s.get(`/svc/aitasker${path}`, { key });
    assert.ok(r.status >= 400 && r.status < 500, `${path}: ${r.status}`);
  }
  assert.equal(live.seen.length, seen);
});

test('the rules of a key hold: expiry, address, rate, and its last use is shown', async () => {
  const limited = await make(['Task Poster'], { rpm_limit: 1 });
  assert.equal((await s.get('/svc/aitasker/webhooks/1', { key: limited.key })).status, 200);
  const second = await s.get('/svc/aitasker/webhooks/1', { key: limited.key });
  assert.equal(second.status, 429);
  assert.equal(second.json.error.code, 'rate_limit_exceeded');
  const away = await make(['Task Poster'], { allow_ips: '203.0.113.0/24' });
  assert.equal((await s.get('/svc/aitasker/webhooks/1', { key: away.key })).status, 403);
  const used = await eventually(async () => {
    const k = (await s.get(`/api/token/${limited.id}`, { headers: { authorization: s.token } })).json.data;
    return k.secrets[0].last_used_time > 0 && k.last_used_ip ? k : null; // read one after the other
  }, 'last use is written', 15000);
  assert.equal(used.last_used_ip, '127.0.0.1');
  assert.equal(used.last_used_model, 'service:aitasker');
  await s.request('DELETE', `/api/token/${limited.id}`, { headers: { authorization: s.token } });
  assert.equal((await s.get('/svc/aitasker/webhooks/1', { key: limited.key })).status, 401);
});

test('the operator sees services and scopes', async () => {
  const { data } = JSON.parse(await s.ctl(['--json', 'service', 'list']));
  assert.equal(data[0].name, 'aitasker');
  assert.deepEqual(data[0].scopes, ['Task Poster', 'Agent Manager']);
  assert.ok(!JSON.stringify(data).includes('4711'));
  await assert.rejects(s.ctl(['service', 'scope', '--service', 'aitasker', '--name', 'Other', '--read-only-name', 'Agent Manager', '--allow', 'GET /x']), /Agent Manager|exists|Other/);
});

test('test keys go to the test environment and no real money moves', async () => {
  const { key } = await make(['Task Poster'], { mode: 'test' });
  const before = (await s.sql('SELECT granted - spent AS left_ FROM allowances WHERE kind = 1 AND owner_id = 1'))[0].left_;
  const r = await s.request('POST', '/svc/aitasker/tasks', { key, body: {} });
  assert.equal(r.json.upstream, 'sandbox');
  const row = await s.usageOf(r.id);
  assert.equal(row.test_mode, 1);
  assert.equal(row.cost, 500);
  const now = (await s.sql('SELECT granted - spent AS left_ FROM allowances WHERE kind = 1 AND owner_id = 1'))[0].left_;
  assert.equal(now, before);
});

test('a call costs its price, an answer that failed nothing', async () => {
  const { id, key } = await make(['Task Poster'], { unlimited_quota: false, remain_quota: 1200 });
  const ok = await s.request('POST', '/svc/aitasker/tasks', { key, body: {} });
  assert.equal((await s.usageOf(ok.id)).cost, 500);
  const bad = await s.get('/svc/aitasker/fails', { key });
  assert.equal((await s.usageOf(bad.id)).cost, 0);
  const last = await s.request('POST', '/svc/aitasker/tasks', { key, body: {} });
  assert.equal(last.status, 201);
  await s.usageOf(last.id);
  const poor = await s.request('POST', '/svc/aitasker/tasks', { key, body: {} });
  assert.equal(poor.status, 429);
  assert.equal(poor.json.error.code, 'key_quota_exhausted');
  const k = await eventually(async () => {
    const now = (await s.get(`/api/token/${id}`, { headers: { authorization: s.token } })).json.data;
    return now.used_quota === 1000 ? now : null;
  }, 'two calls are paid');
  assert.deepEqual(k.scopes, ['Task Poster']);
});

test('rotation overlaps: the new secret works, then the old one ends', async () => {
  const { id, key } = await make(['Agent Manager (read-only)']);
  const fresh = s.secret((await s.request('POST', `/api/token/${id}/rotate`, { headers: { authorization: s.token } })).json.data.key);
  assert.equal((await s.get('/svc/aitasker/agents', { key })).status, 200);
  assert.equal((await s.get('/svc/aitasker/agents', { key: fresh })).status, 200);
  await s.request('DELETE', `/api/token/${id}/rotate`, { headers: { authorization: s.token } });
  assert.equal((await s.get('/svc/aitasker/agents', { key })).status, 401);
  assert.equal((await s.get('/svc/aitasker/agents', { key: fresh })).status, 200);
});

async function restart() {
  process.kill(s.pool.pid, 'SIGTERM');
  await s.pool.done;
  await s.startWorkers();
  await eventually(async () => (await s.get('/readyz')).status === 200, 'the workers are back', 15000);
}

test('secrets move to a newer generation and the older one can go', async () => {
  const { key } = await make(['Task Poster']);
  await s.ctl(['secrets', 'rotate']);
  await restart(); // both generations work
  assert.equal((await s.get('/api/token', { headers: { authorization: s.token } })).status, 200); // moves the access token
  assert.match(await s.ctl(['secrets', 'reseal']), / 0 cannot be opened/);
  const sealed = await s.sql('SELECT ORD(sealed) AS generation FROM services UNION ALL SELECT ORD(sealed) FROM key_secrets UNION ALL SELECT ORD(sealed) FROM channel_keys');
  assert.ok(sealed.length > 3);
  for (const row of sealed) assert.equal(row.generation, 2);
  fs.unlinkSync(path.join(s.dir, 'secrets/1.key'));
  await restart();
  assert.equal((await s.request('POST', '/svc/aitasker/tasks', { key, body: {} })).status, 201);
  assert.equal(live.seen.at(-1).headers.authorization, 'Bearer upstream-credential-4711');
});

test('a deleted service leaves nothing open', async () => {
  const { key } = await make(['Task Poster']);
  await s.ctl(['service', 'delete', 'aitasker']);
  await sleep(500);
  assert.equal((await s.get('/svc/aitasker/tasks/7/bids', { key })).status, 404);
  const r = await s.request('POST', '/api/token', { headers: { authorization: s.token }, body: { name: 'x', scopes: ['Task Poster'] } });
  assert.equal(r.json.code, 'unknown_scope');
});
