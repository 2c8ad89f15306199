// A web server that lets its clients' slowness through (lighttpd buffers, Apache does not): they take their answers, and
// send their bodies, with pauses.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { ask } from './lib/fcgi.mjs';
import { chatAnswer, chatChunk, sleep, usage } from './lib/provider.mjs';
import { Stack, eventually, slow } from './lib/stack.mjs';

const IDLE = 2000 * slow;
let s;
before(async () => { s = await Stack.start({ workers: 1, conf: { 'stream.ping_interval': '500ms', 'upstream.idle_timeout': `${IDLE}ms` } }); });
after(() => s?.stop());

/** A chat call past lighttpd. */
function chat(mark, more = {}, options = {}) {
  const body = JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: mark }], ...more });
  return ask(s.socket, 'POST', '/v1/chat/completions', { key: s.key, size: body.length, pieces: [body], ...options });
}

/** How often the worker's fronts, one of which runs the loop, have gone to sleep. */
function sleeps() {
  const tasks = `/proc/${s.workers()[0]}/task`;
  const fronts = fs.readdirSync(tasks).filter((t) => fs.readFileSync(`${tasks}/${t}/comm`, 'utf8').trim() === 'front');
  assert.ok(fronts.length > 1);
  return fronts.reduce((n, t) => n + Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(fs.readFileSync(`${tasks}/${t}/status`, 'utf8'))[1]), 0);
}

/** Reads `bytes` each `gap` ms. */
const sip = (bytes, gap) => async (socket) => {
  let left = bytes;
  socket.on('data', (b) => {
    left -= b.length;
    if (left > 0) return;
    left = bytes;
    socket.pause();
    setTimeout(() => socket.resume(), gap);
  });
};

test('a client that takes nothing keeps nobody awake, and gets every byte when it goes on', async () => {
  const sent = [];
  const c = s.provider.play(async (x) => {
    x.stream();
    for (let i = 0; i < 600; i++) {
      const event = chatChunk(`${i} ${'z'.repeat(8000)}`);
      sent.push(`data: ${JSON.stringify(event)}\n\n`);
      if (!x.event(event)) await Promise.race([new Promise((d) => { x.res.once('drain', d); }), x.closed]);
    }
    sent.push('data: [DONE]\n\n');
    x.event('[DONE]');
    x.end();
  });
  let socket;
  const answer = chat(c.mark, { stream: true }, { meet: (k) => { socket = k; socket.pause(); } });
  await eventually(() => c.seen.length === 1, 'the provider is asked');
  await sleep(500); // and not much longer, or it is taken for one that is gone
  const before = sleeps();
  await sleep(600);
  const woken = sleeps() - before;
  socket.resume();
  const r = await answer;
  assert.ok(woken < 60, `woken ${woken} times in 0.6 s of waiting`);
  assert.ok(r.ended);
  assert.ok(r.text.replaceAll(': ping\n\n', '') === sent.join(''), 'the bytes are not the provider\'s');
});

test('a client that takes its answer slowly but steadily gets all of it, however long that takes', async () => {
  const text = JSON.stringify(chatAnswer('word '.repeat(200_000), { usage: usage(10, 20) }));
  const c = s.provider.play((x) => x.answer(200, text));
  const t = performance.now();
  const r = await chat(c.mark, {}, { meet: sip(120_000, 500 * slow) });
  assert.ok(performance.now() - t > 1.3 * IDLE, 'the test is too fast to prove something');
  assert.ok(r.ended, `${r.text.length} of ${text.length} bytes`);
  assert.ok(r.text === text, 'the bytes are not the provider\'s');
});

test('a stream with large events reaches a slow but steady client', async () => {
  const all = `data: ${JSON.stringify(chatChunk('y'.repeat(1_200_000)))}\n\ndata: ${JSON.stringify(chatChunk('z'.repeat(300_000)))}\n\ndata: [DONE]\n\n`;
  const c = s.provider.play((x) => { x.stream(); x.end(all); });
  const t = performance.now();
  const r = await chat(c.mark, { stream: true }, { meet: sip(60_000, 400 * slow) });
  assert.ok(performance.now() - t > 1.3 * IDLE, 'the test is too fast to prove something');
  assert.ok(r.ended, `${r.text.length} of ${all.length} bytes`);
  assert.ok(r.text.replaceAll(': ping\n\n', '') === all, 'the bytes are not the provider\'s');
});

test('a client that takes nothing at all is given up after the idle timeout', async () => {
  const c = s.provider.play((x) => x.answer(200, JSON.stringify(chatAnswer('word '.repeat(200_000)))));
  let socket;
  const answer = chat(c.mark, {}, { meet: (k) => { socket = k; socket.pause(); } });
  await sleep(IDLE + 1500 * slow);
  socket.resume();
  assert.equal((await answer).ended, false);
});

test('an upload that pauses is waited for', async () => {
  const c = s.provider.play((x) => x.answer(200, chatAnswer()));
  const body = JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: c.mark + 'x'.repeat(50_000) }] });
  async function* pieces() {
    yield body.slice(0, 30_000);
    await sleep(6500);
    yield body.slice(30_000);
  }
  const r = await ask(s.socket, 'POST', '/v1/chat/completions', { key: s.key, size: body.length, pieces: pieces() });
  assert.equal(r.status, 200, r.text);
  assert.equal(c.seen[0].text, body);
});

test('an upload that has all but stopped is refused: 408', async () => {
  async function* pieces() {
    yield '{"model":"gpt-4o-mini",';
    await sleep(17_000);
  }
  const t = performance.now();
  const r = await ask(s.socket, 'POST', '/v1/chat/completions', { key: s.key, size: 100_000, pieces: pieces() });
  assert.equal(r.status, 408, r.text);
  assert.ok(performance.now() - t < 20_000 * slow);
});

test('a refusal whose body never ends is passed on, and no other channel is asked', async () => {
  let calls = 0;
  const stuck = s.provider.play((x) => { calls++; x.head(400); x.write('{"error":{"message":"no such tool","type":"invalid_request_error","param":null,"code":"bad_tool"}}'); });
  await s.addChannel({ name: 'second', url: `${s.provider.url}/v1`, models: ['gpt-4o-mini'] });
  const r = await chat(stuck.mark);
  assert.equal(r.status, 400, r.text);
  assert.match(r.text, /no such tool/);
  assert.equal(calls, 1);
});

test('Gemini\'s stream in JSON, an array that grows, is not held back to its end', async () => {
  let go;
  const gate = new Promise((done) => { go = done; });
  const part = (text, more = {}) => JSON.stringify({ candidates: [{ content: { role: 'model', parts: [{ text }] }, ...more }], usageMetadata: { promptTokenCount: 5, candidatesTokenCount: 9, totalTokenCount: 14 } });
  const all = `[${part('one ')},${part('two', { finishReason: 'STOP' })}]`;
  const c = s.provider.play(async (x) => { x.head(); x.write(all.slice(0, 150)); await gate; x.end(all.slice(150)); });
  const body = JSON.stringify({ contents: [{ role: 'user', parts: [{ text: c.mark }] }] });
  let first = false;
  const answer = ask(s.socket, 'POST', '/v1beta/models/gemini-2.5-flash:streamGenerateContent', { key: s.key, size: body.length, pieces: [body],
    headers: { 'x-request-id': 'gemini-array' }, meet: (k) => k.once('data', () => { first = true; }) });
  await eventually(() => first, 'the first part', 1500 * slow);
  go();
  assert.equal((await answer).text, all);
  const row = await s.usageOf('gemini-array');
  assert.deepEqual([row.prompt, row.completion, row.estimated], [5, 9, 0]);
});

test('a stream of the largest events passes whole', async () => {
  await s.stop();
  s = await Stack.start({ workers: 1, conf: { 'limit.sse_event': '64M' } });
  const all = `data: ${JSON.stringify(chatChunk('a'))}\n\ndata: ${JSON.stringify(chatChunk('y'.repeat(20 << 20)))}\n\ndata: [DONE]\n\n`;
  const c = s.provider.play((x) => { x.stream(); x.end(all); });
  const r = await chat(c.mark, { stream: true });
  assert.ok(r.text === all, `${r.text.length} of ${all.length} bytes`);
});

test('an event above the limit ends the stream with an error, after all that came before it', async () => {
  await s.stop();
  s = await Stack.start({ workers: 1, conf: { 'limit.sse_event': '4K' } });
  const good = `data: ${JSON.stringify(chatChunk('good'))}\n\n`;
  const c = s.provider.play((x) => { x.stream(); x.end(`${good}data: ${JSON.stringify(chatChunk('y'.repeat(5000)))}\n\ndata: [DONE]\n\n`); });
  const r = await s.chat(c.mark, { stream: true });
  assert.equal(r.status, 200, r.text);
  assert.ok(r.text.startsWith(good), r.text.slice(0, 300));
  assert.match(r.text, /upstream_/);
  assert.ok(!r.text.includes('[DONE]'));
});
