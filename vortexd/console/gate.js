// The view Gate: the labels that the gate holds back, what is served although it breaks the rules, and the dialog that lets a state through.

import { openDialog } from "./dialog.js";
import { $, button, element, more, short, table, update, when } from "./dom.js";
import { keyName } from "./marks.js";
import { ask, change } from "./requests.js";
import { forbidden, may } from "./session.js";

const MOST_LABELS = 50;

export async function showGate() {
  if (!may("admin")) {
    const where = element("p", {}, "Under Configuration, the page says for each configuration what the gate holds back.");
    update("gate-body", "forbidden", () => [forbidden("the list of labels that are held back", "admin"), where]);
    return;
  }
  const gate = await ask("/api/v1/gate");
  update("gate-body", gate, () => [...heldBack(gate.held_back), ...standing(gate.standing)]);
}

function heldBack(held) {
  if (!held.length) return [element("p", { class: "good" }, "The gate holds nothing back.")];
  const cards = held.slice(0, MOST_LABELS).map((each) =>
    element(
      "div",
      { class: "card" },
      element(
        "div",
        { class: "title" },
        element("strong", {}, each.label),
        element("span", { class: "bad" }, each.applications ? `held back for ${each.applications.slice(0, 20).join(", ")}` : "held back"),
        element("code", { class: "quiet" }, short(each.state)),
        element("span", { class: "quiet" }, `since ${when(each.since)}`),
        button("Let through…", () => openException(each), { "aria-label": `Let the state of ${each.label} through` }),
      ),
      ...reasons(each),
    ),
  );
  const rest = more(held.length - MOST_LABELS);
  const about = element("p", {}, "The server keeps serving the former state of these labels, because the gate refuses their newest state.");
  return rest === null ? [about, ...cards] : [about, ...cards, rest];
}

function standing(all) {
  const isUnjudged = (each) => each.failure !== null && !each.findings_count;
  const broken = all.filter((each) => !isUnjudged(each));
  return [...listed("Served although it breaks the rules", broken), ...listed("Served, but not judged yet", all.filter(isUnjudged))];
}

function listed(title, labels) {
  if (!labels.length) return [];
  const cards = labels.slice(0, MOST_LABELS).map((each) => element("div", { class: "card" }, element("div", { class: "title" }, element("strong", {}, each.label)), ...reasons(each)));
  return [element("h3", {}, title), ...cards];
}

/** Show why a state was refused: the failure of the gate, and the findings. None of them has a value. */
export function reasons({ failure, findings, findings_count: count }) {
  const rows = findings.map((each) => [
    keyName(each.key),
    each.problem ? `${each.rule} can't be used: ${each.problem}` : `${each.keyword} of ${each.rule}${each.rule_state ? " of the served state" : ""}`,
    element("code", {}, each.pointer || "the whole document"),
    each.file === null ? "–" : element("code", {}, each.line === null ? each.file : `${each.file}:${each.line}`),
  ]);
  return [
    failure === null ? null : element("p", { class: "bad" }, `The gate ${failure}.`),
    rows.length ? table(["Key", "Rule", "Place in the document", "File"], rows) : null,
    more(count - rows.length),
  ].filter((each) => each !== null);
}

function openException(held) {
  const broken = held.findings_count === 1 ? "one rule is" : `${held.findings_count} rules are`;
  const why = held.failure === null ? `${broken} broken` : "the gate couldn't judge it";
  openDialog({
    title: `Let ${held.label} through`,
    parts: [
      element("p", {}, `The server publishes the state ${short(held.state)} of ${held.label} at once, although ${why}. All clients of this label receive it.`),
      element("p", { class: "quiet" }, "The exception is for this state only. The gate judges the next state again. The log and the audit log name you and the reason."),
      ...reasons(held),
    ],
    action: "Let it through",
    submit: async (reason) => {
      await change("POST", "/api/v1/gate", { label: held.label, state: held.state, reason });
      dispatchEvent(new Event("refresh"));
    },
    again: () => startAgain(held.label),
  });
}

/** Show the state that is held back by now, or the view if there is none. */
async function startAgain(label) {
  dispatchEvent(new Event("refresh"));
  const { held_back: held } = await ask("/api/v1/gate").catch(() => ({ held_back: [] }));
  const now = held.find((each) => each.label === label);
  if (now === undefined) $("act").close();
  else openException(now);
}

/** Return the refusals in the header X-Vortex-Held-Back, in the form of /api/v1/gate. Every token that may read a key gets this header. */
export function refusalsOf(header) {
  const refusals = new Map();
  for (const [, label, rest] of (header ?? "").matchAll(/"([^"]*)"((?:;[a-z_]+(?:=(?:"[^"]*"|\d+))?)*)/g)) {
    const has = new Map([...rest.matchAll(/;([a-z_]+)(?:=(?:"([^"]*)"|(\d+)))?/g)].map(([, name, text, number]) => [name, number === undefined ? decodeURIComponent(text ?? "") : Number(number)]));
    const known = refusals.get(label) ?? { label: decodeURIComponent(label), state: has.get("state"), failure: null, findings: [], findings_count: 0 };
    refusals.set(label, known);
    if (has.has("failed")) known.failure = "has failed";
    if (has.has("key")) known.findings_count = known.findings.push({ key: has.get("key"), pointer: has.get("pointer"), keyword: has.get("keyword"), rule: has.get("rule"), file: has.get("file") ?? null, line: has.get("line") ?? null, problem: has.get("problem"), rule_state: has.get("rule_state") });
  }
  return [...refusals.values()];
}
