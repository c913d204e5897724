// As much of a SignalR hub as a client needs to be connected: `negotiate`, the handshake of its JSON protocol, and an
// invocation `end` that closes. A WebSocket with an `id` that this server has not given out gets 404, as from the real
// one.
const { randomUUID } = require('crypto');
const http = require('http');
const { WebSocketServer } = require('ws');

const END_OF_RECORD = '\x1e';

const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const given = new Set();
const server = http.createServer((request, response) => {
  if (request.method !== 'POST' || !request.url.includes('/negotiate')) return response.writeHead(404).end();
  const connectionToken = randomUUID();
  given.add(connectionToken);
  const availableTransports = [{ transport: 'WebSockets', transferFormats: ['Text', 'Binary'] }];
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify({ negotiateVersion: 1, connectionId: randomUUID(), connectionToken, availableTransports }));
});
const sockets = new WebSocketServer({ noServer: true });
server.on('upgrade', (request, socket, head) => {
  const id = new URL(request.url, 'http://hub').searchParams.get('id');
  if (id !== null && !given.has(id)) {
    report('stranger', { id });
    return socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  }
  sockets.handleUpgrade(request, socket, head, (socket) => serve(socket, id !== null));
});
server.listen(0, '127.0.0.1', () => report('listening', { port: server.address().port }));

function serve(socket, negotiated) {
  report('open', { negotiated });
  socket.on('message', (data) => {
    for (const record of data.toString().split(END_OF_RECORD).filter(Boolean)) {
      const { protocol, target, arguments: end } = JSON.parse(record);
      if (protocol === 'json') socket.send('{}' + END_OF_RECORD);
      if (target === 'end') socket.close(...end);
    }
  });
}
