// Many at once, and stopping under load.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chatChunk, chatStream, sleep } from './lib/provider.mjs';
import { Raw } from './lib/raw.mjs';
import { Stack, build, eventually, slow } from './lib/stack.mjs';

const tsan = /tsan/.test(build);
const many = tsan ? 300 : 2000;

let s;
before(async () => { s = await Stack.start({ workers: 2, conf: { 'stream.ping_interval': '1h', 'log.level': 'warn' } }); });
after(() => s?.stop());

const body = (c) => ({ model: 'gpt-4o-mini', stream: true, messages: [{ role: 'user', content: c.mark }] });

test(`${many} streams at once: all complete, and an idle stream costs at most 40 KiB of worker memory`, async (t) => {
  let go;
  const gate = new Promise((done) => { go = done; });
  const c = s.provider.play(async (x) => {
    x.stream();
    x.event(chatChunk('first'));
    await gate;
    x.event(chatChunk('second'));
    x.event('[DONE]');
    x.end();
  });
  await Promise.all(Array.from({ length: 40 }, () => s.chat('warm'))); // what the first requests allocate once is not a stream's
  await sleep(300);
  const before = s.workers().map((p) => s.rss(p)).reduce((a, b) => a + b);
  const all = [];
  for (let i = 0; i < many; i += 50) {
    const batch = await Promise.all(Array.from({ length: Math.min(50, many - i) }, async () => {
      const r = await Raw.open(s.port);
      r.send('POST', '/v1/chat/completions', { key: s.key, headers: { connection: 'close' }, body: body(c) });
      return r;
    }));
    await Promise.all(batch.map((r) => r.until('first', 30000 * slow)));
    all.push(...batch);
  }
  await sleep(500);
  const each = (s.workers().map((p) => s.rss(p)).reduce((a, b) => a + b) - before) / many;
  t.diagnostic(`${each.toFixed(1)} KiB per idle stream`);
  go();
  await Promise.all(all.map((r) => r.until('[DONE]', 60000 * slow)));
  assert.equal(c.seen.length, many);
  if (slow === 1) assert.ok(each <= 40, `${each} KiB`);
});

test('kill -TERM during 100 streams: all finish, the other worker serves, none is lost', async () => {
  const c = s.provider.play((x) => chatStream(x, { n: 60, gap: 50 }));
  const open = Array.from({ length: 100 }, () => s.chat(c.mark, { stream: true }));
  await eventually(() => c.seen.length === 100, 'a hundred are open', 10000 * slow);
  const [victim] = s.workers();
  process.kill(victim, 'SIGTERM');
  const lost = [];
  for (let i = 0; i < 50; i++) {
    const r = await s.chat(`short ${i}`).catch((e) => ({ status: e.code ?? e.message }));
    if (r.status !== 200) lost.push(r.status);
    await sleep(10);
  }
  assert.deepEqual(lost, []);
  for (const o of open) {
    const r = await o;
    assert.equal(r.status, 200);
    assert.ok(r.text.endsWith('data: [DONE]\n\n'), 'a stream was cut');
  }
  await eventually(() => !s.workers().includes(victim), 'the stopped worker is gone');
  await eventually(() => s.workers().length === 2, 'the pool starts another');
});

test('kill -TERM again and again under load loses nothing', async () => {
  let stop = false;
  const lost = [];
  let served = 0;
  const clients = Array.from({ length: 16 }, async () => {
    while (!stop) {
      const r = await s.chat('x').catch((e) => ({ status: e.code ?? e.message }));
      served++;
      if (r.status !== 200) lost.push(r.status);
    }
  });
  try {
    for (let i = 0; i < (process.env.TOLLGATE_LONG ? 30 : 5); i++) {
      await sleep(300);
      const [pid] = s.workers();
      process.kill(pid, 'SIGTERM');
      await eventually(() => !s.workers().includes(pid) && s.workers().length === 2, 'replaced', 10000 * slow);
    }
  } finally {
    stop = true;
  }
  await Promise.all(clients);
  assert.deepEqual(lost, []);
  assert.ok(served > 100, `${served}`);
});

test('SIGHUP under load reloads and drops nothing', async () => {
  let stop = false;
  const lost = [];
  const clients = Array.from({ length: 8 }, async (_, i) => {
    while (!stop) {
      const r = await s.chat('x', i % 2 ? { stream: true } : {}).catch((e) => ({ status: e.code ?? e.message }));
      if (r.status !== 200 || (i % 2 && !r.text.includes('[DONE]'))) lost.push(r.status);
    }
  });
  try {
    for (let i = 0; i < 10; i++) {
      await sleep(150);
      for (const p of s.workers()) process.kill(p, 'SIGHUP');
    }
  } finally {
    stop = true;
  }
  await Promise.all(clients);
  assert.deepEqual(lost, []);
});

test('mixed load from 32 clients: every call is answered, recorded once and charged once', async () => {
  const before = (await s.sql('SELECT COUNT(*) AS n FROM usage_rows'))[0].n;
  const n = tsan ? 320 : 1600;
  let left = n;
  const bad = [];
  await Promise.all(Array.from({ length: 32 }, async (_, i) => {
    while (left-- > 0) {
      const r = await s.chat('x', i % 3 === 0 ? { stream: true } : {}).catch((e) => ({ status: e.message }));
      if (r.status !== 200) bad.push(r.status);
    }
  }));
  assert.deepEqual(bad, []);
  await eventually(async () => (await s.sql('SELECT COUNT(*) AS n FROM usage_rows'))[0].n - before >= n, 'all rows are written', 20000 * slow);
  const [{ rows, ids }] = await s.sql('SELECT COUNT(*) AS `rows`, COUNT(DISTINCT request_id) AS ids FROM usage_rows');
  assert.equal(rows, ids, 'a request has two rows');
});
