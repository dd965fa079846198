// What the tests of event streams need in place of a network: a clock, sockets whose handshakes fail or succeed, and requests that wait for an answer.

let now = 0;
let count = 0;
const timers = new Map();

Object.defineProperty(globalThis, "performance", { value: { now: () => 1000 * now } });
globalThis.setTimeout = (call, delay) => {
  timers.set(++count, { call, due: now + delay / 1000 });
  return count;
};
globalThis.clearTimeout = (number) => timers.delete(number);
Math.random = () => 0;

/** Let everything happen that waits for nothing else. */
export async function settle() {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Set the clock, and run the timers that are due. */
export async function advance(to) {
  now = to;
  for (const [number, { call, due }] of [...timers]) if (due <= now && timers.delete(number)) call();
  await settle();
}

/** The seconds until the next timer; null if there is none. */
export const wait = () => (timers.size ? Math.min(...[...timers.values()].map(({ due }) => due)) - now : null);

/** All sockets that were opened, and all requests, in their order. Each has a `kind`: "socket", "question" (for the reason of a refusal) or "stream". */
export const attempts = [];
export const kinds = () => attempts.map(({ kind }) => kind);
export const last = () => attempts.at(-1);

export class Socket {
  constructor(url) {
    Object.assign(this, { kind: "socket", url, sent: [], isClosed: false });
    attempts.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.isClosed = true;
  }

  async open() {
    this.onopen();
    await settle();
  }

  async say(message) {
    this.onmessage({ data: JSON.stringify(message) });
    await settle();
  }

  async lose() {
    this.onclose({ code: 1006, reason: "" });
    await settle();
  }
}

class Asked {
  constructor(url, { headers, signal }) {
    const kind = url.includes("/api/v1/events/") ? "stream" : "question";
    Object.assign(this, { kind, url: new URL(url), headers, isClosed: false });
    signal.addEventListener("abort", () => {
      this.isClosed = true;
      this.reject(new DOMException("aborted", "AbortError"));
      this.controller?.error(new DOMException("aborted", "AbortError"));
    });
    this.response = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    attempts.push(this);
  }

  async answer(status, headers = {}, body = "") {
    this.resolve(new Response(body, { status, headers }));
    await settle();
  }

  async fail() {
    this.reject(new TypeError("fetch failed"));
    await settle();
  }

  async open(type = "text/event-stream") {
    const body = new ReadableStream({ start: (controller) => (this.controller = controller) });
    await this.answer(200, { "Content-Type": type }, body);
  }

  async write(text) {
    this.controller.enqueue(new TextEncoder().encode(text));
    await settle();
  }

  async say(message, id = null, event = message.type) {
    await this.write(`event: ${event}\n${id === null ? "" : `id: ${id}\n`}data: ${JSON.stringify(message)}\n\n`);
  }

  async end() {
    this.controller.close();
    await settle();
  }

  async lose() {
    this.controller.error(new TypeError("terminated"));
    await settle();
  }
}

export const fetch = (url, options) => new Asked(url, options).response;
