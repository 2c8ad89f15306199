// A provider that writes more than was asked for: a group may stop it when the money set aside is used up.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chatStream, sleep } from './lib/provider.mjs';
import { Stack } from './lib/stack.mjs';

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
