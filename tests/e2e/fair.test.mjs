// One client's large answer, or a client that reads nothing, must not be felt by anybody else.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chatChunk, sleep } from './lib/provider.mjs';
import { Raw } from './lib/raw.mjs';
import { Stack, eventually, root, run, slow } from './lib/stack.mjs';

const SIZE = (64 << 20) / slow ** 2;
let s, dir, flood;
before(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tollgate-fair-'));
  const [key, cert] = ['key', 'pem'].map((e) => path.join(dir, `flood.${e}`));
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=flood',
    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert]);
  flood = spawn(process.execPath, [path.join(root, 'tests/e2e/lib/flood.mjs'), key, cert, String(SIZE)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = await new Promise((done) => { flood.stdout.once('data', (d) => done(Number(d))); });
  s = await Stack.start({ workers: 1, conf: { 'upstream.ca_file': cert } });
  await s.addChannel({ name: 'flood', url: `https://127.0.0.1:${port}/v1`, models: ['flood'] });
});
after(async () => {
  flood?.kill(); // first: the stack's own end may fail the test
  fs.rmSync(dir, { recursive: true, force: true });
  await s?.stop();
});

const body = (model, text) => ({ model, stream: true, messages: [{ role: 'user', content: text }] });

/** A client that takes a flood as fast as it comes, in a process of its own; resolves with what it got. */
function gulp() {
  return run('curl', ['-sS', '-N', '-o', '/dev/null', '-w', '%{http_code} %{size_download}', `${s.url}/v1/chat/completions`,
    '-H', `authorization: Bearer ${s.key}`, '-H', 'content-type: application/json', '-d', JSON.stringify(body('flood', 'x'))]);
}

/** n streams of 50 events 20 ms apart: how late each event came, in ms, sorted. */
async function delays(n) {
  const late = [];
  const c = s.provider.play(async (x) => {
    x.stream();
    for (let i = 0; i < 50; i++) {
      await sleep(20);
      x.event(chatChunk(`at:${performance.now()};`));
    }
    x.event('[DONE]');
    x.end();
  });
  await Promise.all(Array.from({ length: n }, async () => {
    const r = await Raw.open(s.port);
    let from = 0;
    r.socket.on('data', () => {
      const text = r.got.slice(from);
      for (const m of text.matchAll(/at:([0-9.]+);/g)) {
        late.push(performance.now() - Number(m[1]));
        from = r.got.length;
      }
    });
    r.send('POST', '/v1/chat/completions', { key: s.key, headers: { connection: 'close' }, body: body('gpt-4o-mini', c.mark) });
    await r.until('[DONE]', 60000 * slow);
  }));
  assert.equal(late.length, n * 50);
  return late.sort((a, b) => a - b);
}

test('fifty streams keep their pace while others take 64 MiB at full speed, or nothing at all', async (t) => {
  const lazy = [];
  try {
    for (let i = 0; i < 4; i++) {
      const r = await Raw.open(s.port);
      r.send('POST', '/v1/chat/completions', { key: s.key, body: body('flood', 'x') });
      await r.until('zzz', 10000 * slow);
      r.pause();
      lazy.push(r);
    }
    let over = false;
    const big = (async () => { // one after the other as long as it takes
      const all = [];
      do all.push(await gulp()); while (!over);
      return all;
    })();
    const late = await delays(50);
    over = true;
    for (const said of await big) {
      const [status, size] = said.split(' ').map(Number);
      assert.equal(status, 200);
      assert.ok(size >= SIZE, `${size} bytes`);
    }
    const [p50, p99, most] = [0.5, 0.99, 1].map((q) => late[Math.ceil(q * late.length) - 1]);
    t.diagnostic(`late by ${p50.toFixed(1)} ms (median), ${p99.toFixed(1)} (99 %), ${most.toFixed(1)} (most)`);
    assert.ok(p50 < 50 * slow, `half of the events are late by more than ${p50} ms`);
    assert.ok(p99 < 1000 * slow, `one of a hundred is late by more than ${p99} ms`);
    assert.ok(most < 3000 * slow, `one is late by ${most} ms`);
  } finally {
    for (const l of lazy) l.reset();
  }
});

test('what nobody reads is not read from the provider either: a worker keeps no 64 MiB for a client that sleeps', async () => {
  const [pid] = s.workers();
  const before = s.rss(pid);
  const lazy = await Promise.all(Array.from({ length: 4 }, async () => {
    const r = await Raw.open(s.port);
    r.send('POST', '/v1/chat/completions', { key: s.key, body: body('flood', 'x') });
    await r.until('zzz', 10000 * slow);
    r.pause();
    return r;
  }));
  await sleep(1500);
  const grown = s.rss(pid) - before;
  for (const l of lazy) l.reset();
  if (slow === 1) assert.ok(grown < 16 << 10, `${grown} KiB more`);
  await eventually(async () => (await s.metrics())[Object.keys(await s.metrics()).find((k) => k.startsWith('tollgate_exchanges_in_flight'))] === 0, 'none is left open');
});
