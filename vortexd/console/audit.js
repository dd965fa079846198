// The view Audit: who has changed something at the server, when, from where, and what.

import { $, button, element, table, update, when } from "./dom.js";
import { keyName } from "./marks.js";
import { ask } from "./requests.js";
import { forbidden, may } from "./session.js";

const PER_PAGE = 100;
// The acts and the names that were seen, to choose from. There are few of them.
const MOST_CHOICES = 100;
const seen = { act: new Set(), who: new Set() };
// The id after which the shown page begins. "" is the newest page, and only that is requested again by itself.
let after = "";

export async function showAudit() {
  $("audit-filter").hidden = !may("admin");
  if (!may("admin")) {
    update("audit-body", "forbidden", () => [forbidden("the audit log", "admin")]);
    return;
  }
  if (after === "") await request();
}

/** Show the newest entries, by the filter. */
export function filterAudit() {
  turn("");
}

/** Forget what was seen, as for another user. */
export function forgetAudit() {
  after = "";
  for (const name of Object.keys(seen)) {
    seen[name].clear();
    $(`audit-${name}`).value = "";
    $(`audit-${name}s`).replaceChildren();
  }
}

async function request() {
  const query = new URLSearchParams({ limit: PER_PAGE, act: $("audit-act").value.trim(), who: $("audit-who").value.trim(), after });
  const [asked, token] = [`${query}`, sessionStorage.getItem("token")];
  const found = await ask(`/api/v1/audit?${query}`);
  const now = new URLSearchParams({ limit: PER_PAGE, act: $("audit-act").value.trim(), who: $("audit-who").value.trim(), after });
  // Somebody may have chosen another filter or page meanwhile.
  if (asked !== `${now}` || token !== sessionStorage.getItem("token")) return;
  offer(found.entries);
  update("audit-body", [found, after], () => page(found));
}

/** Turn to a page. If its first entry is gone, begin anew. */
async function turn(next) {
  after = next;
  try {
    await request();
  } catch (error) {
    after = "";
    update("audit-body", error.message, () => [element("p", { class: "bad" }, error.message)]);
  }
}

function page(found) {
  const rows = found.entries.map((each) => [
    element("time", { datetime: each.time }, when(each.time)),
    each.who,
    each.from || "–",
    each.act,
    each.target ? keyName(each.target) : "–",
    element("span", { class: { begun: "quiet", done: "good" }[each.outcome] ?? "bad" }, each.outcome),
    each.reason || "–",
    Object.entries(each.details).map(([name, text]) => `${name}: ${text}`).join(", ") || "–",
  ]);
  const parts = [rows.length ? table(["Time", "Who", "From", "Act", "Target", "Outcome", "Reason", "Details"], rows) : element("p", { class: "quiet" }, "There is no such entry.")];
  if (!found.stored) parts.unshift(element("p", { class: "bad" }, "The server can't keep the audit log in its state directory, so it loses the entries when it stops."));
  if (!found.complete) parts.push(element("p", { class: "bad" }, "The server can't read its audit log now, so only its newest entries are here."));
  if (found.workers_silent) parts.push(element("p", { class: "bad" }, "A worker hasn't answered, so entries may be missing."));
  const buttons = [];
  if (after !== "") buttons.push(button("Newest", () => turn("")));
  if (found.next !== null) buttons.push(button("Older", () => turn(found.next)));
  return [...parts, element("div", { class: "buttons" }, ...buttons)];
}

function offer(entries) {
  for (const name of Object.keys(seen)) {
    const known = seen[name].size;
    for (const each of entries) if (seen[name].size < MOST_CHOICES) seen[name].add(each[name]);
    if (seen[name].size > known) $(`audit-${name}s`).replaceChildren(...[...seen[name]].sort().map((each) => element("option", { value: each })));
  }
}
