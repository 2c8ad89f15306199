// What passes through the gateway, and what is recorded of it.
import assert from 'node:assert/strict';
import zlib from 'node:zlib';
import { after, before, test } from 'node:test';
import { chatAnswer, chatChunk, chatStream, sleep, usage } from './lib/provider.mjs';
import { events } from './lib/raw.mjs';
import { Stack, slow } from './lib/stack.mjs';

let s;
before(async () => { s = await Stack.start(); });
after(() => s?.stop());

const stream = (c, more = {}, options = {}) => s.chat(c.mark, { stream: true, ...more }, options);

test('the provider gets the client\'s bytes, unknown fields and number spellings included', async () => {
  const c = s.provider.play((x) => x.answer(200, chatAnswer()));
  const body = `{ "model" : "gpt-4o-mini",\n\t"messages":[{"role":"user","content":"${c.mark} \\u00e9\\ud83d\\ude00"}], "temperature": 1.0000, "big": 12345678901234567890, "x_own": {"a": [null, true]} }`;
  const r = await s.post('/v1/chat/completions', body);
  assert.equal(r.status, 200, r.text);
  assert.equal(c.seen[0].text, body);
});

test('the client gets the provider\'s bytes', async () => {
  const text = '{"id": "x",   "choices":[ ], "usage" : {"prompt_tokens":3 ,"completion_tokens":4,"total_tokens":7},"n":1.50}';
  const c = s.provider.play((x) => x.answer(200, text));
  const r = await s.chat(c.mark);
  assert.equal(r.text, text);
});

test('no header of the client that is not meant for the provider is passed on', async () => {
  const c = s.provider.play((x) => x.answer(200, chatAnswer()));
  await s.chat(c.mark, {}, { headers: { cookie: 'session=secret', 'x-forwarded-for': '192.0.2.9', 'x-api-key': 'mine', referer: 'https://a.example' } });
  const h = c.seen[0].headers;
  for (const n of ['cookie', 'x-forwarded-for', 'x-api-key', 'referer']) assert.equal(h[n], undefined, n);
  assert.ok(!JSON.stringify(h).includes(s.key));
});

test('usage is asked of every stream and hidden from who did not ask', async () => {
  const c = s.provider.play((x) => chatStream(x, { n: 2 }));
  const r = await stream(c);
  assert.equal(c.seen[0].json.stream_options.include_usage, true);
  const e = events(r.text);
  assert.equal(e.at(-1), '[DONE]');
  assert.ok(!r.text.includes('"usage":{'), r.text);
  const row = await s.usageOf(r.id);
  assert.deepEqual([row.prompt, row.completion], [11, 7]);
});

test('usage is shown to who asked, and other stream options stay', async () => {
  const c = s.provider.play((x) => chatStream(x, { n: 1, usage: usage(100, 50) }));
  const r = await stream(c, { stream_options: { include_usage: true, include_obfuscation: false } });
  assert.deepEqual(c.seen[0].json.stream_options, { include_usage: true, include_obfuscation: false });
  const last = JSON.parse(events(r.text).at(-2));
  assert.deepEqual(last.usage, usage(100, 50));
  const no = s.provider.play((x) => chatStream(x, { n: 1 }));
  const hidden = await stream(no, { stream_options: { include_usage: false } });
  assert.equal(no.seen[0].json.stream_options.include_usage, true);
  assert.ok(!hidden.text.includes('"usage":{'));
});

test('the usage row tells the provider\'s numbers: cached, reasoning, audio', async () => {
  const u = { ...usage(1000, 200), prompt_tokens_details: { cached_tokens: 600, audio_tokens: 0 }, completion_tokens_details: { reasoning_tokens: 150, audio_tokens: 0 } };
  const c = s.provider.play((x) => x.answer(200, chatAnswer('x', { usage: u })));
  const r = await s.chat(c.mark);
  const row = await s.usageOf(r.id);
  assert.equal(row.completion, 200);
  assert.equal(row.cached, 600);
  assert.equal(row.reasoning, 150);
  assert.ok([1000, 400].includes(row.prompt), `${row.prompt}`);
  assert.equal(row.model, 'gpt-4o-mini');
  assert.equal(row.status, 200);
  assert.ok(row.cost > 0);
  assert.equal(String(row.cost), r.headers['x-tollgate-cost']);
});

test('usage is found however the bytes are cut', async () => {
  const tail = Buffer.from(`data: ${JSON.stringify({ ...chatChunk(''), choices: [], usage: usage(123, 45) })}\n\ndata: [DONE]\n\n`);
  for (const at of [1, 7, 60, tail.length - 40, tail.length - 20, tail.length - 15, tail.length - 1]) {
    const c = s.provider.play(async (x) => {
      x.stream();
      x.event(chatChunk('a'));
      x.write(tail.subarray(0, at));
      await sleep(15);
      x.end(tail.subarray(at));
    });
    const r = await stream(c, { stream_options: { include_usage: true } });
    assert.ok(r.text.endsWith(tail.toString()), `cut at ${at}`);
    const row = await s.usageOf(r.id);
    assert.deepEqual([row.prompt, row.completion], [123, 45], `cut at ${at}`);
  }
});

test('usage is found when every byte comes alone', async () => {
  const c = s.provider.play(async (x) => {
    const all = `data: ${JSON.stringify(chatChunk('a'))}\n\ndata: ${JSON.stringify({ choices: [], usage: usage(5, 6) })}\n\ndata: [DONE]\n\n`;
    x.stream();
    for (const b of all) {
      x.write(b);
      await new Promise(setImmediate);
    }
    x.end();
  });
  const r = await stream(c);
  const row = await s.usageOf(r.id);
  assert.deepEqual([row.prompt, row.completion], [5, 6]);
});

test('the last usage wins: repeated usage is not summed', async () => {
  const c = s.provider.play((x) => {
    x.stream();
    for (const n of [1, 2, 3]) x.event({ ...chatChunk('a'), usage: usage(10, n) });
    x.event('[DONE]');
    x.end();
  });
  const r = await stream(c, { stream_options: { include_usage: true } });
  const row = await s.usageOf(r.id);
  assert.deepEqual([row.prompt, row.completion], [10, 3]);
});

test('an answer without usage, or with zeros, is estimated and not free', async () => {
  for (const u of [undefined, usage(0, 0), null]) {
    const c = s.provider.play((x) => x.answer(200, chatAnswer('some words to be counted by somebody', { usage: u })));
    const r = await s.chat(c.mark);
    assert.equal(r.status, 200);
    const row = await s.usageOf(r.id);
    assert.ok(row.prompt > 0 && row.completion > 0, JSON.stringify(u));
    assert.ok(row.cost > 0);
  }
});

test('a stream without usage is estimated by what was delivered', async () => {
  const c = s.provider.play((x) => chatStream(x, { n: 30, usage: null }));
  const r = await stream(c);
  const row = await s.usageOf(r.id);
  assert.ok(row.completion >= 10, `${row.completion}`);
});

test('a stream whose provider never says [DONE] passes as it is when it told why it ends, and is broken when it did not', async () => {
  const last = (reason) => ({ ...chatChunk(''), choices: [{ index: 0, delta: {}, finish_reason: reason }], usage: usage(40, 2) });
  for (const [reason, broken] of [['stop', false], ['tool_calls', false], ['', true], [null, true]]) {
    let all = '';
    const c = s.provider.play((x) => {
      x.stream();
      all = [chatChunk('a'), last(reason)].map((e) => `data: ${JSON.stringify(e)}\n\n`).join('');
      x.end(all);
    });
    const r = await stream(c);
    assert.equal(r.text === all, !broken, `${reason}: ${r.text}`);
    assert.equal(r.text.includes('upstream_'), broken);
    const row = await s.usageOf(r.id);
    assert.equal(row.end_reason === 0, !broken);
    assert.deepEqual([row.prompt, row.completion], [40, 2]);
  }
});

test('a refusal that comes with status 200 costs nothing, as an event and as JSON; one behind some text costs that text', async () => {
  const error = { error: { message: 'overloaded', type: 'server_error', param: null, code: null } };
  for (const [script, more, paid] of [
    [(x) => { x.stream(); x.event(error); x.end(); }, { stream: true }, false],
    [(x) => { x.stream(); x.event(error); x.event('[DONE]'); x.end(); }, { stream: true }, false],
    [(x) => x.answer(200, error), {}, false],
    [(x) => { x.stream(); x.event(chatChunk('some words')); x.event(error); x.end(); }, { stream: true }, true],
    [(x) => x.answer(200, { ...chatAnswer('some words', { usage: undefined }), ...error }), {}, true],
    [(x) => x.answer(200, { ...chatAnswer('', { usage: usage(9, 0) }), ...error }), {}, true],
  ]) {
    const r = await s.chat(s.provider.play(script).mark, more);
    assert.equal(r.status, 200);
    assert.match(r.text, /overloaded/);
    assert.equal((await s.usageOf(r.id)).cost > 0, paid, r.text);
  }
});

test('an event stream without an event is no answer: the next channel is asked, and who has none is told 502 and pays nothing', async () => {
  await s.addChannel({ name: 'hollow', url: `${s.provider.url}/v1`, models: ['hollow-model'] });
  const empty = (x) => { x.stream(); x.end(': nothing to say\n'); };
  const r = await s.chat(s.provider.play(empty).mark, { model: 'hollow-model', stream: true });
  assert.equal(r.status, 502, r.text);
  assert.equal(r.json.error.code, 'upstream_broke');
  assert.equal((await s.usageOf(r.id)).cost, 0);
  await s.addChannel({ name: 'hollow-2', url: `${s.provider.url}/v1`, models: ['hollow-model'] });
  const c = s.provider.play((x, nth) => (nth === 1 ? empty(x) : chatStream(x)));
  const again = await s.chat(c.mark, { model: 'hollow-model', stream: true });
  assert.ok(again.text.endsWith('data: [DONE]\n\n'), again.text);
  assert.equal(c.seen.length, 2);
});

test('CRLF events, comments and events without data pass unchanged', async () => {
  const all = `: hello\r\n\r\nevent: x\r\ndata: ${JSON.stringify(chatChunk('a'))}\r\n\r\nid: 7\r\n\r\ndata: [DONE]\r\n\r\n`;
  const c = s.provider.play((x) => {
    x.stream();
    x.end(all);
  });
  const r = await stream(c, { stream_options: { include_usage: true } });
  assert.equal(r.text, all);
});

test('gzip and deflate bodies are accepted', async () => {
  for (const [name, pack] of [['gzip', zlib.gzipSync], ['deflate', zlib.deflateSync]]) {
    const c = s.provider.play((x) => x.answer(200, chatAnswer()));
    const body = pack(Buffer.from(JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: c.mark }] })));
    const r = await s.post('/v1/chat/completions', body, { headers: { 'content-encoding': name } });
    assert.equal(r.status, 200, `${name}: ${r.text}`);
    assert.equal(c.seen[0].json.messages[0].content, c.mark);
  }
});

test('a corrupt or unknown encoding is refused: 400 and 415', async () => {
  const good = zlib.gzipSync(Buffer.from('{"model":"gpt-4o-mini","messages":[]}'));
  assert.equal((await s.post('/v1/chat/completions', good.subarray(0, good.length - 9), { headers: { 'content-encoding': 'gzip' } })).status, 400);
  const broken = Buffer.from(good);
  broken[good.length - 6] ^= 0xff;
  assert.equal((await s.post('/v1/chat/completions', broken, { headers: { 'content-encoding': 'gzip' } })).status, 400);
  assert.equal((await s.post('/v1/chat/completions', good, { headers: { 'content-encoding': 'br' } })).status, 415);
});

test('a bomb of zeros is refused before it fills the memory: 413', async () => {
  const bomb = zlib.gzipSync(Buffer.alloc(200 << 20));
  const before = s.workers().map((p) => s.rss(p));
  const r = await s.post('/v1/chat/completions', bomb, { headers: { 'content-encoding': 'gzip' } });
  assert.equal(r.status, 413, r.text);
  s.workers().forEach((p, i) => assert.ok(s.rss(p) - before[i] < 120 * 1024 * (slow > 1 ? 3 : 1), `${s.rss(p)} KiB`));
});

test('multipart uploads pass byte for byte, the model found in their fields', async () => {
  const form = (model) => Buffer.concat([
    Buffer.from(`--b0undary\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\nContent-Type: audio/mpeg\r\n\r\n`),
    Buffer.from([0, 255, 13, 10, 45, 45, 98, 0, 1, 2, 3]), Buffer.from('case-mark '),
    Buffer.from(`\r\n--b0undary\r\nContent-Disposition: form-data; name="model"\r\n\r\n${model}\r\n--b0undary--\r\n`)]);
  const type = { 'content-type': 'multipart/form-data; boundary=b0undary' };
  const n = s.provider.seen.length;
  const r = await s.post('/v1/audio/transcriptions', form('whisper-1'), { headers: type });
  assert.equal(r.status, 200, r.text);
  const x = s.provider.seen[n];
  assert.equal(x.url, '/v1/audio/transcriptions');
  assert.equal(x.headers['content-type'], type['content-type']);
  assert.deepEqual(x.body, form('whisper-1'));
  const none = await s.post('/v1/audio/transcriptions', form('').subarray(0, 60), { headers: type });
  assert.equal(none.status, 400, none.text);
});

test('binary answers (speech) pass unchanged', async () => {
  const bytes = Buffer.from(Array.from({ length: 100000 }, (_, i) => (i * 7919) & 255));
  const c = s.provider.play((x) => x.answer(200, bytes, { 'content-type': 'audio/mpeg' }));
  const r = await fetch(`${s.url}/v1/audio/speech`, { method: 'POST', headers: { authorization: `Bearer ${s.key}`, 'content-type': 'application/json' }, body: JSON.stringify({ model: 'tts-1', input: c.mark, voice: 'alloy' }) });
  assert.equal(r.headers.get('content-type'), 'audio/mpeg');
  assert.deepEqual(Buffer.from(await r.arrayBuffer()), bytes);
});

for (const [name, size] of [['just what is held back', (1 << 20)], ['a byte more', (1 << 20) + 1], ['1.5 MiB', 1.5 * (1 << 20)], ['5 MiB', 5 * (1 << 20)]])
  test(`a JSON answer passes whole and is charged by its usage: ${name}`, async () => {
    const long = chatAnswer('', { usage: usage(100, 50) });
    long.choices[0].message.content = 'word '.repeat(size / 5 + 1).slice(0, size - JSON.stringify(long).length);
    const text = JSON.stringify(long);
    assert.equal(text.length, size);
    const r = await s.chat(s.provider.play((x) => x.answer(200, text)).mark);
    assert.equal(r.text.length, size);
    assert.ok(r.text === text, 'the bytes are not the provider\'s');
    const row = await s.usageOf(r.id);
    assert.deepEqual([row.prompt, row.completion, row.estimated], [100, 50, 0]);
  });

for (const size of [2000, 900_000, 3_000_000])
  test(`a JSON answer of ${size} bytes without usage is charged for all of its text`, async () => {
    const long = chatAnswer();
    delete long.usage;
    long.choices[0].message.content = 'word '.repeat(size / 5);
    const r = await s.chat(s.provider.play((x) => x.answer(200, JSON.stringify(long))).mark);
    const row = await s.usageOf(r.id);
    assert.equal(row.estimated, 1);
    assert.ok(Math.abs(row.completion / (size / 5) - 1) < 0.25, `${row.completion} tokens`);
  });

test('every metered route reaches its own path at the provider', async () => {
  const bodies = {
    '/v1/completions': { model: 'gpt-4o', prompt: 'x' },
    '/v1/moderations': { model: 'gpt-4o', input: 'x' },
    '/v1/rerank': { model: 'rerank-1', query: 'x', documents: ['a'] },
    '/v1/images/generations': { model: 'gpt-image-1', prompt: 'x' },
    '/v1/embeddings': { model: 'text-embedding-3-small', input: 'x' },
  };
  for (const [path, body] of Object.entries(bodies)) {
    const n = s.provider.seen.length;
    const r = await s.post(path, body);
    assert.equal(r.status, 200, `${path}: ${r.text}`);
    assert.equal(s.provider.seen[n].url, path);
  }
});

test('a mapped model is asked for by the provider\'s name and recorded by both', async () => {
  await s.addChannel({ name: 'mapped', url: `${s.provider.url}/v1`, models: ['our-name'], mapping: { 'our-name': 'their-name' } });
  const c = s.provider.play((x) => x.answer(200, chatAnswer()));
  const r = await s.chat(c.mark, { model: 'our-name' });
  assert.equal(r.status, 200, r.text);
  assert.equal(c.seen[0].json.model, 'their-name');
  const row = await s.usageOf(r.id);
  assert.deepEqual([row.model, row.upstream_model], ['our-name', 'their-name']);
});

test('a model name with a slash works in the body and in the path', async () => {
  await s.addChannel({ name: 'slashed', url: `${s.provider.url}/v1`, models: ['vendor/model-1'] });
  assert.equal((await s.chat('x', { model: 'vendor/model-1' })).status, 200);
  const r = await s.get('/v1/models/vendor%2Fmodel-1', { key: s.key });
  assert.equal(r.status, 200, r.text);
  assert.equal(r.json.id, 'vendor/model-1');
});

test('twenty calls make twenty rows that cost what the prices say, and the books balance', async () => {
  const ids = [];
  for (let i = 0; i < 20; i++) ids.push((await s.chat('x')).id);
  for (const id of ids) await s.usageOf(id);
  // of these alone: the row of a test before may still be on its way
  const [all] = await s.sql(`SELECT SUM(cost) AS q, COUNT(*) AS n FROM usage_rows WHERE request_id IN ('${ids.join("','")}')`);
  assert.equal(all.n, 20);
  // ratio 1, completion ratio 2: 11 + 2 * 7
  assert.equal(all.q, 20 * 25);
  await s.ctl(['reconcile']); // fails when they do not
});
