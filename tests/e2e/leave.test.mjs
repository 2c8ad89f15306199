// Clients that leave: the provider must be told, and what came is charged.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { chatAnswer, chatChunk, chatStream, sleep, usage } from './lib/provider.mjs';
import { Raw } from './lib/raw.mjs';
import { Stack, eventually, slow } from './lib/stack.mjs';

let s;
before(async () => { s = await Stack.start({ conf: { 'stream.ping_interval': '1s' } }); });
after(() => s?.stop());

const ask = (c, more = {}) => ({ key: s.key, body: { model: 'gpt-4o-mini', stream: true, messages: [{ role: 'user', content: c.mark }], ...more } });

/** A connection that had an answer before: the web server sees at once when it is reset. */
async function used() {
  const r = await Raw.open(s.port);
  r.send('GET', '/v1/models', { key: s.key });
  await r.until('"data"');
  return r;
}

async function goneWithin(x, left, ms, what) {
  const at = await Promise.race([x.closed, sleep(ms + 2000, null)]);
  assert.ok(at !== null && at - left < ms, `${what}: the provider saw it after ${at === null ? 'more than ' + (ms + 2000) : at - left} ms`);
}

for (const how of ['leave', 'reset']) {
  test(`mid-stream, by ${how === 'leave' ? 'FIN' : 'RST'}: the provider is closed within 1 s`, async () => {
    const c = s.provider.play((x) => chatStream(x, { n: 500, gap: 50 }));
    const r = await Raw.open(s.port);
    r.send('POST', '/v1/chat/completions', { ...ask(c), headers: { 'x-request-id': `left-${how}-1` } });
    await r.until('w3 ');
    r[how]();
    await goneWithin(c.seen[0], performance.now(), 1000 * slow, how);
    const row = await s.usageOf(`left-${how}-1`);
    assert.ok(row.completion > 0, 'what was delivered is charged');
    assert.ok(row.cost > 0);
    assert.ok(row.completion < 200, 'what was not delivered is not');
    assert.notEqual(row.end_reason, 0);
  });
}

test('mid-stream while the provider is silent: the next ping finds out', async () => {
  const c = s.provider.play((x) => {
    x.stream();
    x.event(chatChunk('first'));
  });
  const r = await Raw.open(s.port);
  r.send('POST', '/v1/chat/completions', ask(c));
  await r.until('first');
  r.leave();
  await goneWithin(c.seen[0], performance.now(), 3500 * slow, 'silent stream');
});

test('before the first byte, by RST on a connection in use: the provider is closed within 3 s', async () => {
  const c = s.provider.play(() => {});
  const r = await used();
  r.send('POST', '/v1/chat/completions', ask(c));
  await eventually(() => c.seen.length === 1, 'the provider is asked');
  r.reset();
  await goneWithin(c.seen[0], performance.now(), 3000 * slow, 'RST before the first byte');
});

test('before the first byte, by RST after an upload in pieces: the provider is closed within 3 s', async () => {
  const c = s.provider.play(() => {});
  const r = await Raw.open(s.port);
  r.send('POST', '/v1/chat/completions', ask(c, { pad: 'x'.repeat(300000) }));
  await eventually(() => c.seen.length === 1, 'the provider is asked');
  r.reset();
  await goneWithin(c.seen[0], performance.now(), 3000 * slow, 'RST before the first byte');
});

for (const how of ['cancels its stream', 'closes its connection']) {
  test(`before the first byte, an HTTP/2 client that ${how}: the provider is closed within 3 s`, async () => {
    const c = s.provider.play(() => {});
    const h = http2.connect(s.url);
    h.on('error', () => {});
    const body = JSON.stringify(ask(c).body);
    const q = h.request({ ':method': 'POST', ':path': '/v1/chat/completions', authorization: `Bearer ${s.key}`, 'content-type': 'application/json', 'content-length': body.length });
    q.on('error', () => {});
    q.end(body);
    await eventually(() => c.seen.length === 1, 'the provider is asked');
    const left = performance.now();
    if (how === 'cancels its stream') q.close(http2.constants.NGHTTP2_CANCEL);
    else h.destroy();
    await goneWithin(c.seen[0], left, 3000 * slow, how);
    h.destroy();
  });
}

test('a client that only ends its sending side still gets its whole answer', async () => {
  const c = s.provider.play((x) => chatStream(x, { n: 20, gap: 50 }));
  const r = await Raw.open(s.port, { allowHalfOpen: true });
  r.send('POST', '/v1/chat/completions', { ...ask(c), headers: { connection: 'close' } });
  await r.until('w1 ');
  r.socket.end();
  await r.until('[DONE]');
});

test('policy drain: the answer is read to its end and charged in full', async () => {
  await s.ctl(['group', 'set', 'default', '--drain', 'yes']);
  await sleep(1000);
  try {
    const c = s.provider.play((x) => chatStream(x, { n: 40, gap: 30, usage: usage(50, 400) }));
    const r = await Raw.open(s.port);
    r.send('POST', '/v1/chat/completions', { ...ask(c), headers: { 'x-request-id': 'drained-1' } });
    await r.until('w2 ');
    r.leave();
    await c.seen[0].closed;
    assert.equal(c.seen[0].left, null, 'the provider was cut');
    const row = await s.usageOf('drained-1');
    assert.deepEqual([row.prompt, row.completion], [50, 400]);
    assert.equal(row.policy, 1);
  } finally {
    await s.ctl(['group', 'set', 'default', '--drain', 'no']);
    await sleep(1000);
  }
});

test('policy drain: a JSON answer is charged as its provider counts it, and the row says that the client left', async () => {
  await s.ctl(['group', 'set', 'default', '--drain', 'yes']);
  await sleep(1000);
  try {
    const c = s.provider.play(async (x) => {
      await sleep(2000);
      x.answer(200, chatAnswer('many words, '.repeat(50), { usage: usage(50, 4) }));
    });
    const r = await used();
    r.send('POST', '/v1/chat/completions', { ...ask(c, { stream: false }), headers: { 'x-request-id': 'drained-json' } });
    await eventually(() => c.seen.length === 1, 'the provider is asked');
    r.reset();
    const row = await s.usageOf('drained-json');
    assert.deepEqual([row.prompt, row.completion, row.estimated, row.end_reason], [50, 4, 0, 4]);
  } finally {
    await s.ctl(['group', 'set', 'default', '--drain', 'no']);
    await sleep(1000);
  }
});

test('policy drain: a provider that fails after the client left is not paid, and no other is asked', async () => {
  await s.ctl(['group', 'set', 'default', '--drain', 'yes']);
  await s.addChannel({ name: 'second', url: `${s.provider.url}/v1`, models: ['gpt-4o-mini'] });
  await sleep(1000);
  try {
    for (const [id, fail] of [['drained-503', (x) => x.answer(503, { error: { message: 'busy' } })], ['drained-cut', (x) => x.cut()]]) {
      const c = s.provider.play(async (x) => { await sleep(2000); fail(x); });
      const r = await used();
      r.send('POST', '/v1/chat/completions', { ...ask(c), headers: { 'x-request-id': id } });
      await eventually(() => c.seen.length === 1, 'the provider is asked');
      r.reset();
      const row = await s.usageOf(id);
      assert.deepEqual([row.cost, row.prompt, row.attempts], [0, 0, 1], id);
    }
  } finally {
    await s.ctl(['group', 'set', 'default', '--drain', 'no']);
    await sleep(1000);
  }
});

test('who leaves before the provider has the request pays nothing; who leaves after it pays the prompt', async () => {
  const mute = net.createServer((socket) => socket.unref().on('error', () => {})); // never answers the TLS hello
  await new Promise((done) => { mute.listen(0, '127.0.0.1', done); });
  mute.unref();
  s.models.add('mute');
  await s.ctl(['model', 'add', 'mute', '--input-usd-per-m', '2', '--output-usd-per-m', '4']);
  await s.addChannel({ name: 'mute', url: `https://127.0.0.1:${mute.address().port}/v1`, models: ['mute'] });
  const connected = new Promise((done) => { mute.once('connection', done); });
  const c = s.provider.play(() => {});
  const leave = async (id, model, when) => {
    const r = await used();
    r.send('POST', '/v1/chat/completions', { ...ask(c, { model }), headers: { 'x-request-id': id } });
    await when();
    await sleep(200);
    r.reset();
    return s.usageOf(id);
  };
  const row = await leave('left-connecting', 'mute', () => connected);
  assert.deepEqual([row.cost, row.prompt, row.end_reason], [0, 0, 4]);
  const paid = await leave('left-waiting', 'gpt-4o-mini', () => eventually(() => c.seen.length === 1, 'the provider is asked'));
  assert.ok(paid.cost > 0 && paid.prompt > 0, 'the provider has read the prompt');
  mute.close();
});

test('a client that reads nothing does not hold up the others', async () => {
  const flood = s.provider.play(async (x) => {
    x.stream();
    for (let i = 0; i < 3000 / slow ** 2 && x.left === null; i++) {
      if (!x.event(chatChunk('z'.repeat(8000)))) await Promise.race([new Promise((d) => { x.res.once('drain', d); }), x.closed]);
    }
    x.end();
  });
  const lazy = [];
  try {
    for (let i = 0; i < 8; i++) {
      const r = await Raw.open(s.port);
      r.send('POST', '/v1/chat/completions', ask(flood));
      lazy.push(r);
      await r.until('zzz', 10000 * slow);
      r.pause();
    }
    const c = s.provider.play((x) => chatStream(x, { n: 50, gap: 10 }));
    const t = performance.now();
    const r = await s.chat(c.mark, { stream: true });
    assert.ok(r.text.includes('[DONE]'));
    assert.ok(performance.now() - t < 2500 * slow, `${performance.now() - t} ms`);
  } finally {
    for (const l of lazy) l.reset();
  }
});

test('fifty clients that leave at fifty moments leave nothing behind', async () => {
  const c = s.provider.play((x) => chatStream(x, { n: 200, gap: 20 }));
  await Promise.all(Array.from({ length: 50 }, async (_, i) => {
    const r = await Raw.open(s.port);
    r.send('POST', '/v1/chat/completions', ask(c));
    await sleep(i * 20);
    if (i % 2) r.leave(); else r.reset();
  }));
  await eventually(() => c.seen.every((x) => x.res.closed), 'all provider connections are closed', 6000 * slow);
  await eventually(async () => {
    const m = await s.metrics();
    const open = Object.entries(m).filter(([k]) => k.startsWith('tollgate_exchanges_in_flight'));
    assert.ok(open.length > 0, `no gauge of open exchanges in ${Object.keys(m).join(' ')}`);
    return open.reduce((sum, [, v]) => sum + v, 0) === 0;
  }, 'no exchange is open');
});
