// A Socket.IO client, WebSocket transport only. Argument: `{url, text, leave}`; `leave`: disconnect after the echo.
const { io } = require('socket.io-client');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const socket = io(options.url, { transports: ['websocket'] });
socket.on('connect', async () => {
  const echo = await socket.emitWithAck('say', options.text);
  report('echo', { echo });
  if (options.leave) socket.disconnect();
});
socket.on('disconnect', (reason) => report('close', { reason }));
socket.on('connect_error', (error) => report('refused', { what: error.message }));
