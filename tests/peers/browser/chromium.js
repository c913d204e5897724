// One page of Chromium, driven over the DevTools protocol.
const { spawn } = require('child_process');
const newCalls = require('./calls');

/** Starts it. `heard` gets what the page gives to its function `report`, `ended` is called when the browser ends. */
module.exports = async ({ program, profile, trusting }, heard, ended) => {
  const devtools = start(program, profile, trusting ? ['--ignore-certificate-errors'] : [], ended);
  const { targetId } = await devtools.call('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await devtools.call('Target.attachToTarget', { targetId, flatten: true });
  const page = (method, params) => devtools.call(method, params, { sessionId });

  devtools.on('Runtime.bindingCalled', ({ payload }) => heard(payload));
  await page('Page.enable');
  await page('Runtime.enable');
  await page('Runtime.addBinding', { name: 'report' });

  return {
    goTo: async (url) => {
      const loaded = devtools.once('Page.loadEventFired');
      await page('Page.navigate', { url });
      await loaded;
    },
    evaluate: async (expression) => {
      const params = { expression, awaitPromise: true, returnByValue: true };
      const { result, exceptionDetails } = await page('Runtime.evaluate', params);
      if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
      return result.value;
    },
  };
};

/** Gives the calls of its DevTools. They go through a pipe, so that Chromium ends when we do, however we end. */
function start(program, profile, flags, ended) {
  const chromium = spawn(
    program,
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
      ...flags,
      '--remote-debugging-pipe',
      `--user-data-dir=${profile}`,
    ],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
  );
  chromium.on('exit', ended);
  const [, , , output, input] = chromium.stdio;
  const calls = newCalls((text) => output.write(text + '\0'));
  // Each text has a zero behind it.
  let received = '';
  input.setEncoding('utf8').on('data', (data) => {
    const texts = (received + data).split('\0');
    received = texts.pop();
    texts.forEach(calls.receive);
  });
  return calls;
}
