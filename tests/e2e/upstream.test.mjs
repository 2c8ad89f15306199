// Providers that are not what one would wish for: TLS, redirects, compression, odd answers.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import zlib from 'node:zlib';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { Provider, chatAnswer, chatStream, sleep, usage } from './lib/provider.mjs';
import { Raw } from './lib/raw.mjs';
import { Stack, eventually, run } from './lib/stack.mjs';

let s, dir, good, bad;

/** A certificate for 127.0.0.1 that signs itself. */
async function certificate(name) {
  const [key, cert] = [path.join(dir, `${name}.key`), path.join(dir, `${name}.pem`)];
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', `/CN=${name}`,
    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert]);
  return { key: fs.readFileSync(key), cert: fs.readFileSync(cert), file: cert };
}

before(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tollgate-tls-'));
  const trusted = await certificate('trusted');
  good = await Provider.start({ tls: trusted });
  bad = await Provider.start({ tls: await certificate('stranger') });
  s = await Stack.start({ conf: { 'upstream.ca_file': trusted.file } });
  await s.addChannel({ name: 'tls', url: `${good.url}/v1`, models: ['tls-model'] });
  await s.addChannel({ name: 'stranger', url: `${bad.url}/v1`, models: ['stranger-model'] });
});
after(async () => {
  await s?.stop();
  await good?.stop();
  await bad?.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

test('a provider with a trusted certificate serves, stream and not', async () => {
  assert.equal((await s.chat('x', { model: 'tls-model' })).status, 200);
  const c = good.play((x) => chatStream(x, { n: 20, gap: 5 }));
  const r = await s.chat(c.mark, { model: 'tls-model', stream: true });
  assert.ok(r.text.endsWith('data: [DONE]\n\n'));
});

test('over TLS, too, an error whose text does not end is told, and its connection given up', async () => {
  s.writeConf({ 'upstream.error_body_timeout': '300ms' });
  for (const p of s.workers()) process.kill(p, 'SIGHUP');
  await eventually(() => s.logLines('reloaded').length === 2, 'both workers know it');
  const endless = {
    'drop by drop': async (x) => { while (x.left === null) { x.write('more '); await sleep(50); } },
    flooding: async (x) => { while (x.left === null) if (!x.write('more '.repeat(20000))) await Promise.race([once(x.res, 'drain'), x.closed]); },
  };
  for (const [how, play] of Object.entries(endless)) {
    const c = good.play((x) => { x.head(422, { 'content-type': 'text/plain' }); return play(x); });
    const r = await s.chat(c.mark, { model: 'tls-model' });
    assert.equal(r.status, 422, `${how}: ${r.text}`);
    await eventually(() => c.seen[0].left !== null, `${how}: the provider is hung up on`);
    assert.equal((await s.chat('x', { model: 'tls-model' })).status, 200, how);
  }
});

test('a provider whose certificate nobody trusts never sees the key: 502', async () => {
  const r = await s.chat('x', { model: 'stranger-model' });
  assert.equal(r.status, 502);
  assert.equal(bad.seen.length, 0);
});

test('connections to a provider are used again', async () => {
  const ports = new Set();
  const c = s.provider.play((x) => { ports.add(x.socket.remotePort); x.answer(200, chatAnswer()); });
  for (let i = 0; i < 20; i++) assert.equal((await s.chat(c.mark)).status, 200);
  assert.ok(ports.size <= 4, `${ports.size} connections for 20 requests of 2 workers`);
});

test('a redirect is not followed: it would carry the key away', async () => {
  const other = await Provider.start();
  const c = s.provider.play((x) => x.answer(302, '', { location: `${other.url}/v1/chat/completions` }));
  const r = await s.chat(c.mark);
  assert.equal(r.status, 502, r.text);
  assert.equal(other.seen.length, 0);
  assert.equal(r.headers.location, undefined);
  await other.stop();
});

test('a provider\'s headers do not reach the client, except what the contract names', async () => {
  const c = s.provider.play((x) => x.answer(200, chatAnswer(), { 'set-cookie': 'a=b', server: 'secret', 'x-sendfile': '/etc/passwd', 'x-lighttpd-send-file': '/etc/passwd', location: 'http://a.example/', status: '418' }));
  const r = await s.chat(c.mark);
  assert.equal(r.status, 200);
  for (const h of ['set-cookie', 'server', 'x-sendfile', 'x-lighttpd-send-file', 'location', 'status']) assert.equal(r.headers[h], undefined, h);
  assert.ok(!r.text.includes('root:'));
});

test('an answer compressed without being asked is readable, or refused; its usage is not lost', async () => {
  const body = zlib.gzipSync(JSON.stringify(chatAnswer('squeezed', { usage: usage(31, 17) })));
  const c = s.provider.play((x) => x.answer(200, body, { 'content-encoding': 'gzip' }));
  const r = await fetch(`${s.url}/v1/chat/completions`, { method: 'POST', headers: { authorization: `Bearer ${s.key}`, 'content-type': 'application/json' }, body: JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: c.mark }] }) });
  if (r.status !== 200) {
    assert.equal(r.status, 502);
    return;
  }
  assert.equal((await r.json()).choices[0].message.content, 'squeezed');
  const row = await s.usageOf(r.headers.get('x-request-id'));
  assert.deepEqual([row.prompt, row.completion], [31, 17]);
});

test('an answer that is no JSON passes as it is and is charged by estimate', async () => {
  for (const text of ['', 'plain words', '{"choices":[', '[]', 'null']) {
    const c = s.provider.play((x) => x.answer(200, text));
    const r = await s.chat(c.mark);
    assert.ok([200, 502].includes(r.status), `${JSON.stringify(text)}: ${r.status}`);
    if (r.status === 200) assert.equal(r.text, text);
  }
  assert.equal((await s.chat('x')).status, 200);
});

test('a provider that answers before it has read the body is understood', async () => {
  const early = await Provider.start();
  early.server.removeAllListeners('request');
  early.server.on('request', (req, res) => {
    res.writeHead(429, { 'content-type': 'application/json', connection: 'close' });
    res.end('{"error":{"message":"too early","type":"t","param":null,"code":"c"}}');
  });
  await s.addChannel({ name: 'early', url: `${early.url}/v1`, models: ['early-model'] });
  const r = await s.chat('y'.repeat(5 << 20), { model: 'early-model' });
  assert.ok([429, 502].includes(r.status), `${r.status}`);
  await early.stop();
});

test('one client connection carries requests of all kinds one after the other', async () => {
  const c = s.provider.play((x) => (x.json.stream ? chatStream(x, { n: 3 }) : x.answer(200, chatAnswer('whole'))));
  const r = await Raw.open(s.port);
  const ask = (stream) => ({ key: s.key, body: { model: 'gpt-4o-mini', stream, messages: [{ role: 'user', content: c.mark }] } });
  for (let i = 0; i < 3; i++) {
    r.got = '';
    r.send('POST', '/v1/chat/completions', ask(true));
    await r.until((t) => t.includes('[DONE]') && (t.endsWith('0\r\n\r\n') || /^content-length/im.test(t)));
    r.got = '';
    r.send('POST', '/v1/chat/completions', ask(false));
    await r.until('"whole"');
    r.got = '';
    r.send('GET', '/v1/models', { key: s.key });
    await r.until('"data"');
    r.got = '';
    r.send('POST', '/v1/chat/completions', { body: '{}' });
    await r.until('missing_api_key');
  }
  r.leave();
});

test('both workers take requests from the one socket', async () => {
  let go;
  const gate = new Promise((done) => { go = done; });
  const c = s.provider.play(async (x) => { await gate; x.answer(200, chatAnswer()); });
  const open = [];
  for (let wave = 1; wave <= 6; wave++) { // a burst may well be taken by whoever is awake
    open.push(...Array.from({ length: 10 }, () => s.chat(c.mark)));
    await eventually(() => c.seen.length === 10 * wave, `${10 * wave} are open`);
  }
  const m = Object.entries(await s.metrics()).filter(([k]) => k.startsWith('tollgate_exchanges_in_flight'));
  go();
  for (const o of open) assert.equal((await o).status, 200);
  assert.equal(m.reduce((n, [, v]) => n + v, 0), 60);
  assert.ok(m.filter(([, v]) => v > 0).length >= 2, JSON.stringify(m));
});

/** Exchanges open in each worker. */
const openByWorker = async () =>
  new Map(Object.entries(await s.metrics()).filter(([k]) => k.startsWith('tollgate_exchanges_in_flight')));

test('calls that come one after the other find the same worker, warm; calls that stay open are shared out', async () => {
  const first = new Set(), open = [];
  for (let i = 0; i < 12; i++) {
    let go;
    const c = s.provider.play(async (x) => { await new Promise((done) => { go = done; }); x.answer(200, chatAnswer()); });
    const call = s.chat(c.mark);
    await eventually(() => go, 'the provider has it');
    for (const [worker, n] of await openByWorker()) if (n) first.add(worker);
    go();
    assert.equal((await call).status, 200);
  }
  assert.equal(first.size, 1, [...first].join());

  let letGo;
  const gate = new Promise((done) => { letGo = done; });
  const c = s.provider.play(async (x) => { await gate; x.answer(200, chatAnswer()); });
  for (let i = 1; i <= 20; i++) {
    open.push(s.chat(c.mark));
    await eventually(() => c.seen.length === i, `${i} are open`);
  }
  const shares = [...(await openByWorker()).values()].filter((n) => n);
  letGo();
  for (const o of open) assert.equal((await o).status, 200);
  assert.ok(shares.length === 2 && Math.min(...shares) >= 5, shares.join());
});
