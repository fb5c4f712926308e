// An ordinary HTTP server of Node: it answers when the whole request is there.
const http = require('http');

let served = 0;
http.createServer((request, response) => {
  request.resume();
  request.on('end', () => response.end(`hello ${++served}\n`));
}).listen(Number(process.env.PORT), process.env.BIND || '127.0.0.1');
