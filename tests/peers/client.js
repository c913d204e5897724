// A client on Node's `ws` or `undici`, both by their WHATWG interface. Argument: see harness/script.rs.
const fs = require('fs');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const socket = open();
socket.binaryType = 'arraybuffer';
let echoed = 0;
let heard = () => {};

socket.onerror = () => {}; // 'close' follows
socket.onmessage = ({ data }) => heard(data);
socket.onclose = ({ code, reason, wasClean }) => report('close', { code, reason, wasClean, echoed });
socket.onopen = async () => {
  report('open', { protocol: socket.protocol, extensions: socket.extensions });
  for (const message of options.messages ?? []) await exchange(message);
  report('conversed', { echoed });
  finish();
};

function open() {
  const protocols = options.protocols ?? [];
  if (options.library === 'undici') return new (require('undici').WebSocket)(options.url, protocols);
  return new (require('ws'))(options.url, protocols, {
    perMessageDeflate: options.deflate ? { threshold: 0 } : false,
    ca: options.ca && fs.readFileSync(options.ca),
    cert: options.cert && fs.readFileSync(options.cert),
    key: options.key && fs.readFileSync(options.key),
    maxPayload: 512 * 1024 * 1024,
  });
}

async function exchange(message) {
  const echo = new Promise((resolve) => (heard = resolve));
  let wanted;
  if (message.fragments) {
    wanted = message.fragments.join('');
    message.fragments.forEach((part, i, all) => socket.send(part, { fin: i === all.length - 1 }));
  } else {
    wanted = message.text ?? content(message);
    socket.send(wanted);
  }
  const got = await echo;
  const same = typeof wanted === 'string' ? got === wanted : Buffer.from(got).equals(wanted);
  if (!same) report('error', { what: `the echo of message ${echoed} differs` });
  echoed += 1;
}

function content({ kind, size }) {
  if (kind === 'text') return 'Grüße, '.repeat(Math.ceil(size / 9)).slice(0, size);
  const block = Buffer.alloc(65_521);
  for (let i = 0; i < block.length; i++) block[i] = (i * 2654435761) >>> 13;
  return Buffer.alloc(size, block);
}

function finish() {
  if (options.close) socket.close(...options.close);
  else if (options.say) socket.send(options.say);
  else if (options.terminate) socket.terminate();
}
