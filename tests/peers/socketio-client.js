// A Socket.IO client, WebSocket transport only. Argument: `{url, text, leave, end}`; after the echo of `text` it
// disconnects (`leave`), or asks the server to close with `end`.
const { io } = require('socket.io-client');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const socket = io(options.url, { transports: ['websocket'] });
socket.on('connect', async () => {
  const echo = await socket.emitWithAck('say', options.text ?? 'hello');
  report('echo', { echo });
  if (options.leave) socket.disconnect();
  if (options.end) socket.emit('end', ...options.end);
});
socket.on('disconnect', (what, details) => {
  const { code, reason } = details?.context ?? {};
  report('close', { what, code, reason, again: socket.active });
});
socket.on('connect_error', (error) => report('refused', { what: error.message }));
