// An echo server on Node's `ws`. Argument and commands: see harness/script.rs.
const fs = require('fs');
const { WebSocketServer } = require('ws');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const read = (file) => file && fs.readFileSync(file);
const { cert, key, ca } = options.tls ?? {};
const http = options.tls
  ? require('https').createServer({ cert: read(cert), key: read(key), ca: read(ca), requestCert: !!ca })
  : require('http').createServer();

const server = new WebSocketServer({
  server: http,
  maxPayload: 512 * 1024 * 1024,
  perMessageDeflate: options.deflate ? { threshold: 0 } : false,
  verifyClient: options.handshake_ms && ((_, accept) => setTimeout(() => accept(true), options.handshake_ms)),
  handleProtocols: (offered) => (options.protocols ?? []).find((protocol) => offered.has(protocol)) ?? false,
});

http.on('request', (request, response) => response.writeHead(426).end('Upgrade Required'));
http.listen(0, '127.0.0.1', () => report('listening', { port: http.address().port }));
server.on('connection', (socket, request) => {
  if (server.clients.size > (options.max_sessions ?? Infinity)) return socket.close(1013, 'full');
  report('open', {
    path: request.url,
    protocol: socket.protocol,
    extensions: socket.extensions,
    headers: request.headers,
    certificate: options.tls && request.socket.getPeerCertificate().subject?.CN,
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
