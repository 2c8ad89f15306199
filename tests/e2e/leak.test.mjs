// A key that was found in public: GitHub tells, the key is suspended at once, its owner can read why.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Stack } from './lib/stack.mjs';

const pair = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
const other = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
const id = 'f9525bf080f75b3506ca1ead061add62b8633a346606dc5fe544e29231c6ee0d';
let s;
before(async () => {
  const file = path.join(fs.mkdtempSync('/tmp/leak-'), 'keys.json');
  fs.writeFileSync(file, JSON.stringify({ public_keys: [{ key_identifier: id, key: pair.publicKey.export({ type: 'spki', format: 'pem' }), is_current: true }] }));
  s = await Stack.start({ workers: 2, conf: { 'leak.github_keys': file } });
});
after(async () => {
  await s?.stop();
  fs.rmSync(path.dirname(s.conf['leak.github_keys']), { recursive: true });
});

function tell(reports, { keys = pair, keyId = id, body = JSON.stringify(reports), signature, signed = body } = {}) {
  const sig = signature ?? crypto.sign('sha256', Buffer.from(signed), keys.privateKey).toString('base64');
  return s.request('POST', '/api/leak/github', { body, headers: { 'github-public-key-identifier': keyId, 'github-public-key-signature': sig } });
}
const url = 'https://github.com/octocat/Hello-World/blob/1234/foo.env';
const report = (token) => ({ token, type: 'tollgate_api_key', url, source: 'content' });

test('a reported key is suspended on every worker before GitHub has its answer', async () => {
  const key = await s.addKey('leaked');
  assert.equal((await s.get('/v1/models', { key })).status, 200);
  const unknown = `${key.slice(0, -1)}${key.endsWith('a') ? 'b' : 'a'}`;
  const r = await tell([report(key), report(unknown), report('NMIfyYncKcRALEXAMPLE')]);
  assert.equal(r.status, 200, r.text);
  assert.deepEqual(r.json.map((x) => [x.token_type, x.label]), [['tollgate_api_key', 'true_positive'], ['tollgate_api_key', 'false_positive'], ['tollgate_api_key', 'false_positive']]);
  assert.equal(r.json[0].token_raw, key);
  const all = await Promise.all(Array.from({ length: 12 }, () => s.get('/v1/models', { key })));
  assert.deepEqual([...new Set(all.map((x) => x.json.error.code))], ['api_key_disabled']);
  const row = (await s.sql("SELECT key_id, actor, detail FROM audit WHERE kind = 'leak'"))[0];
  assert.equal(row.actor, 'github secret scanning');
  assert.deepEqual(JSON.parse(row.detail), { reporter: 'github', type: 'tollgate_api_key', source: 'content', url });
  const shown = (await s.get(`/api/token/${row.key_id}/audit`, { headers: { authorization: s.token } })).json.data.items;
  assert.equal(shown[0].action, 'leak');
  await s.ctl(['audit', 'verify']);
  assert.equal((await tell([report(key)])).json[0].label, 'true_positive');
});

test('a secret that was rotated away is told as ours and its key goes on', async () => {
  const old = await s.addKey('rotated');
  const headers = { authorization: s.token };
  const { id } = (await s.get(`/api/token/search?token=${old}`, { headers })).json.data.items[0];
  const fresh = (await s.request('POST', `/api/token/${id}/rotate`, { headers, body: { grace_seconds: 0 } })).json.data.key;
  s.secret(fresh);
  assert.deepEqual((await tell([report(old)])).json.map((x) => x.label), ['true_positive']);
  assert.equal((await s.get('/v1/models', { key: fresh })).status, 200);
  const [row] = (await s.get(`/api/token/${id}/audit`, { headers })).json.data.items;
  assert.deepEqual([row.action, row.detail.suspended], ['leak', false]);
  assert.equal((await tell([report(fresh)])).json[0].label, 'true_positive');
  assert.equal((await s.get('/v1/models', { key: fresh })).json.error.code, 'api_key_disabled');
});

test('without the signature of a listed key nothing happens', async () => {
  const key = await s.addKey('kept');
  const rows = [
    [{ keys: other }, 'another key'], [{ keyId: 'unknown' }, 'an unknown identifier'], [{ keyId: '' }, 'no identifier'],
    [{ signature: '' }, 'no signature'], [{ signature: 'AAAA' }, 'no DER'], [{ signature: '!!!!' }, 'no base64'],
    [{ signed: `${JSON.stringify([report(key)])} ` }, 'another body'],
  ];
  for (const [how, what] of rows) {
    const r = await tell([report(key)], how);
    assert.equal(r.status, 401, what);
    assert.equal(r.json.code, 'invalid_signature', what);
  }
  assert.equal((await s.get('/v1/models', { key })).status, 200);
});

test('a signed body that is no list of reports is refused', async () => {
  for (const body of ['{}', '[1]', '[{"token":1}]', 'null']) assert.equal((await tell(null, { body })).json.success, false, body);
  assert.equal((await tell([])).text, '[]');
});

test('an address that asks too often waits', async () => {
  let last;
  for (let i = 0; i < 130 && last?.status !== 429; i++) last = await tell([], { keyId: 'unknown' });
  assert.equal(last.status, 429);
  assert.ok(Number(last.headers['retry-after']) > 0);
});
