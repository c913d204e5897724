// A graphql-ws client with one subscription, at which the server closes with `end`. Argument: `{url, end}`.
const { createClient } = require('graphql-ws/client');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

let heard;
const finish = (again) => {
  report('close', { ...heard, again });
  process.exit();
};

const client = createClient({
  url: options.url,
  webSocketImpl: require('ws'),
  retryWait: async () => {},
  on: {
    closed: ({ code, reason }) => (heard = { code, reason }),
    connecting: () => heard && finish(true),
  },
});
const request = { query: 'subscription { end }', variables: { end: options.end } };
client.subscribe(request, { next: () => {}, error: () => finish(false), complete: () => finish(false) });
