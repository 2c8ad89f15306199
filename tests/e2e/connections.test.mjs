// upstream.max_connections: a worker never opens more connections to providers, and who waits for one is still answered.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chatAnswer, sleep } from './lib/provider.mjs';
import { Stack } from './lib/stack.mjs';

let s;
before(async () => { s = await Stack.start({ workers: 1, conf: { 'upstream.max_connections': '2' } }); });
after(() => s?.stop());

test('six calls at once use the two connections that are allowed, and all are answered', async () => {
  let open = 0, most = 0;
  s.provider.fallback = async (x) => {
    most = Math.max(most, ++open);
    await sleep(150);
    open--;
    return x.answer(200, chatAnswer());
  };
  const all = await Promise.all(Array.from({ length: 6 }, () => s.chat('x')));
  assert.deepEqual(all.map((r) => r.status), [200, 200, 200, 200, 200, 200]);
  assert.equal(most, 2);
});
