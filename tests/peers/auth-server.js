// An auth server as forward authentication asks one. Its answer is what the request's `Authorization` says.
const http = require('http');

const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const server = http.createServer((request, response) => {
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
