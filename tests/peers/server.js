// An echo server on Node's `ws`. Argument and commands: see harness/script.rs.
const { WebSocketServer } = require('ws');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  maxPayload: 512 * 1024 * 1024,
  perMessageDeflate: options.deflate ? { threshold: 0 } : false,
  handleProtocols: (offered) => (options.protocols ?? []).find((protocol) => offered.has(protocol)) ?? false,
});

server.on('listening', () => report('listening', { port: server.address().port }));
server.on('connection', (socket, request) => {
  report('open', {
    path: request.url,
    protocol: socket.protocol,
    extensions: socket.extensions,
    headers: request.headers,
  });
  socket.on('close', (code, reason) => report('close', { code, reason: reason.toString() }));
  socket.on('error', () => {}); // 'close' follows
  socket.on('message', (data, binary) => {
    if (binary || !command(socket, data.toString())) socket.send(data, { binary });
  });
});

function command(socket, text) {
  const [verb, code, ...reason] = text.split(' ');
  if (verb === 'close') code ? socket.close(Number(code), reason.join(' ')) : socket.close();
  else if (verb === 'terminate') socket.terminate();
  else if (verb === 'crash') process.kill(process.pid, 'SIGKILL');
  else if (verb === 'silent') socket.pause();
  else return false;
  return true;
}
