// A graphql-ws server that answers a subscription with a Close of its variable `end`.
const { WebSocketServer } = require('ws');
const { useServer } = require('graphql-ws/use/ws');

const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
useServer(
  {
    onSubscribe: ({ extra }, id, { variables }) => {
      extra.socket.close(...variables.end);
      return new Promise(() => {}); // there is nothing to execute
    },
  },
  server,
);
server.on('connection', () => report('open', {}));
server.on('listening', () => report('listening', { port: server.address().port }));
