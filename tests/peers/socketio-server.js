// A Socket.IO server that echoes the event `say` and closes the WebSocket itself at `end`, and serves a page with the
// client. Argument: `{transports}`, else WebSocket only.
const { Server } = require('socket.io');
const http = require('http');

const options = JSON.parse(process.argv[2] ?? '{}');
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const page = '<!doctype html><title>Socket.IO</title><script src="/socket.io/socket.io.js"></script>';
const server = http.createServer((request, response) => {
  response.setHeader('Content-Type', 'text/html').end(page);
});
const io = new Server(server, { transports: options.transports ?? ['websocket'] });
// A client of another server: its requests were meant for that.
io.engine.on('connection_error', (error) => report('stranger', { what: error.message }));
io.on('connection', (socket) => {
  report('open', { transport: socket.conn.transport.name });
  socket.conn.on('upgrade', (transport) => report('upgrade', { transport: transport.name }));
  socket.on('say', (text, answer) => answer(text));
  socket.on('end', (...close) => socket.conn.transport.socket.close(...close));
  socket.on('disconnect', (reason) => report('close', { reason }));
});
server.listen(0, '127.0.0.1', () => report('listening', { port: server.address().port }));
