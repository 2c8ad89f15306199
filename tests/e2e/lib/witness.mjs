// Sees every answer that this process reads from a gateway, whoever reads it - SDKs, fetch, http.request, raw sockets -
// and holds it against docs/openapi.yaml.
//
//   watch(port, (wrong) => ...)     unwatch(port)     judged
import diagnostics from 'node:diagnostics_channel';
import http2 from 'node:http2';
import { judge } from './openapi.mjs';

const gateways = new Map(); // port -> where to complain
/** How many answers were judged. */
export let judged = 0;
const KEPT = 4 << 20; // larger bodies are a provider's; their schema is not ours

/** Cuts the bytes of one direction of a connection into messages: {start, headers, body, whole}. */
class Messages {
  /** bodyOf(head) says how long the body is: a number, 'chunked', or 'close'; done(message) takes a message. */
  constructor(bodyOf, done) {
    Object.assign(this, { bodyOf, done, bytes: Buffer.alloc(0), at: null });
  }

  feed(bytes) {
    this.bytes = this.bytes.length ? Buffer.concat([this.bytes, bytes]) : bytes;
    while (this.at ? this.body() : this.head());
  }

  line() {
    const end = this.bytes.indexOf('\r\n');
    if (end < 0) return null;
    const text = this.bytes.toString('latin1', 0, end);
    this.bytes = this.bytes.subarray(end + 2);
    return text;
  }

  head() {
    while (this.bytes[0] === 13 && this.bytes[1] === 10) this.bytes = this.bytes.subarray(2); // after the last chunk
    const end = this.bytes.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const [start, ...lines] = this.bytes.toString('latin1', 0, end).split('\r\n');
    this.bytes = this.bytes.subarray(end + 4);
    const headers = {};
    for (const l of lines) {
      const name = l.slice(0, l.indexOf(':')).toLowerCase(), value = l.slice(l.indexOf(':') + 1).trim();
      headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
    }
    this.at = { start, headers, parts: [], size: 0 };
    const length = this.bodyOf(this.at);
    this.chunked = length === 'chunked';
    this.left = this.chunked ? 0 : length === 'close' ? Infinity : length;
    if (this.left === 0 && !this.chunked) this.finish(true);
    return true;
  }

  body() {
    if (this.chunked && this.left === 0) {
      const line = this.line();
      if (line === null) return false;
      if (line === '') return true; // after a chunk
      this.left = parseInt(line, 16);
      if (this.left === 0) this.finish(true);
      return true;
    }
    if (!this.bytes.length) return false;
    const part = this.bytes.subarray(0, this.left);
    this.bytes = this.bytes.subarray(part.length);
    this.left -= part.length;
    this.at.size += part.length;
    if (this.at.size <= KEPT) this.at.parts.push(part);
    if (this.left === 0 && !this.chunked) this.finish(true);
    return true;
  }

  finish(whole) {
    const { start, headers, parts, size } = this.at;
    this.at = null;
    this.done({ start, headers, body: Buffer.concat(parts).toString('utf8'), whole: whole && size <= KEPT });
  }

  /** The connection is over: what was begun is told as far as it came. */
  end() {
    if (this.at) this.finish(this.left === Infinity);
  }
}

const sentLength = (head) => (/chunked/i.test(head.headers['transfer-encoding'] ?? '') ? 'chunked' : Number(head.headers['content-length'] ?? 0));

/** Listens in on one client socket without touching its flow: what is read is seen where the socket buffers it, what is written
 *  where the socket hands it on. */
function attend(socket) {
  const asked = [];
  let tell, frames = false;
  const requests = new Messages(sentLength, (m) => asked.push(m));
  const answers = new Messages((head) => {
    head.status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head.start)?.[1]);
    const method = asked[0]?.start.split(' ')[0] ?? requests.at?.start.split(' ')[0];
    if (head.status < 200 || head.status === 204 || head.status === 304 || method === 'HEAD') return 0;
    const length = sentLength(head);
    return length === 'chunked' || 'content-length' in head.headers ? length : 'close';
  }, (answer) => {
    const status = Number(answer.start.split(' ')[1]);
    if (status < 200) return;
    const request = asked.shift() ?? requests.at; // refused before it was read to its end
    if (!/^[A-Z]+ \S+ HTTP\/1\.[01]$/.test(request?.start ?? '')) return; // the web server's answer to what is not HTTP
    const [method, target] = request.start.split(' ');
    judged++;
    const { headers, body, whole } = answer;
    try {
      const wrong = judge({ method, target, sent: request.headers, status, headers, body, whole });
      if (wrong) tell(wrong);
    } catch (e) {
      tell(`${e.message}: ${method} ${target} ${status} ${body.slice(0, 400)}`);
    }
  });
  const written = (chunk, encoding) => {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : Buffer.from(chunk);
    frames ||= bytes.toString('latin1', 0, 14) === 'PRI * HTTP/2.0';
    if (!frames) requests.feed(bytes);
  };
  const { _write, _writev, push } = socket;
  socket._write = function seen(chunk, encoding, done) {
    written(chunk, encoding);
    return _write.call(this, chunk, encoding, done);
  };
  socket._writev = function seen(chunks, done) {
    for (const { chunk, encoding } of chunks) written(chunk, encoding);
    return _writev.call(this, chunks, done);
  };
  socket.push = function seen(chunk, encoding) {
    if (tell && chunk) answers.feed(Buffer.from(chunk));
    return push.call(this, chunk, encoding);
  };
  socket.once('connect', () => {
    tell = gateways.get(socket.remotePort);
    if (!tell) Object.assign(socket, { _write, _writev, push }); // somebody else's
  });
  socket.once('close', () => { if (tell) answers.end(); });
}
diagnostics.subscribe('net.client.socket', ({ socket }) => attend(socket));

// HTTP/2 frames are not read here; a test that waits for such an answer must not pass unseen.
const { connect } = http2;
http2.connect = (authority, ...more) => {
  const session = connect(authority, ...more), { request } = session;
  session.request = (...args) => request.apply(session, args)
    .on('response', () => gateways.get(Number(new URL(authority).port))?.(`an HTTP/2 answer was not judged: ${JSON.stringify(args[0])}`));
  return session;
};

export const watch = (port, complain) => gateways.set(port, complain);
export const unwatch = (port) => gateways.delete(port);
