// An auth server as forward authentication asks one. Its answer is what the request's `Authorization` says. Argument:
// `{tls: {cert, key, ca}}`, files; with `ca` it wants certificates of that authority.
const fs = require('fs');
const http = require('http');
const https = require('https');

const { tls } = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const read = (name) => name && fs.readFileSync(name);
const demands = { requestCert: Boolean(tls?.ca), rejectUnauthorized: true };
const options = tls && { cert: read(tls.cert), key: read(tls.key), ca: read(tls.ca), ...demands };
const create = (serve) => (tls ? https.createServer(options, serve) : http.createServer(serve));

const server = create((request, response) => {
  const { method, url, headers } = request;
  report('asked', { method, url, headers });
  const answer = (status, fields, body) => response.writeHead(status, fields).end(body);
  const says = headers.authorization;
  if (says === 'good') answer(200, { 'X-User': 'alice', 'X-Other': 'not asked for' }, 'welcome');
  else if (says === 'bad') answer(403, { 'Content-Type': 'text/plain' }, 'no entry');
  else if (says === 'login') answer(302, { Location: 'https://login.example.com/', 'Set-Cookie': 'back=here' });
  else if (says === 'broken') answer(500, {}, 'a stack trace');
  else if (says !== 'slow') answer(401, { 'WWW-Authenticate': 'Basic realm="chat"' }, 'who are you?');
});

server.listen(0, '127.0.0.1', () => report('listening', { port: server.address().port }));
