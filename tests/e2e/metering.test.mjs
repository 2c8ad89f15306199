// What an account sees of its limits, its balance and its charges, and the operator's tools for the books.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chatAnswer, chatChunk, sleep, usage } from './lib/provider.mjs';
import { Stack, eventually, slow } from './lib/stack.mjs';

let s;
const auth = () => ({ headers: { authorization: s.token } });

before(async () => {
  s = await Stack.start({ workers: 2, conf: { 'lease.idle': '1s' } });
  s.provider.fallback = (x) => x.answer(200, chatAnswer('hello', { usage: usage(11, 7) }));
  await s.ctl(['model', 'add', 'flat', '--per-call-usd', '0.0002']); // 100 quota
  s.models.add('flat');
  await s.addChannel({ name: 'flat', url: `${s.provider.url}/v1`, models: ['flat'] });
});
after(() => s?.stop());

async function limitedKey(name, limits) {
  const r = await s.request('POST', '/api/token/?return=1', { ...auth(), body: { name, unlimited_quota: true, ...limits } });
  assert.equal(r.json.success, true, r.text);
  return s.secret(r.json.data.key);
}

const call = (key, more = {}) => s.chat('x', { model: 'flat', max_tokens: 10, ...more }, { key });

// --- limits ---------------------------------------------------------------------------------------------------------

test('a limited key hears of its limits in six headers, on answers and on refusals', async () => {
  const key = await limitedKey('six', { rpm_limit: 3, tpm_limit: 100000 });
  for (let left = 2; left >= 0; left--) {
    const r = await call(key);
    assert.equal(r.status, 200, r.text);
    assert.equal(r.headers['x-ratelimit-limit-requests'], '3');
    assert.equal(r.headers['x-ratelimit-remaining-requests'], String(left));
    assert.equal(r.headers['x-ratelimit-limit-tokens'], '100000');
    const tokens = Number(r.headers['x-ratelimit-remaining-tokens']);
    assert.ok(tokens > 99000 && tokens < 100000, `${tokens} tokens remain`);
    for (const what of ['requests', 'tokens']) assert.match(r.headers[`x-ratelimit-reset-${what}`], /^\d+ms$/);
  }
  const r = await call(key);
  assert.deepEqual([r.status, r.json.error.type, r.json.error.code], [429, 'rate_limit_error', 'rate_limit_exceeded']);
  assert.match(r.json.error.message, /requests per minute per key, limit 3/);
  assert.ok(Number(r.headers['retry-after']) >= 50 && Number(r.headers['retry-after']) <= 65, r.headers['retry-after']);
  for (const what of ['limit', 'remaining', 'reset'])
    for (const of of ['requests', 'tokens']) assert.ok(r.headers[`x-ratelimit-${what}-${of}`], `${what} ${of}`);
  assert.equal(r.headers['x-ratelimit-remaining-requests'], '0');
});

test('tokens per minute: what a call may use counts before it, what it used after it', async () => {
  const key = await limitedKey('tokens', { tpm_limit: 120 });
  assert.equal((await call(key, { max_tokens: 100 })).status, 200);
  await sleep(200);
  const r = await call(key, { max_tokens: 90 });
  assert.equal(r.status, 200, 'the first call used 18 of its 100');
  const refused = await call(key, { max_tokens: 110 });
  assert.equal(refused.status, 429);
  assert.match(refused.json.error.message, /tokens per minute per key, limit 120/);
});

test('requests at once: one more is refused until one ends', async () => {
  const key = await limitedKey('seats', { concurrency_limit: 2 });
  let open;
  const gate = new Promise((done) => { open = done; });
  const held = Array.from({ length: 2 }, () => {
    const c = s.provider.play(async (x) => { await gate; x.answer(200, chatAnswer('late')); });
    return { c, answer: s.chat(c.mark, { model: 'flat', max_tokens: 10 }, { key }) };
  });
  for (const h of held) await eventually(() => h.c.seen.length === 1, 'both calls are under way');
  const r = await call(key);
  assert.equal(r.status, 429);
  assert.match(r.json.error.message, /requests at once per key, limit 2/);
  assert.equal(r.headers['retry-after'], '1');
  open();
  for (const h of held) assert.equal((await h.answer).status, 200);
  await eventually(async () => (await call(key)).status === 200, 'a seat is free again');
});

test('a group limits each of its accounts, whatever keys it uses; the refusal says so', async () => {
  await s.ctl(['group', 'add', 'small', '--rpm', '2']);
  await s.addChannel({ name: 'small', url: `${s.provider.url}/v1`, models: ['flat'], group: 'small', price: false });
  const keys = [await limitedKey('g1', { group: 'small' }), await limitedKey('g2', { group: 'small' })];
  const answers = [];
  for (const key of [...keys, ...keys]) answers.push(await call(key));
  assert.deepEqual(answers.map((r) => r.status), [200, 200, 429, 429]);
  assert.match(answers[2].json.error.message, /requests per minute per group, limit 2/);
});

// --- the balance ----------------------------------------------------------------------------------------------------

test('half, four fifths and all of what was granted are events, once each, of the key and of its account', async () => {
  const key = await s.addUser('low@example.org', 1000);
  const [{ id: user }] = await s.sql("SELECT id FROM users WHERE email = 'low@example.org'");
  await s.ctl(['key', 'add', '--user', 'low@example.org', '--name', 'half', '--quota', '1000']).then((out) => { s.secret(out.trim().split(/\s/).at(-1)); });
  const passed = () => s.sql(`SELECT kind, percent, granted FROM balance_events WHERE kind = 1 AND owner_id = ${user} ORDER BY percent`);
  for (let i = 0; i < 5; i++) assert.equal((await call(key)).status, 200);
  await eventually(async () => (await passed()).length === 1, 'the first event', 15000 * slow);
  for (let i = 0; i < 5; i++) assert.equal((await call(key)).status, 200);
  assert.equal((await call(key)).json.error.code, 'insufficient_user_quota');
  await eventually(async () => (await passed()).length === 3, 'all three', 15000 * slow);
  assert.deepEqual((await passed()).map((e) => [e.percent, e.granted]), [[50, 1000], [80, 1000], [100, 1000]]);

  const mine = await s.addKey('events', ['--quota', '1000']);
  for (let i = 0; i < 10; i++) assert.equal((await call(mine)).status, 200);
  assert.equal((await call(mine)).json.error.code, 'key_quota_exhausted');
  const [{ id }] = await s.sql("SELECT id FROM api_keys WHERE name = 'events'");
  const ofKey = () => s.sql(`SELECT percent FROM balance_events WHERE kind = 3 AND owner_id = ${id} ORDER BY percent`);
  await eventually(async () => (await ofKey()).length === 3, "the key's events", 15000 * slow);
  assert.deepEqual((await ofKey()).map((e) => e.percent), [50, 80, 100]);
});

// --- prices change --------------------------------------------------------------------------------------------------

test('a charge is explained by the price it was made with, after the price has changed; rerate shows both', async () => {
  const since = Math.floor(Date.now() / 1000);
  await s.ctl(['model', 'add', 'dear', '--input-usd-per-m', '10', '--output-usd-per-m', '30']);
  s.models.add('dear');
  await s.addChannel({ name: 'dear', url: `${s.provider.url}/v1`, models: ['dear'], price: false });
  const r = await s.chat('x', { model: 'dear', max_tokens: 10 });
  assert.equal(r.status, 200, r.text);
  const row = await s.usageOf(r.id);
  assert.equal(row.cost, Math.round((11 * 10 + 7 * 30) / 2)); // quota: half a million for a dollar
  await s.ctl(['model', 'set', 'dear', '--input-usd-per-m', '20', '--output-usd-per-m', '60']);
  const { data } = (await s.get(`/api/log/${row.id}/explain`, auth())).json;
  assert.equal(data.charged, row.cost);
  assert.equal(data.parts.reduce((n, p) => n + p.quota, 0) + data.rounding, row.cost);
  assert.equal(data.adjustment, 0);
  assert.match(data.formula, new RegExp(`= ${row.cost}$`));
  const listed = (await s.get(`/api/log/self?request_id=${r.id}`, auth())).json.data.items[0];
  const other = JSON.parse(listed.other);
  assert.deepEqual([other.model_ratio, other.completion_ratio, other.group_ratio], [5, 3, 1], 'the list has the ratios it was charged by');
  const told = await s.ctl(['--json', 'rerate', '--since', String(since), '--until', String(since + 3600), '--dry-run']);
  assert.match(told, new RegExp(`\\b${row.cost}\\b`), told);
  const again = await eventually(async () => { const c = await s.chat('x', { model: 'dear', max_tokens: 10 }); return c.status === 200 && c; });
  await s.usageOf(again.id);
  const before = (await s.sql('SELECT SUM(cost) AS n FROM usage_rows'))[0].n;
  await s.ctl(['rerate', '--since', '1', '--dry-run']);
  assert.equal((await s.sql('SELECT SUM(cost) AS n FROM usage_rows'))[0].n, before, 'a dry run changes nothing');
});

// --- the books ------------------------------------------------------------------------------------------------------

test('reconcile finds and repairs a broken balance while calls go on', async () => {
  let stop = false, answered = 0;
  const key = await s.addKey('busy', ['--quota', '900000000']);
  const clients = Array.from({ length: 8 }, async () => {
    while (!stop) { assert.equal((await call(key)).status, 200); answered++; }
  });
  try {
    await eventually(() => answered > 50, 'traffic');
    await s.ctl(['reconcile']);
    const [{ id }] = await s.sql("SELECT id FROM api_keys WHERE name = 'busy'");
    await s.sql(`UPDATE allowances SET remain = remain - 54321 WHERE kind = 3 AND owner_id = ${id}`);
    await s.sql(`UPDATE allowances SET spent = spent + 777 WHERE kind = 3 AND owner_id = ${id}`);
    await assert.rejects(s.ctl(['reconcile']), 'it is found');
    await s.ctl(['reconcile', '--repair']).catch(() => {}); // tells what it found
    const then = answered;
    await eventually(() => answered > then + 50, 'traffic goes on');
    await s.ctl(['reconcile']);
  } finally {
    stop = true;
    await Promise.all(clients);
  }
  await s.ctl(['reconcile']);
});

test('hourly sums that are lost are found, and a repair does not forgive what was spent', async () => {
  const key = await s.addKey('lost', ['--quota', '9000000']);
  const r = await call(key);
  assert.equal(r.status, 200, r.text);
  const { key_id: id } = await s.usageOf(r.headers['x-request-id']);
  const spent = async () => (await s.sql(`SELECT a.spent + COALESCE(SUM(l.settled), 0) AS n FROM allowances a
    LEFT JOIN leases l USING (kind, owner_id, period) WHERE a.kind = 3 AND a.owner_id = ${id} GROUP BY a.owner_id`))[0].n;
  await s.sql(`CREATE TABLE kept AS SELECT * FROM usage_hourly WHERE key_id = ${id}; DELETE FROM usage_hourly WHERE key_id = ${id}`);
  await assert.rejects(s.ctl(['reconcile', '--repair']), /hourly sums = sums of usage rows/);
  assert.equal(await spent(), 100);
  await s.sql('INSERT INTO usage_hourly SELECT * FROM kept');
  await s.ctl(['reconcile']);
});

test('an answer whose provider counts its text as nothing is charged what was delivered', async () => {
  const text = 'words that cost something '.repeat(40);
  const c = s.provider.play((x) => {
    if (!x.json.stream) return x.answer(200, chatAnswer(text, { usage: usage(11, 0) }));
    x.stream();
    x.event(chatChunk(text));
    x.event({ ...chatChunk(''), choices: [], usage: usage(11, 0) });
    x.event('[DONE]');
    return x.end();
  });
  for (const stream of [false, true]) {
    const r = await s.chat(c.mark, { stream });
    assert.equal(r.status, 200, r.text);
    const row = await s.usageOf(r.headers['x-request-id']);
    assert.ok(row.prompt === 11 && row.completion > 100 && row.estimated === 1, `stream ${stream}: ${JSON.stringify(row)}`);
  }
});

test('a usage without the question, or with one of absurd size, charges the question by its estimate', async () => {
  for (const prompt of [0, 1e21]) {
    const c = s.provider.play((x) => x.answer(200, `{"choices":[],"usage":{"prompt_tokens":${BigInt(prompt)},"completion_tokens":5}}`));
    const r = await s.chat(c.mark, {});
    assert.equal(r.status, 200, r.text);
    const row = await s.usageOf(r.headers['x-request-id']);
    assert.ok(row.prompt > 0 && row.prompt < 100 && row.completion === 5 && row.estimated === 1, JSON.stringify(row));
  }
});

test('a price per call is charged for each picture of an image call, is held for all of them, and once for other calls', async () => {
  s.provider.fallback = (x) => x.answer(200, x.url.includes('/images/') ? { created: 1, data: [] } : chatAnswer('hello'));
  const key = await limitedKey('pictures', { unlimited_quota: false, remain_quota: 700 });
  const draw = (n) => s.request('POST', '/v1/images/generations', { key, body: { model: 'flat', prompt: 'a tree', ...n } });
  for (const [n, cost] of [[{ n: 4 }, 400], [{}, 100]]) {
    const r = await draw(n);
    assert.deepEqual([r.status, r.headers['x-tollgate-cost']], [200, String(cost)], r.text);
    const row = await s.usageOf(r.headers['x-request-id']);
    assert.deepEqual([row.cost, row.images], [cost, n.n ?? 1]);
    const why = (await s.request('GET', `/api/log/${row.id}/explain`, auth())).json.data;
    assert.deepEqual([why.charged, why.adjustment, why.parts[0].count], [cost, 0, n.n ?? 1]);
  }
  const refused = await draw({ n: 3 });
  assert.deepEqual([refused.status, refused.json.error.code], [429, 'key_quota_exhausted']);
  const r = await call(key, { n: 4 });
  assert.deepEqual([r.status, r.headers['x-tollgate-cost']], [200, '100'], r.text);
});
