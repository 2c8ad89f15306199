// What calls left behind, as their owner and an administrator read it: lists, sums, CSV, explanations.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chatAnswer } from './lib/provider.mjs';
import { Stack, eventually } from './lib/stack.mjs';

const CALLS = 23;
let s, ids;
const auth = (token = s.token) => ({ headers: { authorization: token } });
const get = async (target, token) => {
  const r = await s.get(target, auth(token));
  return { ...r, data: r.json?.data };
};

async function call(key, model = 'gpt-4o-mini') {
  const c = s.provider.play((x) => x.answer(200, chatAnswer()));
  const r = await s.request('POST', '/v1/chat/completions', { key, body: { model, messages: [{ role: 'user', content: c.mark ?? 'hi' }] } });
  assert.equal(r.status, 200, r.text);
  return r.headers['x-request-id'];
}

before(async () => {
  s = await Stack.start();
  ids = [];
  for (let i = 0; i < CALLS; i++) ids.push(await call(s.key));
  await eventually(async () => (await get('/api/log/self')).data.total === CALLS, 'a row of every call');
});
after(() => s?.stop());

test('pages go through every call once, newest first, by number and by cursor', async () => {
  const seen = [];
  for (let p = 1; p <= 4; p++) {
    const { data } = await get(`/api/log/self?p=${p}&page_size=7`);
    assert.equal(data.total, CALLS);
    seen.push(...data.items);
  }
  assert.deepEqual(seen.map((x) => x.request_id).sort(), [...ids].sort());
  for (let i = 1; i < seen.length; i++) assert.ok(seen[i - 1].created_at >= seen[i].created_at);
  const walked = [];
  for (let cursor = ''; ;) {
    const { data } = await get(`/api/log/self/?page_size=5&before=${cursor}`);
    walked.push(...data.items.map((x) => x.id));
    if (!(cursor = data.next_cursor)) break;
  }
  assert.deepEqual(walked, seen.map((x) => x.id));
});

test('a record has the base contract\'s members', async () => {
  const [row] = (await get(`/api/log/self?request_id=${ids[0]}`)).data.items;
  assert.equal(row.model_name, 'gpt-4o-mini');
  assert.equal(row.type, 2);
  assert.equal(row.group, 'default');
  assert.equal(row.token_name, 'live');
  assert.equal(row.channel_name, '');
  const other = JSON.parse(row.other);
  assert.equal(other.group_ratio, 1);
  assert.ok(other.model_ratio > 0);
  assert.equal(other.cache_tokens, 0);
});

test('filters leave what they name, and a name that nobody has leaves nothing', async () => {
  const total = async (q) => (await get(`/api/log/self?${q}`)).data.total;
  for (const q of ['token_name=live', 'model_name=gpt-4o%25', 'group=default', 'type=2', 'type=0', 'start_timestamp=1']) assert.equal(await total(q), CALLS, q);
  for (const q of ['token_name=none', 'model_name=gpt-4', 'model_name=gpt_4o%25', 'group=none', 'type=5', 'end_timestamp=1', 'request_id=x', 'token_id=999']) assert.equal(await total(q), 0, q);
  const bad = await get('/api/log/self?start_timestamp=yesterday');
  assert.equal(bad.status, 400);
});

test('sums are the charges of the rows, for whole and broken hours', async () => {
  const { data } = await get('/api/log/self?page_size=100');
  const quota = data.items.reduce((n, x) => n + x.quota, 0);
  assert.ok(quota > 0);
  const now = Math.floor(Date.now() / 1000);
  for (const q of ['', `?start_timestamp=${now - 9000}&end_timestamp=${now + 1}`, `?start_timestamp=${now - 1800}`]) {
    const stat = (await get(`/api/log/self/stat${q}`)).data;
    assert.equal(stat.quota, quota, q);
  }
  for (const q of ['start_timestamp=1&end_timestamp=2', 'start_timestamp=9223372036854775807', `start_timestamp=${now + 7200}`])
    assert.equal((await get(`/api/log/self/stat?${q}`)).data.quota, 0, q);
  const points = (await get('/api/data/self?default_time=hour')).data;
  assert.equal(points.reduce((n, x) => n + x.quota, 0), quota);
  assert.equal(points.reduce((n, x) => n + x.count, 0), CALLS);
  const users = (await get('/api/data/users')).data;
  assert.equal(users.reduce((n, x) => n + x.quota, 0), quota);
  assert.equal((await get('/api/data/self?start_timestamp=1&end_timestamp=9999999')).json.code, 'time_span_too_long');
});

test('the explanation of a charge adds up to it exactly', async () => {
  for (const row of (await get('/api/log/self?page_size=5')).data.items) {
    const { data } = await get(`/api/log/${row.id}/explain`);
    const sum = data.parts.reduce((n, p) => n + p.quota, 0);
    assert.equal(sum + data.rounding + data.adjustment, data.charged);
    assert.equal(data.charged, row.quota);
    assert.equal(data.adjustment, 0);
    assert.match(data.formula, new RegExp(`= ${row.quota}$`));
    assert.equal(data.end, 'complete');
    assert.equal(data.log.request_id, row.request_id);
  }
});

test('an account sees its own calls only; the administrator sees all of them', async () => {
  await s.addUser('other@example.org', 1000000);
  const token = s.secret((await s.ctl(['access-token', 'add', '--user', 'other@example.org', '--name', 'x'])).trim().split(/\s+/).pop());
  assert.equal((await get('/api/log/self', token)).data.total, 0);
  const [row] = (await get('/api/log/self?page_size=1')).data.items;
  assert.equal((await get(`/api/log/${row.id}/explain`, token)).json.code, 'record_not_found');
  for (const path of ['/api/log/', '/api/log/stat', '/api/log/export', '/api/data/', '/api/data/users']) assert.equal((await get(path, token)).status, 403, path);
  const key = s.secret((await s.ctl(['key', 'add', '--user', 'other@example.org', '--name', 'theirs', '--unlimited'])).trim().split(/\s+/).pop());
  await call(key);
  await eventually(async () => (await get('/api/log/self', token)).data.total === 1, 'the row of their call');
  assert.equal((await get('/api/log/')).data.total, CALLS + 1);
  assert.equal((await get('/api/log/self')).data.total, CALLS);
  const sum = async (q) => (await get(q)).data.quota;
  const { token_id: theirs, user_id: them } = (await get('/api/log/self', token)).data.items[0];
  assert.equal(await sum('/api/log/stat'), (await sum('/api/log/self/stat')) + (await sum(`/api/log/stat?user_id=${them}`)));
  assert.equal((await get(`/api/log/self?token_id=${theirs}`)).data.total, 0);
  assert.equal((await get(`/api/log/?token_id=${theirs}`)).data.total, 1);
  assert.equal((await get(`/api/log/?username=${row.username}`)).data.total, CALLS);
  assert.equal((await get('/api/log/?username=nobody-at-all')).data.total, 0);
  assert.notEqual((await get('/api/log/?page_size=1')).data.items[0].channel_name, '');
});

test('the export is CSV whose fields no spreadsheet takes for formulas', async () => {
  await s.sql("UPDATE api_keys SET name = '=1+\"1\"' WHERE name = 'live'");
  const r = await s.get('/api/log/self/export', auth());
  assert.match(r.headers['content-type'], /^text\/csv/);
  const lines = r.text.split('\r\n');
  assert.equal(lines.length, CALLS + 2);
  assert.ok(lines[1].includes(`,"'=1+""1""",`), lines[1]);
  await s.sql("UPDATE api_keys SET name = 'live' WHERE name LIKE '=1%'");
});

test('credits are listed with their source', async () => {
  const { data } = await get('/api/user/self/credits');
  assert.ok(data.items.length > 0);
  assert.ok(data.items.every((c) => Number.isInteger(c.amount) && c.source));
});
