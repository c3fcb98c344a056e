// The peer on undici's WebSocket: undici_peer.mjs client URL. Its working directory holds node_modules.

import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { WebSocket } = require("undici");
const { version } = require("undici/package.json");

const ended = new Map();

function control(ws) {
  ws.addEventListener("message", ({ data }) => {
    const [word, rest] = split(data);
    if (word === "open") connect(rest);
    else if (word === "closed") ws.send(ended.get(rest) ?? "open");
    else if (word === "version") ws.send(version);
  });
  ws.addEventListener("close", () => process.exit());
}

function echo(ws, name) {
  ws.addEventListener("message", ({ data }) => {
    if (typeof data === "string" && data.startsWith("cmd:")) {
      const [word, rest] = split(data.slice(4));
      if (word === "close") ws.close(Number(split(rest)[0]), split(rest)[1]);
    } else {
      ws.send(data);
    }
  });
  ws.addEventListener("close", ({ code, reason }) => ended.set(name, `${code} ${reason}`));
  ws.addEventListener("error", ({ error }) => console.error(`${name}: ${error}`));
}

function connect(url) {
  const ws = new WebSocket(url);
  ws.binaryType = "arraybuffer";
  const name = url.slice(url.lastIndexOf("/") + 1);
  if (name === "control") control(ws);
  else echo(ws, name);
}

function split(text) {
  const at = text.indexOf(" ");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

connect(process.argv[3]);
