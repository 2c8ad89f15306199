// A web server of a few lines: one FastCGI request straight to a worker's socket, its body piece by piece.
// What lighttpd never does, because it spools bodies, Apache does.
import net from 'node:net';

const [BEGIN, END, PARAMS, STDIN] = [1, 3, 4, 5];

function record(type, content = Buffer.alloc(0)) {
  const head = Buffer.from([1, type, 0, 1, content.length >> 8, content.length & 255, 0, 0]);
  return Buffer.concat([head, content]);
}

function length(n) {
  if (n < 128) return Buffer.from([n]);
  const b = Buffer.alloc(4);
  b.writeUInt32BE((n | 0x80000000) >>> 0);
  return b;
}

function params(all) {
  return Buffer.concat(Object.entries(all).flatMap(([k, v]) => [length(Buffer.byteLength(k)), length(Buffer.byteLength(v)), Buffer.from(k), Buffer.from(v)]));
}

/** The text of all STDOUT records. */
function unframe(bytes) {
  const out = [];
  for (let at = 0; at + 8 <= bytes.length;) {
    const n = bytes.readUInt16BE(at + 4);
    if (bytes[at + 1] === 6) out.push(bytes.subarray(at + 8, at + 8 + n));
    at += 8 + n + bytes[at + 6];
  }
  return Buffer.concat(out).toString('utf8');
}

/**
 * Asks the worker at `to` (a socket's path, or {port}). `pieces`: the body's parts; an async iterable may take its time.
 * `meet` gets the socket, to read as slowly as it likes. Resolves with {status, head, text, ended} when the worker closes;
 * `ended`: the answer had its end record.
 */
export async function ask(to, method, target, { key, headers = {}, size, pieces = [], meet = () => {} } = {}) {
  const socket = net.connect(typeof to === 'string' ? { path: to } : { host: '127.0.0.1', ...to });
  meet(socket);
  const got = [];
  const closed = new Promise((done, fail) => {
    socket.on('data', (b) => got.push(b));
    socket.on('error', (e) => (got.length ? done() : fail(e)));
    socket.on('close', done);
  });
  closed.catch(() => {});
  const all = { REQUEST_METHOD: method, REQUEST_URI: target, SCRIPT_NAME: target, REMOTE_ADDR: '127.0.0.1', SERVER_PROTOCOL: 'HTTP/1.1' };
  for (const [k, v] of Object.entries(headers)) all[`HTTP_${k.toUpperCase().replaceAll('-', '_')}`] = v;
  if (key) all.HTTP_AUTHORIZATION = `Bearer ${key}`;
  if (size !== undefined) Object.assign(all, { CONTENT_LENGTH: String(size), CONTENT_TYPE: 'application/json' });
  socket.write(Buffer.concat([record(BEGIN, Buffer.from([0, 1, 0, 0, 0, 0, 0, 0])), record(PARAMS, params(all)), record(PARAMS)]));
  let over = false;
  closed.then(() => { over = true; }, () => { over = true; });
  for await (const p of pieces) {
    if (over) break;
    socket.write(record(STDIN, Buffer.from(p)));
  }
  if (!over) socket.write(record(STDIN));
  await closed;
  const bytes = Buffer.concat(got);
  const answer = unframe(bytes);
  const at = answer.indexOf('\r\n\r\n');
  return { status: Number(/^Status: (\d+)/m.exec(answer)?.[1] ?? 200), head: answer.slice(0, at), text: answer.slice(at + 4), ended: bytes.at(-15) === END };
}
