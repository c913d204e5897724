// One page of Firefox, driven over WebDriver BiDi, which it speaks by itself: no geckodriver is between.
const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { spawn } = require('child_process');
const { once } = require('events');
const WebSocket = require('ws');
const newCalls = require('./calls');

/** Starts it. `heard` gets what the page gives to its function `report`, `ended` is called when the browser ends. */
module.exports = async ({ program, profile, trusting }, heard, ended) => {
  const bidi = await connect(await start(program, profile, ended));
  await bidi.call('session.new', { capabilities: { alwaysMatch: { acceptInsecureCerts: trusting } } });
  const { contexts } = await bidi.call('browsingContext.getTree');
  const { context } = contexts[0];

  bidi.on('script.message', ({ data }) => heard(data.value));
  await bidi.call('session.subscribe', { events: ['script.message'] });
  await bidi.call('script.addPreloadScript', {
    functionDeclaration: '(channel) => (window.report = channel)',
    arguments: [{ type: 'channel', value: { channel: 'report' } }],
  });

  return {
    goTo: (url) => bidi.call('browsingContext.navigate', { context, url, wait: 'complete' }),
    evaluate: async (expression) => {
      const params = { expression, target: { context }, awaitPromise: true };
      const { result, exceptionDetails } = await bidi.call('script.evaluate', params);
      if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
      return plain(result);
    },
  };
};

/** Gives the URL where it speaks BiDi. There is no pipe to it: the kernel ends it when we end, however we end. */
async function start(program, profile, ended) {
  // For the rest it has settings of its own while it is driven: no updates, no first-run pages, no reports.
  fs.writeFileSync(path.join(profile, 'user.js'), 'user_pref("network.proxy.type", 0);\n');
  const firefox = ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port', '0'];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...firefox], {
    // As root it does not start in the home of another.
    env: { ...process.env, HOME: profile, MOZ_CRASHREPORTER_DISABLE: '1' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  child.on('exit', ended);
  return new Promise((resolve) =>
    // Read to the end, or a browser with much to say would stand still.
    readline.createInterface({ input: child.stderr }).on('line', (line) => {
      const [, url] = /^WebDriver BiDi listening on (ws:.*)/.exec(line) ?? [];
      if (url) resolve(url);
    }),
  );
}

async function connect(url) {
  const socket = new WebSocket(`${url}/session`);
  const calls = newCalls((text) => socket.send(text));
  socket.on('message', (data) => calls.receive(data));
  await once(socket, 'open');
  return calls;
}

/** A value of BiDi as one of JavaScript. */
function plain({ type, value }) {
  if (type === 'array') return value.map(plain);
  if (type === 'object') return Object.fromEntries(value.map(([key, value]) => [key, plain(value)]));
  return value;
}
