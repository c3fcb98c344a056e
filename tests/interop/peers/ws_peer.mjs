// The peer on Node's ws: ws_peer.mjs server | ws_peer.mjs client URL. Its working directory holds node_modules.

import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { WebSocket, WebSocketServer } = require("ws");
const { version } = require("ws/package.json");

const ended = new Map();

function control(ws) {
  ws.on("message", (data) => {
    const [word, rest] = split(data.toString());
    if (word === "open") connect(rest);
    else if (word === "closed") ws.send(ended.get(rest) ?? "open");
    else if (word === "version") ws.send(version);
  });
  ws.on("close", () => process.exit());
}

function echo(ws, name) {
  let inParts = false;
  let pinged = null;
  ws.on("message", (data, isBinary) => {
    const order = isBinary || data.length > 200 ? "" : data.toString();
    if (order.startsWith("cmd:")) {
      const [word, rest] = split(order.slice(4));
      if (word === "ping") ws.ping((pinged = rest));
      else if (word === "close") ws.close(Number(split(rest)[0]), split(rest)[1]);
      else if (word === "parts") inParts = true;
    } else if (inParts) {
      inParts = false;
      const step = Math.floor(data.length / 4) + 1;
      for (let at = 0; at < data.length; at += step) {
        ws.send(data.subarray(at, at + step), { binary: isBinary, fin: at + step >= data.length });
      }
    } else {
      ws.send(data, { binary: isBinary });
    }
  });
  ws.on("pong", (data) => {
    if (data.toString() !== pinged) return;
    ws.send(`pong ${pinged}`);
    pinged = null;
  });
  ws.on("close", (code, reason) => ended.set(name, `${code} ${reason}`));
  ws.on("error", (error) => console.error(`${name}: ${error}`));
  keepAlive(ws);
}

// The recipe of the library's README: whoever has not answered when the next ping is due is gone.
function keepAlive(ws) {
  let isAlive = true;
  ws.on("pong", () => (isAlive = true));
  const timer = setInterval(() => {
    if (!isAlive) return ws.terminate();
    isAlive = false;
    ws.ping();
  }, 1000);
  ws.on("close", () => clearInterval(timer));
}

function attach(ws, name) {
  if (name === "control") control(ws);
  else echo(ws, name);
}

function connect(url) {
  const ws = new WebSocket(url, { perMessageDeflate: true });
  ws.on("open", () => attach(ws, url.slice(url.lastIndexOf("/") + 1)));
  ws.on("error", (error) => console.error(`${url}: ${error}`));
}

function split(text) {
  const at = text.indexOf(" ");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

if (process.argv[2] === "client") {
  connect(process.argv[3]);
} else {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: true });
  server.on("connection", (ws, request) => attach(ws, request.url.slice(1)));
  server.on("listening", () => console.log(`listening on 127.0.0.1:${server.address().port}`));
}
