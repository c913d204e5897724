// A Socket.IO client. Argument: `{url, transports, text, leave, end}`; WebSocket only unless `transports` says more,
// cookies kept. After the echo of `text` it disconnects (`leave`), or asks the server to close with `end`.
const { io } = require('socket.io-client');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const socket = io(options.url, { transports: options.transports ?? ['websocket'], withCredentials: true });
let began;
socket.io.on('open', () => (began = socket.io.engine.transport.name));
socket.on('connect', async () => {
  const { engine } = socket.io;
  const upgrades = options.transports?.includes('websocket') && engine.transport.name === 'polling';
  if (upgrades) await new Promise((resolve) => engine.once('upgrade', resolve));
  const echo = await socket.emitWithAck('say', options.text ?? 'hello');
  report('echo', { echo, began, transport: engine.transport.name });
  if (options.leave) socket.disconnect();
  if (options.end) socket.emit('end', ...options.end);
});
socket.on('disconnect', (what, details) => {
  const { code, reason } = details?.context ?? {};
  report('close', { what, code, reason, again: socket.active });
});
socket.on('connect_error', (error) => report('refused', { what: error.message }));
