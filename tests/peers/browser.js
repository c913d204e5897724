// Drives one page of Chromium over the DevTools protocol. Commands come as lines of JSON on stdin, events go to
// stdout: see harness/browser.rs.
const http = require('http');
const readline = require('readline');
const { spawn } = require('child_process');
const WebSocket = require('ws');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

main().catch((error) => report('error', { what: String(error?.stack ?? error) }));

async function main() {
  const devtools = await connect(await startChromium());
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
    } else if (command.evaluate) {
      report('value', { value: await evaluate(command.evaluate) });
    } else if (command.url) {
      await evaluate(`openSocket(${JSON.stringify(command.socket)}, ${JSON.stringify(command.url)})`);
    } else {
      await evaluate(`sockets[${JSON.stringify(command.socket)}].${command.method}(...${JSON.stringify(command.arguments)})`);
    }
  }
}

/** Starts Chromium; gives the address of its DevTools. */
function startChromium() {
  const chromium = spawn(options.chromium, [
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
    '--remote-debugging-port=0',
    `--user-data-dir=${options.profile}`,
  ]);
  // We are killed, not asked to end; Chromium must not outlive us.
  process.stdin.on('close', () => chromium.kill('SIGKILL'));
  return new Promise((resolve, reject) => {
    let log = '';
    chromium.stderr.on('data', (data) => {
      log += data;
      const found = /DevTools listening on (ws:\S+)/.exec(log);
      if (found) resolve(found[1]);
    });
    chromium.on('exit', (code) => reject(new Error(`Chromium ended with ${code}: ${log}`)));
  });
}

/** A client of the DevTools protocol. */
function connect(url) {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  const calls = new Map();
  const listeners = new Map();
  let next = 1;
  socket.on('message', (data) => {
    const { id, method, params, result, error } = JSON.parse(data);
    if (method) listeners.get(method)?.(params);
    else if (error) calls.get(id).reject(new Error(JSON.stringify(error)));
    else calls.get(id).resolve(result);
    calls.delete(id);
  });
  const devtools = {
    call: (method, params = {}, sessionId = undefined) =>
      new Promise((resolve, reject) => {
        calls.set(next, { resolve, reject });
        socket.send(JSON.stringify({ id: next, method, params, sessionId }));
        next += 1;
      }),
    on: (method, listener) => listeners.set(method, listener),
    once: (method) => new Promise((resolve) => listeners.set(method, resolve)),
  };
  return new Promise((resolve, reject) => {
    socket.on('open', () => resolve(devtools));
    socket.on('error', reject);
  });
}

/** Serves the page that opens sockets; gives its URL. */
function servePage() {
  const script = `
    const sockets = {};
    const tell = (event, fields) => report(JSON.stringify({ event, ...fields }));
    function openSocket(id, url) {
      const socket = (sockets[id] = new WebSocket(url));
      socket.onopen = () => tell('socket-open', { id });
      socket.onmessage = ({ data }) => tell('socket-message', { id, data });
      socket.onclose = ({ code, reason, wasClean }) => tell('socket-close', { id, code, reason, wasClean });
    }`;
  const server = http.createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end(`<!doctype html><title>tidegate</title><script>${script}</script>`);
  });
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}/`)),
  );
}
