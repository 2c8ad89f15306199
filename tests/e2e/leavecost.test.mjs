// What is charged when a client leaves, at each moment and under both policies: never nothing for what was delivered,
// never more than the policy says, and the books balance.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chatChunk, sleep, usage } from './lib/provider.mjs';
import { Raw } from './lib/raw.mjs';
import { Stack, eventually } from './lib/stack.mjs';

const CLIENT_LEFT = 4; // enum end_reason
const FULL = [50, 400]; // what the provider reports in the end
let s;
before(async () => { s = await Stack.start({ conf: { 'stream.ping_interval': '300ms' } }); });
after(() => s?.stop());

const finish = { ...chatChunk(''), choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] };

/** A provider that waits before the first byte, between deltas and before the usage. */
async function answer(x, { first = 0, gap = 30, beforeUsage = 0, n = 10 }) {
  const wait = async (ms) => { for (let t = 0; t < ms && x.left === null; t += 50) await sleep(50); };
  await wait(first);
  if (x.left !== null) return;
  x.stream();
  for (let i = 0; i < n && x.left === null; i++) {
    x.event(chatChunk(`word number ${i} `));
    await sleep(gap);
  }
  await wait(beforeUsage);
  if (x.left !== null) return;
  x.event(finish);
  x.event({ ...chatChunk(''), choices: [], usage: usage(...FULL) });
  x.event('[DONE]');
  x.end();
}

/** Asks, leaves when `until` was seen (null: when the provider was asked), and gives the usage row. */
async function leave(id, how, until, gesture = 'leave') {
  const c = s.provider.play((x) => answer(x, how));
  const r = await Raw.open(s.port);
  r.send('POST', '/v1/chat/completions', {
    key: s.key, headers: { 'x-request-id': id },
    body: { model: 'gpt-4o-mini', stream: true, messages: [{ role: 'user', content: c.mark }] },
  });
  if (until) await r.until(until);
  else await eventually(() => c.seen.length === 1, 'the provider is asked');
  r[gesture]();
  const row = await s.usageOf(id);
  return { row, x: c.seen[0] };
}

/** The row's cost is what its own usage and price say. */
async function billed(row) {
  const p = (await s.sql(`SELECT * FROM price_versions WHERE id = ${row.price_id}`))[0];
  const one = 1e9;
  const exact = ((row.prompt + row.completion * (p.completion / one)) * (p.model / one)) * (row.group_ratio / one);
  const want = exact === 0 ? 0 : Math.max(1, Math.floor(exact + 0.5));
  assert.ok(Math.abs(row.cost - want) <= 1, `cost ${row.cost} of ${row.prompt}+${row.completion} tokens, about ${exact}`);
}

async function policy(drain) {
  await s.ctl(['group', 'set', 'default', '--drain', drain ? 'yes' : 'no']);
  await sleep(1000);
}

for (const drain of [false, true]) {
  const name = drain ? 'drain' : 'cancel';
  const full = (row) => assert.deepEqual([row.prompt, row.completion, row.estimated], [...FULL, 0]);

  test(`${name}: before the first byte`, async () => {
    await policy(drain);
    // lighttpd passes on only a reset while nothing was sent, and not on every connection: then the answer is made and charged
    const { row } = await leave(`${name}-first`, { first: 1500 }, null, 'reset');
    if (row.completion === FULL[1]) full(row);
    else assert.equal(row.end_reason, CLIENT_LEFT);
    assert.equal(row.policy, drain ? 1 : 0);
    if (drain) full(row);
    await billed(row);
  });

  test(`${name}: mid-stream`, async () => {
    const { row } = await leave(`${name}-middle`, { gap: 200, n: 20 }, 'number 3 ');
    assert.equal(row.end_reason, CLIENT_LEFT);
    if (drain) full(row);
    else {
      assert.ok(row.completion >= 8 && row.completion < 100, `what was delivered is charged: ${row.completion}`);
      assert.equal(row.estimated, 1);
    }
    assert.equal(row.policy, drain ? 1 : 0);
    assert.ok(row.cost > 0);
    await billed(row);
  });

  test(`${name}: after the last delta, before the usage`, async () => {
    const { row } = await leave(`${name}-late`, { beforeUsage: 3000 }, 'number 9 ');
    if (drain) full(row);
    else {
      assert.ok(row.completion >= 30, `the whole text is charged: ${row.completion}`);
      assert.equal(row.end_reason, CLIENT_LEFT);
    }
    assert.ok(row.cost > 0);
    await billed(row);
  });

  test(`${name}: after [DONE]`, async () => {
    const { row } = await leave(`${name}-done`, {}, '[DONE]');
    full(row);
    await billed(row);
  });
}

test('the books balance', async () => {
  await s.ctl(['reconcile']);
  const sums = JSON.parse(await s.ctl(['--json', 'rerate', '--since', '0', '--dry-run']));
  const rows = Array.isArray(sums) ? sums : sums.rows ?? sums.data ?? [];
  assert.ok(rows.length > 0);
  for (const r of rows) assert.equal(r.charged, r.recomputed, 'each bill can be computed again');
});
