// The history of the shown key: the commits that changed its document. From each, one can roll back to it or pin it.

import { $, button, element, more, short, when } from "./dom.js";
import { openPin } from "./pins.js";
import { ask, pathOf } from "./requests.js";
import { openRollback } from "./rollback.js";
import { may, session } from "./session.js";
import { linesOfSteps, MOST_LINES } from "./values.js";

const PER_PAGE = 20;
// The most commits that the page holds.
const MOST_COMMITS = 200;

// The commits of the shown key, the newest first. null until somebody asks for them.
let commits = null;
let shownFor = null;

/** Offer the history of the shown key. If it is shown already, request it again, because the document may have changed. */
export function showHistoryOf(key) {
  if (key === shownFor && commits !== null) {
    request("");
    return;
  }
  shownFor = key;
  commits = null;
  $("key-history").replaceChildren(...(key === null || !may("read") ? [] : [button("Show its history", () => request(""))]));
}

async function request(after) {
  const key = shownFor;
  const known = after === "" ? [] : commits;
  let page;
  try {
    page = await ask(`/api/v1/history/${pathOf(key)}?${new URLSearchParams({ limit: PER_PAGE, after })}`);
  } catch (error) {
    if (key === shownFor) $("key-history").replaceChildren(element("h3", {}, "History"), element("p", { class: "bad" }, error.message));
    return;
  }
  // Somebody may have chosen another key, or asked anew.
  if (key !== shownFor || (after !== "" && known !== commits)) return;
  commits = [...known, ...page.commits];
  show(key, page.next);
}

function show(key, next) {
  const hasMore = next !== null && commits.length < MOST_COMMITS;
  $("key-history").replaceChildren(
    element("h3", {}, "History"),
    commits.length ? "" : element("p", { class: "quiet" }, "No commit among those that the server has searched has changed this configuration."),
    element("ol", {}, ...commits.map((each) => item(key, each))),
    hasMore ? button("Show older commits", () => request(next)) : "",
  );
}

function item(key, each) {
  const count = each.changes.length + each.left_out;
  const about = `${short(each.commit)} by ${each.author}`;
  // Most commits stay closed, so the page makes their lines only when they are opened.
  const showChanges = ({ target }) => {
    if (target.children.length > 1) return;
    const lines = linesOfSteps(each.changes);
    target.append(element("div", { class: "diff mono" }, ...lines.slice(0, MOST_LINES)), more(lines.length - MOST_LINES) ?? "", more(each.left_out, " changes") ?? "");
  };
  const buttons = [
    button("Roll back to this…", () => openRollback(key, each.commit, () => openPin(key, each.commit, commits ?? [])), { "aria-label": `Roll back to ${about}` }),
    button("Pin to this…", () => openPin(key, each.commit, commits ?? []), { "aria-label": `Pin to ${about}` }),
  ];
  return element(
    "li",
    { class: "card" },
    element(
      "div",
      { class: "title" },
      element("strong", {}, each.message),
      element("span", { class: "quiet" }, about),
      element("time", { datetime: each.time, class: "quiet" }, when(each.time)),
      element("code", { class: "quiet" }, `${short(each.old_version)} → ${short(each.version)}`),
      each.version === session.shownVersion ? element("span", { class: "good" }, "served now") : null,
    ),
    element("details", { ontoggle: showChanges }, element("summary", { class: "quiet" }, `${count} ${count === 1 ? "change" : "changes"}`)),
    may("admin") ? element("div", { class: "buttons" }, ...buttons) : null,
  );
}
