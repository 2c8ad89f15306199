// Settings that only a start applies, each at its edge.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ask } from './lib/fcgi.mjs';
import { Stack, build, eventually, freePort, slow } from './lib/stack.mjs';

let s;
before(async () => { s = await Stack.start({ workers: 1, conf: { 'journal.segment': '64K', 'journal.max': '1M', 'ledger.flush_interval': '10s' } }); });
after(() => s?.stop());

/** A worker as a supervisor starts it that gives no socket: where it listens is in its file. */
async function alone(more, fn) {
  const conf = path.join(s.dir, 'alone.conf');
  fs.writeFileSync(conf, fs.readFileSync(s.confFile(), 'utf8') + Object.entries(more).map(([k, v]) => `${k} = ${v}\n`).join(''), { mode: 0o600 });
  const err = fs.openSync(path.join(s.dir, 'log/alone.err'), 'a');
  const p = spawn(path.join(build, 'tollgate.fcgi'), ['--config', conf], { stdio: ['ignore', err, err], env: s.env() });
  const ended = new Promise((done) => { p.on('exit', (code) => done(code)); });
  try {
    await fn(ended);
  } finally {
    p.kill('SIGTERM');
    await ended;
    fs.closeSync(err);
  }
}
const ready = (to) => eventually(async () => (await ask(to, 'GET', '/readyz').catch(() => ({}))).status === 200, `a worker answers at ${JSON.stringify(to)}`, 10000 * slow);

test('listen.socket: a path, as long as nobody hands a socket over', async () => {
  const socket = path.join(s.dir, 'run/alone.sock');
  await alone({ 'listen.socket': socket }, async () => {
    await ready(socket);
    assert.equal((await ask(socket, 'GET', '/v1/models', { key: s.key })).status, 200);
  });
});

test('listen.socket: loopback and a port', async () => {
  const port = await freePort();
  await alone({ 'listen.socket': `127.0.0.1:${port}` }, () => ready({ port }));
});

for (const [address, says] of [['', /listen\.socket is empty/], ['0.0.0.0:9000', /not a loopback address/], ['192.0.2.1:9000', /not a loopback address/], ['127.0.0.1:99999', /not a loopback address/], ['/nowhere/at/all.sock', /\/nowhere\/at\/all\.sock/]]) {
  test(`listen.socket = ${address || '(empty)'}: the worker does not start, and says why`, async () => {
    await alone({ 'listen.socket': address }, async (ended) => {
      assert.equal(await Promise.race([ended, new Promise((done) => { setTimeout(done, 8000 * slow, 'it runs').unref(); })]), 1);
      assert.match(s.logLines('config_bad').at(-1).detail, says);
    });
  });
}

test('the worker\'s socket is for its own user and group, whatever the umask', () => {
  assert.equal(fs.statSync(s.socket).mode & 0o007, 0);
});

test('journal.segment and journal.max: files of that size, 503 when all is used up, served again when it is written', async () => {
  const journals = () => fs.readdirSync(path.join(s.dir, 'run')).filter((f) => f.endsWith('.journal'));
  let refused = null, served = 0, most = 0;
  while (!refused && served < 5000) {
    const all = await Promise.all(Array.from({ length: 16 }, () => s.chat('x')));
    served += all.filter((r) => r.status === 200).length;
    refused = all.find((r) => r.status !== 200);
    most = Math.max(most, journals().length);
  }
  assert.equal(refused?.status, 503, `${served} calls served`);
  assert.equal(refused.json.error.code, 'journal_full');
  assert.ok(served > 500, `${served} calls in 1 MiB`);
  assert.ok(most >= 8 && most <= 40, `${most} segments of 64 KiB`);
  await eventually(async () => (await s.chat('x')).status === 200, 'served again', 20000 * slow);
  await eventually(() => journals().length <= 2, 'the old segments are gone', 20000 * slow);
});

test('auth.cache_entries: so many keys are not read again, more are', async () => {
  const misses = async (t) => Object.entries(await t.metrics()).filter(([k]) => /^tollgate_auth_cache_total\{.*"miss"/.test(k)).reduce((n, [, v]) => n + v, 0);
  for (const [entries, ok] of [['20000', (n) => n === 0], ['1', (n) => n > 20]]) {
    const t = await Stack.start({ workers: 1, channels: false, conf: { 'auth.cache_entries': entries } });
    try {
      const keys = [];
      for (let i = 0; i < 450; i += 30) {
        keys.push(...await Promise.all(Array.from({ length: 30 }, async (_, k) => {
          const r = await t.request('POST', '/api/token/?return=1', { headers: { authorization: t.token }, body: { name: `k${i + k}`, unlimited_quota: true } });
          return t.secret(r.json.data.key);
        })));
      }
      for (const key of keys) assert.equal((await t.get('/v1/models', { key })).status, 200);
      const before = await misses(t);
      assert.ok(before >= 450, 'each was read once');
      for (const key of keys) assert.equal((await t.get('/v1/models', { key })).status, 200);
      const n = await misses(t) - before;
      assert.ok(ok(n), `${n} of 450 keys read again with auth.cache_entries = ${entries}`);
    } finally {
      await t.stop();
    }
  }
});
