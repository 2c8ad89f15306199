// Money over the wire: nobody spends what is not there, nobody gets an answer free by leaving, and a killed worker
// neither loses a charge nor makes one twice.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chatAnswer, chatChunk, chatStream, sleep, usage } from './lib/provider.mjs';
import { Raw } from './lib/raw.mjs';
import { Stack, eventually, slow } from './lib/stack.mjs';

const CALL = 100; // quota of a call of the model "flat"
let s;
before(async () => {
  s = await Stack.start({ workers: 4, conf: { 'upstream.max_attempts': '1' } });
  s.mayDie = true;
  s.provider.fallback = (x) => (x.json?.stream ? chatStream(x, { n: 3, gap: 5 }) : x.answer(200, chatAnswer('hello')));
  await s.ctl(['model', 'add', 'flat', '--per-call-usd', '0.0002']);
  s.models.add('flat');
  await s.addChannel({ name: 'flat', url: `${s.provider.url}/v1`, models: ['flat'] });
});
after(() => s?.stop());

const long = Boolean(process.env.TOLLGATE_LONG);

/** `calls` calls from `clients` clients at once; how often each status came. */
async function storm(keys, calls, clients, body = {}) {
  const counts = {};
  const codes = new Set();
  let left = calls;
  await Promise.all(Array.from({ length: clients }, async (_, i) => {
    while (left-- > 0) {
      const r = await s.chat('x', { model: 'flat', ...body }, { key: keys[i % keys.length] }).catch((e) => ({ status: e.code }));
      counts[r.status] = (counts[r.status] ?? 0) + 1;
      if (r.status === 429) codes.add(r.json.error.code);
    }
  }));
  return { counts, codes: [...codes] };
}

async function reconciled() {
  await s.ctl(['reconcile']); // exits with 1 and a list when the books are wrong
}

async function keyNamed(name) {
  const r = await s.get(`/api/token/search?keyword=${name}`, { headers: { authorization: s.token } });
  return r.json.data.items.find((k) => k.name === name);
}

const N = long || slow === 1 ? 1000 : 200;

test(`200 clients and 4 workers spend a key's quota for exactly ${N} calls, and not one more`, async () => {
  const key = await s.addKey('exact', ['--quota', String(N * CALL)]);
  const { counts, codes } = await storm([key], N + 200, 200);
  assert.deepEqual(counts, { 200: N, 429: 200 });
  assert.deepEqual(codes, ['key_quota_exhausted']);
  await eventually(async () => (await keyNamed('exact')).remain_quota === 0, 'nothing remains', 10000 * slow);
  assert.equal((await keyNamed('exact')).used_quota, N * CALL);
  await reconciled();
});

test(`five keys share their account's balance for exactly ${N} calls`, async () => {
  const keys = [await s.addUser('five@example.org', N * CALL)];
  for (let i = 1; i < 5; i++) keys.push(s.secret((await s.ctl(['key', 'add', '--user', 'five@example.org', '--name', `k${i}`, '--unlimited'])).trim().split(/\s/).at(-1)));
  const { counts, codes } = await storm(keys, N + 100, 200);
  assert.deepEqual(counts, { 200: N, 429: 100 });
  assert.deepEqual(codes, ['insufficient_user_quota']);
  await reconciled();
});

test('a daily budget lets exactly its calls through and tells when it starts anew', async () => {
  const r = await s.request('POST', '/api/token?return=1', { headers: { authorization: s.token }, body: {
    name: 'daily', unlimited_quota: true, budgets: [{ window: 'day', amount: 50 * CALL, timezone: 'Asia/Ho_Chi_Minh' }] } });
  const key = s.secret(r.json.data.key);
  const { counts, codes } = await storm([key], 80, 40);
  assert.deepEqual(counts, { 200: 50, 429: 30 });
  assert.deepEqual(codes, ['budget_exhausted']);
  const refused = await s.chat('x', { model: 'flat' }, { key });
  assert.ok(Number(refused.headers['retry-after']) > 0 && Number(refused.headers['retry-after']) <= 86400);
  assert.ok(refused.json.error.resets_at > Date.now() / 1000);
  await reconciled();
});

test('an account\'s budget is what its five keys may spend together, and the refusal says whose it is', async () => {
  const keys = [await s.addUser('capped@example.org', 1000 * CALL)];
  for (let i = 1; i < 5; i++) keys.push(s.secret((await s.ctl(['key', 'add', '--user', 'capped@example.org', '--name', `k${i}`, '--unlimited'])).trim().split(/\s/).at(-1)));
  assert.equal((await s.chat('x', { model: 'flat' }, { key: keys[0] })).status, 200);
  await s.ctl(['user', 'limits', 'capped@example.org', '--budget', `day=${50 * CALL}@Asia/Ho_Chi_Minh,total=${900 * CALL}`]);
  const { counts, codes } = await storm(keys, 80, 40);
  assert.deepEqual(counts, { 200: 50, 429: 30 });
  assert.deepEqual(codes, ['budget_exhausted']);
  const refused = await s.chat('x', { model: 'flat' }, { key: keys[3] });
  assert.match(refused.json.error.message, /daily budget of the account/);
  assert.ok(Number(refused.headers['retry-after']) > 0 && Number(refused.headers['retry-after']) <= 86400);
  assert.ok(refused.json.error.resets_at > Date.now() / 1000);
  await s.ctl(['user', 'limits', 'capped@example.org', '--budget', `day=${60 * CALL}@Asia/Ho_Chi_Minh`]);
  assert.deepEqual((await storm(keys, 20, 10)).counts, { 200: 10, 429: 10 }, 'what it was raised by can be spent at once');
  await s.ctl(['user', 'limits', 'capped@example.org', '--budget', `day=0,total=${65 * CALL}`]);
  await eventually(async () => (await s.sql('SELECT id FROM leases JOIN owner_budgets ON owner_budgets.id = leases.owner_id WHERE kind = 5 AND recall')).length === 0,
    'the workers have given back what they had leased');
  const last = await storm(keys, 10, 1);
  assert.deepEqual(last.counts, { 200: 5, 429: 5 }, 'a total never begins anew');
  const total = await s.chat('x', { model: 'flat' }, { key: keys[1] });
  assert.match(total.json.error.message, /total budget of the account/);
  assert.equal(total.json.error.resets_at, undefined);
  assert.match(await s.ctl(['--json', 'user', 'list']), new RegExp(`"email":"capped@example.org"[^}]*"budget":"total=${65 * CALL}"`));
  await s.ctl(['user', 'limits', 'capped@example.org', '--budget', 'total=0']);
  assert.equal((await s.chat('x', { model: 'flat' }, { key: keys[1] })).status, 200);
  await reconciled();
});

test('a group\'s budget is what all its accounts may spend together', async () => {
  await s.ctl(['group', 'add', 'pool', '--budget', `month=${40 * CALL}`]);
  await s.addChannel({ name: 'pool', url: `${s.provider.url}/v1`, models: ['flat'], price: false, group: 'pool' });
  const keys = [];
  for (const who of ['one', 'two']) {
    await s.ctl(['user', 'add', '--email', `${who}@example.org`, '--group', 'pool', '--quota', String(1000 * CALL)], 'a long password 12\n');
    keys.push(s.secret((await s.ctl(['key', 'add', '--user', `${who}@example.org`, '--name', 'k', '--unlimited'])).trim().split(/\s/).at(-1)));
  }
  const { counts, codes } = await storm(keys, 70, 30);
  assert.deepEqual(counts, { 200: 40, 429: 30 });
  assert.deepEqual(codes, ['budget_exhausted']);
  assert.match((await s.chat('x', { model: 'flat' }, { key: keys[0] })).json.error.message, /monthly budget of the group/);
  await s.ctl(['group', 'set', 'pool', '--budget', 'month=0']);
  await eventually(async () => (await s.chat('x', { model: 'flat' }, { key: keys[0] })).status === 200, 'a budget that is removed limits nothing');
  await reconciled();
});

test('an account\'s requests per minute are counted over its keys and all workers, from the next call on', async () => {
  const keys = [await s.addUser('rated@example.org', 1000 * CALL)];
  keys.push(s.secret((await s.ctl(['key', 'add', '--user', 'rated@example.org', '--name', 'k1', '--unlimited'])).trim().split(/\s/).at(-1)));
  for (const key of keys) assert.equal((await s.chat('x', { model: 'flat' }, { key })).status, 200);
  await s.ctl(['user', 'limits', 'rated@example.org', '--rpm', '30']);
  const { counts, codes } = await storm(keys, 60, 20);
  assert.deepEqual(counts, { 200: 30, 429: 30 });
  assert.deepEqual(codes, ['rate_limit_exceeded']);
  const refused = await s.chat('x', { model: 'flat' }, { key: keys[1] });
  assert.match(refused.json.error.message, /requests per minute per account, limit 30/);
  assert.ok(Number(refused.headers['retry-after']) > 0);
  assert.equal(refused.headers['x-ratelimit-limit-requests'], '30');
  await s.ctl(['user', 'limits', 'rated@example.org', '--rpm', '0']);
  assert.equal((await s.chat('x', { model: 'flat' }, { key: keys[1] })).status, 200);
});

test('of all limits at once the tightest decides and is named', async () => {
  const email = 'tight@example.org';
  await s.addUser(email, 1000 * CALL);
  const r = await s.ctl(['key', 'add', '--user', email, '--name', 'own', '--quota', String(12 * CALL)]);
  const key = s.secret(r.trim().split(/\s/).at(-1));
  const limit = (...args) => s.ctl(['user', 'limits', email, ...args]);
  const refusal = async () => (await s.chat('x', { model: 'flat' }, { key })).json.error.message;
  await limit('--rpm', '14', '--budget', `day=${8 * CALL},week=${6 * CALL},month=${10 * CALL}`);
  assert.deepEqual((await storm([key], 8, 4)).counts, { 200: 6, 429: 2 });
  assert.match(await refusal(), /weekly budget of the account/);
  await limit('--rpm', '0', '--budget', 'week=0');
  assert.deepEqual((await storm([key], 4, 2)).counts, { 200: 2, 429: 2 });
  assert.match(await refusal(), /daily budget of the account/);
  await limit('--budget', 'day=0');
  assert.deepEqual((await storm([key], 4, 2)).counts, { 200: 2, 429: 2 });
  assert.match(await refusal(), /monthly budget of the account/);
  await limit('--budget', 'month=0', '--rpm', '30');
  assert.deepEqual((await storm([key], 4, 2)).counts, { 200: 2, 429: 2 });
  assert.match(await refusal(), /This key's quota/);
  await reconciled();
});

// --- leaving --------------------------------------------------------------------------------------------------------

const moments = {
  'before the first byte': async (x) => {
    await Promise.race([x.closed, sleep(1500)]);
    if (x.left === null) await chatStream(x, { n: 3, usage: usage(11, 20) });
  },
  'mid-stream': async (x) => {
    x.stream();
    for (let i = 0; i < 300 && x.left === null; i++) { x.event(chatChunk(`w${i} `)); await sleep(10); }
    if (x.left === null) { x.event({ ...chatChunk(''), choices: [], usage: usage(11, 300) }); x.event('[DONE]'); x.end(); }
  },
  'after the last delta, before usage': async (x) => {
    x.stream();
    for (let i = 0; i < 20; i++) x.event(chatChunk(`w${i} `));
    x.event({ ...chatChunk('end'), choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
    for (let i = 0; i < 40 && x.left === null; i++) { await sleep(50); x.comment?.('still here'); }
    if (x.left === null) { x.event({ ...chatChunk(''), choices: [], usage: usage(11, 20) }); x.event('[DONE]'); x.end(); }
  },
  'after [DONE]': async (x) => {
    x.stream();
    x.event(chatChunk('w0 '));
    x.event({ ...chatChunk('end'), choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
    x.event({ ...chatChunk(''), choices: [], usage: usage(11, 20) });
    x.event('[DONE]');
    await sleep(300);
    x.end();
  },
};
const until = { 'before the first byte': null, 'mid-stream': 'w3 ', 'after the last delta, before usage': 'stop', 'after [DONE]': '[DONE]' };

for (const policy of ['cancel', 'drain'])
  for (const [moment, play] of Object.entries(moments)) {
    test(`policy ${policy}, a client that leaves ${moment} pays what the policy says`, async () => {
      await s.ctl(['group', 'set', 'default', '--drain', policy === 'drain' ? 'yes' : 'no']);
      await sleep(500);
      const c = s.provider.play(play);
      const id = `leave-${policy}-${Object.keys(moments).indexOf(moment)}`;
      const r = await Raw.open(s.port);
      r.send('GET', '/v1/models', { key: s.key });
      await r.until('"data"');
      r.send('POST', '/v1/chat/completions', { key: s.key, headers: { 'x-request-id': id },
        body: { model: 'gpt-4o-mini', stream: true, messages: [{ role: 'user', content: c.mark }] } });
      if (until[moment]) await r.until(until[moment]);
      else await eventually(() => c.seen.length === 1, 'the provider is asked');
      r.reset();
      const row = await eventually(async () => (await s.sql(`SELECT * FROM usage_rows WHERE request_id = '${id}'`))[0], 'a usage row', 15000 * slow);
      if (moment === 'after [DONE]') {
        assert.deepEqual([row.prompt, row.completion, row.estimated], [11, 20, 0]);
      } else if (policy === 'drain') {
        assert.deepEqual([row.prompt, row.estimated], [11, 0], 'read to its end: the provider\'s own numbers');
        assert.ok(row.completion >= 20);
      } else if (moment === 'mid-stream') {
        assert.ok(row.completion >= 3 && row.completion < 250 && row.estimated === 1, `${row.completion} estimated tokens of what was delivered`);
      } else if (moment === 'before the first byte') {
        assert.deepEqual([row.completion, row.estimated], [0, 1], 'the prompt, which the provider has read');
      } else {
        assert.ok(row.completion >= 20, `${row.completion} tokens: what was delivered is not free`);
      }
      assert.ok(row.cost > 0, 'not free');
      assert.equal(row.policy, policy === 'drain' ? 1 : 0);
      await reconciled();
    });
  }

// --- kill -9 --------------------------------------------------------------------------------------------------------

test('workers killed under mixed load: every answered call has one row with what it cost, none two, and the books balance', async () => {
  await s.ctl(['group', 'set', 'default', '--drain', 'no']);
  const key = await s.addKey('killed', ['--unlimited']);
  const answered = [];
  let stop = false, n = 0;
  const clients = Array.from({ length: 24 }, async (_, i) => {
    while (!stop) {
      const id = `kill-${i}-${n++}`;
      const kind = i % 3;
      const r = await s.chat('x', { model: 'gpt-4o-mini', stream: kind === 1 }, { key, headers: { 'x-request-id': id }, timeout: kind === 2 ? 20 : 30000 }).catch(() => null);
      if (r?.status === 200 && (kind !== 1 || r.text.includes('[DONE]'))) answered.push(id);
    }
  });
  const rounds = long ? 100 : 10;
  for (let i = 0; i < rounds; i++) {
    await sleep(150 + Math.random() * 250);
    await eventually(() => answered.length > i * 5, `calls are answered after ${i} kills`, 30000 * slow);
    const pids = s.workers();
    try { process.kill(pids[i % pids.length], 'SIGKILL'); } catch { /* already gone */ }
  }
  stop = true;
  await Promise.all(clients);
  await eventually(() => s.workers().length === 4, 'the pool is whole again', 20000 * slow);
  const rows = () => s.sql("SELECT request_id, COUNT(*) AS n, MAX(interrupted) AS interrupted FROM usage_rows WHERE request_id LIKE 'kill-%' GROUP BY request_id");
  const seen = await eventually(async () => {
    const all = new Map((await rows()).map((r) => [r.request_id, r]));
    return answered.every((id) => all.has(id)) && all;
  }, 'every answered call has its row', 30000 * slow);
  assert.deepEqual([...seen.values()].filter((r) => r.n > 1), []);
  assert.deepEqual(answered.filter((id) => seen.get(id).interrupted), [], 'whoever has the whole answer pays what it cost, not a guess');
  await eventually(async () => (await s.sql('SELECT COUNT(*) AS n FROM leases l LEFT JOIN ledgers g USING (worker_id) WHERE g.state <> 1 AND (l.amount <> 0 OR l.settled <> 0)'))[0].n === 0,
    'the dead hold no lease', 60000 * slow);
  await reconciled();
});

test('who cannot pay the longest answer gets a shorter one where lengths can be limited, and nowhere a field that no provider knows', async () => {
  const s = await Stack.start({ workers: 1 });
  try {
    await s.ctl(['group', 'set', 'default', '--clamp-max-tokens', 'yes']);
    await sleep(1000);
    const key = await s.addUser('clamped@example.org', 300);
    const call = async (path, body) => {
      const c = s.provider.play((x) => x.answer(200, { usage: usage(3, 0) }));
      const r = await s.post(path, JSON.parse(JSON.stringify(body).replace('MARK', c.mark)), { key });
      return [r.status, c.seen[0]?.json];
    };
    const [status, chat] = await call('/v1/chat/completions', { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'MARK' }] });
    assert.equal(status, 200);
    assert.ok(chat.max_tokens > 0 && chat.max_tokens < 150, `${chat.max_tokens}`);
    const [, gemini] = await call('/v1beta/models/gemini-2.5-flash:generateContent', { contents: [{ parts: [{ text: 'MARK' }] }] });
    assert.ok(gemini.generationConfig.maxOutputTokens > 0);
    for (const [path, body] of [
      ['/v1/embeddings', { model: 'text-embedding-3-small', input: 'MARK' }],
      ['/v1/images/generations', { model: 'gpt-image-1', prompt: 'MARK' }],
      ['/v1/audio/speech', { model: 'tts-1', input: 'MARK', voice: 'alloy' }],
      ['/v1beta/models/gemini-2.5-flash:embedContent', { content: { parts: [{ text: 'MARK' }] } }],
    ]) {
      const [status, seen] = await call(path, body);
      if (path.endsWith('embeddings')) assert.equal(status, 200, 'an answer without tokens costs its prompt alone');
      if (seen) assert.deepEqual(Object.keys(seen), Object.keys(body), path);
    }
  } finally {
    await s.stop();
  }
});
