// The names of the configurations. If the page doesn't follow their changes, it finds them by comparing versions.

import { showChange } from "./changes.js";
import { listKeys, showDocument } from "./configuration.js";
import { ask, askAgain, pathOf } from "./requests.js";
import { may, session } from "./session.js";
import { linesOfSteps } from "./values.js";

const MOST_NAMES = 20000;
const NAMES_PER_PAGE = 1000;
// The most differences to request in one refresh.
const MOST_DIFFERENCES = 20;

/** Request the names of all configurations that the token may read. A page that hasn't changed isn't sent again. */
export async function requestNames() {
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
export async function updateNames() {
  if (!may("read")) return;
  const [token, before] = [sessionStorage.getItem("token"), session.names];
  const found = await requestNames();
  if (token !== sessionStorage.getItem("token") || session.names !== before) return;
  const changed = [];
  for (const [key, version] of found) {
    const old = before.get(key) ?? null;
    // A process names the versions of the keys that it uses. Another process may have answered before.
    if (version === null) found.set(key, old);
    else if (!session.isFollowing && !session.documents.has(key) && old !== null && old !== version) changed.push({ key, oldVersion: old, version });
  }
  session.names = found;
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
  if (session.shownKey === event.key) showDocument(event.key);
}
