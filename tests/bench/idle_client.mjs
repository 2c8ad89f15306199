// Opens N streams, waits until each had its first event, and tells what they cost the workers:
//   node idle_client.mjs URL N   (API key on standard input; BENCH_PIDS: the workers)
import fs from 'node:fs';
import http from 'node:http';

const [url, count] = [process.argv[2], Number(process.argv[3])];
const key = fs.readFileSync(0, 'utf8').trim();
const pids = process.env.BENCH_PIDS.split(' ');
const agent = new http.Agent({ keepAlive: false, maxSockets: Infinity });
const body = JSON.stringify({ model: 'idle-model', stream: true, messages: [{ role: 'user', content: 'wait' }] });

const anon = () => pids.reduce((sum, pid) =>
  sum + Number(/^Pss_Anon:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]), 0);

const open = () => new Promise((done, fail) => {
  const req = http.request(`${url}/v1/chat/completions`, { method: 'POST', agent,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } });
  req.on('error', fail).on('response', (res) => {
    if (res.statusCode !== 200) fail(new Error(`status ${res.statusCode}`));
    res.once('data', () => done(req)).on('error', () => {});
  }).end(body);
});

const openMany = async (n) => {
  const all = [];
  for (let at = 0; at < n; at += 100) all.push(...await Promise.all(Array.from({ length: Math.min(100, n - at) }, open)));
  return all;
};

await openMany(50); // what a worker allocates once is not a stream's cost
const before = anon();
const streams = await openMany(count);
await new Promise((r) => setTimeout(r, 1000));
const after = anon();
console.log(JSON.stringify({ streams: streams.length, kib_per_stream: (after - before) / count, before_kib: before, after_kib: after }));
process.exit(0);
