// A SignalR client that asks its hub to close with `end`. Argument: `{url, negotiate, end}`; without `negotiate` it
// opens its WebSocket at once.
const { HttpTransportType, HubConnectionBuilder, LogLevel } = require('@microsoft/signalr');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const connection = new HubConnectionBuilder()
  .withUrl(options.url, { skipNegotiation: !options.negotiate, transport: HttpTransportType.WebSockets })
  .withAutomaticReconnect([60_000])
  .configureLogging(LogLevel.None)
  .build();
connection.onreconnecting((error) => report('close', { ...inWords(error), again: true }));
connection.onclose((error) => report('close', { ...inWords(error), again: false }));
connection.start().then(
  () => connection.send('end', ...options.end),
  (error) => report('error', { what: error.message }),
);

/** It tells the code only in an error's text. */
function inWords(error) {
  if (!error) return { what: 'no error' };
  const [, code, reason] = /^WebSocket closed with status code: (\d+) \((.*)\)\.$/.exec(error.message) ?? [];
  if (!code) return { what: error.message };
  return { code: Number(code), reason: reason === 'no reason given' ? '' : reason };
}
