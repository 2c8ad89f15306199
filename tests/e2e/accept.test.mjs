// One front of a worker leads: it accepts and runs the loop, and lets another lead when it has to wait. Nobody who is slow keeps the others
// out, nor stops the streams that are under way.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { ask } from './lib/fcgi.mjs';
import { chatChunk, sleep } from './lib/provider.mjs';
import { Stack, eventually } from './lib/stack.mjs';

let s;
before(async () => {
  s = await Stack.start({ workers: 1 });
  for (let i = 0; i < 5; i++) await s.chat('warm');
});
after(() => s?.stop());

/** Calls go on, quickly, for ms. */
async function othersAreServed(ms) {
  let n = 0, worst = 0;
  for (const end = performance.now() + ms; performance.now() < end; n++) {
    const t = performance.now();
    assert.equal((await s.chat('hello')).status, 200);
    worst = Math.max(worst, performance.now() - t);
  }
  assert.ok(n > 10 && worst < ms / 2, `${n} calls, the slowest took ${worst} ms`);
}

test('a web server that connects and says nothing keeps nobody out', async () => {
  const silent = Array.from({ length: 3 }, () => net.connect({ path: s.socket }));
  for (const c of silent) c.on('error', () => {});
  await sleep(50);
  await othersAreServed(1500);
  for (const c of silent) c.destroy();
});

test('a small body that comes slowly keeps nobody out, and is served', async () => {
  const body = JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'slow' }] });
  async function* slowly() {
    for (const c of [body.slice(0, 10), body.slice(10, 20), body.slice(20)]) {
      yield c;
      await sleep(500);
    }
  }
  const slow = Array.from({ length: 3 }, () => ask(s.socket, 'POST', '/v1/chat/completions', { key: s.key, size: body.length, pieces: slowly() }));
  await othersAreServed(1500);
  for (const r of await Promise.all(slow)) assert.equal(r.status, 200, r.text);
});

test('a call that waits for the database keeps nobody out', async () => {
  const made = await s.request('POST', '/api/token/?return=1', { headers: { authorization: s.token }, body: { name: 'cold', unlimited_quota: true } });
  const { key } = made.json.data;
  s.secret(key);
  const lock = s.sql('LOCK TABLES key_secrets WRITE; SELECT SLEEP(2); UNLOCK TABLES');
  await sleep(300);
  const cold = s.chat('cold', {}, { key });
  await othersAreServed(1200);
  await lock;
  assert.equal((await cold).status, 200);
});

test('when all fronts wait for the database, streams go on, and calls wait for a front and are answered', async () => {
  const FRONTS = 4; // worker.threads
  const keys = await Promise.all(Array.from({ length: FRONTS + 4 }, async (_, i) => {
    const made = await s.request('POST', '/api/token/?return=1', { headers: { authorization: s.token }, body: { name: `cold ${i}`, unlimited_quota: true } });
    s.secret(made.json.data.key);
    return made.json.data.key;
  }));
  let sent = 0;
  const c = s.provider.play(async (x) => {
    x.stream();
    for (; sent < 60; sent++) {
      x.event(chatChunk(`${sent} `));
      await sleep(50);
    }
    x.event('[DONE]');
    x.end();
  });
  const came = [];
  const body = JSON.stringify({ model: 'gpt-4o-mini', stream: true, messages: [{ role: 'user', content: c.mark }] });
  const streamed = ask(s.socket, 'POST', '/v1/chat/completions', {
    key: s.key, size: body.length, pieces: [body], meet: (k) => { k.on('data', () => came.push(performance.now())); } });
  await eventually(() => came.length > 3, 'the stream runs');
  const lock = s.sql('LOCK TABLES key_secrets WRITE; SELECT SLEEP(2); UNLOCK TABLES');
  await sleep(300);
  const cold = keys.map((key) => s.chat('cold', {}, { key }));
  await sleep(200);
  const from = came.length;
  await sleep(1000);
  const during = came.length - from;
  assert.ok(during >= 10, `${during} reads of the stream in a second`);
  await lock;
  for (const r of await Promise.all(cold)) assert.equal(r.status, 200, r.text);
  assert.match((await streamed).text, /59 .*\[DONE\]/s);
});
