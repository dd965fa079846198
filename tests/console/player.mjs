// Plays the conversations of tests/client/transcripts to `watch` of vortex.js. The test provides socket, clock and fetch.
//
// Standard input holds the patterns, the transport and the steps of each conversation, as JSON. The output is the result of each step, in the terms of
// the transcripts. Without a transport, the client chooses.

import { watch } from "../../vortexd/console/vortex.js";

let now = 0;
let timers = new Map();
let count = 0;
let sockets = [];
let answer = null;
let cursors = 0;

Object.defineProperty(globalThis, "performance", { value: { now: () => 1000 * now } });
globalThis.setTimeout = (call, delay) => {
  timers.set(++count, { call, due: now + delay / 1000, delay });
  return count;
};
globalThis.clearTimeout = (number) => timers.delete(number);
// The shortest waits: then what a server asks for is all there is.
Math.random = () => 0;
const happened = () => new Promise((resolve) => setImmediate(resolve));

class Socket {
  constructor(url) {
    this.url = url;
    this.sent = [];
    sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.isClosed = true;
  }
}

const STATES = ["config_snapshot", "config_change", "config_removed", "in_sync"];

// An event stream, with the methods of a socket and of its server. The ids are those of the real server: the version, or an opaque text.
class Stream {
  constructor(url, { headers, signal }, patterns) {
    Object.assign(this, { url, headers, patterns, sent: [], cursor: null });
    signal.addEventListener("abort", () => (this.isClosed = true));
    this.response = new Promise((resolve) => (this.respond = resolve));
    sockets.push(this);
  }

  onopen() {
    const body = new ReadableStream({ start: (controller) => (this.controller = controller) });
    this.respond(new Response(body, { headers: { "Content-Type": "text/event-stream" } }));
  }

  write(text) {
    this.controller.enqueue(new TextEncoder().encode(text));
  }

  onmessage({ data }) {
    let message = null;
    try {
      message = JSON.parse(data);
    } catch {
      // The conversation is about such a text.
    }
    if (message?.type === "ping") {
      this.write(": heartbeat\n\n");
      return;
    }
    let id = "";
    if (STATES.includes(message?.type)) {
      this.cursor = this.patterns.length ? `cursor-${++cursors}` : (message.new_version ?? message.version ?? "");
      id = `id: ${this.cursor}\n`;
    }
    this.write(`event: ${message?.type}\n${id}data: ${data}\n\n`);
  }

  onclose({ code, reason }) {
    if (answer !== null) this.respond(answer);
    else if (code !== 1006) this.write(`event: close\ndata: ${JSON.stringify({ code, reason })}\n\n`);
    else if (this.controller) this.controller.close();
    else this.respond(Promise.reject(new TypeError("fetch failed")));
  }
}

function fire(isDue) {
  for (const [number, timer] of [...timers]) {
    if (!isDue(timer) || !timers.delete(number)) continue;
    timer.call();
  }
}

async function played({ patterns, steps, transport }) {
  [now, timers, sockets] = [0, new Map(), []];
  const fetch = transport === "sse" ? (url, options) => new Stream(url, options, patterns).response : async () => answer;
  const config = watch("ws://server", "orders", "dev", { patterns, WebSocket: Socket, fetch, transport });
  let cursor = null;
  let events = [];
  let isOpen = false;
  config.on("change", ({ key, oldVersion, version, document, patch, isBehind }) => {
    const lag = isBehind ? { is_behind: true } : {};
    if (key === config.key && config.isBehind !== isBehind) throw new Error("the configuration and its change disagree");
    events.push({ expect: { change: { key, old_version: oldVersion, version, document, patch, ...lag } } });
  });
  config.on("refused", ({ code }) => events.push({ expect: { refused: code } }));
  config.on("state", ({ name }) => {
    if (name === "connected") events.push({ expect: "current" });
    if (name !== "stale" && name !== "failed") return;
    isOpen = false;
    // How long it waits before the next attempt is known when the step is over.
    events.push({ end: name === "stale" });
  });
  const outcomes = [];
  for (const [kind, value] of steps) {
    const socket = sockets.at(-1);
    const said = socket?.sent.length;
    switch (kind) {
      case "at":
        now = value;
        if (isOpen) fire(({ due }) => due <= now);
        break;
      case "open": {
        if (socket?.isOver || socket?.isClosed) fire(() => true);
        const query = new URL(sockets.at(-1).url).searchParams;
        const asked = [query.get("last_version"), query.get("generation"), query.get("sent_on")];
        const expected = [value.last_version, value.generation ?? null, value.sent_on ? "1" : null];
        if (transport === "sse") {
          asked.push(sockets.at(-1).headers["Last-Event-ID"] ?? null, query.getAll("pattern"));
          expected.push(value.last_version === null || !patterns.length ? value.last_version : cursor, patterns);
        }
        if (JSON.stringify(asked) !== JSON.stringify(expected)) throw new Error(`it asked for ${JSON.stringify(asked)}`);
        [answer, isOpen] = [null, true];
        break;
      }
      case "accept":
        socket.onopen();
        break;
      case "refused":
        answer = new Response(value.body, { status: value.status, headers: value.headers });
        socket.isOver = true;
        socket.onclose({ code: 1006, reason: "" });
        break;
      case "recv_text":
        socket.onmessage({ data: value });
        break;
      case "close":
        socket.isOver = true;
        socket.onclose(value);
        break;
      case "ack":
        config.ack(value.version, value.status, value.error);
        break;
    }
    for (let turn = 0; turn < (transport === "sse" ? 5 : 1); turn++) await happened();
    cursor = sockets.at(-1)?.cursor ?? cursor;
    const waits = [...timers.values()].map(({ delay }) => delay);
    if (events.some(({ end }) => end) && !waits.length) throw new Error("it may come back, but has set no timer for that");
    outcomes.push({
      events: events.map((each) =>
        "end" in each ? { expect: { end: { return: each.end, after_ms: each.end ? waits[0] || null : null } } } : each,
      ),
      sent: kind === "open" ? [] : sockets.at(-1).sent.slice(said ?? 0).map((message) => ({ send: message })),
    });
    events = [];
  }
  config.close();
  return outcomes;
}

let text = "";
for await (const part of process.stdin) text += part;
const all = [];
for (const each of JSON.parse(text)) {
  try {
    all.push(await played(each));
  } catch (error) {
    all.push(String(error.stack));
  }
}
process.stdout.write(JSON.stringify(all));
