// The view Changes: what has changed while the page was open, and commits from before.

import { listKeys, openKey, showDocument } from "./configuration.js";
import { $, button, commitTitle, element, more, short, time, when } from "./dom.js";
import { keyName } from "./marks.js";
import { ask, pathOf } from "./requests.js";
import { may, session } from "./session.js";
import { difference, linesOfSteps, MOST_LINES } from "./values.js";

const MOST_CHANGES = 200;
// The most configurations whose history is requested when the page opens, and the most commits of each.
const MOST_HISTORIES = 12;
const COMMITS_PER_HISTORY = 10;
// The history is requested once no first state has arrived for this long, in ms.
const HISTORY_DELAY = 300;

// The changes that the page shows already, as `key old-version new-version`.
const shownChanges = new Set();
// The timer until the history is requested. null once it was requested.
let historyTimer = undefined;

/** Begin anew, as for another user. */
export function forgetChanges() {
  shownChanges.clear();
  clearTimeout(historyTimer);
  historyTimer = undefined;
  $("change-list").replaceChildren();
  $("changes-empty").hidden = false;
}

export function addChange(event) {
  const before = session.documents.get(event.key);
  if (event.document === null) session.documents.delete(event.key);
  else session.documents.set(event.key, event.document);
  listKeys();
  if (session.shownKey === event.key) showDocument(event.key);
  if (event.origin) session.origins.set(event.key, event.origin);
  // The first state of a key isn't a change.
  if (before === undefined && event.oldVersion === null) {
    awaitHistory();
    return;
  }
  showChange(event, difference(before ?? {}, event.document ?? {}));
}

export function showChange(event, lines, said = null) {
  shownChanges.add(changeName(event.key, event.oldVersion, event.version));
  dispatchEvent(new CustomEvent("served", { detail: event.key }));
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
      element("strong", {}, button(keyName(event.key), () => openKey(event.key), { class: "link" })),
      element("code", { class: "quiet" }, `${short(event.oldVersion)} → ${event.version ? short(event.version) : "ended"}`),
      at,
      by === null ? null : element("span", { class: "quiet" }, by),
    ),
    element("div", { class: "diff mono" }, ...lines.slice(0, MOST_LINES)),
    more(lines.length - MOST_LINES),
    said === null ? null : element("p", { class: "quiet" }, said),
  );
}

function changeName(key, oldVersion, version) {
  return `${key} ${oldVersion} ${version}`;
}

// The history.

/** Request the history soon, unless it was requested since the page has signed in. */
export function awaitHistory(delay = HISTORY_DELAY) {
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

/** Return the configurations whose history is shown: those that a commit has changed last, and then others. */
async function keysWithHistory() {
  if (!session.origins.size && !session.documents.size) await requestOrigins();
  const known = [...session.origins].sort(([, one], [, other]) => (one.time < other.time ? 1 : one.time > other.time ? -1 : 0));
  const found = known.slice(0, MOST_HISTORIES).map(([key]) => key);
  // A directory has no commits, but it may have versions.
  for (const [key] of [...session.names].sort(([, one], [, other]) => (one === null) - (other === null))) {
    if (found.length < MOST_HISTORIES && !found.includes(key)) found.push(key);
  }
  return found;
}

/** Find the commits of some configurations of which no document has arrived: of those in use first. */
async function requestOrigins() {
  const inUse = [...session.names].sort(([, one], [, other]) => (one === null) - (other === null));
  for (const [key] of inUse.slice(0, MOST_HISTORIES)) {
    try {
      const { sources } = await ask(`/api/v1/explain/${pathOf(key)}`);
      if (sources.length === 1 && sources[0].origin) session.origins.set(key, sources[0].origin);
    } catch {
      // The configuration can't be resolved now.
    }
  }
}
