// When each byte of a stream arrives.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chatChunk, chatStream, sleep } from './lib/provider.mjs';
import { Raw } from './lib/raw.mjs';
import { Stack, slow } from './lib/stack.mjs';

let s, held;
before(async () => {
  s = await Stack.start({ conf: { 'stream.ping_interval': '500ms' } });
  // the same installation with the one line missing
  held = await Stack.start({ lighttpd: (t) => t.replace(/^server\.stream-response-body.*$/m, '') });
});
after(async () => {
  await held?.stop();
  await s?.stop();
});

async function watch(stack, script, more = {}) {
  const c = stack.provider.play(script);
  const r = await Raw.open(stack.port);
  r.send('POST', '/v1/chat/completions', { key: stack.key, headers: { connection: 'close' }, body: { model: 'gpt-4o-mini', stream: true, messages: [{ role: 'user', content: c.mark }], ...more } });
  return [r, c];
}

/** Milliseconds between the first and the last piece of the answer's body, and the longest gap. */
function pace(r) {
  const t = r.times.map(([at]) => at);
  let gap = 0;
  for (let i = 1; i < t.length; i++) gap = Math.max(gap, t[i] - t[i - 1]);
  return { spread: t.at(-1) - t[0], gap, reads: t.length };
}

test('200 events 10 ms apart arrive spaced as they were sent', async () => {
  const [r] = await watch(s, (x) => chatStream(x, { n: 200, gap: 10 }));
  await r.closed;
  const p = pace(r);
  assert.equal(r.status(), 200);
  assert.ok(p.reads > 150, `${p.reads} reads`);
  assert.ok(p.spread > 1800, `spread over ${p.spread} ms`);
  assert.ok(p.gap < 150 * slow, `a gap of ${p.gap} ms`);
});

test('without server.stream-response-body they would not: the answer is held back to its end', async () => {
  const [r] = await watch(held, (x) => chatStream(x, { n: 200, gap: 10 }));
  await r.closed;
  const p = pace(r);
  assert.equal(r.status(), 200);
  assert.ok(p.spread < 500, `spread over ${p.spread} ms: the tests of streaming prove nothing`);
});

test('the first event does not wait for the second', async () => {
  let go;
  const gate = new Promise((done) => { go = done; });
  const [r] = await watch(s, async (x) => {
    x.stream();
    x.event(chatChunk('first'));
    await gate;
    x.event('[DONE]');
    x.end();
  });
  await r.until('first', 3000 * slow);
  assert.ok(!r.got.includes('[DONE]'));
  go();
  await r.until('[DONE]', 3000 * slow);
  await r.closed;
});

test('the status line comes with the provider\'s, before any event', async () => {
  let go;
  const gate = new Promise((done) => { go = done; });
  const [r] = await watch(s, async (x) => {
    x.stream();
    await gate;
    x.event('[DONE]');
    x.end();
  });
  await r.until('200 OK', 3000 * slow);
  go();
  await r.closed;
});

test('a begun stream that is silent gets a ping comment', async () => {
  const [r] = await watch(s, async (x) => {
    x.stream();
    x.event(chatChunk('first'));
    await sleep(1800);
    x.event('[DONE]');
    x.end();
  });
  await r.closed;
  const pings = r.got.split(': ping').length - 1;
  assert.ok(pings >= 2 && pings <= 4, `${pings} pings`);
  assert.ok(r.got.indexOf('first') < r.got.indexOf(': ping'));
});

test('a ping never lands inside an event', async () => {
  const [r] = await watch(s, async (x) => {
    x.stream();
    x.event(chatChunk('first'));
    x.write('data: {"half');
    await sleep(1200);
    x.write('":1}\n\ndata: [DONE]\n\n');
    x.end();
  });
  await r.closed;
  assert.ok(/data: \{"half":1\}/.test(r.got.replace(/\r\n[0-9a-f]+\r\n/g, '')), r.got);
});

test('a non-stream answer is not disturbed by pings', async () => {
  const c = s.provider.play(async (x) => {
    await sleep(1200);
    x.answer(200, { id: 'x', choices: [], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } });
  });
  const r = await s.chat(c.mark);
  assert.equal(r.json.id, 'x');
});

test('a long event arrives whole', async () => {
  const long = 'x'.repeat(900000);
  const c = s.provider.play((x) => {
    x.stream();
    x.event(chatChunk(long));
    x.event('[DONE]');
    x.end();
  });
  const r = await s.chat(c.mark, { stream: true });
  assert.ok(r.text.includes(long));
  assert.ok(r.text.endsWith('data: [DONE]\n\n'));
});

test('generated images, an event each, pass whole', async () => {
  const image = (n) => ({ type: 'response.image_generation_call.partial_image', partial_image_b64: 'iVBORw0K'.repeat(n / 8) });
  const all = [image(3 << 20), image(20 << 20), { type: 'response.completed', response: { id: 'r', usage: { input_tokens: 3, output_tokens: 4 } } }]
    .map((e) => `event: ${e.type}\ndata: ${JSON.stringify(e)}\n\n`).join('');
  const c = s.provider.play((x) => { x.stream(); x.end(all); });
  const r = await s.post('/v1/responses', { model: 'gpt-4o', input: c.mark, stream: true });
  assert.ok(r.text.replaceAll(': ping\n\n', '') === all, `${r.text.length} of ${all.length} bytes: ${r.text.slice(-300)}`);
  assert.equal((await s.usageOf(r.id)).completion, 4);
});

test('a stream of 20 MB arrives complete', async () => {
  const c = s.provider.play(async (x) => {
    x.stream();
    for (let i = 0; i < 2000; i++) if (!x.event(chatChunk('y'.repeat(10000)))) await new Promise((d) => { x.res.once('drain', d); });
    x.event('[DONE]');
    x.end();
  });
  const r = await s.chat(c.mark, { stream: true });
  assert.equal(r.text.split('\n\n').length, 2002);
});
