// As much of a Phoenix endpoint as a channel needs to be joined, and an event `end` that closes.
const { WebSocketServer } = require('ws');

const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
server.on('listening', () => report('listening', { port: server.address().port }));
server.on('connection', (socket) => {
  report('open', {});
  socket.on('message', (data) => {
    const [join, message, topic, event, payload] = JSON.parse(data.toString());
    const reply = [join, message, topic, 'phx_reply', { status: 'ok', response: {} }];
    if (event === 'end') socket.close(...payload.close);
    else socket.send(JSON.stringify(reply));
  });
});
