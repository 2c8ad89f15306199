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
    } else if (q.method === 'DELETE') {
      a.writeHead(204);
      a.end();
    } else {
      a.writeHead(q.method === 'POST' ? 201 : 200, { 'content-type': 'application/json' });
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
  await s.ctl(['service', 'add', '--name', 'tasker', '--prefix', '/svc/tasker', '--base-url', live.url, '--test-base-url', sandbox.url,
    '--per-call-usd', '0.001', '--key-stdin'], `${s.secret('Bearer upstream-credential-4711')}\n`);
  await s.ctl(['service', 'scope', '--service', 'tasker', '--name', 'task-poster',
    '--allow', 'POST /tasks, GET /tasks/:id/bids, POST /tasks/:id/approve, * /webhooks/*, DELETE /tasks/:id, GET /fails']);
  await s.ctl(['service', 'scope', '--service', 'tasker', '--name', 'agent-manager',
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
  assert.match((await make(['task-poster'])).key, /^aitk_live_[0-9A-Za-z]{49}$/);
  assert.match((await make(['task-poster'], { mode: 'test' })).key, /^aitk_test_[0-9A-Za-z]{49}$/);
});

test('each scope opens its own paths and no others; read-only variants only read', async () => {
  const keys = {};
  for (const scope of ['task-poster', 'task-poster:read', 'agent-manager', 'agent-manager:read']) keys[scope] = (await make([scope])).key;
  const plain = s.key;
  const rows = [
    // method, path, who may
    ['POST', '/tasks', ['task-poster']],
    ['GET', '/tasks/7/bids', ['task-poster', 'task-poster:read']],
    ['POST', '/tasks/7/approve', ['task-poster']],
    ['GET', '/webhooks/3', ['task-poster', 'task-poster:read']],
    ['PUT', '/webhooks/3', ['task-poster']],
    ['DELETE', '/tasks/7', ['task-poster']],
    ['GET', '/agents', ['agent-manager', 'agent-manager:read']],
    ['POST', '/agents', ['agent-manager']],
    ['PATCH', '/agents/5/profile', ['agent-manager']],
    ['POST', '/benchmarks', ['agent-manager']],
    ['GET', '/bids', ['agent-manager', 'agent-manager:read']],
    ['GET', '/admin', []],
    ['GET', '/tasks/7/bids/8', []],
  ];
  for (const [method, path, may] of rows) {
    for (const [scope, key] of [...Object.entries(keys), ['none', plain]]) {
      const r = await s.request(method, `/svc/tasker${path}`, { key, body: method === 'GET' ? null : {} });
      assert.equal(r.status < 300, may.includes(scope), `${method} ${path} with ${scope}: ${r.status} ${r.text}`);
      if (may.includes(scope)) assert.equal(live.seen.at(-1).method, method);
      if (!may.includes(scope)) assert.equal(r.json.error.code, 'scope_missing');
    }
  }
});

test('the call arrives as it was made, with the operator\'s credential and without the key', async () => {
  const { key } = await make(['task-poster']);
  const r = await s.request('POST', '/svc/tasker/tasks?draft=1', { key, body: { title: 'Logo' } });
  assert.equal(r.status, 201);
  assert.deepEqual(r.json, { upstream: 'live', method: 'POST', url: '/base/tasks?draft=1' });
  const call = live.seen.at(-1);
  assert.equal(call.body, '{"title":"Logo"}');
  assert.equal(call.headers.authorization, 'Bearer upstream-credential-4711');
  assert.equal(call.headers['x-request-id'], r.id);
  assert.ok(!JSON.stringify(call).includes(key));
  assert.equal((await s.request('DELETE', '/svc/tasker/tasks/7', { key })).status, 204);
  const bad = await s.get('/svc/tasker/fails', { key });
  assert.equal(bad.status, 422);
  assert.equal(bad.text, '{"title":"no such bid"}');
});

test('test keys go to the test environment and no real money moves', async () => {
  const { key } = await make(['task-poster'], { mode: 'test' });
  const before = (await s.sql('SELECT granted - spent AS left_ FROM allowances WHERE kind = 1 AND owner_id = 1'))[0].left_;
  const r = await s.request('POST', '/svc/tasker/tasks', { key, body: {} });
  assert.equal(r.json.upstream, 'sandbox');
  const row = await s.usageOf(r.id);
  assert.equal(row.test_mode, 1);
  assert.equal(row.cost, 500);
  const now = (await s.sql('SELECT granted - spent AS left_ FROM allowances WHERE kind = 1 AND owner_id = 1'))[0].left_;
  assert.equal(now, before);
});

test('a call costs its price, an answer that failed nothing', async () => {
  const { id, key } = await make(['task-poster'], { unlimited_quota: false, remain_quota: 1200 });
  const ok = await s.request('POST', '/svc/tasker/tasks', { key, body: {} });
  assert.equal((await s.usageOf(ok.id)).cost, 500);
  const bad = await s.get('/svc/tasker/fails', { key });
  assert.equal((await s.usageOf(bad.id)).cost, 0);
  assert.equal((await s.request('POST', '/svc/tasker/tasks', { key, body: {} })).status, 201);
  const poor = await s.request('POST', '/svc/tasker/tasks', { key, body: {} });
  assert.equal(poor.status, 429);
  assert.equal(poor.json.error.code, 'key_quota_exhausted');
  const k = await eventually(async () => {
    const now = (await s.get(`/api/token/${id}`, { headers: { authorization: s.token } })).json.data;
    return now.used_quota === 1000 ? now : null;
  }, 'two calls are paid');
  assert.deepEqual(k.scopes, ['task-poster']);
});

test('rotation overlaps: the new secret works, then the old one ends', async () => {
  const { id, key } = await make(['agent-manager:read']);
  const fresh = s.secret((await s.request('POST', `/api/token/${id}/rotate`, { headers: { authorization: s.token } })).json.data.key);
  assert.equal((await s.get('/svc/tasker/agents', { key })).status, 200);
  assert.equal((await s.get('/svc/tasker/agents', { key: fresh })).status, 200);
  await s.request('DELETE', `/api/token/${id}/rotate`, { headers: { authorization: s.token } });
  assert.equal((await s.get('/svc/tasker/agents', { key })).status, 401);
  assert.equal((await s.get('/svc/tasker/agents', { key: fresh })).status, 200);
});

async function restart() {
  process.kill(s.pool.pid, 'SIGTERM');
  await s.pool.done;
  await s.startWorkers();
  await eventually(async () => (await s.get('/readyz')).status === 200, 'the workers are back', 15000);
}

test('secrets move to a newer generation and the older one can go', async () => {
  const { key } = await make(['task-poster']);
  await s.ctl(['secrets', 'rotate']);
  await restart(); // both generations work
  assert.equal((await s.get('/api/token', { headers: { authorization: s.token } })).status, 200); // moves the access token
  assert.match(await s.ctl(['secrets', 'reseal']), / 0 cannot be opened/);
  const sealed = await s.sql('SELECT ORD(sealed) AS generation FROM services UNION ALL SELECT ORD(sealed) FROM key_secrets UNION ALL SELECT ORD(sealed) FROM channel_keys');
  assert.ok(sealed.length > 3);
  for (const row of sealed) assert.equal(row.generation, 2);
  fs.unlinkSync(path.join(s.dir, 'secrets/1.key'));
  await restart();
  assert.equal((await s.request('POST', '/svc/tasker/tasks', { key, body: {} })).status, 201);
  assert.equal(live.seen.at(-1).headers.authorization, 'Bearer upstream-credential-4711');
});

test('a deleted service leaves nothing open', async () => {
  const { key } = await make(['task-poster']);
  await s.ctl(['service', 'delete', 'tasker']);
  await sleep(500);
  assert.equal((await s.get('/svc/tasker/tasks/7/bids', { key })).status, 404);
  const r = await s.request('POST', '/api/token', { headers: { authorization: s.token }, body: { name: 'x', scopes: ['task-poster'] } });
  assert.equal(r.json.code, 'unknown_scope');
});
