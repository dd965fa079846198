// The dialog that rolls a key back: its plan, the commit that the server pushes, and the wait until the server serves it.

import { openDialog } from "./dialog.js";
import { button, element, more, short, table } from "./dom.js";
import { reasons } from "./gate.js";
import { keyName } from "./marks.js";
import { ask, change, pathOf } from "./requests.js";
import { linesOfSteps, MOST_LINES } from "./values.js";

const MOST_OTHERS = 50;
// How often to look whether the commit is served, in ms, and how many times.
const PAUSE = 5000;
const MOST_LOOKS = 60;
const ACTS = { change: "changes", create: "is created", delete: "is deleted" };

/**
 * Open the dialog.
 *
 * @param to The version or the commit whose document the key shall have again.
 * @param pin Opens the dialog that pins this state, for a source to which the server may not push.
 */
export function openRollback(key, to, pin) {
  const [application, profile, label] = key.split(":");
  const shared = element("input", { type: "checkbox", name: "shared" });
  const shown = element("div", { "aria-live": "polite" });
  let plan = null;
  let asked = 0;
  const send = (members) => change("POST", "/api/v1/rollback", { application, profile, label, to, shared: shared.checked, ...members });
  const opened = openDialog({
    title: `Roll back ${key}`,
    parts: [
      element("p", {}, `The server makes one new commit on ${label}, so that the document of ${key} is again that of ${short(to)}. It pushes this commit, and the clients receive it.`),
      element("label", { class: "check" }, shared, " Change files that other applications read, too"),
      shown,
    ],
    action: "Push this commit",
    isReady: false,
    submit: async (reason) => {
      const done = await send({ reason, dry_run: false, expected: plan.head });
      // The dialog can be closed while it waits.
      watchCommit(key, done, opened);
      return true;
    },
    again: () => openRollback(key, to, pin),
  });
  const load = async () => {
    const number = ++asked;
    plan = null;
    opened.allow(false);
    shown.replaceChildren(element("p", { class: "quiet" }, "The server works out what changes…"));
    try {
      const found = await send({ reason: "", dry_run: true, expected: null });
      if (number !== asked) return;
      plan = found;
      shown.replaceChildren(...planParts(plan, pin));
      opened.allow(plan.pushable && plan.files.length > 0 && !plan.refused);
    } catch (error) {
      if (number === asked) shown.replaceChildren(element("p", { class: "bad" }, error.sentence ?? "The server can't be reached."));
    }
  };
  shared.addEventListener("change", load);
  load();
}

function planParts(plan, pin) {
  if (!plan.files.length) return [element("p", {}, "There is nothing to change: the branch has this document already.")];
  const lines = linesOfSteps(plan.changes);
  const { others, others_count: count } = plan;
  return [
    element("p", {}, `The commit follows ${short(plan.head)}. The version changes from ${short(plan.version)} to ${short(plan.target.version)}.`),
    table(["File", ""], plan.files.map((each) => [element("code", {}, each.path), ACTS[each.act] ?? each.act])),
    element("h3", {}, "What changes in this configuration"),
    element("div", { class: "diff mono" }, ...lines.slice(0, MOST_LINES)),
    more(lines.length - MOST_LINES),
    element("h3", {}, count ? `${count} other ${count === 1 ? "configuration changes" : "configurations change"}, too` : "No other configuration changes"),
    element("ul", {}, ...others.slice(0, MOST_OTHERS).map((each) => element("li", {}, keyName(`${each.application}:${each.profile}:${each.label}`)))),
    more(count - Math.min(others.length, MOST_OTHERS)),
    ...(plan.refused ? [element("p", { class: "bad" }, "The gate would hold this commit back, so the server doesn't push it:"), ...reasons(plan.refused)] : []),
    ...(plan.pushable ? [] : [element("p", { class: "bad" }, "The server may not push to this source: its setting push is false. You can pin this state instead. "), button("Pin this state…", pin)]),
  ].filter((each) => each !== null);
}

/** Show what becomes of a pushed commit, until it is served, or held back, or until there was time enough. */
async function watchCommit(key, done, opened) {
  const state = element("p", { role: "status" }, `The server fetches it. This page waits until version ${short(done.target.version)} of ${key} is served…`);
  opened.finish(element("p", { class: "good" }, `The commit ${short(done.commit)} is pushed.`), state);
  const say = (kind, text) => {
    state.className = kind;
    state.textContent = text;
    dispatchEvent(new Event("refresh"));
  };
  for (let look = 0; look < MOST_LOOKS && opened.isOpen; look += 1) {
    const [{ version }, held] = await Promise.all([servedNow(key), heldBack(done.commit)]);
    if (version === done.target.version) return say("good", `The server serves version ${short(version)}.`);
    if (held) return say("bad", `The gate holds the commit back, so the server keeps serving the former state of ${held.label}. Look at Gate for the reasons.`);
    await changeOf(key);
  }
  if (opened.isOpen) say("bad", "The server doesn't serve the new version yet. Look at Sources and at Gate.");
}

async function servedNow(key) {
  return ask(`/api/v1/explain/${pathOf(key)}`).catch(() => ({ version: null }));
}

async function heldBack(commit) {
  const { held_back: held } = await ask("/api/v1/gate").catch(() => ({ held_back: [] }));
  return held.find((each) => each.state === commit);
}

/** Wait until the page learns of a change of a key, but no longer than a pause. */
function changeOf(key) {
  return new Promise((resolve) => {
    const timer = setTimeout(end, PAUSE);
    function end(event) {
      if (event !== undefined && event.detail !== key) return;
      clearTimeout(timer);
      removeEventListener("served", end);
      resolve();
    }
    addEventListener("served", end);
  });
}
