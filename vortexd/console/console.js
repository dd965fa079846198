// The console, a page for people: changes, current values and their origin, connected clients, and the state of the sources.
//
// The names of configurations come over HTTP, without their documents. If there are few, their changes and documents arrive over a WebSocket,
// as for every client. If there are many, the page compares their versions instead, and requests only what has changed. The page shows all
// values as text, so nothing in a configuration becomes markup.

import { filterAudit, forgetAudit, showAudit } from "./audit.js";
import { addChange, awaitHistory, forgetChanges } from "./changes.js";
import { showClients } from "./clients.js";
import { forgetDocument, listKeys, showDocument } from "./configuration.js";
import { $, element, replace } from "./dom.js";
import { showGate } from "./gate.js";
import { requestNames, updateNames } from "./names.js";
import { forgetPins, showPins, updatePins } from "./pins.js";
import { ask, BASE, forgetPages } from "./requests.js";
import { showRollouts } from "./rollouts.js";
import { may, session } from "./session.js";
import { showSources } from "./sources.js";
import { watch } from "./vortex.js";

const VIEWS = ["changes", "configuration", "gate", "pins", "rollouts", "clients", "sources", "audit"];
const REFRESH = 5000;
// The most patterns that a server accepts from one client by default.
const MOST_PATTERNS = 64;
// The page follows more configurations than these by their versions, because a WebSocket would bring all their documents.
const MOST_FOLLOWED = 500;

let config = null;
// A hint about the token's rights, shown while the page is connected.
let hint = null;
let connecting = null;
let refreshing = null;
// How often a view has been shown. Only the last one is refreshed.
let refreshes = 0;

/** Return the patterns to subscribe to: the pattern from the sign-in form, or all patterns of the token. */
function patternsToShow() {
  const wanted = sessionStorage.getItem("pattern") ?? "";
  if (wanted !== "" && wanted !== "*") return [wanted];
  const patterns = session.me.grants.filter((grant) => grant.rights.includes("subscribe")).flatMap((grant) => grant.patterns);
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
  // What it shows is of the former token.
  if ($("act").open) $("act").close();
  config?.close();
  config = null;
  session.me = hint = null;
  session.documents.clear();
  session.versions.clear();
  forgetPages();
  session.names = new Map();
  session.isFollowing = true;
  session.madeUpKey = null;
  session.origins.clear();
  forgetChanges();
  forgetDocument();
  forgetPins();
  forgetAudit();
  for (const view of VIEWS) if ($(`${view}-body`)) replace(`${view}-body`);
  const token = sessionStorage.getItem("token");
  $("sign-out").hidden = token === null;
  showState({ name: "connecting", reason: null });
  try {
    const said = await ask("/api/v1/whoami");
    // Another user may have signed in in the meantime.
    if (token !== sessionStorage.getItem("token")) return;
    session.me = said;
    const found = await namesAtFirst();
    if (token !== sessionStorage.getItem("token")) return;
    session.names = found;
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
  session.isFollowing = session.names.size <= MOST_FOLLOWED;
  if (!session.isFollowing) hint = `There are ${session.names.size} configurations. This page looks every ${REFRESH / 1000} seconds which of those that clients use have changed. To see every change at once, sign in again and name a pattern for fewer configurations under Show.`;
  const { app, profile, label, isMadeUp } = key;
  const options = { token, label, patterns: session.isFollowing ? patterns.slice(0, MOST_PATTERNS) : [], instance: "" };
  config = watch(BASE.replace(/^http/, "ws"), app, profile, options);
  const own = config;
  config.on("change", (event) => {
    if (isMadeUp && event.key === own.key) {
      session.madeUpKey = own.key;
      listKeys();
      return;
    }
    if (event.version === null) {
      session.versions.delete(event.key);
      session.names.delete(event.key);
    } else session.versions.set(event.key, event.version);
    addChange(event);
  });
  if (!session.isFollowing) awaitHistory(0);
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
  const view = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "changes";
  for (const each of VIEWS) $(each).hidden = each !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  clearTimeout(refreshing);
  const changes = session.isFollowing ? () => {} : updateNames;
  const refresh = { changes, configuration: updateNames, gate: showGate, pins: showPins, rollouts: showRollouts, clients: showClients, sources: showSources, audit: showAudit }[view];
  // Until the token's rights are known, there is nothing to request.
  if (session.me === null) return;
  const shown = (refreshes += 1);
  const again = async () => {
    try {
      await updatePins().catch((error) => {
        // The other views don't need the pins. They keep the marks of before.
        if (view === "pins") throw error;
      });
      await refresh();
    } catch (error) {
      // The list of names stays as it was.
      if ($(`${view}-body`)) replace(`${view}-body`, element("p", { class: "bad" }, error.message));
    }
    // A view that is shown later has a timer of its own. An answer that was under way for this one must not stop it.
    if (shown === refreshes) refreshing = setTimeout(() => document.hidden || again(), REFRESH);
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
for (const name of ["act", "who"]) $(`audit-${name}`).addEventListener("change", filterAudit);
$("audit-filter").addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", show);
// Something has been changed from this page.
addEventListener("refresh", () => {
  show();
  if (session.shownKey !== null) showDocument(session.shownKey);
});
document.addEventListener("visibilitychange", () => document.hidden || show());
connect();
show();
