// Each limit at its edge.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chatAnswer, chatChunk, chatStream, sleep } from './lib/provider.mjs';
import { Raw } from './lib/raw.mjs';
import { Stack, eventually } from './lib/stack.mjs';

let s;
before(async () => {
  s = await Stack.start({ workers: 1, conf: { 'worker.max_exchanges': '20', 'limit.headers': '32K', 'limit.sse_event': '256K', 'limit.response_headers': '16K', 'limit.error_body': '8K' } });
});
after(() => s?.stop());

/** A JSON body of exactly n bytes. */
function bodyOf(n, mark = '') {
  const head = `{"model":"gpt-4o-mini","messages":[{"role":"user","content":"${mark}`;
  return Buffer.from(`${head}${'x'.repeat(n - head.length - 4)}"}]}`);
}

test('a body of exactly 64 MiB is served', async () => {
  const c = s.provider.play((x) => x.answer(200, chatAnswer()));
  const r = await s.post('/v1/chat/completions', bodyOf(64 << 20, c.mark));
  assert.equal(r.status, 200, r.text);
  assert.equal(c.seen[0].body.length, 64 << 20);
});

test('one byte more is refused with 413 in each dialect', async () => {
  const r = await s.post('/v1/chat/completions', bodyOf((64 << 20) + 1));
  assert.equal(r.status, 413);
  assert.equal(r.json.error.code, 'request_too_large');
  const a = await s.post('/v1/messages', bodyOf((64 << 20) + 1));
  assert.equal(a.status, 413);
  assert.equal(a.json.error.type, 'request_too_large');
  const g = await s.post('/v1beta/models/gemini-2.5-flash:generateContent', bodyOf((64 << 20) + 1));
  assert.equal(g.status, 413);
  assert.equal(g.json.error.code, 413);
});

test('a management body above its limit: 413 in its own envelope', async () => {
  const r = await s.request('POST', '/api/token/', { headers: { authorization: s.token }, body: Buffer.from(`{"name":"${'x'.repeat(1 << 20)}"}`) });
  assert.equal(r.status, 413);
  assert.equal(r.json.success, false);
});

test('headers above their limit: 431, below: served', async () => {
  assert.equal((await s.get('/v1/models', { key: s.key, headers: { 'x-pad': 'a'.repeat(30000) } })).status, 200);
  assert.equal((await s.get('/v1/models', { key: s.key, headers: { 'x-pad': 'a'.repeat(33000) } })).status, 431);
});

test('nested JSON beyond the depth limit is refused, the worker lives', async () => {
  for (const depth of [2000, 200000]) {
    const body = `{"model":"gpt-4o-mini","messages":${'['.repeat(depth)}${']'.repeat(depth)}}`;
    const r = await s.post('/v1/chat/completions', body);
    assert.equal(r.status, 400, `depth ${depth}: ${r.text}`);
  }
  const pid = s.workers()[0];
  assert.equal((await s.chat('x')).status, 200);
  assert.equal(s.workers()[0], pid);
});

test('beyond worker.max_exchanges: 503 with Retry-After, and room again when one ends', async () => {
  let go;
  const gate = new Promise((done) => { go = done; });
  const c = s.provider.play(async (x) => {
    x.stream();
    x.event(chatChunk('first'));
    await gate;
    x.event('[DONE]');
    x.end();
  });
  const open = Array.from({ length: 20 }, () => s.chat(c.mark, { stream: true }));
  await eventually(() => c.seen.length === 20, 'twenty are open');
  const r = await s.chat('x');
  assert.equal(r.status, 503, r.text);
  assert.equal(r.json.error.code, 'overloaded');
  assert.ok(Number(r.headers['retry-after']) >= 1);
  assert.equal((await s.get('/healthz')).status, 200, 'management still answers');
  go();
  for (const o of open) assert.ok((await o).text.includes('[DONE]'));
  await eventually(async () => (await s.chat('x')).status === 200, 'room again');
});

test('an event above limit.sse_event ends the stream with an error, not the worker', async () => {
  const c = s.provider.play((x) => {
    x.stream();
    x.event(chatChunk('first'));
    x.event(chatChunk('x'.repeat(300 << 10)));
    x.event('[DONE]');
    x.end();
  });
  const r = await s.chat(c.mark, { stream: true });
  assert.equal(r.status, 200);
  assert.match(r.text, /"error"/);
  assert.equal((await s.chat('x')).status, 200);
});

test('a provider with endless headers is refused: 502', async () => {
  const c = s.provider.play((x) => {
    const headers = {};
    for (let i = 0; i < 30; i++) headers[`x-pad-${i}`] = 'a'.repeat(1000);
    x.answer(200, chatAnswer(), headers);
  });
  const r = await s.chat(c.mark);
  assert.equal(r.status, 502, r.text);
});

test('a provider\'s endless error body is cut, and still an error of the dialect', async () => {
  const c = s.provider.play((x) => x.answer(400, { error: { message: 'm'.repeat(1 << 20), type: 't', param: null, code: 'c' } }));
  const r = await s.chat(c.mark);
  assert.equal(r.status, 400);
  assert.ok(r.text.length < 32 << 10, `${r.text.length}`);
  assert.ok(r.json.error);
});

test('limit.error_body: an error of that size is passed on whole and its connection used again, one byte more is cut', async () => {
  const error = (size) => {
    const bare = JSON.stringify({ error: { message: '', type: 't', param: null, code: 'c' } });
    return bare.replace('""', `"${'m'.repeat(size - bare.length)}"`);
  };
  for (const [size, whole] of [[8192, true], [8193, false]]) {
    const text = error(size);
    assert.equal(text.length, size);
    const c = s.provider.play((x) => x.answer(400, text));
    const r = await s.chat(c.mark);
    assert.equal(r.status, 400);
    assert.equal(r.json.error.message.includes('m'.repeat(size - 100)), whole, `${size}`);
    assert.equal(r.json.error.code === 'c', whole, `${size}`);
    const next = await s.chat(s.provider.play((x) => x.answer(200, { ...chatAnswer(), id: `${x.socket.remotePort}` })).mark);
    assert.equal(next.json.id === `${c.seen[0].socket.remotePort}`, whole, `${size}: the connection`);
  }
});

test('a body that arrives slowly does not cost a worker anything', async () => {
  const slowOnes = [];
  for (let i = 0; i < 40; i++) {
    const r = await Raw.open(s.port);
    r.socket.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${s.key}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"model`);
    slowOnes.push(r);
  }
  await sleep(200);
  const t = performance.now();
  assert.equal((await s.chat('x')).status, 200);
  assert.ok(performance.now() - t < 2000);
  for (const r of slowOnes) r.leave();
});

test('a request shorter than its Content-Length, then gone, leaves the worker well', async () => {
  const r = await Raw.open(s.port);
  r.socket.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${s.key}\r\ncontent-length: 1000\r\n\r\n{}`);
  r.socket.end();
  await sleep(300);
  assert.equal((await s.chat('x')).status, 200);
});

test('a chunked upload is served like any other', async () => {
  const c = s.provider.play((x) => chatStream(x, { n: 1 }));
  const body = JSON.stringify({ model: 'gpt-4o-mini', stream: true, messages: [{ role: 'user', content: c.mark }] });
  const r = await Raw.open(s.port);
  r.socket.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${s.key}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`);
  for (const part of body.match(/.{1,20}/gs)) r.socket.write(`${part.length.toString(16)}\r\n${part}\r\n`);
  r.socket.write('0\r\n\r\n');
  await r.until('[DONE]');
  r.leave();
});
