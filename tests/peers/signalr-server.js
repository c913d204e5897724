// As much of a SignalR hub as a client needs to be connected: the handshake of its JSON protocol, and an invocation
// `end` that closes.
const { WebSocketServer } = require('ws');

const END_OF_RECORD = '\x1e';

const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
server.on('listening', () => report('listening', { port: server.address().port }));
server.on('connection', (socket) => {
  report('open', {});
  socket.on('message', (data) => {
    for (const record of data.toString().split(END_OF_RECORD).filter(Boolean)) {
      const { protocol, target, arguments: end } = JSON.parse(record);
      if (protocol === 'json') socket.send('{}' + END_OF_RECORD);
      if (target === 'end') socket.close(...end);
    }
  });
});
