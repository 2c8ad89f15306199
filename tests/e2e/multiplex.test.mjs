// Providers over TLS: HTTP/2 carries many exchanges on one connection, HTTP/1.1 keeps nobody waiting behind a stream.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { chatAnswer } from './lib/provider.mjs';
import { Stack, run } from './lib/stack.mjs';

const WORKERS = 2;
const FIRST = 'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n';
let s, dir, tls, two, one;

/** Begins streams and keeps them open; answers everything else. Counts its connections. */
async function provider(alpn) {
  const server = http2.createSecureServer({ ...tls, allowHTTP1: alpn === 'http/1.1', ALPNProtocols: [alpn], settings: { maxConcurrentStreams: 500 } });
  const p = { server, connections: 0, streams: new Set() };
  server.on('secureConnection', () => { p.connections++; });
  server.on('request', (req, res) => {
    const parts = [];
    req.on('data', (d) => parts.push(d)).on('end', () => {
      if (!JSON.parse(Buffer.concat(parts)).stream) {
        res.writeHead(200, { 'content-type': 'application/json' });
        res.end(JSON.stringify(chatAnswer()));
        return;
      }
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(FIRST);
      p.streams.add(res);
      res.on('close', () => p.streams.delete(res));
    });
  });
  await new Promise((done) => server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, done));
  p.url = `https://127.0.0.1:${server.address().port}`;
  return p;
}

/** Opens n streams at once; each has its first event when this returns. */
function openStreams(model, n) {
  const agent = new http.Agent({ keepAlive: false, maxSockets: Infinity });
  const body = JSON.stringify({ model, stream: true, messages: [{ role: 'user', content: 'wait' }] });
  return Promise.all(Array.from({ length: n }, () => new Promise((done, fail) => {
    const req = http.request(`${s.url}/v1/chat/completions`, { method: 'POST', agent, timeout: 30000,
      headers: { authorization: `Bearer ${s.key}`, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } });
    req.on('timeout', () => req.destroy(new Error('no first event')));
    req.on('error', fail).on('response', (res) => {
      if (res.statusCode !== 200) fail(new Error(`status ${res.statusCode}`));
      res.on('error', () => {}).once('data', () => done(req));
    }).end(body);
  })));
}

function leave(streams) {
  for (const r of streams) r.removeAllListeners('error').on('error', () => {}).destroy();
}

before(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tollgate-h2-'));
  const [key, cert] = ['key', 'pem'].map((x) => path.join(dir, x));
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=provider',
    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert]);
  tls = { key: fs.readFileSync(key), cert: fs.readFileSync(cert) };
  [two, one] = [await provider('h2'), await provider('http/1.1')];
  s = await Stack.start({ conf: { 'upstream.ca_file': cert } });
  await s.addChannel({ name: 'two', url: `${two.url}/v1`, models: ['two-model'] });
  await s.addChannel({ name: 'one', url: `${one.url}/v1`, models: ['one-model'] });
});
after(async () => {
  await s?.stop();
  two?.server.close();
  one?.server.close();
  fs.rmSync(dir, { recursive: true, force: true });
});

test('200 streams that begin at once, the first ever, share one HTTP/2 connection a worker', async () => {
  const streams = await openStreams('two-model', 200);
  assert.equal(two.streams.size, 200);
  assert.ok(two.connections <= WORKERS, `${two.connections} connections`);
  const answers = await Promise.all(Array.from({ length: 100 }, () => s.chat('x', { model: 'two-model' })));
  assert.ok(answers.every((r) => r.status === 200));
  assert.ok(two.connections <= WORKERS, `${two.connections} connections`);
  leave(streams);
});

test('400 streams that begin at once over HTTP/1.1 all get their first event, and calls pass beside them', async () => {
  const streams = await openStreams('one-model', 400);
  assert.equal(one.streams.size, 400);
  const answers = await Promise.all(Array.from({ length: 50 }, () => s.chat('x', { model: 'one-model' })));
  assert.ok(answers.every((r) => r.status === 200));
  leave(streams);
});
