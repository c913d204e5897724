// Drives one page of Chromium over the DevTools protocol. Commands come as lines of JSON on stdin, events go to
// stdout: see harness/browser.rs.
const http = require('http');
const readline = require('readline');
const { spawn } = require('child_process');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

main().catch((error) => report('error', { what: String(error?.stack ?? error) }));

async function main() {
  const devtools = startChromium();
  const { targetId } = await devtools.call('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await devtools.call('Target.attachToTarget', { targetId, flatten: true });
  const page = (method, params) => devtools.call(method, params, sessionId);

  devtools.on('Runtime.bindingCalled', ({ payload }) => console.log(payload));
  await page('Page.enable');
  await page('Runtime.enable');
  await page('Runtime.addBinding', { name: 'report' });

  const goTo = async (url) => {
    const loaded = devtools.once('Page.loadEventFired');
    await page('Page.navigate', { url });
    await loaded;
  };
  const evaluate = async (expression) => {
    const params = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await page('Runtime.evaluate', params);
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
    return result.value;
  };

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
}

/**
 * Starts Chromium; gives a client of its DevTools. They talk through a pipe, so that Chromium ends when we do, however
 * we end.
 */
function startChromium() {
  const chromium = spawn(
    options.chromium,
    [
      '--headless=new',
      '--no-sandbox', // it does not start as root otherwise
      '--disable-gpu',
      '--disable-quic',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-proxy-server',
      ...options.flags,
      '--remote-debugging-pipe',
      `--user-data-dir=${options.profile}`,
    ],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
  );
  chromium.on('exit', (code) => report('error', { what: `Chromium ended with ${code}` }));
  return connect(chromium.stdio[3], chromium.stdio[4]);
}

/** A client of the DevTools protocol: JSON texts, each with a zero behind it. */
function connect(output, input) {
  const calls = new Map();
  const listeners = new Map();
  let next = 1;
  let received = '';
  input.setEncoding('utf8').on('data', (data) => {
    const texts = (received + data).split('\0');
    received = texts.pop();
    texts.forEach((text) => handle(JSON.parse(text)));
  });
  function handle({ id, method, params, result, error }) {
    if (method) listeners.get(method)?.(params);
    else if (error) calls.get(id).reject(new Error(JSON.stringify(error)));
    else calls.get(id).resolve(result);
    calls.delete(id);
  }
  return {
    call: (method, params = {}, sessionId = undefined) =>
      new Promise((resolve, reject) => {
        calls.set(next, { resolve, reject });
        output.write(JSON.stringify({ id: next, method, params, sessionId }) + '\0');
        next += 1;
      }),
    on: (method, listener) => listeners.set(method, listener),
    once: (method) => new Promise((resolve) => listeners.set(method, resolve)),
  };
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
