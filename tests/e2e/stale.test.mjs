// Kept connections that a provider gives up just as a call goes out on them: nothing was answered, so the call takes another.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chatAnswer, sleep } from './lib/provider.mjs';
import { Stack, run, slow } from './lib/stack.mjs';

const { NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = http2.constants;
const sockets = new WeakMap(); // Node lets nobody touch a session's socket through the session
const CONNECT_MS = 1000 * slow;
let s, dir, one, two, three;

/** How a provider of HTTP/2 gives a connection up when a later call arrives on it. */
const WAYS = {
  'closes the socket': ({ session }) => whenSaid(session, () => sockets.get(session).destroy()),
  'says GOAWAY and closes': (stream) => {
    const { session } = stream;
    session.goaway(NGHTTP2_NO_ERROR, stream.id - 2);
    setTimeout(() => sockets.get(session).destroy(), 50);
  },
  'refuses the stream': (stream) => stream.close(NGHTTP2_REFUSED_STREAM),
};

function say(res) {
  res.writeHead(200, { 'content-type': 'application/json' });
  res.end(JSON.stringify(chatAnswer()));
}

/** Answers that have begun on a connection of HTTP/2 are whole before it goes: half an answer is another matter. */
function whenSaid(session, then) {
  session.given = true;
  if (session.saying) session.once('said', () => whenSaid(session, then));
  else setTimeout(then, 5); // the last frames are on their way
}

function sayOn(session, res) {
  session.saying = (session.saying ?? 0) + 1;
  res.once('close', () => { if (!--session.saying) session.emit('said'); });
  say(res);
}

/** Answers the first calls of every connection, then gives it up once for each answer in `give`. */
function oneProvider() {
  const p = { gave: 0, give: 0, calls: 0 };
  p.server = http.createServer((req, res) => {
    req.resume().on('end', () => {
      p.calls++;
      req.socket.used = (req.socket.used ?? 0) + 1;
      if (req.socket.used > 1 && p.give > 0) {
        p.give--;
        p.gave++;
        req.socket.destroy();
        return;
      }
      say(res);
    });
  });
  return p;
}

function twoProvider(tls) {
  const p = { gave: 0, give: 0, way: '' };
  p.server = http2.createSecureServer({ ...tls, ALPNProtocols: ['h2'] });
  p.server.prependListener('secureConnection', (socket) => {
    p.server.once('session', (session) => { sockets.set(session, socket); session.on('error', () => {}); });
  });
  p.server.on('request', (req, res) => {
    req.on('error', () => {}).resume().on('end', () => {
      const { session } = req.stream;
      if (!session || session.given) return; // given up with a neighbour's call
      session.used = (session.used ?? 0) + 1;
      if (session.used > 1 && p.give > 0) {
        p.give--;
        p.gave++;
        WAYS[p.way](req.stream);
        return;
      }
      sayOn(session, res);
    });
  });
  return p;
}

/** Once `mute`, it gives each kept connection up and shakes no more hands. */
function muteProvider(tls) {
  const p = { gave: 0, mute: false, open: new Set() };
  const speaking = https.createServer(tls, (req, res) => {
    req.resume().on('end', () => {
      if (!p.mute) return say(res);
      p.gave++;
      return req.socket.destroy();
    });
  });
  p.server = net.createServer((socket) => {
    p.open.add(socket.on('error', () => {}));
    if (!p.mute) speaking.emit('connection', socket);
  });
  return p;
}

const listen = (p) => new Promise((done) => p.server.listen(0, '127.0.0.1', () => done(p.server.address().port)));

before(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tollgate-stale-'));
  const [key, cert] = ['key', 'pem'].map((x) => path.join(dir, x));
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=provider',
    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert]);
  const tls = { key: fs.readFileSync(key), cert: fs.readFileSync(cert) };
  [one, two, three] = [oneProvider(), twoProvider(tls), muteProvider(tls)];
  s = await Stack.start({ conf: { 'upstream.ca_file': cert, 'upstream.connect_timeout': `${CONNECT_MS}ms` } });
  await s.addChannel({ name: 'one', url: `http://127.0.0.1:${await listen(one)}/v1`, models: ['one-model'] });
  await s.addChannel({ name: 'two', url: `https://127.0.0.1:${await listen(two)}/v1`, models: ['two-model'] });
  await s.addChannel({ name: 'three', url: `https://127.0.0.1:${await listen(three)}/v1`, models: ['three-model'] });
});
after(async () => {
  await s?.stop();
  one?.server.closeAllConnections();
  one?.server.close();
  two?.server.close();
  for (const socket of three?.open ?? []) socket.destroy();
  three?.server.close();
  fs.rmSync(dir, { recursive: true, force: true });
});

const call = (model) => s.chat('hello', { model });

test('HTTP/1.1: a kept connection closed under a call costs the client nothing', async () => {
  for (let i = 0; i < 10; i++) assert.equal((await call('one-model')).status, 200); // connections of every worker
  one.give = 3;
  for (let i = 0; i < 20; i++) assert.equal((await call('one-model')).status, 200);
  assert.equal(one.gave, 3);
});

for (const way of Object.keys(WAYS)) {
  test(`HTTP/2: a provider that ${way} when calls arrive costs no client anything`, async () => {
    for (let i = 0; i < 10; i++) assert.equal((await call('two-model')).status, 200);
    Object.assign(two, { way, give: 3, gave: 0 });
    for (let i = 0; i < 10; i++) {
      const answers = await Promise.all(Array.from({ length: 8 }, () => call('two-model')));
      assert.deepEqual(answers.map((a) => a.status), Array(8).fill(200));
    }
    assert.equal(two.gave, 3);
  });
}

test('the connection that takes the place of a kept one has upstream.connect_timeout to come', async () => {
  for (let i = 0; i < 10; i++) assert.equal((await call('three-model')).status, 200);
  three.mute = true;
  const began = performance.now();
  const r = await call('three-model');
  const ms = performance.now() - began;
  assert.equal(r.status, 504, r.text);
  assert.equal(three.gave, 1);
  assert.ok(ms >= CONNECT_MS && ms < 4 * CONNECT_MS, `${ms} ms`);
});

/** Listens, but takes no connection: so many are tried until one stays half open. Ends with release(). */
async function fullProvider() {
  const child = spawn(process.execPath, ['-e', `const s = require('node:net').createServer(); s.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(s.address().port))`],
    { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = Number(String((await once(child.stdout, 'data'))[0]));
  child.kill('SIGSTOP');
  const open = [];
  for (let waits = false; !waits;) {
    const c = net.connect(port, '127.0.0.1').on('error', () => {});
    open.push(c);
    waits = await Promise.race([once(c, 'connect').then(() => false), sleep(300, true)]);
  }
  return { port, release: () => { for (const c of open) c.destroy(); child.kill('SIGKILL'); } };
}

test('a connection given up before it stands is forgotten whole, and its number serves again', async () => {
  const full = await fullProvider();
  try {
    await s.addChannel({ name: 'full', url: `http://127.0.0.1:${full.port}/v1`, models: ['full-model'] });
    for (let i = 0; i < 3; i++) {
      const began = performance.now();
      assert.equal((await call('full-model')).status, 504);
      assert.ok(performance.now() - began >= CONNECT_MS);
      one.server.closeAllConnections(); // a new connection takes the number
      assert.equal((await call('one-model')).status, 200);
    }
  } finally {
    full.release();
  }
});
