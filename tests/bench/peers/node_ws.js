// node server.js PORT HEARTBEAT_SECONDS. POST sends its body to all clients. The heartbeat is that of the README of ws.
const http = require('node:http');
const { WebSocketServer } = require('ws');

const [port, heartbeat] = process.argv.slice(2).map(Number);
const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts);
    for (const client of sockets.clients) client.send(body, { binary: false });
    response.writeHead(204).end();
  });
});
const sockets = new WebSocketServer({ server });

sockets.on('connection', (client) => {
  client.isAlive = true;
  client.on('error', () => {});
  client.on('pong', function () {
    this.isAlive = true;
  });
});
setInterval(() => {
  for (const client of sockets.clients) {
    if (!client.isAlive) {
      client.terminate();
      continue;
    }
    client.isAlive = false;
    client.ping();
  }
}, 1000 * heartbeat);
process.on('SIGTERM', () => process.exit(0));
server.listen({ port, host: '127.0.0.1', backlog: 4096 });
