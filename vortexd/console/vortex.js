// A client of vortexd for browsers and Node, in one file without dependencies.
//
//     import { watch } from "./vortex.js";
//
//     const config = watch("ws://127.0.0.1:8888", "billing", "prod", { token });
//     await config.ready;
//     console.log(config.document.database.pool.size);
//     for await (const change of config) console.log(change.patch, config.document);
//
// It keeps the document of one application (and of all keys that `patterns` match) up to date. It verifies each version before it reports a
// change. When a connection ends, it reconnects and names the version that it has. `state` describes the connection. vortexd-api(7) describes
// the protocol.
//
// Node has its own WebSocket from version 22 on. On older versions, this client uses the package `ws`: `npm install ws`.
//
// If a proxy doesn't pass WebSockets, the client reads the same messages as Server-Sent Events. It can't acknowledge versions then.
//
// Documents hold JavaScript numbers, but internally numbers keep their text: 1 and 1.0 are two values, and versions are hashes of the text.

// JSON whose numbers keep their text.

class Numeral {
  constructor(text) {
    this.text = text;
  }
}

const TOKEN =
  /[ \t\n\r]*(?:([{}[\]:,])|("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null))/y;
const WORDS = { true: true, false: false, null: null };
const MOST_DEPTH = 512;

/** Parse JSON: objects become Maps, numbers Numerals. Throws SyntaxError. */
export function parse(text) {
  let at = 0;
  const next = () => {
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    if (found === null) throw new SyntaxError(`invalid JSON at ${at}`);
    at = TOKEN.lastIndex;
    return found;
  };
  const expect = (sign) => {
    if (next()[1] !== sign) throw new SyntaxError(`${sign} is missing before ${at}`);
  };
  const value = (found, depth) => {
    if (depth > MOST_DEPTH) throw new SyntaxError("nested too deeply");
    if (found[2] !== undefined) return JSON.parse(found[2]);
    if (found[3] !== undefined) return new Numeral(found[3]);
    if (found[4] !== undefined) return WORDS[found[4]];
    if (found[1] === "[") return list(depth);
    if (found[1] === "{") return object(depth);
    throw new SyntaxError(`a value is missing before ${at}`);
  };
  const list = (depth) => {
    const made = [];
    let found = next();
    if (found[1] === "]") return made;
    for (;;) {
      made.push(value(found, depth + 1));
      const sign = next()[1];
      if (sign === "]") return made;
      if (sign !== ",") throw new SyntaxError(`a comma is missing before ${at}`);
      found = next();
    }
  };
  const object = (depth) => {
    const made = new Map();
    let found = next();
    if (found[1] === "}") return made;
    for (;;) {
      if (found[2] === undefined) throw new SyntaxError(`a name is missing before ${at}`);
      const name = JSON.parse(found[2]);
      expect(":");
      made.set(name, value(next(), depth + 1));
      const sign = next()[1];
      if (sign === "}") return made;
      if (sign !== ",") throw new SyntaxError(`a comma is missing before ${at}`);
      found = next();
    }
  };
  const made = value(next(), 0);
  if (text.slice(at).trim() !== "") throw new SyntaxError(`more text after ${at}`);
  return made;
}

/** Turn the result of `parse` into ordinary values. */
export function plain(tree) {
  if (tree instanceof Numeral) return Number(tree.text);
  if (Array.isArray(tree)) return tree.map(plain);
  // fromEntries makes data properties, whatever their names: "__proto__" is harmless.
  if (tree instanceof Map) return Object.fromEntries([...tree].map(([name, each]) => [name, plain(each)]));
  return tree;
}

/** Write the result of `parse` as compact JSON with sorted names. A version is the hash of this text. */
export function canonical(tree) {
  if (tree instanceof Numeral) return tree.text;
  if (Array.isArray(tree)) return `[${tree.map(canonical).join(",")}]`;
  if (tree instanceof Map) {
    const names = [...tree.keys()].sort(byCodePoints);
    return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(tree.get(name))}`).join(",")}}`;
  }
  return JSON.stringify(tree);
}

// Compare as UTF-8 sorts. JavaScript sorts strings by UTF-16 units.
function byCodePoints(one, other) {
  const [ones, others] = [[...one], [...other]];
  for (let index = 0; index < ones.length && index < others.length; index++) {
    const difference = ones[index].codePointAt(0) - others[index].codePointAt(0);
    if (difference) return difference;
  }
  return ones.length - others.length;
}

// SHA-256 (FIPS 180-4). WebCrypto's is asynchronous, and pages without TLS don't have it.

const primes = (count) => {
  const found = [];
  for (let each = 2; found.length < count; each++) if (found.every((prime) => each % prime)) found.push(each);
  return found;
};
const fraction = (root) => Math.floor((root - Math.floor(root)) * 2 ** 32) | 0;
const ROUNDS = primes(64).map((prime) => fraction(Math.cbrt(prime)));
const START = primes(8).map((prime) => fraction(Math.sqrt(prime)));

/** Return the first 16 hex digits of the SHA-256 of a parsed document in its canonical form. */
export function versionOf(tree) {
  const data = new TextEncoder().encode(canonical(tree));
  const padded = new Uint8Array(((data.length + 72) >> 6) << 6);
  padded.set(data);
  padded[data.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(data.length / 2 ** 29));
  view.setUint32(padded.length - 4, data.length << 3);
  const turn = (word, by) => (word >>> by) | (word << (32 - by));
  const hash = [...START];
  const words = new Int32Array(64);
  for (let block = 0; block < padded.length; block += 64) {
    for (let index = 0; index < 64; index++) {
      if (index < 16) {
        words[index] = view.getInt32(block + 4 * index);
        continue;
      }
      const [far, near] = [words[index - 15], words[index - 2]];
      const [low, high] = [turn(far, 7) ^ turn(far, 18) ^ (far >>> 3), turn(near, 17) ^ turn(near, 19) ^ (near >>> 10)];
      words[index] = words[index - 16] + low + words[index - 7] + high;
    }
    let [a, b, c, d, e, f, g, h] = hash;
    for (let index = 0; index < 64; index++) {
      const choice = (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g));
      const one = (h + choice + ROUNDS[index] + words[index]) | 0;
      const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, index) => (hash[index] = (hash[index] + word) | 0));
  }
  return [hash[0], hash[1]].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

// RFC 6902 patches of parsed documents. Nothing is modified in place.

class OutOfSync extends Error {}

/** Apply a patch, a parsed list of operations, and return the new document. Throws if the patch doesn't apply. */
export function patched(tree, operations) {
  for (const operation of operations) {
    const path = pointer(operation.get("path"));
    const value = operation.get("value");
    switch (operation.get("op")) {
      case "add":
        tree = put(tree, path, value);
        break;
      case "replace":
        at(tree, path);
        tree = path.length ? put(without(tree, path), path, value) : value;
        break;
      case "remove":
        tree = without(tree, path);
        break;
      case "move": {
        const from = pointer(operation.get("from"));
        const moved = at(tree, from);
        tree = put(without(tree, from), path, moved);
        break;
      }
      case "copy":
        tree = put(tree, path, at(tree, pointer(operation.get("from"))));
        break;
      case "test":
        if (canonical(at(tree, path)) !== canonical(value)) throw new OutOfSync("a test failed");
        break;
      default:
        throw new OutOfSync("unknown operation");
    }
  }
  return tree;
}

function pointer(text) {
  if (text === "") return [];
  if (typeof text !== "string" || text[0] !== "/") throw new OutOfSync("not a JSON pointer");
  return text
    .slice(1)
    .split("/")
    .map((each) => each.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function at(tree, path) {
  for (const step of path) {
    if (tree instanceof Map && tree.has(step)) tree = tree.get(step);
    else if (Array.isArray(tree) && position(step, tree.length - 1) !== null) tree = tree[position(step, tree.length - 1)];
    else throw new OutOfSync("the patch names a path that doesn't exist");
  }
  return tree;
}

function position(step, last) {
  return /^(0|[1-9]\d{0,15})$/.test(step) && Number(step) <= last ? Number(step) : null;
}

function put(tree, path, value) {
  if (!path.length) return value;
  return altered(tree, path, (holder, step) => {
    if (holder instanceof Map) return holder.set(step, value);
    const index = step === "-" ? holder.length : position(step, holder.length);
    if (index === null) throw new OutOfSync("the patch names a path that doesn't exist");
    holder.splice(index, 0, value);
    return holder;
  });
}

function without(tree, path) {
  if (!path.length) return null;
  return altered(tree, path, (holder, step) => {
    at(holder, [step]);
    if (holder instanceof Map) holder.delete(step);
    else holder.splice(Number(step), 1);
    return holder;
  });
}

// Copy the containers along a path, and let `change` modify the copy of the last one.
function altered(tree, [step, ...rest], change) {
  const copy = tree instanceof Map ? new Map(tree) : Array.isArray(tree) ? [...tree] : null;
  if (copy === null) throw new OutOfSync("the patch names a path that doesn't exist");
  if (!rest.length) return change(copy, step);
  const below = altered(at(tree, [step]), rest, change);
  if (copy instanceof Map) copy.set(step, below);
  else copy[Number(step)] = below;
  return copy;
}

// Generations, which order the publications of a label: `EPOCH.NUMBER`. Only generations of one epoch compare. Numbers reach 2 ** 53.

const GENERATION = /^([0-9a-f]{1,32})\.([1-9][0-9]{0,15})$/;

// The generation that a message names, or null. A malformed one is ignored, like an unknown member.
function generationOf(message) {
  const text = message.get("generation");
  const found = typeof text === "string" ? GENERATION.exec(text) : null;
  if (found === null || BigInt(found[2]) > 2n ** 53n) return null;
  return { text, epoch: found[1], number: BigInt(found[2]) };
}

function isAhead(one, other) {
  return one !== null && other !== null && one.epoch === other.epoch && one.number > other.number;
}

// The messages that bring a document, and the generation of that document.
const DOCUMENTS = new Set(["config_snapshot", "config_change"]);

// The client's copy of one key. Invariants: `version` is always the version of `tree`; without a version there is no generation.

class Replica {
  version = null;
  tree = null;
  // The newest generation that a server named with `version`, or null.
  generation = null;
  // A server that is behind has sent this state: it is older than one that the client had before.
  isBehind = false;
  // The generation that the state has to reach again, or null.
  #former = null;

  // Whether a snapshot or change is older than this state, and the server didn't mark it as stale.
  isAheadOf(message) {
    return DOCUMENTS.has(message.get("type")) && message.get("stale") !== true && isAhead(this.generation, generationOf(message));
  }

  // Apply a state message. Return whether the document has changed. Throws OutOfSync if it doesn't apply; then nothing was changed.
  receive(message) {
    const hasChanged = this.#apply(message);
    const [named, former] = [generationOf(message), this.generation];
    if (this.version === null) this.generation = null;
    else if (DOCUMENTS.has(message.get("type"))) this.generation = named;
    else if (named !== null && !isAhead(this.generation, named)) this.generation = named;
    this.#noteLag(message, former);
    return hasChanged;
  }

  // Note whether this state is older than one before. `former` is the generation before the message.
  #noteLag(message, former) {
    if (message.get("type") === "config_snapshot" && message.get("stale") === true) {
      this.isBehind = true;
      if (this.#former === null || isAhead(former, this.#former)) this.#former = former;
    } else {
      // A server that is behind may get there step by step, and may answer a resync with the same state again.
      this.isBehind &&= isAhead(this.#former, this.generation);
    }
    if (!this.isBehind) this.#former = null;
  }

  #apply(message) {
    const version = message.get("new_version") ?? message.get("version") ?? null;
    switch (message.get("type")) {
      case "config_snapshot":
        return this.#replace(message.get("config"), version);
      case "config_change":
        if (version !== null && version === this.version) return false;
        if (this.version === null || message.get("old_version") !== this.version) throw new OutOfSync("the change starts from another version");
        return this.#replace(patched(this.tree, message.get("diff")), version);
      case "config_removed": {
        const changed = this.version !== null;
        this.version = this.tree = null;
        return changed;
      }
      default:
        if (version !== this.version) throw new OutOfSync("the server is in sync with another version");
        return false;
    }
  }

  #replace(tree, version) {
    if (!(tree instanceof Map) || versionOf(tree) !== version) throw new OutOfSync("the document doesn't match the version that the server named");
    const changed = version !== this.version;
    [this.tree, this.version] = [tree, version];
    return changed;
  }
}

// The client's end of one connection, without any I/O: takes text and times, returns events and text to send.

const STATES = new Set(["config_snapshot", "config_change", "config_removed", "in_sync"]);
// Seconds, if the server doesn't name its own: the sum of the defaults of realtime.heartbeat_interval and heartbeat_timeout.
const HEARTBEAT = 40;
const [RESYNC_RATE, RESYNC_BURST, MOST_RESYNCS, RESYNC_PAUSE, RESYNC_PATIENCE] = [0.9, 8, 3, 1, 10];
// One heartbeat may precede the first snapshots, but not two.
const FENCE = 2;
const INCOMPLETE = "the server sent an incomplete message";
const LEADS_NOWHERE = "the server's changes don't lead to the version that it names";

/** The client's state between connections. */
export class Held {
  key = null;
  main = new Replica();
  others = new Map();
  // The last acknowledgement of each key, for servers that don't have it yet.
  acks = new Map();
  // A server that was behind has sent this client on, and no server has sent a state since then. The next one must not send it on again.
  isSentOn = false;
  // The id of the last event, if it leads back to exactly these states; or null.
  cursor = null;
  // The changes of an event stream didn't lead to the version that the server named. The next stream must begin with snapshots.
  needsSnapshots = false;

  note(key, version, status, error) {
    this.acks.set(key, { version, status, ...(error ? { error: String(error).slice(0, 4096) } : {}) });
  }
}

export class Conversation {
  #held;
  #patterns;
  #heard;
  #heartbeat = HEARTBEAT;
  #tokens = RESYNC_BURST;
  #refilled;
  #troubles = new Map();
  #hasBegun = false;
  #isCurrent = false;
  #unconfirmed;
  // The keys whose acknowledgement this server already has, or for which there is none.
  #acknowledged = new Set();
  #mayAcknowledge;
  #heartbeats;
  #outgoing = [];
  // Whether the client can't send anything, because this is an event stream.
  #isOneWay;
  // The keys of which this server has sent an older state than the client has. Until they reach it, the ids of events name older states.
  #older = new Set();
  #closing = null;
  reconnectAfterMs = null;

  /** `held` is changed in place; `now` is monotonic time, in seconds. If `isOneWay`, the request has the patterns, and there are no answers. */
  constructor(held, patterns, now, isOneWay = false) {
    this.#held = held;
    this.#isOneWay = isOneWay;
    this.#mayAcknowledge = !isOneWay;
    this.#patterns = new Set(patterns);
    this.#heard = this.#refilled = now;
    this.#unconfirmed = new Set(held.others.keys());
    this.#heartbeats = this.#patterns.size ? null : 0;
    if (this.#patterns.size && !isOneWay) this.#send("subscribe", { patterns: [...this.#patterns] });
  }

  /** Interpret the code with which the connection has ended, and note whether the server sends this client on to another server. */
  close(code, text = "") {
    if (code === BEHIND) this.#held.isSentOn = true;
    return closed(code, text);
  }

  /** Interpret the end of an event stream. The server has announced the reason in `connection_closing`, unless the connection broke. */
  end() {
    const announced = Object.keys(CLOSES).find((code) => CLOSES[code][0] === this.#closing);
    return this.close(announced === undefined ? 1006 : Number(announced));
  }

  takeOutgoing() {
    return this.#outgoing.splice(0);
  }

  /** The latest time to call `tick`. */
  get wakeAt() {
    const dues = [...this.#troubles.values()].map((each) => (each.hasFailed ? each.notBefore : each.atLast));
    return Math.min(this.#heard + this.#heartbeat, ...dues);
  }

  /** Do what is due: give up on a silent server, and repeat a resync that had no answer. */
  tick(now) {
    if (now >= this.#heard + this.#heartbeat) return [over("the server is silent: no heartbeat in time")];
    const events = [];
    for (const [key, trouble] of [...this.#troubles]) {
      if (now >= (trouble.hasFailed ? trouble.notBefore : trouble.atLast)) events.push(...this.#ask(key, trouble, now));
    }
    return events;
  }

  acknowledge(key, version, status, error) {
    this.#held.note(key, version, status, error);
    this.#sendAck(key);
  }

  #sendAck(key) {
    this.#acknowledged.add(key);
    if (this.#mayAcknowledge) this.#send("ack", { ...this.#held.acks.get(key), ...parts(key) });
  }

  /** Process the heartbeat of an event stream, which is a comment. */
  beat(now) {
    this.#heard = now;
    return this.#held.key === null ? [] : [...this.#signOfLife(), ...this.#fence()];
  }

  /** Process one message. If the server breaks the protocol, the result is an event of the type "over". `id` is that of its event, or null. */
  receive(text, now, id = null) {
    this.#heard = now;
    let message;
    try {
      message = parse(text);
    } catch {
      message = null;
    }
    if (!(message instanceof Map) || typeof message.get("type") !== "string") {
      return [over("the server sent an invalid message")];
    }
    if (message.has("schema") && message.get("schema")?.text !== "1") {
      return [over("the server uses a message schema that this client doesn't know; update the client", false)];
    }
    const type = message.get("type");
    if (STATES.has(type)) return this.#state(type, message, now, id);
    switch (type) {
      case "hello":
        this.#heartbeat = heartbeatOf(message);
        break;
      case "ping":
        return this.#receiveHeartbeat(message, now);
      case "subscribed":
        this.#heartbeats = 0;
        break;
      case "unsubscribed":
        return this.#unsubscribed(message.get("patterns"));
      case "connection_closing":
        this.reconnectAfterMs = milliseconds(message, "reconnect_after_ms");
        this.#closing = message.get("reason") ?? null;
        break;
      case "error":
        return this.#refused(message.get("code"), message.get("message"));
    }
    return [];
  }

  #state(type, message, now, id) {
    const names = ["app", "profile", "label"].map((name) => message.get(name));
    if (!names.every((each) => typeof each === "string")) return [over(INCOMPLETE)];
    const key = names.join(":");
    if (!this.#hasBegun) {
      // The first state belongs to the main subscription, by whatever name the server now calls it.
      this.#hasBegun = true;
      this.#held.key = key;
      this.#held.others.delete(key);
    }
    const replica = this.#replica(key);
    // The message crossed an `unsubscribe`.
    if (replica === null) return [];
    if (replica.isAheadOf(message) && (key !== this.#held.key || type === "config_change")) {
      // This server hasn't reached the state that another one sent, or it still passes through former states with the same
      // content. The key exists, so it must not be dropped at the heartbeats.
      this.#unconfirmed.delete(key);
      this.#older.add(key);
      this.#held.cursor = null;
      return [];
    }
    const old = replica.version;
    let hasChanged;
    try {
      hasChanged = replica.receive(message);
    } catch {
      return this.#outOfSync(key, now);
    }
    this.#troubles.delete(key);
    this.#unconfirmed.delete(key);
    this.#older.delete(key);
    if (id !== null) this.#held.cursor = this.#older.size ? null : id;
    if (!this.#acknowledged.has(key) && this.#held.acks.get(key)?.version === replica.version) this.#sendAck(key);
    this.#acknowledged.add(key);
    const events = [];
    if (hasChanged) {
      const patch = type === "config_change" ? plain(message.get("diff")) : null;
      events.push(changed(key, old, replica, patch, plain(message.get("origin") ?? null)));
    }
    if (key === this.#held.key && !this.#isCurrent) {
      this.#isCurrent = true;
      this.#held.isSentOn = this.#held.needsSnapshots = false;
      events.push({ type: "current" });
    }
    if (type === "config_removed" && key !== this.#held.key) {
      this.#held.others.delete(key);
      this.#held.acks.delete(key);
    }
    return events;
  }

  #replica(key) {
    if (key === this.#held.key) return this.#held.main;
    if (!this.#held.others.has(key)) {
      if (![...this.#patterns].some((pattern) => matches(pattern, key))) return null;
      this.#held.others.set(key, new Replica());
    }
    return this.#held.others.get(key);
  }

  #receiveHeartbeat(message, now) {
    const [versions, key] = [message.get("versions"), this.#held.key];
    if (!(versions instanceof Map) || key === null) return [];
    const isOutOfSync = versions.has(key) && versions.get(key) !== this.#held.main.version;
    return [...(isOutOfSync ? this.#outOfSync(key, now) : this.#signOfLife()), ...this.#fence()];
  }

  #signOfLife() {
    const isInSync = this.#isCurrent && this.#held.main.version !== null && !this.#troubles.has(this.#held.key);
    return isInSync ? [{ type: "beat" }] : [];
  }

  #fence() {
    if (this.#heartbeats === null || this.#heartbeats >= FENCE || ++this.#heartbeats < FENCE) return [];
    // By now the server has sent every key that matches. Keys that it didn't send ended while the client was disconnected.
    return this.#forget(this.#unconfirmed);
  }

  #refused(code, message) {
    if (typeof code !== "string" || typeof message !== "string") return [over(INCOMPLETE)];
    // This answers `subscribe`: the server may no longer know which keys the patterns matched.
    if (code === "FORBIDDEN" && this.#heartbeats === null) this.#heartbeats = 0;
    // This answers an ack. If the client went on, the server would close the connection for good (realtime.errors_per_minute).
    else if (code === "FORBIDDEN") this.#mayAcknowledge = false;
    return [{ type: "refused", code, message }];
  }

  #unsubscribed(texts) {
    if (!Array.isArray(texts) || !texts.every((each) => typeof each === "string")) return [over(INCOMPLETE)];
    const lost = texts.filter((text) => this.#patterns.delete(text));
    if (!lost.length) return [];
    const kept = [...this.#patterns];
    const ended = [...this.#held.others.keys()].filter((key) => !kept.some((pattern) => matches(pattern, key)));
    return [{ type: "refused", code: "UNSUBSCRIBED", message: lost.join(" ") }, ...this.#forget(new Set(ended))];
  }

  #forget(keys) {
    const events = [];
    for (const key of [...keys].sort()) {
      this.#troubles.delete(key);
      const replica = this.#held.others.get(key);
      this.#held.others.delete(key);
      this.#held.acks.delete(key);
      if (replica && replica.version !== null) events.push(changed(key, replica.version, new Replica(), null, null));
    }
    keys.clear();
    return events;
  }

  #outOfSync(key, now) {
    if (this.#isOneWay) {
      // The client can't ask for a resync. The pause keeps it from asking a faulty server too often.
      this.#held.needsSnapshots = true;
      return [{ ...over(LEADS_NOWHERE), afterMs: 1000 * RESYNC_PAUSE }];
    }
    if (!this.#troubles.has(key)) this.#troubles.set(key, { asked: 0, notBefore: -Infinity, atLast: -Infinity });
    const trouble = this.#troubles.get(key);
    trouble.hasFailed = true;
    return now >= trouble.notBefore ? this.#ask(key, trouble, now) : [];
  }

  #ask(key, trouble, now) {
    if (trouble.asked >= MOST_RESYNCS) return [over(LEADS_NOWHERE)];
    this.#tokens = Math.min(RESYNC_BURST, this.#tokens + (now - this.#refilled) * RESYNC_RATE);
    this.#refilled = now;
    if (this.#tokens < 1) {
      [trouble.notBefore, trouble.hasFailed] = [now + RESYNC_PAUSE, true];
      return [];
    }
    this.#tokens -= 1;
    // The second request asks for the whole document, because the client's own copy may be wrong.
    const version = trouble.asked ? null : (this.#replica(key)?.version ?? null);
    trouble.asked += 1;
    [trouble.notBefore, trouble.atLast, trouble.hasFailed] = [now + RESYNC_PAUSE, now + RESYNC_PATIENCE, false];
    // Without a mode, newer servers send the whole document. Older servers know no mode, and send a diff.
    this.#send("resync", { last_version: version, mode: "diff", ...parts(key) });
    return [];
  }

  #send(type, members) {
    this.#outgoing.push(JSON.stringify({ type, ...members }));
  }
}

function changed(key, oldVersion, replica, patch, origin) {
  return { type: "changed", key, oldVersion, version: replica.version, patch, document: plain(replica.tree), origin, isBehind: replica.isBehind };
}

function over(reason, mayReturn = true) {
  return { type: "over", reason, mayReturn };
}

function parts(key) {
  const [app, profile, label] = key.split(":");
  return { app, profile, label };
}

function milliseconds(message, name) {
  const value = message.get(name);
  return value instanceof Numeral && /^\d+$/.test(value.text) ? Number(value.text) : null;
}

function heartbeatOf(hello) {
  const found = ["heartbeat_interval_ms", "heartbeat_timeout_ms"].map((name) => milliseconds(hello, name));
  return found.includes(null) ? HEARTBEAT : Math.min(Math.max((found[0] + found[1]) / 1000, 1), 3600);
}

/** Whether `application:profile:label`, each a name or a glob, matches a key. */
export function matches(pattern, key) {
  const globs = pattern.split(":");
  return key.split(":").every((name, index) => fits(globs[index] ?? "*", name));
}

function fits(glob, name) {
  const [first, ...rest] = glob.split("*");
  if (!rest.length) return glob === name;
  const last = rest.pop();
  if (!name.startsWith(first) || name.length < first.length + last.length || !name.endsWith(last)) return false;
  let from = first.length;
  for (const part of rest) {
    from = name.indexOf(part, from);
    if (from < 0) return false;
    from += part.length;
  }
  return from <= name.length - last.length;
}

// Why a connection ended, and whether to reconnect: the table of vortexd-api(7).

const BEHIND = 4421;
const CLOSES = {
  1000: ["closed by the client", true],
  1001: ["the server is stopping", true],
  1002: ["protocol error", false],
  1003: ["messages are text", false],
  1007: ["text is UTF-8", false],
  1008: ["too many messages, or too many that are wrong", false],
  1009: ["the message is too big", false],
  1011: ["internal error", true],
  1013: ["overloaded", true],
  4401: ["unauthorized", false],
  4403: ["forbidden", false],
  4408: ["no sign of life", true],
  4410: ["the client doesn't read", true],
  [BEHIND]: ["another server has a newer state", true],
};

/** Say that a server can't be reached, with its address and never with the token. */
function unreached(url) {
  return `can't connect to ${new URL(url).origin}`;
}

/** Add the cause of an error to a reason, if the runtime names it, as Node does. */
function because(reason, error) {
  const cause = error.cause?.code ?? error.cause?.message;
  return cause ? `${reason}: ${cause}` : reason;
}

/** Interpret a close code. Returns {reason, mayReturn}. */
export function closed(code, text = "") {
  if (code === 1005 || code === 1006) return { reason: "the connection broke", mayReturn: true };
  const [known, mayReturn] = CLOSES[code] ?? ["", (code >= 4000 && code < 4400) || (code >= 4500 && code < 5000)];
  return { reason: `${code} ${text || known}`.trim(), mayReturn };
}

/** Interpret a refused handshake or stream. Returns {reason, mayReturn, afterMs}. `hadIt`: whether the configuration existed before. */
export function refused(status, retryAfter, message, hadIt) {
  const mayReturn = status >= 500 || [408, 425, 429].includes(status) || (status === 404 && hadIt);
  const afterMs = mayReturn && /^\d+$/.test(retryAfter ?? "") ? 1000 * Number(retryAfter) : null;
  return { ...over(`refused with ${status} ${message}`.trim(), mayReturn), afterMs };
}

/** Return the seconds to wait before an attempt: 0 for the first, then full jitter under a ceiling that doubles up to 4 s. */
export function delayBefore(attempt, chance, reconnectAfterMs = null) {
  const asked = Math.min((reconnectAfterMs ?? 0) / 1000, 300);
  return attempt === 0 ? asked : Math.max(asked, chance * Math.min(4, 0.25 * 2 ** Math.min(attempt - 1, 16)));
}

// The format text/event-stream.

// Characters.
const MOST_EVENT = 32 * 1024 * 1024;

/** Takes text, and returns events: {type, data, id}, where `id` may be null; {type: "comment"}; {type: "retry", ms}. */
export class EventParser {
  // The parts of a line that isn't complete.
  #parts = [];
  #size = 0;
  #endsInReturn = false;
  #type = "";
  #data = [];
  #id = null;

  /** Throws RangeError if one event is too big. */
  take(text) {
    if (text === "") return [];
    // A line may end with CR LF, LF or CR, and CR LF may come in two parts.
    const lines = (this.#endsInReturn && text[0] === "\n" ? text.slice(1) : text).split(/\r\n?|\n/);
    this.#endsInReturn = text.endsWith("\r");
    this.#size += text.length;
    this.#parts.push(lines[0]);
    const events = [];
    for (const line of lines.slice(1)) {
      events.push(...this.#line(this.#parts.join("")));
      this.#parts = [line];
    }
    if (this.#size > MOST_EVENT) throw new RangeError("the server sent an event that is too big");
    return events;
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (name === "") return [{ type: "comment" }];
    if (name === "event") this.#type = value ?? "";
    else if (name === "data") this.#data.push(value ?? "");
    // An id that a request header can't contain is like an empty one.
    else if (name === "id") this.#id = /^[\x21-\x7e]{0,4096}$/.test(value ?? "") ? (value ?? "") : "";
    else if (name === "retry" && /^\d{1,9}$/.test(value ?? "")) return [{ type: "retry", ms: Number(value) }];
    return [];
  }

  #dispatch() {
    const [type, data, id] = [this.#type, this.#data.join("\n"), this.#id];
    const isEmpty = !this.#data.length;
    [this.#type, this.#data, this.#id, this.#size] = ["", [], null, 0];
    return isEmpty ? [] : [{ type: type || "message", data, id }];
  }
}

// The reason in the event `close`, or null if there is none.
function closeOf(data) {
  try {
    const { code, reason } = JSON.parse(data);
    return Number.isInteger(code) ? { code, reason: typeof reason === "string" ? reason : "" } : null;
  } catch {
    return null;
  }
}

// Which transport to use next, if the client may use both. A WebSocket is better: the client can acknowledge.

const [SOCKET_EVERY, SOCKET_PAUSE] = [10, 300];

/** The choice between a WebSocket ("websocket") and an event stream ("sse"). Times are monotonic, in seconds. */
export class TransportChoice {
  #wanted;
  #usesStreams;
  #streams = 0;
  #triedSocketAt = -Infinity;

  /** `wanted` is "auto", "websocket" or "sse". Throws RangeError for others. */
  constructor(wanted) {
    if (!["auto", "websocket", "sse"].includes(wanted)) throw new RangeError(`transport must be "auto", "websocket" or "sse", not ${JSON.stringify(wanted)}`);
    this.#wanted = wanted;
    this.#usesStreams = wanted === "sse";
  }

  get mayFallBack() {
    return this.#wanted === "auto";
  }

  get needsSocket() {
    return this.#wanted !== "sse";
  }

  /** Choose the transport of the next attempt: "sse" after a stream has worked, but a WebSocket at each tenth attempt and after 5 minutes. */
  next(now) {
    const isDue = this.mayFallBack && (this.#streams >= SOCKET_EVERY || now >= this.#triedSocketAt + SOCKET_PAUSE);
    if (this.#usesStreams && !isDue) {
      this.#streams += 1;
      return "sse";
    }
    [this.#streams, this.#triedSocketAt] = [0, now];
    return "websocket";
  }

  /** A WebSocket was opened. */
  socketWorks() {
    this.#usesStreams = false;
  }

  /** An event stream was opened. If it isn't certain that WebSockets can't be used, the next attempt tries one again. */
  streamWorks(isCertain) {
    if (this.#wanted !== "auto") return;
    this.#usesStreams = true;
    if (!isCertain) this.#streams = SOCKET_EVERY;
  }

  /** The server or the proxy has no event streams. */
  streamFails() {
    if (this.#wanted === "auto") this.#usesStreams = false;
  }
}

// The I/O: sockets, requests and timers.

const [OPEN_TIMEOUT, ASK_TIMEOUT] = [10, 5];
const MOST_WAITING = 1000;
const NO_STREAMS = new Set([404, 405, 426, 501]);
const ONE_WAY = "vortex.js: the connection is an event stream, so the server doesn't get this client's acknowledgements";
const NO_WEBSOCKET = "this environment has no WebSocket: run `npm install ws`, or use Node 22 or newer";

/**
 * Watch an application.
 *
 * @param {string | string[]} urls ws://, wss://, http:// or https:// with host and port. Several are tried in turn.
 * @param {object} options label; token; patterns (further keys besides the application); instance (this client's name in the fleet; a client with
 *   "" only watches); transport ("websocket", "sse" for Server-Sent Events, or "auto", the default: a WebSocket, or Server-Sent Events if a proxy
 *   doesn't pass WebSockets); WebSocket (a class to use instead of the global one; without either, the class of the package `ws` is used); fetch.
 */
export function watch(urls, app, profile = "default", options = {}) {
  return new Watch(Array.isArray(urls) ? urls : [urls], app, profile, options);
}

class Watch {
  #urls;
  #path;
  #options;
  #choice;
  #held = new Held();
  // A WebSocket, or what stands for it: an object with `close`.
  #socket = null;
  #conversation = null;
  #timer = null;
  #attempt = 0;
  #after = null;
  #hasWarned = false;
  #listeners = new Map();
  #readers = new Set();
  #isClosed = false;
  #readiness = {};

  constructor(urls, app, profile, options) {
    this.#urls = urls.map((url) => url.replace(/^http/, "ws").replace(/\/+$/, ""));
    for (const url of this.#urls) if (!/^wss?:$/.test(new URL(url).protocol)) throw new SyntaxError(`${url} isn't the URL of a server`);
    this.#path = `${encodeURIComponent(app)}/${encodeURIComponent(profile)}`;
    this.#options = { patterns: [], ...options, WebSocket: options.WebSocket ?? globalThis.WebSocket, fetch: options.fetch ?? globalThis.fetch };
    this.#choice = new TransportChoice(options.transport ?? "auto");
    this.state = { name: "connecting", since: Date.now(), reason: null, transport: this.#choice.needsSocket ? "websocket" : "sse" };
    this.ready = new Promise((resolve, reject) => (this.#readiness = { resolve, reject }));
    // Without this, a page that doesn't wait for `ready` would get an "unhandled rejection".
    this.ready.catch(() => {});
    if (this.#options.WebSocket || !this.#choice.needsSocket) this.#open();
    else this.#openWithPackage();
  }

  /** The current document; null before the first one. Never modified in place. */
  get document() {
    return plain(this.#held.main.tree);
  }

  get version() {
    return this.#held.main.version;
  }

  get key() {
    return this.#held.key;
  }

  /** Whether the server is behind: this document is older than one before. The newer one follows by itself. Each "change" has it, too. */
  get isBehind() {
    return this.#held.main.isBehind;
  }

  /** The documents of all keys that `patterns` match, by `application:profile:label`. */
  get documents() {
    return new Map([...this.#held.others].map(([key, replica]) => [key, plain(replica.tree)]));
  }

  /** Call a function for each "change", "state", "refused" or "beat" (heartbeat). Returns a function that removes the listener. */
  on(type, listener) {
    if (!this.#listeners.has(type)) this.#listeners.set(type, new Set());
    this.#listeners.get(type).add(listener);
    return () => this.#listeners.get(type).delete(listener);
  }

  /**
   * Report that the application has applied a version, or why it hasn't. After a reconnect, the client repeats the report if the server needs it.
   * Over Server-Sent Events, nothing can be sent: it returns false, and warns once. The report follows if a WebSocket works later.
   */
  ack(version, status = "applied", error = null, key = this.#held.key) {
    if (key === null) throw new Error("there is no version yet");
    if (this.#conversation === null) this.#held.note(key, version, status, error);
    else this.#conversation.acknowledge(key, version, status, error);
    this.#flush();
    if (this.state.transport === "websocket") return true;
    if (!this.#hasWarned) console.warn(ONE_WAY);
    this.#hasWarned = true;
    return false;
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
    this.#become("closed", null);
    for (const reader of this.#readers) reader.end();
  }

  /** Yields the changes from now on. A reader that is too slow misses the oldest, but always gets the newest. */
  async *[Symbol.asyncIterator]() {
    const waiting = [];
    const reader = { wake: () => {}, isOver: false };
    reader.push = (change) => {
      if (waiting.push(change) > MOST_WAITING) waiting.shift();
      reader.wake();
    };
    reader.end = () => {
      reader.isOver = true;
      reader.wake();
    };
    this.#readers.add(reader);
    try {
      for (;;) {
        while (waiting.length) yield waiting.shift();
        if (reader.isOver || this.#isClosed || this.state.name === "failed") return;
        await new Promise((resolve) => (reader.wake = resolve));
      }
    } finally {
      this.#readers.delete(reader);
    }
  }

  async #openWithPackage() {
    try {
      this.#options.WebSocket = (await import("ws")).default;
    } catch {
      this.#ended(null, over(NO_WEBSOCKET, false));
      return;
    }
    if (!this.#isClosed) this.#open();
  }

  #open() {
    const transport = this.#choice.next(seconds());
    if (transport === "websocket") this.#openSocket();
    else this.#openStream();
  }

  // The parameters that a handshake and the request of a stream have in common.
  #query(needsSnapshots = false) {
    const { label, instance } = this.#options;
    const query = new URLSearchParams();
    if (label) query.set("label", label);
    if (instance !== undefined) query.set("instance", instance);
    const { main, isSentOn } = this.#held;
    if (main.version !== null && !needsSnapshots) query.set("last_version", main.version);
    if (main.generation !== null && !needsSnapshots) query.set("generation", main.generation.text);
    if (isSentOn) query.set("sent_on", "1");
    return query;
  }

  #openSocket() {
    this.state = { ...this.state, transport: "websocket" };
    const { token, WebSocket } = this.#options;
    const url = `${this.#urls[0]}/ws/${this.#path}?${this.#query()}`;
    const socket = new WebSocket(url, ["vortex.v1", ...(token ? [`bearer.${token}`] : [])]);
    this.#socket = socket;
    let isOpen = false;
    let isOver = false;
    const fail = async (reason, timeout) => {
      if (isOver || socket !== this.#socket) return;
      isOver = true;
      clearTimeout(this.#timer);
      const { isCertain, mayStream, ...end } = await this.#refusal(url, reason, timeout);
      if (socket !== this.#socket || this.#isClosed) return;
      if (!mayStream || !this.#choice.mayFallBack) {
        this.#ended(socket, end);
        return;
      }
      socket.close();
      this.#openStream(isCertain);
    };
    this.#timer = setTimeout(() => fail("no answer", 2), 1000 * OPEN_TIMEOUT);
    socket.onopen = () => {
      if (isOver || socket !== this.#socket) return;
      isOpen = true;
      this.#choice.socketWorks();
      this.#conversation = new Conversation(this.#held, this.#options.patterns, seconds());
      this.#flush();
      this.#schedule();
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#happen(this.#conversation.receive(typeof data === "string" ? data : "", seconds()));
      this.#flush();
      this.#schedule();
    };
    socket.onclose = ({ code, reason }) => {
      if (!isOpen) return fail(unreached(url), ASK_TIMEOUT);
      if (isOver || socket !== this.#socket) return;
      isOver = true;
      this.#ended(socket, this.#conversation.close(code, reason));
    };
    // The event of an error carries no reason. `onclose` follows, except in Node 20 if there was no connection.
    socket.onerror = () => {
      if (!isOpen) socket.onclose({ code: 1006, reason: "" });
    };
  }

  // Browsers don't tell a page why a handshake was refused. The same address gives the reason over HTTP, if the page may ask. If the server has no
  // reason, a proxy doesn't pass WebSockets. A page of another origin can't know, because it may only read the answers to event streams.
  async #refusal(url, reason, timeout) {
    const { token, fetch } = this.#options;
    try {
      const headers = token ? { Authorization: `Bearer ${token}` } : {};
      const answer = await fetch(url.replace(/^ws/, "http"), { headers, signal: AbortSignal.timeout(1000 * timeout) });
      // The status that the server would give to the handshake.
      const status = Number(answer.headers.get("X-Vortex-Refused") ?? answer.status);
      if (status >= 400 && status !== 426) return await this.#refused(answer, status);
      return { ...over(reason), mayStream: true, isCertain: true };
    } catch (error) {
      // The server can't be reached, or this page isn't allowed to ask it.
      reason = because(reason, error);
    }
    const { location } = globalThis;
    const isElsewhere = location !== undefined && new URL(url.replace(/^ws/, "http")).origin !== location.origin;
    return { ...over(reason), mayStream: isElsewhere, isCertain: false };
  }

  async #refused(answer, status) {
    const said = await answer.json().catch(() => null);
    const message = typeof said?.message === "string" ? said.message : "";
    return refused(status, answer.headers.get("Retry-After"), message, this.#held.key !== null);
  }

  // `isCertain`: a WebSocket has failed, and it is certain that this isn't the server's refusal; undefined if none has failed.
  async #openStream(isCertain) {
    this.state = { ...this.state, transport: "sse" };
    const { token, patterns, fetch } = this.#options;
    const { main, cursor, needsSnapshots } = this.#held;
    const query = this.#query(needsSnapshots);
    for (const pattern of patterns) query.append("pattern", pattern);
    const last = needsSnapshots ? null : patterns.length ? cursor : main.version;
    const headers = { Accept: "text/event-stream", ...(token ? { Authorization: `Bearer ${token}` } : {}), ...(last ? { "Last-Event-ID": last } : {}) };
    const aborting = new AbortController();
    const stream = { close: () => aborting.abort(), retryMs: null };
    this.#socket = stream;
    this.#timer = setTimeout(() => this.#ended(stream, over("no answer")), 1000 * OPEN_TIMEOUT);
    let isOpen = false;
    let end;
    const url = `${this.#urls[0].replace(/^ws/, "http")}/api/v1/events/${this.#path}?${query}`;
    try {
      const answer = await fetch(url, { headers, signal: aborting.signal, cache: "no-store" });
      if (stream !== this.#socket || this.#isClosed) {
        aborting.abort();
        return;
      }
      if (answer.status === 200 && answer.headers.get("Content-Type")?.startsWith("text/event-stream")) {
        isOpen = true;
        this.#choice.streamWorks(isCertain ?? true);
        end = await this.#read(stream, answer.body);
      } else {
        end = await this.#noStream(answer, isCertain);
      }
    } catch (error) {
      end = error instanceof RangeError ? over(error.message, false) : isOpen ? closed(1006) : over(because(unreached(url), error));
    }
    this.#ended(stream, end);
  }

  async #noStream(answer, isCertain) {
    const isRefused = answer.status >= 400 && !(isCertain && NO_STREAMS.has(answer.status));
    // The server doesn't refuse a WebSocket. So it is of a version without event streams, or the proxy doesn't pass them either.
    if (!isRefused) this.#choice.streamFails();
    const reason = unreached(this.#urls[0].replace(/^ws/, "http")) + (isCertain ? "" : ": the answer isn't an event stream");
    return isRefused ? this.#refused(answer, answer.status) : over(reason);
  }

  // Follow an event stream until its end, and return the reason; undefined if this client has ended it.
  async #read(stream, body) {
    this.#conversation = new Conversation(this.#held, this.#options.patterns, seconds(), true);
    this.#schedule();
    const parser = new EventParser();
    const decoder = new TextDecoder();
    const reader = body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (stream !== this.#socket) return undefined;
      if (done) return this.#conversation.end();
      for (const event of parser.take(decoder.decode(value, { stream: true }))) {
        if (event.type === "close") {
          const end = closeOf(event.data);
          return end === null ? closed(1006) : this.#conversation.close(end.code, end.reason);
        }
        this.#receive(stream, event);
        if (stream !== this.#socket) return undefined;
      }
      this.#schedule();
    }
  }

  #receive(stream, event) {
    if (event.type === "retry") stream.retryMs = event.ms;
    else if (event.type === "comment") this.#happen(this.#conversation.beat(seconds()));
    else this.#happen(this.#conversation.receive(event.data, seconds(), event.id));
  }

  #happen(events) {
    for (const event of events) {
      if (event.type === "over") {
        this.#ended(this.#socket, event);
        return;
      }
      if (event.type === "changed") {
        this.#emit("change", event);
        for (const reader of this.#readers) reader.push(event);
      } else if (event.type === "current") {
        this.#attempt = 0;
        this.#become("connected", null);
        this.#readiness.resolve(this);
      } else {
        this.#emit(event.type, event);
      }
    }
  }

  #ended(socket, end) {
    if (socket !== this.#socket || this.#isClosed) return;
    const { reason, mayReturn, afterMs = null } = end;
    clearTimeout(this.#timer);
    this.#after = this.#conversation?.reconnectAfterMs ?? afterMs ?? socket?.retryMs ?? null;
    this.#socket = this.#conversation = null;
    socket?.close();
    if (!mayReturn) {
      this.#become("failed", reason);
      this.#readiness.reject(new Error(reason));
      for (const reader of this.#readers) reader.end();
      return;
    }
    this.#become("stale", reason);
    const wait = delayBefore(this.#attempt++, Math.random(), this.#after);
    // Try another server next time, if there is one.
    this.#urls.push(this.#urls.shift());
    this.#timer = setTimeout(() => this.#open(), 1000 * wait);
  }

  #flush() {
    for (const text of this.#conversation?.takeOutgoing() ?? []) this.#socket.send(text);
  }

  #schedule() {
    // Without a conversation, the timer is that of the next attempt to connect.
    if (this.#conversation === null) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => {
        this.#happen(this.#conversation?.tick(seconds()) ?? []);
        this.#flush();
        this.#schedule();
      },
      Math.max(0, 1000 * (this.#conversation.wakeAt - seconds())),
    );
  }

  #become(name, reason) {
    const since = this.state.name === name ? this.state.since : Date.now();
    this.state = { ...this.state, name, since, reason };
    this.#emit("state", this.state);
  }

  #emit(type, event) {
    for (const listener of this.#listeners.get(type) ?? []) listener(event);
  }
}

function seconds() {
  return performance.now() / 1000;
}
