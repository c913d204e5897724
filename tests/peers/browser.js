// Drives one page of a browser. Commands come as lines of JSON on stdin, events go to stdout: see harness/browser.rs.
const http = require('http');
const readline = require('readline');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

main().catch((error) => report('error', { what: String(error?.stack ?? error) }));

async function main() {
  const start = require(`./browser/${options.browser}`);
  const ended = (code) => report('error', { what: `${options.browser} ended with ${code}` });
  const { goTo, evaluate } = await start(options, console.log, ended);
  report('started');

  await goTo(await servePage());
  report('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    if (command.goto) {
      await goTo(command.goto);
      report('loaded');
    } else if (command.define) {
      await evaluate(script);
    } else if (command.evaluate) {
      report('value', { value: await evaluate(command.evaluate) });
    } else if (command.url) {
      await evaluate(`openSocket(${JSON.stringify(command.socket)}, ${JSON.stringify(command.url)})`);
    } else {
      await evaluate(`sockets[${JSON.stringify(command.socket)}].${command.method}(...${JSON.stringify(command.arguments)})`);
    }
  }
  // Nobody is left to drive it.
  process.exit();
}

/** What a page needs to open sockets. */
const script = `
  const sockets = {};
  const tell = (event, fields) => report(JSON.stringify({ event, ...fields }));
  function openSocket(id, url) {
    const socket = (sockets[id] = new WebSocket(url));
    socket.onopen = () => tell('socket-open', { id });
    socket.onmessage = ({ data }) => tell('socket-message', { id, data });
    socket.onclose = ({ code, reason, wasClean }) => tell('socket-close', { id, code, reason, wasClean });
  }`;

/** Serves the page that opens sockets; gives its URL. */
function servePage() {
  const server = http.createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end(`<!doctype html><title>tidegate</title><script>${script}</script>`);
  });
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}/`)),
  );
}
