// Which provider serves, and what happens when one does not.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { Provider, chatAnswer, chatChunk, deadPort, sleep } from './lib/provider.mjs';
import { events } from './lib/raw.mjs';
import { Stack, eventually, slow } from './lib/stack.mjs';

let s, a, b;
const conf = { 'cooldown.failures': '3', 'cooldown.first': '1500ms', 'cooldown.max': '3s', 'upstream.connect_timeout': '700ms',
  'upstream.first_byte_timeout': '900ms', 'upstream.idle_timeout': '900ms', 'upstream.error_body_timeout': '500ms', 'upstream.total_timeout': '4s' };
before(async () => {
  s = await Stack.start({ conf });
  a = await Provider.start();
  b = await Provider.start();
});
after(async () => {
  await s?.stop();
  await a?.stop();
  await b?.stop();
});

let n = 0;
/** Two channels for a new model: A is tried first, B is the next candidate. */
async function pair(over = {}) {
  const model = `pair-${++n}`;
  a.seen.length = b.seen.length = 0;
  a.fallback = b.fallback = (x) => x.answer(200, chatAnswer());
  await s.addChannel({ name: `${model}-a`, url: `${a.url}/v1`, models: [model], priority: 10, ...over.a });
  await s.addChannel({ name: `${model}-b`, url: `${b.url}/v1`, models: [model], priority: 5, ...over.b });
  return model;
}

test('the higher priority serves while it works', async () => {
  const model = await pair();
  for (let i = 0; i < 6; i++) assert.equal((await s.chat('x', { model })).status, 200);
  assert.deepEqual([a.seen.length, b.seen.length], [6, 0]);
});

test('inside a priority the weight decides', async () => {
  const model = await pair({ a: { priority: 5, weight: 3 }, b: { weight: 1 } });
  for (let i = 0; i < 80; i++) assert.equal((await s.chat('x', { model })).status, 200);
  assert.ok(a.seen.length > 44 && a.seen.length < 76, `${a.seen.length} of 80, expected about 60`);
});

for (const status of [401, 403, 429, 500, 502, 503, 529]) {
  test(`a provider's ${status} is answered by the next candidate`, async () => {
    const model = await pair();
    a.fallback = (x) => x.answer(status, { error: { message: 'no', type: 't', param: null, code: 'c' } });
    const r = await s.chat('x', { model });
    assert.equal(r.status, 200, r.text);
    assert.deepEqual([a.seen.length, b.seen.length], [1, 1]);
    assert.equal(b.seen[0].headers.authorization, `Bearer sk-upstream-${model}-b-0123456789abcdefghij`);
    const row = await s.usageOf(r.id);
    assert.equal(row.attempts, 2);
  });
}

for (const status of [400, 404, 413, 422]) {
  test(`a provider's ${status} is the client's: no other candidate is asked`, async () => {
    const model = await pair();
    a.fallback = (x) => x.answer(status, { error: { message: 'yours', type: 'invalid_request_error', param: null, code: 'c' } });
    const r = await s.chat('x', { model });
    assert.equal(r.status, status);
    assert.equal(r.json.error.message, 'yours');
    assert.deepEqual([a.seen.length, b.seen.length], [1, 0]);
  });
}

/** An error whose text does not end: it comes drop by drop, or as fast as it is read. */
const endless = {
  'drop by drop': async (x, status) => {
    x.head(status);
    x.write('{"error":{"message":"slow');
    while (x.left === null) {
      await sleep(100);
      x.write('ly');
    }
  },
  flooding: async (x, status) => {
    x.head(status);
    x.write('{"error":{"message":"');
    while (x.left === null) if (!x.write('all the same '.repeat(10000))) await Promise.race([once(x.res, 'drain'), x.closed]);
  },
};

for (const [how, play] of Object.entries(endless)) {
  const told = (status) => (how === 'flooding' ? new RegExp(status) : /slowly/); // what came, where it is short
  test(`a provider's 503 that does not end (${how}) is answered by the next candidate`, async () => {
    const model = await pair();
    a.fallback = (x) => play(x, 503);
    const t = performance.now();
    const r = await s.chat('x', { model });
    assert.equal(r.status, 200, r.text);
    assert.ok(performance.now() - t < 2000 * slow, 'it took as long as the whole request may');
    assert.deepEqual([a.seen.length, b.seen.length], [1, 1]);
    await eventually(() => a.seen[0].left !== null, 'the provider is hung up on');
  });

  test(`a provider's 422 that does not end (${how}) is told as such, to whom it is told last, too`, async () => {
    const model = await pair();
    a.fallback = (x) => play(x, 422);
    const r = await s.chat('x', { model });
    assert.equal(r.status, 422, r.text);
    assert.match(r.json.error.message, told(422));
    assert.deepEqual([a.seen.length, b.seen.length], [1, 0]);
    a.fallback = b.fallback = (x) => play(x, 529);
    const last = await s.chat('x', { model });
    assert.equal(last.status, 529, last.text);
    assert.match(last.json.error.message, told(529));
  });
}

test('an error whose text breaks off is still the error that its status says', async () => {
  const model = await pair();
  const before = await s.metrics();
  a.fallback = async (x) => {
    x.head(429, { 'content-length': '500', 'retry-after': '1' });
    x.write('{"error":');
    await sleep(50);
    x.cut('rst');
  };
  assert.equal((await s.chat('x', { model })).status, 200);
  const limited = Object.keys(before).find((k) => /^tollgate_attempts_total\{.*rate_limited/.test(k));
  assert.ok(limited, Object.keys(before).filter((k) => /attempts_total/.test(k)).join(' '));
  assert.equal((await s.metrics())[limited], before[limited] + 1);
});

for (const how of ['fin', 'rst']) {
  test(`a provider that breaks off (${how}) before its first byte is followed by the next`, async () => {
    const model = await pair();
    a.fallback = (x) => x.cut(how);
    const r = await s.chat('x', { model, stream: true });
    assert.equal(r.status, 200, r.text);
    assert.equal(b.seen.length, 1);
  });
}

test('a port where nobody listens is followed by the next', async () => {
  const port = await deadPort();
  const model = await pair({ a: { url: `http://127.0.0.1:${port}/v1` } });
  assert.equal((await s.chat('x', { model })).status, 200);
  assert.equal(b.seen.length, 1);
});

test('a provider that stays silent is given up after first_byte_timeout, and the next asked', async () => {
  const model = await pair();
  a.fallback = () => {};
  const t = performance.now();
  assert.equal((await s.chat('x', { model })).status, 200);
  const ms = performance.now() - t;
  assert.ok(ms > 850 && ms < 2500, `${ms}`);
  await eventually(() => a.seen[0].left !== null, 'the silent provider is closed');
});

test('when all stay silent the client is told 504', async () => {
  const model = await pair();
  a.fallback = b.fallback = () => {};
  const r = await s.chat('x', { model });
  assert.equal(r.status, 504, r.text);
  assert.equal(r.json.error.code, 'upstream_timeout');
});

test('total_timeout ends all attempts together', async () => {
  const model = await pair();
  a.fallback = async (x) => {
    x.stream();
    while (x.left === null) {
      x.event(chatChunk('x'));
      await sleep(200);
    }
  };
  const t = performance.now();
  const r = await s.chat('x', { model, stream: true });
  const ms = performance.now() - t;
  assert.ok(ms > 3500 && ms < 6500, `${ms}`);
  assert.ok(!r.text.includes('[DONE]'));
  assert.match(events(r.text).at(-1), /"error"/);
});

test('after the first byte nobody else is asked: the stream ends with an error event and no [DONE]', async () => {
  for (const how of ['fin', 'rst']) {
    const model = await pair();
    a.fallback = async (x) => {
      x.stream();
      x.event(chatChunk('one'));
      await sleep(50);
      x.cut(how);
    };
    const r = await s.chat('x', { model, stream: true });
    assert.equal(r.status, 200);
    assert.equal(b.seen.length, 0);
    const e = events(r.text);
    assert.match(e[0], /one/);
    assert.equal(JSON.parse(e.at(-1)).error.type, 'upstream_error');
    assert.ok(!r.text.includes('[DONE]'));
    const row = await s.usageOf(r.id);
    assert.notEqual(row.end_reason, 0);
  }
});

test('a cut in the middle of an event leaves no half event before the error', async () => {
  const model = await pair();
  a.fallback = async (x) => {
    x.stream();
    x.event(chatChunk('one'));
    x.write('data: {"id":"half');
    await sleep(50);
    x.cut('rst');
  };
  const r = await s.chat('x', { model, stream: true });
  for (const e of events(r.text)) JSON.parse(e);
  assert.match(r.text, /"error"/);
});

test('a stream that falls silent is ended after idle_timeout with an error event', async () => {
  const model = await pair();
  a.fallback = (x) => {
    x.stream();
    x.event(chatChunk('one'));
  };
  const t = performance.now();
  const r = await s.chat('x', { model, stream: true });
  assert.ok(performance.now() - t < 3000);
  assert.match(events(r.text).at(-1), /"error"/);
  assert.ok(!r.text.includes('[DONE]'));
});

test('a non-stream answer cut in its middle is a 502, or a broken connection, never a short 200', async () => {
  const model = await pair({ b: { url: `http://127.0.0.1:${await deadPort()}/v1` } });
  a.fallback = async (x) => {
    x.head(200, { 'content-length': '500' });
    x.write('{"id":"half');
    await sleep(50);
    x.cut('rst');
  };
  const r = await s.chat('x', { model }).catch((e) => ({ status: 0, error: e }));
  assert.ok(r.status === 502 || r.status === 0, `${r.status} ${r.text}`);
});

test('when all fail the client sees the last provider\'s error', async () => {
  const model = await pair();
  a.fallback = (x) => x.answer(500, { error: { message: 'first', type: 't', param: null, code: 'c' } });
  b.fallback = (x) => x.answer(503, { error: { message: 'second', type: 't', param: null, code: 'c' } });
  const r = await s.chat('x', { model });
  assert.equal(r.status, 503);
  assert.match(r.text, /second/);
});

test('a failing channel cools down for both workers, is probed by one request, and comes back', async () => {
  const model = await pair();
  a.fallback = (x) => x.answer(500, { error: { message: 'no', type: 't', param: null, code: 'c' } });
  for (let i = 0; i < 4; i++) await s.chat('x', { model });
  const failed = a.seen.length;
  assert.equal(failed, 3, 'three failures start the cool-down');
  await Promise.all(Array.from({ length: 20 }, () => s.chat('x', { model })));
  assert.equal(a.seen.length, failed, 'a cooling channel is not asked by any worker');
  a.fallback = async (x) => {
    await sleep(300);
    x.answer(200, chatAnswer());
  };
  await sleep(1600);
  await Promise.all(Array.from({ length: 20 }, () => s.chat('x', { model })));
  assert.equal(a.seen.length, failed + 1, 'exactly one request probes');
  await s.chat('x', { model });
  assert.equal(a.seen.length, failed + 2, 'after a good probe it serves again');
});

test('the only channel cools down too: 503 with Retry-After', async () => {
  const model = `alone-${++n}`;
  a.seen.length = 0;
  a.fallback = (x) => x.answer(500, { error: { message: 'no', type: 't', param: null, code: 'c' } });
  await s.addChannel({ name: model, url: `${a.url}/v1`, models: [model] });
  for (let i = 0; i < 3; i++) assert.equal((await s.chat('x', { model })).status, 500);
  const r = await s.chat('x', { model });
  assert.equal(r.status, 503, r.text);
  assert.equal(r.json.error.code, 'no_channel');
  assert.ok(Number(r.headers['retry-after']) >= 1);
  assert.equal(a.seen.length, 3);
});

test('a provider\'s Retry-After is honoured', async () => {
  const model = await pair();
  a.fallback = (x) => x.answer(429, { error: { message: 'no', type: 't', param: null, code: 'c' } }, { 'retry-after': '2' });
  for (let i = 0; i < 5; i++) await s.chat('x', { model });
  const asked = a.seen.length;
  assert.ok(asked <= 3);
  await sleep(1200);
  a.fallback = (x) => x.answer(200, chatAnswer());
  await s.chat('x', { model });
  assert.equal(a.seen.length, asked, 'asked again too early');
});

test('several keys of a channel take turns', async () => {
  const keys = ['sk-upstream-turn-one-abcdefghijklm', 'sk-upstream-turn-two-abcdefghijklm'];
  const model = await pair({ a: { key: keys } });
  for (let i = 0; i < 12; i++) await s.chat('x', { model });
  const used = a.seen.map((x) => x.headers.authorization);
  for (const k of keys) assert.ok(used.filter((u) => u === `Bearer ${k}`).length >= 3, k);
});

for (const status of [401, 403, 429]) {
  test(`a key that is refused with ${status} costs nobody an answer: the channel's other key is tried`, async () => {
    const keys = [`sk-upstream-dead-${status}-abcdefghijklm`, `sk-upstream-good-${status}-abcdefghijklm`];
    const model = await pair({ a: { key: keys } });
    a.fallback = (x) => (x.headers.authorization === `Bearer ${keys[0]}` ? x.answer(status, { error: { message: 'no' } }) : x.answer(200, chatAnswer()));
    for (let i = 0; i < 10; i++) assert.equal((await s.chat('x', { model })).status, 200);
    const used = a.seen.map((x) => x.headers.authorization);
    assert.ok(used.includes(`Bearer ${keys[0]}`), 'the bad key was tried');
    assert.equal(b.seen.length, 0, 'the other channel was not needed');
  });
}

test('a channel that is not marked private never reaches an inside address, whatever its name resolves to', async () => {
  a.seen.length = 0;
  await s.ctl(['model', 'add', 'inside', '--input-usd-per-m', '2']);
  await s.ctl(['channel', 'add', '--name', 'inside', '--type', 'openai', '--base-url', `${a.url.replace('127.0.0.1', 'localhost')}/v1`, '--models', 'inside', '--key-stdin'], 'sk-upstream-inside-0123456789abcdef\n');
  await sleep(500);
  const r = await s.chat('x', { model: 'inside' });
  assert.deepEqual([r.status, r.json.error.code], [502, 'upstream_address_refused']);
  assert.equal(a.seen.length, 0);
});

test('a disabled channel is not asked, at the latest a second later', async () => {
  const model = await pair();
  await s.ctl(['channel', 'disable', `${model}-a`]);
  await sleep(1000);
  for (let i = 0; i < 6; i++) await s.chat('x', { model });
  assert.equal(a.seen.length, 0);
});

test('only an administrator pins a channel', async () => {
  const model = await pair();
  const [{ id }] = await s.sql(`SELECT id FROM channels WHERE name = '${model}-b'`);
  const r = await s.chat('x', { model }, { key: `${s.key}-${id}` });
  assert.equal(r.status, 200, r.text);
  assert.deepEqual([a.seen.length, b.seen.length], [0, 1]);
  const key = await s.addUser('plain@example.org', 100000000);
  assert.equal((await s.chat('x', { model }, { key: `${key}-${id}` })).status, 403);
});
