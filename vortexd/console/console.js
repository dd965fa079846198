// The console, a page for people: changes, current values and their origin, connected clients, and the state of the sources.
//
// The names of configurations come over HTTP, without their documents. If there are few, their changes and documents arrive over a WebSocket,
// as for every client. If there are many, the page compares their versions instead, and requests only what has changed. The page shows all
// values as text, so nothing in a configuration becomes markup.

import { watch } from "./vortex.js";

const MOST_CHANGES = 200;
const MOST_LINES = 60;
const REFRESH = 5000;
// The most patterns that a server accepts from one client by default.
const MOST_PATTERNS = 64;
// The page follows more configurations than these by their versions, because a WebSocket would bring all their documents.
const MOST_FOLLOWED = 500;
const MOST_NAMES = 20000;
const NAMES_PER_PAGE = 1000;
// The most differences to request in one refresh.
const MOST_DIFFERENCES = 20;
// The most configurations whose history is requested when the page opens, and the most commits of each.
const MOST_HISTORIES = 12;
const COMMITS_PER_HISTORY = 10;
// The history is requested once no first state has arrived for this long, in ms.
const HISTORY_DELAY = 300;
const SECRET = /pass(word|wd|phrase)?s?$|secret|token|credential|private|api[-_.]?key|access[-_.]?key|client[-_.]?key/i;
const MASK = "••••••••";

const $ = (id) => document.getElementById(id);
// The URL above `/console/`, including any prefix that a proxy adds.
const BASE = new URL("..", location.href).href.replace(/\/$/, "");

let config = null;
// What the token allows, as the server says. null until the server has answered.
let me = null;
// A hint about the token's rights, shown while the page is connected.
let hint = null;
let connecting = null;
// By key: the document that was last shown, to find what changed.
const documents = new Map();
// By key: its newest version.
const versions = new Map();
// By key that the token may read: the version that the server named, or null.
let names = new Map();
// By path: the entity tag and the content of the last response.
const pages = new Map();
// Whether changes arrive over the WebSocket. Otherwise, they are found by comparing versions.
let isFollowing = true;
// A key without files that the page needs for its connection. It isn't shown.
let madeUpKey = null;
let shownKey = null;
let refreshing = null;
// By key: the commit that last changed a file of it, if it comes from a Git source.
const origins = new Map();
// The changes that the page shows already, as `key old-version new-version`.
const shownChanges = new Set();
// The timer until the history is requested. null once it was requested.
let historyTimer = undefined;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((each) => each !== null && each !== undefined));
  return made;
}

// Values.

/** Return the scalars of a document by path, in order. */
function flatten(value, path = "", into = new Map()) {
  const isEmpty = value !== null && typeof value === "object" && !Object.keys(value).length;
  if (value === null || typeof value !== "object" || isEmpty) {
    into.set(path, isEmpty ? (Array.isArray(value) ? "[]" : "{}") : JSON.stringify(value));
  } else if (Array.isArray(value)) {
    value.forEach((each, index) => flatten(each, `${path}[${index}]`, into));
  } else {
    for (const [name, each] of Object.entries(value)) flatten(each, path ? `${path}.${name}` : name, into);
  }
  return into;
}

function isSecret(path) {
  return path.split(/[.[\]]+/).some((part) => SECRET.test(part));
}

/** Show a value. If its name suggests a secret, hide it behind a button. */
function shown(path, text) {
  if (!isSecret(path)) return element("span", { class: "mono" }, text);
  const hidden = element("span", { class: "mono" }, MASK);
  const button = element("button", { class: "link", type: "button", "aria-label": `Show ${path}` }, "show");
  button.addEventListener("click", () => {
    const isHidden = hidden.textContent === MASK;
    hidden.textContent = isHidden ? text : MASK;
    button.textContent = isHidden ? "hide" : "show";
  });
  return element("span", {}, hidden, " ", button);
}

function time(date) {
  return element("time", { datetime: date.toISOString(), class: "quiet" }, date.toLocaleTimeString());
}

function table(heads, rows) {
  const cell = (name, content, isNumber) => element(name, isNumber ? { class: "number" } : {}, content);
  const isNumber = (index) => rows.some((row) => typeof row[index] === "number");
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...heads.map((head, index) => cell("th", head, isNumber(index))))),
      element(
        "tbody",
        {},
        ...rows.map((row) =>
          element("tr", {}, ...row.map((each, index) => cell("td", each instanceof Node ? each : String(each ?? "–"), isNumber(index)))),
        ),
      ),
    ),
  );
}

// Changes.

function addChange(event) {
  const before = documents.get(event.key);
  if (event.document === null) documents.delete(event.key);
  else documents.set(event.key, event.document);
  listKeys();
  if (shownKey === event.key) showDocument(event.key);
  if (event.origin) origins.set(event.key, event.origin);
  // The first state of a key isn't a change.
  if (before === undefined && event.oldVersion === null) {
    awaitHistory();
    return;
  }
  showChange(event, difference(before ?? {}, event.document ?? {}));
}

function showChange(event, lines, said = null) {
  shownChanges.add(changeName(event.key, event.oldVersion, event.version));
  const by = event.origin ? `${short(event.origin.commit)} by ${event.origin.author}` : null;
  const list = $("change-list");
  list.prepend(changeItem(event, time(new Date()), by, lines, said));
  while (list.children.length > MOST_CHANGES) list.lastChild.remove();
  $("changes-empty").hidden = true;
}

function changeItem(event, at, by, lines, said) {
  return element(
    "li",
    {},
    element(
      "div",
      { class: "title" },
      element("strong", {}, event.key),
      element("code", { class: "quiet" }, `${short(event.oldVersion)} → ${event.version ? short(event.version) : "ended"}`),
      at,
      by === null ? null : element("span", { class: "quiet" }, by),
    ),
    element("div", { class: "diff mono" }, ...lines.slice(0, MOST_LINES)),
    lines.length > MOST_LINES ? element("p", { class: "quiet" }, `and ${lines.length - MOST_LINES} more`) : null,
    said === null ? null : element("p", { class: "quiet" }, said),
  );
}

function changeName(key, oldVersion, version) {
  return `${key} ${oldVersion} ${version}`;
}

// The history.

/** Request the history soon, unless it was requested since the page has signed in. */
function awaitHistory(delay = HISTORY_DELAY) {
  if (historyTimer === null || !may("read")) return;
  clearTimeout(historyTimer);
  historyTimer = setTimeout(() => {
    historyTimer = null;
    showHistory();
  }, delay);
}

/** List the commits that changed the configurations before the page was opened, below the changes that it has seen. */
async function showHistory() {
  const token = sessionStorage.getItem("token");
  const found = [];
  for (const key of await keysWithHistory()) {
    try {
      const { commits } = await ask(`/api/v1/history/${pathOf(key)}?limit=${COMMITS_PER_HISTORY}`);
      found.push(...commits.map((commit) => ({ key, ...commit })));
    } catch {
      // The server reads many histories now, or this key has none. The page shows the others.
    }
    if (token !== sessionStorage.getItem("token") || historyTimer !== null) return;
  }
  found.sort((one, other) => (one.time < other.time ? 1 : one.time > other.time ? -1 : 0));
  const list = $("change-list");
  for (const each of found.slice(0, MOST_CHANGES - list.children.length)) {
    const event = { key: each.key, oldVersion: each.old_version, version: each.version };
    if (shownChanges.has(changeName(event.key, event.oldVersion, event.version))) continue;
    const said = each.left_out ? `and ${each.left_out} more changes` : null;
    list.append(changeItem(event, element("time", { datetime: each.time, class: "quiet" }, when(each.time)), commitTitle(each), linesOfSteps(each.changes), said));
    $("changes-empty").hidden = true;
  }
}

/** Return the text for a commit, or for a version of a directory, which has no author. */
function commitTitle(commit) {
  return commit.author ? `${short(commit.commit)} by ${commit.author}: ${commit.message}` : `version ${short(commit.commit)} of the directory`;
}

/** Return the configurations whose history is shown: those that a commit has changed last, and then others. */
async function keysWithHistory() {
  if (!origins.size && !documents.size) await requestOrigins();
  const known = [...origins].sort(([, one], [, other]) => (one.time < other.time ? 1 : one.time > other.time ? -1 : 0));
  const found = known.slice(0, MOST_HISTORIES).map(([key]) => key);
  // A directory has no commits, but it may have versions.
  for (const [key] of [...names].sort(([, one], [, other]) => (one === null) - (other === null))) {
    if (found.length < MOST_HISTORIES && !found.includes(key)) found.push(key);
  }
  return found;
}

/** Find the commits of some configurations of which no document has arrived: of those in use first. */
async function requestOrigins() {
  const inUse = [...names].sort(([, one], [, other]) => (one === null) - (other === null));
  for (const [key] of inUse.slice(0, MOST_HISTORIES)) {
    try {
      const { sources } = await ask(`/api/v1/explain/${pathOf(key)}`);
      if (sources.length === 1 && sources[0].origin) origins.set(key, sources[0].origin);
    } catch {
      // The configuration can't be resolved now.
    }
  }
}

function short(version) {
  return version === null ? "nothing" : String(version).slice(0, 8);
}

function difference(before, after) {
  return linesOf(flatten(before), flatten(after));
}

/** Return the lines that show two states of some values, each a map from path to text. */
function linesOf(old, now) {
  const lines = [];
  const line = (kind, sign, path, text) => lines.push(element("div", { class: kind }, `${sign} ${path}: `, shown(path, text)));
  for (const path of [...new Set([...old.keys(), ...now.keys()])].sort()) {
    if (old.get(path) === now.get(path)) continue;
    if (old.has(path) && path) line("removed", "−", path, old.get(path));
    if (now.has(path) && path) line("added", "+", path, now.get(path));
  }
  return lines;
}

/** Return the lines for the member "changes" of a response of /api/v1/diff. */
function linesOfSteps(steps) {
  const [old, now] = [new Map(), new Map()];
  for (const step of steps) {
    if ("old" in step) flatten(step.old, dotted(step.from ?? step.path), old);
    const value = step.op === "move" ? step.old : step.new;
    if (value !== undefined) flatten(value, dotted(step.path), now);
  }
  return linesOf(old, now);
}

/** Return a JSON pointer in the form of the paths of `flatten`. */
function dotted(pointer) {
  const steps = pointer.split("/").slice(1);
  const parts = steps.map((step) => (/^\d+$/.test(step) ? `[${step}]` : `.${step.replaceAll("~1", "/").replaceAll("~0", "~")}`));
  return parts.join("").replace(/^\./, "");
}

// Names.

/** Request the names of all configurations that the token may read. A page that hasn't changed isn't sent again. */
async function requestNames() {
  const pattern = sessionStorage.getItem("pattern") ?? "";
  const query = new URLSearchParams({ limit: NAMES_PER_PAGE });
  ["app", "profile", "label"].forEach((name, index) => query.set(name, pattern.split(":")[index] || "*"));
  const found = new Map();
  for (let after = ""; after !== null && found.size < MOST_NAMES; ) {
    query.set("after", after);
    const { keys, next } = await askAgain(`/api/v1/keys?${query}`);
    for (const each of keys) found.set(`${each.app}:${each.profile}:${each.label}`, each.version);
    after = next;
  }
  return found;
}

/** Request the names again, and show the changes that the WebSocket doesn't bring. */
async function updateNames() {
  if (!may("read")) return;
  const [token, before] = [sessionStorage.getItem("token"), names];
  const found = await requestNames();
  if (token !== sessionStorage.getItem("token") || names !== before) return;
  const changed = [];
  for (const [key, version] of found) {
    const old = before.get(key) ?? null;
    // A process names the versions of the keys that it uses. Another process may have answered before.
    if (version === null) found.set(key, old);
    else if (!isFollowing && !documents.has(key) && old !== null && old !== version) changed.push({ key, oldVersion: old, version });
  }
  names = found;
  listKeys();
  for (const [index, event] of changed.entries()) await showFound(event, index < MOST_DIFFERENCES);
}

/** Show a change that was found by its version. */
async function showFound(event, hasValues) {
  let [lines, said] = [[], hasValues ? null : "Too many configurations have changed at once to show their values."];
  if (hasValues) {
    try {
      const { changes } = await ask(`/api/v1/diff/${pathOf(event.key)}?from=version:${event.oldVersion}&to=version:${event.version}`);
      lines = linesOfSteps(changes);
    } catch (error) {
      said = `The values aren't available: ${error.message}`;
    }
  }
  showChange(event, lines, said);
  if (shownKey === event.key) showDocument(event.key);
}

// Configuration.

function pathOf(key) {
  return key.split(":").map(encodeURIComponent).join("/");
}

function listKeys() {
  const wanted = $("find-key").value.trim().toLowerCase();
  const keys = [...new Set([...documents.keys(), ...names.keys()])].filter((key) => key !== madeUpKey && key.toLowerCase().includes(wanted)).sort();
  $("key-list").replaceChildren(
    ...keys.slice(0, 500).map((key) =>
      element(
        "li",
        {},
        element("button", { type: "button", "aria-current": key === shownKey, onclick: () => showDocument(key) }, key),
      ),
    ),
    keys.length > 500 ? element("li", { class: "quiet" }, `and ${keys.length - 500} more`) : "",
  );
}

async function showDocument(key) {
  shownKey = key;
  listKeys();
  let explanation;
  try {
    explanation = await ask(`/api/v1/explain/${pathOf(key)}`);
  } catch (error) {
    if (shownKey === key) $("document").replaceChildren(element("h3", {}, key), ...withoutPlaces(key, error));
    return;
  }
  if (shownKey !== key) return;
  const { layers } = explanation;
  const rows = explanation.keys.map((each) => {
    const holders = each.held_by.map((held) =>
      element("li", { class: held.outcome }, `${place(layers[held.layer], held)} `, shown(each.key, JSON.stringify(held.value ?? null)), ` ${why(held, layers)}`),
    );
    const value = each.layer === null ? element("span", { class: "bad" }, "the server can't decrypt it") : shown(each.key, JSON.stringify(each.value));
    return element(
      "tr",
      {},
      element("td", { class: "path" }, each.key),
      element(
        "td",
        { class: "value" },
        value,
        element(
          "details",
          {},
          element("summary", { class: "quiet" }, each.layer === null ? "why" : place(layers[each.layer], each.held_by.find((held) => held.outcome === "wins"))),
          element("ul", {}, ...holders),
        ),
      ),
    );
  });
  $("document").replaceChildren(
    element("h3", {}, key),
    ...explanation.broken.map((each) => element("p", { class: "bad" }, `${filePlace(each)} is broken: ${each.reason}. The server uses instead: `, inPlaceOf(each), ".")),
    element("p", { class: "quiet" }, "version ", element("code", {}, explanation.version), ` · ${rows.length} values from ${layers.filter((each) => each.active).length} layers`),
    rows.length
      ? element("div", { class: "scroll" }, element("table", {}, element("tbody", {}, ...rows)))
      : element("p", { class: "quiet" }, "No file applies to this key, so its configuration is empty."),
  );
}

/** If a key's explanation isn't available, show its values, if they have arrived over the WebSocket. */
function withoutPlaces(key, error) {
  const said = element("p", { class: "bad" }, error.status === 403 && !may("read") ? forbidden("the origin of values", "read").textContent : error.message);
  const document = documents.get(key);
  if (error.status !== 403 || document === undefined) return [said];
  const rows = [...flatten(document)].filter(([path]) => path).map(([path, text]) => element("tr", {}, element("td", { class: "path" }, path), element("td", { class: "value" }, shown(path, text))));
  return [said, element("div", { class: "scroll" }, element("table", {}, element("tbody", {}, ...rows)))];
}

function place(layer, held) {
  const file = layer.file ?? layer.name;
  const document = layer.document !== null ? ` (document ${layer.document})` : "";
  return `${file}${held?.line ? `:${held.line}` : ""}${document}`;
}

function why(held, layers) {
  const by = held.by === null || held.by === undefined ? "" : ` by ${place(layers[held.by])}`;
  const cipher = { decrypted: ", decrypted", failed: ", no encryption key decrypts it", kept: ", encrypted" }[held.cipher] ?? "";
  return `${held.outcome.replaceAll("_", " ")}${by}${cipher}`;
}

// Clients and sources.

async function showClients() {
  const parts = may("admin") ? await connections() : [forbidden("the list of connections", "admin")];
  parts.splice(3, 0, ...(await applied()));
  $("clients-body").replaceChildren(...parts);
}

async function connections() {
  const found = await ask("/api/v1/connections?limit=200");
  const parts = [
    element("p", {}, `${found.total} ${found.total === 1 ? "connection" : "connections"}, ${found.parked} parked.`),
    element("h3", {}, "Connections by version"),
    table(
      ["Key", "Version", "", "Connections"],
      found.versions.map((each) => {
        const key = `${each.app}:${each.profile}:${each.label}`;
        const newest = versions.get(key) ?? names.get(key) ?? undefined;
        const isNewest = newest === undefined ? "" : newest === each.version ? element("span", { class: "good" }, "newest") : element("span", { class: "bad" }, "behind");
        return [key, element("code", {}, short(each.version)), isNewest, each.connections];
      }),
    ),
  ];
  parts.push(
    element("h3", {}, "Connections"),
    table(
      ["Key", "Instance", "Peer", "Token", "Version", "Patterns", "State"],
      found.connections.map((each) => [
        `${each.app}:${each.profile}:${each.label}`,
        each.instance || "–",
        each.peer,
        each.principal || "–",
        element("code", {}, short(each.version)),
        each.patterns,
        each.state,
      ]),
    ),
  );
  if (found.total > found.connections.length) parts.push(element("p", { class: "quiet" }, `and ${found.total - found.connections.length} more`));
  return parts;
}

async function applied() {
  if (!may("admin") && !may("read")) return [forbidden("the list of acknowledgements", "read")];
  return fleet(await ask("/api/v1/fleet?state=rejected&limit=200"));
}

/** Show which instances of each application have applied its version. */
function fleet({ keys, nodes }) {
  const shown = nodes ? nodesOfCluster(nodes) : [];
  if (!keys.length) return [element("p", { class: "quiet" }, "No instance has acknowledged a configuration yet."), ...shown];
  const states = ["applied", "rejected", "silent", "gone", ...(nodes ? ["away"] : [])];
  const hasRestarted = keys.some((each) => each.counts.before_restart);
  const rows = keys.map((each) => [
    `${each.app}:${each.profile}:${each.label}`,
    element("code", {}, short(each.version)),
    each.percent === null ? "–" : `${each.percent} %`,
    ...states.map((state) => each.counts[state]),
    ...(hasRestarted ? [each.counts.before_restart ?? 0] : []),
  ]);
  const rejected = keys.flatMap((each) =>
    each.instances.map((instance) => element("li", { class: "bad" }, `${instance.name} rejected ${short(instance.ack.version)} of ${each.app}:${each.profile}: ${instance.ack.error ?? "it gave no reason"}`)),
  );
  return [
    element("h3", {}, "Acknowledgements"),
    table(["Key", "Version", "Share applied", ...states, ...(hasRestarted ? ["acknowledged only before the server's restart"] : [])], rows),
    element("ul", {}, ...rejected),
    ...shown,
  ];
}

/** Show the nodes of the cluster, and whose instances are counted. */
function nodesOfCluster(nodes) {
  const counted = { current: "counted now", last: "counted until", unknown: "not counted" };
  const rows = nodes.map((each) => [
    each.name,
    element("span", { class: each.silent ? "bad" : "good" }, each.state),
    each.as_of ? `${counted[each.counts]} ${when(each.as_of)}` : counted[each.counts],
    each.reason ?? "–",
  ]);
  return [element("h3", {}, "Nodes"), table(["Node", "State", "Instances", "Instances aren't listed because"], rows)];
}

async function showSources() {
  if (!may("admin")) {
    const { ok } = await fetch(`${BASE}/ready`, { cache: "no-store" });
    const state = element("p", { class: ok ? "good" : "bad" }, ok ? "The server is ready." : "The server isn't ready: it is starting, or a source is stale.");
    $("sources-body").replaceChildren(forbidden("the state of each source", "admin"), state);
    return;
  }
  const { sources } = await ask("/status");
  $("sources-body").replaceChildren(
    ...sources.map((each) =>
      element(
        "div",
        { class: "card" },
        element(
          "div",
          { class: "title" },
          element("strong", {}, each.name),
          element("span", { class: each.status === "UP" ? "good" : "bad" }, sourceStatus(each)),
        ),
        table(
          ["Revision", "Last read", "Last error"],
          [[element("code", {}, each.revision ?? "–"), when(each.last_success), each.last_error ? `${each.last_error} (${when(each.last_error_at)})` : "none"]],
        ),
        ...brokenFiles(each),
        ...unfinishedFiles(each),
      ),
    ),
  );
}

function sourceStatus(source) {
  if (source.status === "UP") return "up to date";
  if (source.status === "STALE") return `stale for ${Math.round(source.stale_for)} s`;
  return `${source.broken_files} broken ${source.broken_files === 1 ? "file" : "files"}`;
}

/** Show the broken files of a source, and the keys that read them. */
function brokenFiles(source) {
  if (!source.broken_files) return [];
  const rows = source.broken.map((each) => [each.label, element("code", {}, filePlace(each)), each.reason, inPlaceOf(each), heldBack(each.held_back)]);
  const parts = [element("h3", {}, "Broken files"), table(["Label", "File", "Reason", "Served instead", "Keys that read it"], rows)];
  if (source.broken_files > rows.length) parts.push(element("p", { class: "quiet" }, `and ${source.broken_files - rows.length} more`));
  return parts;
}

/** Show the files that the server has published before they were complete. */
function unfinishedFiles(source) {
  if (!source.unfinished_files) return [];
  const parts = [element("h3", {}, "Unfinished files"), table(["File", "Reason"], source.unfinished.map((each) => [element("code", {}, each.file), each.reason]))];
  if (source.unfinished_files > source.unfinished.length) parts.push(element("p", { class: "quiet" }, `and ${source.unfinished_files - source.unfinished.length} more`));
  return parts;
}

function filePlace(broken) {
  return `${broken.file}${broken.line === null ? "" : `:${broken.line}`}`;
}

function inPlaceOf(broken) {
  if (broken.served === "last_good") return `its last good content${broken.last_good ? ` (of commit ${broken.last_good.slice(0, 12)})` : ""}`;
  return broken.served === "without" ? "everything but this file" : element("span", { class: "bad" }, "nothing: requests for its keys fail");
}

function heldBack(held) {
  if (held === null) return "–";
  const more = held.count > held.first.length ? ` and ${held.count - held.first.length} more` : "";
  return held.count ? `${held.first.join(", ")}${more}` : "none";
}

function when(text) {
  return text === null ? "never" : new Date(text).toLocaleString();
}

// Requests, sign-in, and the views.

async function ask(path) {
  return contentOf(await send(path));
}

/** Request something again and again. The server sends it only if it has changed. */
async function askAgain(path) {
  const known = pages.get(path);
  const answer = await send(path, known ? { "If-None-Match": known.tag } : {});
  if (answer.status === 304) return known.content;
  const content = await contentOf(answer);
  // If names have come or gone, the paths of their pages are others.
  if (pages.size > 2 * (MOST_NAMES / NAMES_PER_PAGE)) pages.clear();
  pages.set(path, { tag: answer.headers.get("ETag"), content });
  return content;
}

function send(path, headers = {}) {
  const token = sessionStorage.getItem("token");
  return fetch(BASE + path, { headers: token ? { ...headers, Authorization: `Bearer ${token}` } : headers, cache: "no-store" });
}

async function contentOf(answer) {
  if (answer.ok) return answer.json();
  const said = await answer.json().catch(() => ({}));
  const reason = answer.status === 403 ? "Your token doesn't allow this." : (said.message ?? `${answer.status}`);
  throw Object.assign(new Error(reason), { status: answer.status });
}

// The token's rights.

function may(right) {
  return me !== null && me.grants.some((grant) => grant.rights.includes(right));
}

function forbidden(what, right) {
  const reason = me?.kind === "anonymous" ? "Anonymous users may not see this" : "Your token doesn't allow this";
  return element("p", { class: "bad" }, `${reason}: ${what} requires the right ${right}.`);
}

/** Return the patterns to subscribe to: the pattern from the sign-in form, or all patterns of the token. */
function patternsToShow() {
  const wanted = sessionStorage.getItem("pattern") ?? "";
  if (wanted !== "" && wanted !== "*") return [wanted];
  const patterns = me.grants.filter((grant) => grant.rights.includes("subscribe")).flatMap((grant) => grant.patterns);
  return patterns.includes("*:*:*") ? ["*"] : [...new Set(patterns)];
}

/** Return a key that a pattern matches, because each connection needs one: {app, profile, label, isMadeUp}. null if no label can be named. */
function keyWithin(pattern) {
  const [app, profile = "*", label = "*"] = pattern.split(":");
  if (label !== "*" && label.includes("*")) return null;
  // Every name may contain letters at every position, so "a" fits any "*".
  const filled = (glob, whole) => (glob === "*" ? whole : glob.replaceAll("*", "a"));
  return {
    app: filled(app, "application"),
    profile: filled(profile, "default"),
    label: label === "*" ? undefined : label,
    isMadeUp: [app, profile].some((each) => each !== "*" && each.includes("*")),
  };
}

function notice(text) {
  $("notice").textContent = text ?? "";
  $("notice").hidden = !text;
}

async function connect() {
  clearTimeout(connecting);
  config?.close();
  config = null;
  me = hint = null;
  documents.clear();
  versions.clear();
  pages.clear();
  names = new Map();
  isFollowing = true;
  madeUpKey = null;
  origins.clear();
  shownChanges.clear();
  clearTimeout(historyTimer);
  historyTimer = undefined;
  listKeys();
  $("change-list").replaceChildren();
  $("changes-empty").hidden = false;
  const token = sessionStorage.getItem("token");
  $("sign-out").hidden = token === null;
  showState({ name: "connecting", reason: null });
  try {
    const said = await ask("/api/v1/whoami");
    // Another user may have signed in in the meantime.
    if (token !== sessionStorage.getItem("token")) return;
    me = said;
    const found = await namesAtFirst();
    if (token !== sessionStorage.getItem("token")) return;
    names = found;
    listKeys();
  } catch (error) {
    if (token !== sessionStorage.getItem("token")) return;
    if (error.status === 401 || error.status === 403) {
      showState({ name: "failed", reason: error.message });
      return;
    }
    showState({ name: "stale", reason: "can't connect" });
    connecting = setTimeout(connect, REFRESH);
    return;
  }
  if (!may("subscribe")) {
    hint = "Your token lacks the right subscribe, so no changes appear here. If it has the right read, Configuration lists what it may read.";
    showState({ name: "signed in", reason: null });
    awaitHistory(0);
    return;
  }
  follow(token, patternsToShow());
}

/** Request the names. A token without the right to read them sees only what arrives over the WebSocket. */
async function namesAtFirst() {
  try {
    return may("read") ? await requestNames() : new Map();
  } catch (error) {
    // The pattern may name a configuration that the token may not read.
    if (error.status === 403 || error.status === 400) return new Map();
    throw error;
  }
}

function follow(token, patterns) {
  const key = patterns.map(keyWithin).find((each) => each !== null);
  if (key === undefined) {
    showState({ name: "failed", reason: `Your token's labels contain a glob (${patterns[0]}), and this page can't guess a label. Name one under Show, such as billing:prod:main.` });
    return;
  }
  if (patterns.length > MOST_PATTERNS) hint = `Your token has ${patterns.length} patterns. This page shows only the first ${MOST_PATTERNS}. To see others, sign in again and name a pattern under Show.`;
  isFollowing = names.size <= MOST_FOLLOWED;
  if (!isFollowing) hint = `There are ${names.size} configurations. This page looks every ${REFRESH / 1000} seconds which of those that clients use have changed. To see every change at once, sign in again and name a pattern for fewer configurations under Show.`;
  const { app, profile, label, isMadeUp } = key;
  const options = { token, label, patterns: isFollowing ? patterns.slice(0, MOST_PATTERNS) : [], instance: "" };
  config = watch(BASE.replace(/^http/, "ws"), app, profile, options);
  const own = config;
  config.on("change", (event) => {
    if (isMadeUp && event.key === own.key) {
      madeUpKey = own.key;
      listKeys();
      return;
    }
    if (event.version === null) {
      versions.delete(event.key);
      names.delete(event.key);
    } else versions.set(event.key, event.version);
    addChange(event);
  });
  if (!isFollowing) awaitHistory(0);
  config.on("state", showState);
  config.on("refused", ({ code, message }) =>
    notice(code === "FORBIDDEN" ? `Your token doesn't allow ${patterns.join(", ")}: sign in with a pattern that it allows.` : `${code}: ${message}`),
  );
  showState(config.state);
}

function showState({ name, reason }) {
  $("state").textContent = name;
  $("state").dataset.state = name;
  $("state").title = reason ?? "";
  if (name === "connected" || name === "signed in") {
    notice(hint);
    show();
  } else if (name === "stale") {
    notice(`Not connected: ${reason}. This page shows the last known state, and reconnects by itself.`);
  } else if (name === "failed") {
    notice(sessionStorage.getItem("token") === null ? null : reason);
    sessionStorage.removeItem("token");
    if (!$("sign-in").open) $("sign-in").showModal();
  }
}

function show() {
  const views = ["changes", "configuration", "clients", "sources"];
  const view = views.includes(location.hash.slice(1)) ? location.hash.slice(1) : "changes";
  for (const each of views) $(each).hidden = each !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  clearTimeout(refreshing);
  const refresh = { changes: isFollowing ? undefined : updateNames, configuration: updateNames, clients: showClients, sources: showSources }[view];
  // Until the token's rights are known, there is nothing to request.
  if (refresh === undefined || me === null) return;
  const again = async () => {
    try {
      await refresh();
    } catch (error) {
      // The list of names stays as it was.
      $(`${view}-body`)?.replaceChildren(element("p", { class: "bad" }, error.message));
    }
    clearTimeout(refreshing);
    refreshing = setTimeout(() => document.hidden || $(view).hidden || again(), REFRESH);
  };
  again();
}

$("sign-in").addEventListener("close", () => {
  if (!$("token").value) return;
  sessionStorage.setItem("token", $("token").value.trim());
  sessionStorage.setItem("pattern", $("pattern").value.trim());
  $("token").value = "";
  connect();
});
$("sign-out").addEventListener("click", () => {
  sessionStorage.clear();
  connect();
});
$("find-key").addEventListener("input", listKeys);
$("open-key").addEventListener("submit", (event) => {
  event.preventDefault();
  const [app, profile = "default", ...label] = $("other-key").value.trim().split(/[/:]/);
  if (app) showDocument([app, profile, label.join("/") || config?.key?.split(":")[2] || "main"].join(":"));
});
addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => document.hidden || show());
connect();
show();
