// A SockJS server that echoes, closes at `end CODE REASON`, and serves a page with the client.
const fs = require('fs');
const http = require('http');
const path = require('path');
const sockjs = require('sockjs');

const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const script = path.join(path.dirname(require.resolve('sockjs-client/package.json')), 'dist/sockjs.min.js');
const page = '<!doctype html><title>SockJS</title><script src="/sockjs.js"></script>';
const server = http.createServer((request, response) => {
  if (request.url.startsWith('/echo')) return; // SockJS' own
  const isScript = request.url === '/sockjs.js';
  response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html');
  response.end(isScript ? fs.readFileSync(script) : page);
});

const echo = sockjs.createServer({ prefix: '/echo', log: () => {} });
echo.on('connection', (socket) => {
  report('open', { transport: socket.protocol });
  socket.on('data', (text) => {
    const [word, code, reason] = text.split(' ');
    if (word === 'end') socket.close(Number(code), reason);
    else socket.write(text);
  });
  socket.on('close', () => report('close', {}));
});
echo.installHandlers(server);
server.listen(0, '127.0.0.1', () => report('listening', { port: server.address().port }));
