// The view Roll-outs: the changes that reach the named instances in steps, and the dialogs that resume, abort or promote one.

import { openDialog } from "./dialog.js";
import { $, button, element, more, short, update, when } from "./dom.js";
import { keyName } from "./marks.js";
import { ask, change } from "./requests.js";
import { forbidden, may } from "./session.js";

const PATH = "/api/v1/rollouts";
const MOST_ROLLOUTS = 50;
// By status, the most urgent first: the acts that the server accepts. It accepts none while a change waits for its record.
const ACTS = { halted: ["resume", "abort", "promote"], waiting: [], running: ["abort", "promote"], aborted: ["promote"] };
const URGENCY = Object.keys(ACTS);
const ACTION = { resume: "Resume", abort: "Abort", promote: "Promote" };

export async function showRollouts() {
  const missing = ["admin", "read"].find((right) => !may(right));
  if (missing !== undefined) {
    update("rollouts-body", missing, () => [forbidden("the list of roll-outs", missing)]);
    return;
  }
  const rollouts = await askRollouts();
  if (rollouts === null) return;
  const active = document.activeElement;
  const focused = $("rollouts-body").contains(active) ? active.getAttribute("aria-label") : null;
  update("rollouts-body", rollouts, () => listed(rollouts));
  // The counts of a roll-out change again and again, so its buttons are new ones.
  if (focused) [...$("rollouts-body").querySelectorAll("button")].find((each) => each.getAttribute("aria-label") === focused)?.focus();
}

/** Return the roll-outs, each with the acts that a person may do, in the order of the view. null if another user has signed in meanwhile. */
async function askRollouts() {
  const token = sessionStorage.getItem("token");
  const { rollouts } = await ask(PATH);
  if (token !== sessionStorage.getItem("token")) return null;
  // While a change waits, the server also refuses acts on an earlier roll-out of its key.
  const waiting = new Set(rollouts.filter((each) => each.status === "waiting").map(keyOf));
  const order = (one, other) => URGENCY.indexOf(one.status) - URGENCY.indexOf(other.status) || keyOf(one).localeCompare(keyOf(other));
  return rollouts.map((each) => ({ ...each, acts: waiting.has(keyOf(each)) ? [] : ACTS[each.status] })).sort(order);
}

function listed(rollouts) {
  if (!rollouts.length) return [element("p", { class: "quiet" }, "No change is being rolled out in the configurations that your token may read.")];
  const about = element("p", {}, "These changes reach the named instances in steps. All other clients have the stable version until the last step is done.");
  const cards = rollouts.slice(0, MOST_ROLLOUTS).map(card);
  return [about, ...cards, more(rollouts.length - MOST_ROLLOUTS)].filter((each) => each !== null);
}

function card(rollout) {
  const key = keyOf(rollout);
  const { status, reason, by, problem, acts } = rollout;
  return element(
    "div",
    { class: "card" },
    element(
      "div",
      { class: "title" },
      element("strong", {}, keyName(key)),
      element("span", { class: status === "running" ? "good" : "bad" }, status),
      element("code", { class: "quiet" }, `version ${short(rollout.stable)} → ${short(rollout.target)}`),
      ...acts.map((act) => button(`${ACTION[act]}…`, () => openAct(act, rollout), { "aria-label": `${ACTION[act]} the roll-out of ${key}` })),
    ),
    element("p", {}, `${stepOf(rollout)} of the named instances${demand(rollout)}`),
    ...counted(rollout),
    reason ? element("p", {}, by ? `${reason} (${by})` : reason) : null,
    status === "waiting" ? element("p", { class: "bad" }, `No instance gets the new version until its roll-out is recorded${problem ? `: ${problem}` : "."}`) : null,
    element("p", { class: "quiet" }, originOf(rollout)),
  );
}

function keyOf({ application, profile, label }) {
  return `${application}:${profile}:${label}`;
}

function stepOf({ step, steps, share }) {
  return `step ${step} of ${steps.length}: ${share} %`;
}

function demand({ status, applied, within, deadline }) {
  return status === "running" ? `; ${applied} % of them must apply it within ${within} s, until ${when(deadline)}` : "";
}

function counted({ status, counts }) {
  if (status !== "running") return [];
  if (counts === null) return [element("p", { class: "quiet" }, "The server can't count the instances now.")];
  const { named, reached, applied, rejected, silent, gone, unanswered } = counts;
  const left = gone ? ` (${gone} of them gone)` : "";
  return [
    element("p", {}, `${named} named connected, ${reached} reached: ${applied} applied, ${rejected} rejected, ${silent} silent${left}`),
    unanswered ? element("p", { class: "bad" }, `The counts are incomplete: workers or nodes that haven't answered: ${unanswered}`) : null,
  ];
}

function originOf({ commit, author, began, stepped }) {
  const origin = commit === null ? "without a commit" : `commit ${short(commit)} by ${author ?? "an unknown author"}`;
  return began === null ? origin : `${origin}, began ${when(began)}, this state since ${when(stepped)}`;
}

function openAct(act, rollout) {
  const key = keyOf(rollout);
  const { application, profile, label, target } = rollout;
  openDialog({
    title: `${ACTION[act]} the roll-out of ${key}`,
    parts: consequences[act](rollout).map((each) => element("p", {}, each)),
    action: ACTION[act],
    submit: async (reason) => {
      // It names the version that the page shows, so it can't reach a change that began meanwhile.
      await change("POST", PATH, { act, application, profile, label, target, reason });
      dispatchEvent(new Event("refresh"));
    },
    again: () => startAgain(act, key),
  });
}

// By act: what happens.
const consequences = {
  resume: (rollout) => [`The roll-out begins ${stepOf(rollout)} again. The server sends version ${short(rollout.target)} to these named instances.`],
  abort: ({ status, stable, target, commit, counts }) => [
    status === "running"
      ? `All instances that have version ${short(target)}${counts === null ? "" : ` (up to ${counts.reached})`} return to version ${short(stable)} at once.`
      : `All instances have version ${short(stable)} already. They keep it until the configuration changes again.`,
    `An aborted roll-out can't be resumed. Revert ${commit === null ? "the change" : `commit ${short(commit)}`} afterwards: a server without the state of this roll-out serves the newest version.`,
  ],
  promote: ({ target }) => [`All clients get version ${short(target)} at once, also those without a name. No step is waited for.`],
};

/** Show the roll-out of the key as it is by now, or the view if the act isn't possible any more. */
async function startAgain(act, key) {
  dispatchEvent(new Event("refresh"));
  const rollouts = await askRollouts().catch(() => []);
  if (rollouts === null) return;
  const now = rollouts.find((each) => keyOf(each) === key && each.acts.includes(act));
  if (now === undefined) $("act").close();
  else openAct(act, now);
}
