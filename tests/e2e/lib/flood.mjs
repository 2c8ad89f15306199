// A provider in a process of its own that answers as fast as it is read: flood.mjs KEY CERT BYTES prints its port.
// TLS, HTTP/2 when asked for it: that is where one answer can have the most at hand.
import fs from 'node:fs';
import http2 from 'node:http2';

const [, , key, cert, bytes] = process.argv;
const event = `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', choices: [{ index: 0, delta: { content: 'z'.repeat(16000) } }] })}\n\n`;

const server = http2.createSecureServer({ key: fs.readFileSync(key), cert: fs.readFileSync(cert), allowHTTP1: true });
server.on('request', (req, res) => {
  res.on('error', () => {});
  req.resume().on('end', () => {
    let left = Number(bytes);
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    const more = () => {
      while (left > 0 && !res.destroyed) {
        left -= event.length;
        if (!res.write(event)) return;
      }
      res.end('data: [DONE]\n\n');
      res.off('drain', more);
    };
    res.on('drain', more);
    more();
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
