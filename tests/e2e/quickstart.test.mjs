// scripts/quickstart as its user meets it: two of them side by side, started, used, stopped.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { judge } from './lib/openapi.mjs';
import { Provider } from './lib/provider.mjs';
import { build, eventually, root, run } from './lib/stack.mjs';
import { watch } from './lib/witness.mjs';

const script = path.join(root, 'scripts/quickstart');
const env = { ...process.env, TOLLGATE_BUILD: build };
const undescribed = []; // answers that are not what docs/openapi.yaml says
let dir, a, b, printed;

const quick = (d, ...args) => run(script, ['--dir', d, ...args], { env });
const read = (d) => Object.fromEntries(fs.readFileSync(path.join(d, 'quickstart.env'), 'utf8').trim().split('\n').map((l) => [l.slice(0, l.indexOf('=')), l.slice(l.indexOf('=') + 1)]));

before(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'tollgate-quick-'));
  [a, b] = [path.join(dir, 'a'), path.join(dir, 'b')];
  printed = await quick(a);
  await quick(b, '--workers', '1');
  for (const d of [a, b]) watch(Number(new URL(read(d).TOLLGATE_URL).port), (wrong) => undescribed.push(wrong));
});
after(async () => {
  for (const d of [a, b]) await quick(d, '--stop').catch(() => {});
  fs.rmSync(dir, { recursive: true, force: true });
  assert.deepEqual(undescribed, []);
});

test('the printed lines answer 200 at once, non-stream and streamed', async () => {
  const lines = printed.split('\n').map((l) => l.trim()).filter((l) => l.startsWith('curl'));
  assert.equal(lines.length, 2);
  const [plain, streamed] = await Promise.all(lines.map(async (l) => {
    const out = await run('bash', ['-c', `${l} -i`]), at = out.indexOf('\r\n\r\n');
    const [start, ...fields] = out.slice(0, at).split('\r\n'), body = out.slice(at + 4);
    assert.match(start, / 200 /);
    const headers = Object.fromEntries(fields.map((f) => [f.slice(0, f.indexOf(':')).toLowerCase(), f.slice(f.indexOf(':') + 1).trim()]));
    const sent = { authorization: `Bearer ${read(a).TOLLGATE_TEST_KEY}` }; // the built-in provider answers
    assert.equal(judge({ method: 'POST', target: new URL(/http:\S+/.exec(l)[0]).pathname, sent, status: 200, headers, body, whole: true }), null);
    return body;
  }));
  assert.match(JSON.parse(plain).choices[0].message.content, /Hello/);
  assert.match(streamed, /data: \[DONE\]\n\n$/);
});

test('quickstart.env has all that is promised, for nobody else to read', () => {
  const e = read(a);
  assert.deepEqual(Object.keys(e), ['TOLLGATE_URL', 'TOLLGATE_ADMIN_EMAIL', 'TOLLGATE_ADMIN_PASSWORD', 'TOLLGATE_ACCESS_TOKEN', 'TOLLGATE_API_KEY', 'TOLLGATE_TEST_KEY', 'TOLLGATE_DB_SOCKET', 'TOLLGATE_DB_NAME']);
  for (const v of Object.values(e)) assert.ok(v.length > 0);
  assert.equal(fs.statSync(path.join(a, 'quickstart.env')).mode & 0o777, 0o600);
  assert.equal(fs.statSync(path.join(a, 'secrets')).mode & 0o777, 0o700);
});

test('both keys and the access token work; neighbours do not know each other\'s', async () => {
  const [ea, eb] = [read(a), read(b)];
  assert.notEqual(ea.TOLLGATE_URL, eb.TOLLGATE_URL);
  for (const key of [ea.TOLLGATE_API_KEY, ea.TOLLGATE_TEST_KEY]) {
    const o = new OpenAI({ apiKey: key, baseURL: `${ea.TOLLGATE_URL}/v1`, maxRetries: 0 });
    const r = await o.chat.completions.create({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Hello' }] });
    assert.match(r.choices[0].message.content, /Hello/);
  }
  const list = await fetch(`${ea.TOLLGATE_URL}/api/token/`, { headers: { authorization: ea.TOLLGATE_ACCESS_TOKEN } });
  assert.equal((await list.json()).success, true);
  assert.equal((await fetch(`${eb.TOLLGATE_URL}/v1/models`, { headers: { authorization: `Bearer ${ea.TOLLGATE_API_KEY}` } })).status, 401);
});

test('started again it keeps its address, keys and data', async () => {
  const then = read(a);
  const again = await quick(a);
  assert.match(again, new RegExp(then.TOLLGATE_URL));
  assert.deepEqual(read(a), then);
  assert.equal((await fetch(`${then.TOLLGATE_URL}/v1/models`, { headers: { authorization: `Bearer ${then.TOLLGATE_API_KEY}` } })).status, 200);
});

test('--status tells each part; --stop stops exactly its own', async () => {
  assert.match(await quick(a, '--status'), /database: running.*\nworkers: running.*\nlighttpd: running.*\nreadyz: yes/);
  await quick(a, '--stop');
  const e = await quick(a, '--status').catch((x) => x);
  assert.equal(e.code, 1);
  assert.match(e.out, /workers: stopped/);
  assert.match(await quick(b, '--status'), /readyz: yes/);
  await quick(a, '--stop');
});

/** The commands of README.md's code blocks that have `word` in them. */
function readme(word) {
  const blocks = [...fs.readFileSync(path.join(root, 'README.md'), 'utf8').matchAll(/^```\n([\s\S]*?)^```$/gm)].map((m) => m[1]);
  const found = blocks.filter((b) => b.includes(word));
  assert.equal(found.length, 1, `a block of README.md with ${word}`);
  return found[0];
}
/** Runs them as they stand there, in a checkout that has made b its var/. */
function asWritten(commands) {
  const home = path.join(dir, 'home');
  fs.mkdirSync(home, { recursive: true });
  if (!fs.existsSync(path.join(home, 'var'))) fs.symlinkSync(b, path.join(home, 'var'));
  if (!fs.existsSync(path.join(b, 'build'))) fs.symlinkSync(path.resolve(build), path.join(b, 'build'));
  if (!fs.existsSync(path.join(home, 'scripts'))) fs.symlinkSync(path.join(root, 'scripts'), path.join(home, 'scripts'));
  return run('bash', ['-e', '-c', commands], { cwd: home, env });
}

test('README: the first request streams, and without "stream" it is one answer', async () => {
  const block = readme('curl -N');
  assert.match(await asWritten(block), /"delta":[\s\S]*data: \[DONE\]\n\n$/);
  const plain = JSON.parse(await asWritten(block.replace('"stream":true,', '').replace('-N', '-sS')));
  assert.match(plain.choices[0].message.content, /Hello/);
});

test('README: the two commands and their options exist', async () => {
  const commands = readme('scripts/quickstart').split('\n').map((l) => l.split('#')[0].trim()).filter((l) => l);
  assert.deepEqual(commands, ['scripts/quickstart', 'scripts/test']);
  for (const c of commands) assert.match(await asWritten(`${c} --help`), new RegExp(path.basename(c)));
  const options = [...fs.readFileSync(path.join(root, 'README.md'), 'utf8').matchAll(/`(--[a-z]+)/g)].map((m) => m[1]);
  assert.ok(options.includes('--dir') && options.includes('--stop'), 'README tells of them');
  const help = await quick(b, '--help');
  for (const o of options) assert.ok(help.includes(o), o);
});

test('README: a real provider takes over its models, its key comes from a file and is told to nobody', async () => {
  const provider = await Provider.start();
  try {
    fs.mkdirSync(path.join(dir, 'home'), { recursive: true });
    fs.writeFileSync(path.join(dir, 'home/openai.key'), 'sk-real-0123456789abcdefghijklmnop\n');
    const block = readme('--key-stdin');
    assert.match(block, /https:\/\/api\.openai\.com /);
    const out = await asWritten(block.replace('https://api.openai.com', `${provider.url} --private`)); // the one word that cannot be tried here
    assert.ok(!out.includes('sk-real'));
    const e = read(b);
    const o = new OpenAI({ apiKey: e.TOLLGATE_API_KEY, baseURL: `${e.TOLLGATE_URL}/v1`, maxRetries: 0 });
    const ask = () => o.chat.completions.create({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Hi' }] });
    await eventually(async () => (await ask()).choices[0].message.content === 'hello', 'the provider answers');
    for (let i = 0; i < 10; i++) assert.equal((await ask()).choices[0].message.content, 'hello');
    assert.equal(provider.seen.at(-1).headers.authorization, 'Bearer sk-real-0123456789abcdefghijklmnop');
    const test = new OpenAI({ apiKey: e.TOLLGATE_TEST_KEY, baseURL: `${e.TOLLGATE_URL}/v1`, maxRetries: 0 });
    const echo = await test.chat.completions.create({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'still the sandbox' }] });
    assert.match(echo.choices[0].message.content, /still the sandbox/);
    for (const f of fs.readdirSync(path.join(b, 'log'))) assert.ok(!fs.readFileSync(path.join(b, 'log', f), 'utf8').includes('sk-real'), f);
    await asWritten('var/build/tollgatectl --config var/tollgate.conf channel delete openai');
  } finally {
    await provider.stop();
  }
});

test('a taken port and nonsense are refused, saying so', async () => {
  const port = new URL(read(b).TOLLGATE_URL).port;
  const e = await quick(path.join(dir, 'c'), '--port', port).catch((x) => x);
  assert.equal(e.code, 1);
  assert.match(e.err, /taken/);
  assert.equal((await quick(a, '--port', 'abc').catch((x) => x)).code, 1);
  assert.equal((await quick(a, '--nonsense').catch((x) => x)).code, 2);
});

test('no secret of the installation is in a log', () => {
  const e = read(b);
  for (const f of fs.readdirSync(path.join(b, 'log'))) {
    const text = fs.readFileSync(path.join(b, 'log', f), 'utf8');
    for (const n of ['TOLLGATE_ADMIN_PASSWORD', 'TOLLGATE_ACCESS_TOKEN', 'TOLLGATE_API_KEY', 'TOLLGATE_TEST_KEY']) assert.ok(!text.includes(e[n]), `${n} in ${f}`);
  }
});
