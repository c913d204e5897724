// A Socket.IO server, WebSocket transport only, that echoes the event `say` and closes the WebSocket itself at `end`.
const { Server } = require('socket.io');
const http = require('http');

const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const server = http.createServer();
const io = new Server(server, { transports: ['websocket'] });
io.on('connection', (socket) => {
  report('open', {});
  socket.on('say', (text, answer) => answer(text));
  socket.on('end', (...close) => socket.conn.transport.socket.close(...close));
  socket.on('disconnect', (reason) => report('close', { reason }));
});
server.listen(0, '127.0.0.1', () => report('listening', { port: server.address().port }));
