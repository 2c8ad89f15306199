// More calls at once than the workers can accept at once: they wait, and whoever finds no room to wait may call again.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import OpenAI from 'openai';
import { ask } from './lib/fcgi.mjs';
import { sleep } from './lib/provider.mjs';
import { Stack } from './lib/stack.mjs';

const stacks = [];
after(async () => { for (const s of stacks) await s.stop(); });

async function started(conf) {
  const s = await Stack.start({ workers: 1, conf });
  stacks.push(s);
  return s;
}

/** What begins while no worker accepts. */
async function whileNobodyAccepts(s, begin) {
  await s.chat('warm'); // the key is known
  for (const w of s.workers()) process.kill(w, 'SIGSTOP');
  const begun = begin();
  await sleep(700); // lighttpd has connected, and no deadline of the worker has passed
  for (const w of s.workers()) process.kill(w, 'SIGCONT');
  return Promise.all(begun);
}

test('1500 calls at once wait for a worker, and each is answered', async () => {
  const s = await started({});
  const answers = await whileNobodyAccepts(s, () => Array.from({ length: 1500 }, () => s.chat('hello')));
  assert.deepEqual(answers.filter((r) => r.status !== 200).map((r) => r.text), []);
});

test('beyond listen.backlog a call is told to come again, not that its body is missing', async () => {
  const s = await started({ 'listen.backlog': 4 });
  const answers = await whileNobodyAccepts(s, () => Array.from({ length: 60 }, () => s.chat('hello')));
  const refused = answers.filter((r) => r.status !== 200);
  assert.ok(refused.length > 0 && refused.length <= 56, `${refused.length} refused`);
  for (const r of refused) { // lighttpd gives up with 500 by itself
    assert.ok(r.status === 503 || (r.status === 500 && !r.id), r.text);
    if (r.id) assert.ok(Number(r.headers['retry-after']) >= 1, r.text);
  }
});

test('a body that was lost whole is asked for again, one that came in part is refused', async () => {
  const s = stacks.at(-1);
  const send = (text) => ask(s.socket, 'POST', '/v1/chat/completions', { key: s.key, size: 100, pieces: (async function* pieces() { if (text) yield text; }()) });
  const lost = await send('');
  assert.equal(lost.status, 503, lost.text);
  assert.match(lost.text, /"overloaded"/);
  assert.match(lost.head, /retry-after: [1-9]/i);
  const cut = await send('{"model":');
  assert.equal(cut.status, 400, cut.text);
  assert.match(cut.text, /"incomplete_body"/);
});

test('an SDK that tries again loses no call beyond listen.backlog', async () => {
  const s = stacks.at(-1);
  const client = new OpenAI({ apiKey: s.key, baseURL: `${s.url}/v1`, maxRetries: 5 });
  const answers = await whileNobodyAccepts(s, () => Array.from({ length: 40 }, () =>
    client.chat.completions.create({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'hello' }] })));
  assert.ok(answers.every((a) => a.choices[0].message.content));
});
