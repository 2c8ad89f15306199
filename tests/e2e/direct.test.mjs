// Event streams over plain HTTP/1.1, which is read without libcurl: whatever a provider's chunks look like, the client gets its events and nothing else.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import zlib from 'node:zlib';
import { ask } from './lib/fcgi.mjs';
import { chatChunk, sleep } from './lib/provider.mjs';
import { Stack, eventually } from './lib/stack.mjs';

const event = (data) => `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`;
const TEXT = [...Array(20)].map((_, i) => event(chatChunk(`word ${i} `))).join('') +
  event({ ...chatChunk(''), choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }) + event('[DONE]');
const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n';

/** Chunks of n bytes of text, each with what may stand beside its size. */
function chunked(text, n, extension = '') {
  let out = '';
  for (let i = 0; i < text.length; i += n) {
    const part = text.slice(i, i + n);
    out += `${part.length.toString(16)}${extension}\r\n${part}\r\n`;
  }
  return Buffer.from(out);
}
const END = Buffer.from('0\r\n\r\n');

let s, raw, play, workers;
before(async () => {
  s = await Stack.start({ workers: 1, conf: { 'cooldown.failures': '1000', 'upstream.max_attempts': '1' } });
  raw = net.createServer((socket) => {
    const seen = { text: '' };
    socket.on('error', () => {});
    socket.on('data', (b) => {
      seen.text += b;
      const [head, body] = seen.text.split('\r\n\r\n', 2);
      const length = /content-length: (\d+)/i.exec(head);
      if (body === undefined || !length || body.length < Number(length[1]) || seen.answered) return;
      seen.answered = true;
      play(socket, seen);
    });
  });
  await new Promise((done) => { raw.listen(0, '127.0.0.1', done); });
  await s.addChannel({ name: 'raw', url: `http://127.0.0.1:${raw.address().port}/v1`, models: ['raw-model'] });
});
after(async () => {
  raw?.close();
  await s?.stop();
});

/** The client's body when the provider does that. */
async function streamed(how) {
  play = how;
  const r = await s.chat('hello', { model: 'raw-model', stream: true });
  assert.equal(r.status, 200, r.text);
  return r.text;
}
/** Sends pieces, so far apart that each is read by itself. */
async function send(socket, pieces, ms = 2) {
  for (const p of pieces) {
    socket.write(p);
    await sleep(ms);
  }
}

test('chunks of all sizes, with extensions and trailers, give the same events', async () => {
  for (const [size, extension] of [[1, ''], [7, ';a=b'], [100, ' '], [1 << 20, '']]) {
    const body = Buffer.concat([chunked(TEXT, size, extension), Buffer.from('0\r\nServer-Timing: total;dur=1\r\n\r\n')]);
    assert.equal(await streamed((socket) => socket.end(Buffer.concat([Buffer.from(`${HEAD}\r\n`), body]))), TEXT);
    assert.equal(await streamed(async (socket) => {
      await send(socket, [`${HEAD}\r\n`, body.subarray(0, body.length >> 1), body.subarray(body.length >> 1)]);
      socket.end();
    }), TEXT);
  }
});

test('wherever a read ends, nothing is lost and nothing doubled', async () => {
  const text = event(chatChunk('only')) + event('[DONE]');
  const all = Buffer.concat([Buffer.from(`${HEAD}\r\n`), chunked(text, 60), END]);
  for (let cut = HEAD.length; cut < all.length; cut += 3) {
    assert.equal(await streamed(async (socket) => {
      await send(socket, [all.subarray(0, cut), all.subarray(cut, cut + 1), all.subarray(cut + 1)]);
      socket.end();
    }), text, `cut at ${cut}`);
  }
});

test('a compressed stream is decoded, one that ends with its connection too', async () => {
  const packed = zlib.gzipSync(TEXT);
  const body = Buffer.concat([Buffer.from(`${packed.length.toString(16)}\r\n`), packed, Buffer.from('\r\n'), END]);
  assert.equal(await streamed((socket) => socket.end(Buffer.concat([Buffer.from(`${HEAD}Content-Encoding: gzip\r\n\r\n`), body]))), TEXT);
  assert.equal(await streamed((socket) => socket.end(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n${TEXT}`)), TEXT);
});

test('what breaks off, and what is no chunk, ends with an error event', async () => {
  const begun = chunked(TEXT.slice(0, 400), 50);
  for (const rest of ['', '20\r\nhalf of a chu', 'no size\r\n', '5\r\nhello world\r\n']) {
    const text = await streamed(async (socket) => {
      await send(socket, [`${HEAD}\r\n`, begun, rest]);
      socket.end();
    });
    assert.match(text, /word 0 .*"error"/s, JSON.stringify(rest));
    assert.doesNotMatch(text, /\[DONE\]/);
  }
});

test('a client that is slow stops the provider, and gets all of it', async () => {
  const big = event(chatChunk('x'.repeat(60000)));
  const n = 300;
  let paused = false;
  play = async (socket) => {
    socket.write(`${HEAD}\r\n`);
    const part = Buffer.from(`${big.length.toString(16)}\r\n${big}\r\n`);
    for (let i = 0; i < n; i++) {
      if (!socket.write(part)) {
        const full = await Promise.race([new Promise((done) => { socket.once('drain', () => done(false)); }), sleep(300).then(() => true)]);
        if (full) {
          paused = true;
          await new Promise((done) => { socket.once('drain', done); });
        }
      }
    }
    socket.end(Buffer.concat([chunked(event('[DONE]'), 100), END]));
  };
  const body = JSON.stringify({ model: 'raw-model', stream: true, messages: [{ role: 'user', content: 'hi' }] });
  const answer = await ask(s.socket, 'POST', '/v1/chat/completions', { // past lighttpd, which would take it all
    key: s.key, size: body.length, pieces: [body],
    meet: (c) => { c.once('data', () => { c.pause(); setTimeout(() => c.resume(), 1500); }); },
  });
  assert.ok(paused, 'the provider was never stopped');
  assert.equal(answer.text, big.repeat(n) + event('[DONE]'));
});

test('streams that are read in one go stay apart, whoever leaves among them', async () => {
  const N = 40;
  const all = [];
  play = (socket) => { socket.write(`${HEAD}\r\n`); all.push(socket); };
  const clients = Array.from({ length: N }, () => {
    const c = {};
    const body = JSON.stringify({ model: 'raw-model', stream: true, messages: [{ role: 'user', content: 'hi' }] });
    c.answer = ask(s.socket, 'POST', '/v1/chat/completions', { key: s.key, size: body.length, pieces: [body], meet: (k) => { c.socket = k; } }).catch(() => ({}));
    return c;
  });
  await eventually(() => all.length === N, 'all have begun');
  const bodyOf = (i) => [...Array(10)].map((_, k) => event(chatChunk(`stream ${i} word ${k} `))).join('') + event('[DONE]');
  for (let k = 0; k < 10; k++) {
    for (const [i, socket] of all.entries()) socket.write(chunked(event(chatChunk(`stream ${i} word ${k} `)), 1000));
    if (k === 5) for (const [i, c] of clients.entries()) if (i % 4 === 1) c.socket.destroy();
    await sleep(5);
  }
  for (const [i, socket] of all.entries()) if (i % 4 === 3) socket.destroy(); else socket.end(Buffer.concat([chunked(event('[DONE]'), 1000), END]));
  const got = (await Promise.all(clients.filter((_, i) => i % 4 !== 1).map((c) => c.answer))).map((r) => r.text);
  const whole = got.filter((text) => text?.endsWith(event('[DONE]')));
  const cut = got.filter((text) => text && !text.endsWith(event('[DONE]')));
  const bodies = all.map((_, i) => bodyOf(i));
  for (const text of whole) assert.ok(bodies.includes(text), text);
  assert.equal(new Set(whole).size, whole.length, 'two clients got the same stream');
  for (const text of cut) {
    assert.match(text, /"error"/);
    assert.equal(new Set([...text.matchAll(/stream (\d+) /g)].map((m) => m[1])).size, 1, text);
  }
  assert.ok(whole.length >= N / 4 && cut.length >= 1, `${whole.length} whole, ${cut.length} cut`);
});
