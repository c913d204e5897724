// Asks for a page. Argument: `{url, method, ca}`; reports `answer`: `status`, `cookies` (those that it sets), `body`.
const fs = require('fs');
const https = require('https');

const options = JSON.parse(process.argv[2]);
const report = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

const request = https.request(options.url, { method: options.method, ca: fs.readFileSync(options.ca) }, (response) => {
  let body = '';
  response.on('data', (data) => (body += data));
  response.on('end', () => {
    report('answer', { status: response.statusCode, cookies: response.headers['set-cookie'] ?? [], body });
  });
});
request.on('error', (error) => report('error', { what: error.message }));
request.end();
