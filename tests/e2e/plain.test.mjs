// Plain HTTP/1.1 with providers is spoken by the gateway itself: connections are kept, shared out and given up as they should be, and an
// answer means what RFC 9112 says, however it comes.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import zlib from 'node:zlib';
import { chatAnswer, chatChunk, sleep } from './lib/provider.mjs';
import { Stack, eventually } from './lib/stack.mjs';

const JSON_TEXT = JSON.stringify(chatAnswer('an answer'));
const OK = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n';
const whole = (text = JSON_TEXT, more = '') => `${OK}${more}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;

let s, raw, play;
/** A provider whose bytes are the test's: play(socket, request, connection) is called for every request. */
before(async () => {
  s = await Stack.start({ workers: 1, conf: { 'cooldown.failures': '1000', 'upstream.max_attempts': '1', 'limit.response_headers': '8K' } });
  raw = net.createServer((socket) => {
    const connection = { text: '', requests: 0, closed: false, socket };
    raw.seen.push(connection);
    socket.on('error', () => {});
    socket.on('close', () => { connection.closed = true; });
    socket.on('data', (b) => {
      connection.text += b.toString('latin1');
      if (connection.early) { connection.early(); return; }
      for (;;) {
        const at = connection.text.indexOf('\r\n\r\n');
        const length = Number(/content-length: (\d+)/i.exec(connection.text)?.[1] ?? 0);
        if (at < 0 || connection.text.length < at + 4 + length) return;
        const request = connection.text.slice(0, at + 4 + length);
        connection.text = connection.text.slice(at + 4 + length);
        connection.requests++;
        play(socket, request, connection);
      }
    });
  });
  raw.seen = [];
  await new Promise((done) => { raw.listen(0, '127.0.0.1', done); });
  await s.addChannel({ name: 'raw', url: `http://127.0.0.1:${raw.address().port}/v1`, models: ['raw-model'] });
});
after(async () => {
  for (const c of raw?.seen ?? []) c.socket.destroy();
  raw?.close();
  await s?.stop();
});

const call = (more = {}) => s.chat('hello', { model: 'raw-model', ...more });
/** Connections begin anew. */
async function fresh() {
  for (const c of raw.seen) c.socket.destroy();
  await sleep(50);
  raw.seen.length = 0;
}
async function answered(bytes, ends = false) {
  play = (socket) => { if (ends) socket.end(bytes); else socket.write(bytes); };
  const r = await call();
  assert.equal(r.status, 200, `${bytes}\n${r.text}`);
  return r.text;
}

test('an answer is as long as its head says, or until the connection ends', async () => {
  const packed = zlib.gzipSync(JSON_TEXT), bare = zlib.deflateRawSync(JSON_TEXT), wrapped = zlib.deflateSync(JSON_TEXT);
  const as = (coding, b) => Buffer.concat([Buffer.from(`${OK}Content-Encoding: ${coding}\r\nContent-Length: ${b.length}\r\n\r\n`), b]);
  for (const [bytes, ends] of [
    [whole()], [whole().replaceAll('\r\n', '\n')], [whole(JSON_TEXT, 'content-length: ' + JSON_TEXT.length + '\r\n')],
    [`${OK}\r\n${JSON_TEXT}`, true], [whole().replace('1.1', '1.0'), true],
    [`${OK}Transfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\n${JSON_TEXT.length.toString(16)}\r\n${JSON_TEXT}\r\n0\r\n\r\n`],
    [`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\n\r\n${whole()}`],
    [as('gzip', packed)], [as('deflate', bare)], [as('deflate', wrapped)], [as('identity', Buffer.from(JSON_TEXT))],
  ]) assert.equal(await answered(bytes, ends), JSON_TEXT);
});

test('wherever a read ends, the head and the body are the same', async () => {
  const all = whole(JSON_TEXT, 'X-Request-Id: abc\r\n');
  for (let cut = 1; cut < OK.length + 60; cut += 3) {
    play = async (socket) => {
      socket.write(all.slice(0, cut));
      await sleep(2);
      socket.write(all.slice(cut));
    };
    const r = await call();
    assert.deepEqual([r.status, r.text], [200, JSON_TEXT], `cut at ${cut}`);
  }
});

test('what is not HTTP, contradicts itself or is cut off is the provider\'s failure, and nobody\'s answer', async () => {
  const head = (line) => `${OK}${line}\r\n\r\n${JSON_TEXT}`;
  for (const bytes of [
    'SSH-2.0-OpenSSH_9\r\n\r\n', `HTTP/2 200 OK\r\n\r\n${JSON_TEXT}`, JSON_TEXT, '',
    head(`Content-Length: ${JSON_TEXT.length}\r\nContent-Length: 4`), head('Content-Length: -1'), head('Content-Length: 1,2'),
    head('Transfer-Encoding: gzip, chunked'), head('Content-Encoding: br'), head('X: a\0b'),
    `${OK}Content-Length: ${JSON_TEXT.length + 1}\r\n\r\n${JSON_TEXT}`, `${OK}Content-Le`, `${OK}X: ${'y'.repeat(9000)}\r\n\r\n`,
    `${OK}${'X: y\r\n'.repeat(2000)}\r\n`, `${OK}Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope`,
    Buffer.concat([Buffer.from(`${OK}Content-Encoding: gzip\r\n\r\n`), zlib.gzipSync(JSON_TEXT).subarray(0, 40)]),
  ]) {
    play = (socket) => socket.end(bytes);
    const r = await call();
    assert.equal(r.status, 502, `${bytes.toString().slice(0, 200)} -> ${r.text}`);
    assert.equal(r.json.error.type, 'upstream_error');
  }
  assert.equal(await answered(whole()), JSON_TEXT);
});

test('a head of as many bytes as are allowed is read, one of a byte more is not', async () => {
  for (const [more, status] of [[0, 200], [1, 502]]) {
    const bare = whole(JSON_TEXT, 'X: \r\n').indexOf('\r\n\r\n') + 4;
    play = (socket) => socket.end(whole(JSON_TEXT, `X: ${'y'.repeat(8192 - bare + more)}\r\n`));
    assert.equal((await call()).status, status);
  }
});

test('calls one after the other, streams among them, use one connection', async () => {
  await fresh();
  const text = `data: ${JSON.stringify(chatChunk('x'))}\n\ndata: [DONE]\n\n`;
  play = (socket, request) => socket.write(request.includes('"stream":true')
    ? `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n` : whole());
  for (const stream of [false, true, false, true, true]) {
    const r = await call({ stream });
    assert.equal(r.text, stream ? text : JSON_TEXT);
  }
  assert.deepEqual(raw.seen.map((c) => c.requests), [5]);
});

test('no connection is used again whose provider says so, says more than it was asked, or speaks HTTP/1.0', async () => {
  for (const bytes of [whole(JSON_TEXT, 'Connection: close\r\n'), whole(JSON_TEXT, 'Connection: x, Close\r\n'), `${whole()}more`, whole().replace('1.1', '1.0')]) {
    await fresh();
    for (let i = 0; i < 3; i++) assert.equal(await answered(bytes), JSON_TEXT);
    assert.deepEqual(raw.seen.map((c) => c.requests), [1, 1, 1], bytes);
    await eventually(() => raw.seen.every((c) => c.closed), 'all are closed');
  }
  await fresh();
  for (let i = 0; i < 2; i++) assert.equal(await answered(whole(JSON_TEXT, 'Connection: keep-alive\r\n').replace('1.1', '1.0')), JSON_TEXT);
  assert.deepEqual(raw.seen.map((c) => c.requests), [2]);
});

test('a kept connection that the provider closes, before a call or under it, costs nobody an answer', async () => {
  await fresh();
  assert.equal(await answered(whole()), JSON_TEXT);
  raw.seen[0].socket.end(); // seen before the next call
  await eventually(() => raw.seen[0].closed, 'the gateway closes its side');
  assert.equal(await answered(whole()), JSON_TEXT);
  for (const how of ['destroy', 'resetAndDestroy']) {
    await fresh();
    assert.equal(await answered(whole()), JSON_TEXT);
    play = (socket, request, c) => { if (c.requests > 1) socket[how](); else socket.write(whole()); };
    assert.equal((await call()).text, JSON_TEXT);
    assert.deepEqual(raw.seen.map((c) => c.requests), [2, 1]);
  }
  await fresh();
  play = (socket) => socket.destroy(); // a new one is not tried again
  assert.equal((await call()).status, 502);
  assert.equal(raw.seen.length, 1);
});

test('a refusal that comes before all was sent reaches the client', async () => {
  await fresh();
  const refusal = JSON.stringify({ error: { message: 'too much', type: 'invalid_request_error', code: 'too_long' } });
  raw.once('connection', () => {
    const c = raw.seen.at(-1);
    c.early = () => {
      c.early = () => {};
      c.socket.pause();
      c.socket.write(`HTTP/1.1 413 Too Large\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ${refusal.length}\r\n\r\n${refusal}`);
    };
  });
  const r = await s.chat('x'.repeat(8 << 20), { model: 'raw-model' });
  assert.equal(r.status, 413, r.text);
  assert.match(r.text, /too much/);
});

test('a large answer, and a large request to who reads slowly, pass whole', async () => {
  const big = JSON.stringify(chatAnswer('z'.repeat(5 << 20)));
  assert.equal(await answered(whole(big)), big);
  const huge = JSON.stringify(chatAnswer('z'.repeat(30 << 20))), packed = zlib.gzipSync(huge); // 30 KB on the way
  assert.ok(await answered(Buffer.concat([Buffer.from(`${OK}Content-Encoding: gzip\r\nContent-Length: ${packed.length}\r\n\r\n`), packed])) === huge);
  let got = 0;
  await fresh();
  raw.once('connection', () => {
    const c = raw.seen.at(-1);
    const before = c.socket.listeners('data')[0];
    c.socket.removeAllListeners('data');
    c.socket.on('data', (b) => {
      got += b.length;
      c.socket.pause();
      setTimeout(() => c.socket.resume(), 1);
      before(b);
    });
  });
  play = (socket) => socket.write(whole());
  const r = await s.chat('y'.repeat(6 << 20), { model: 'raw-model' });
  assert.equal(r.text, JSON_TEXT);
  assert.ok(got > 6 << 20);
});

test('the request is what libcurl would send', async () => {
  let seen;
  play = (socket, request) => { seen = request; socket.write(whole()); };
  assert.equal((await call()).status, 200);
  const [head, body] = seen.split('\r\n\r\n');
  const [line, ...fields] = head.split('\r\n');
  assert.equal(line, 'POST /v1/chat/completions HTTP/1.1');
  const names = fields.map((f) => f.slice(0, f.indexOf(':')).toLowerCase());
  assert.deepEqual([...names].sort(), ['accept', 'accept-encoding', 'authorization', 'content-length', 'content-type', 'host', 'user-agent']);
  assert.equal(fields[names.indexOf('host')], `Host: 127.0.0.1:${raw.address().port}`);
  assert.equal(fields[names.indexOf('content-length')], `Content-Length: ${body.length}`);
});
