// A Phoenix client that joins a channel and asks it to close with `end`. Argument: `{url, end}`.
const { Socket } = require('phoenix');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

let again = false;
const socket = new Socket(new URL('socket', options.url).href, {
  transport: require('ws'),
  reconnectAfterMs: () => {
    again = true;
    return 60_000;
  },
});
socket.onClose(({ code, reason }) => report('close', { code, reason, again }));
socket.connect();
const channel = socket.channel('room:1');
channel.join().receive('ok', () => channel.push('end', { close: options.end }));
