// An echo server that can be unwell. Argument: `{port, certificate, key}`, over TLS with the latter two. Each line of
// input says how it is from now on: `{status}` to plain requests (first 200), `{mute}`: whether pings stay without a pong.
const fs = require('fs');
const http = require('http');
const https = require('https');
const readline = require('readline');
const { WebSocketServer } = require('ws');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

let state = { status: 200, mute: false };
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  state = { ...state, ...JSON.parse(line) };
  report('state', state);
});

const answer = (request, response) => response.writeHead(state.status).end(request.headers.host);
const server = options.certificate
  ? https.createServer({ cert: fs.readFileSync(options.certificate), key: fs.readFileSync(options.key) }, answer)
  : http.createServer(answer);
const sockets = new WebSocketServer({ server, autoPong: false, handleProtocols: ([first]) => first });
sockets.on('connection', (socket, request) => {
  const check = request.headers['user-agent'] === 'tidegate-health';
  report(check ? 'check' : 'open', { path: request.url, host: request.headers.host, protocol: socket.protocol });
  socket.on('ping', (data) => state.mute || socket.pong(data));
  socket.on('message', (data, binary) => socket.send(data, { binary }));
  socket.on('close', (code, reason) => report(check ? 'checked' : 'close', { code, reason: reason.toString() }));
  socket.on('error', () => {}); // 'close' follows
});
server.listen(options.port ?? 0, '127.0.0.1', () => report('listening', { port: server.address().port }));
