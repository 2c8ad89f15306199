// A provider that writes more than was asked for: a group may stop it when the money set aside is used up.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chatChunk, chatStream, sleep } from './lib/provider.mjs';
import { Raw } from './lib/raw.mjs';
import { Stack, slow } from './lib/stack.mjs';

let s;
before(async () => { s = await Stack.start(); });
after(() => s?.stop());

async function stream(id) {
  const c = s.provider.play((x) => chatStream(x, { n: 400, gap: 5 }));
  const res = await fetch(`${s.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${s.key}`, 'content-type': 'application/json', 'x-request-id': id },
    body: JSON.stringify({ model: 'gpt-4o-mini', stream: true, max_tokens: 40, messages: [{ role: 'user', content: c.mark }] }),
  });
  return { text: await res.text(), row: await s.usageOf(id), call: c.seen[0] };
}

test('without hard stop the whole answer comes and is charged', async () => {
  const { text, row } = await stream('hard-stop-off');
  assert.match(text, /\[DONE\]/);
  assert.equal(row.end_reason, 0);
});

test('with hard stop the stream ends with an error event when the hold is used up, and no more than delivered is charged', async () => {
  await s.ctl(['group', 'set', 'default', '--hard-stop', 'yes']);
  await sleep(1000);
  const { text, row, call } = await stream('hard-stop-on');
  assert.match(text, /insufficient_quota/);
  assert.doesNotMatch(text, /\[DONE\]/);
  assert.equal(row.end_reason, 7);
  assert.ok(row.completion >= 30 && row.completion < 200, `${row.completion} tokens charged`);
  assert.ok(await Promise.race([call.closed, sleep(2000, null)]), 'the provider is told');
});

test('a slow reader is stopped, too, when the provider has said its last word already', async () => {
  const flood = (over) => async (x) => { // more than all buffers on the way hold, then the end, or silence
    x.stream();
    for (let i = 0; i < 1200 && x.left === null; i++) {
      if (!x.event(chatChunk('word '.repeat(1600)))) await Promise.race([new Promise((d) => { x.res.once('drain', d); }), x.closed]);
    }
    if (over) x.end('data: [DONE]\n\n');
  };
  const ask = async (id, max, over) => {
    const c = s.provider.play(flood(over));
    const r = await Raw.open(s.port);
    r.socket.prependListener('data', () => { r.got = r.got.slice(-4000); }); // the end is what matters
    r.send('POST', '/v1/chat/completions', { key: s.key, headers: { connection: 'close', 'x-request-id': id },
      body: { model: 'gpt-4o-mini', stream: true, max_tokens: max, messages: [{ role: 'user', content: c.mark }] } });
    await r.until('word', 5000 * slow);
    r.pause();
    await sleep(1500);
    r.resume();
    return r;
  };
  const whole = await ask('slow-reader-whole', 100000000, true);
  await whole.until('[DONE]', 20000 * slow);
  const { completion } = await s.usageOf('slow-reader-whole'); // as we estimate it
  const stopped = await ask('slow-reader-stopped', completion - 100, false);
  await stopped.until('insufficient_quota', 15000 * slow);
  await stopped.closed;
  assert.equal((await s.usageOf('slow-reader-stopped')).end_reason, 7);
});
