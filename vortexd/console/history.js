// The history of the shown key: the commits, or the versions of a directory, that changed its document. Each can be pinned, and each commit rolled back to.

import { $, button, commitTitle, element, more, short, when } from "./dom.js";
import { openPin, pinTarget } from "./pins.js";
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
  show(key, page);
}

function show(key, { next, layers }) {
  // If only one source or label has a history, its name says nothing.
  const isOne = layers.filter((each) => each.kind !== "none").length <= 1;
  const hasMore = next !== null && commits.length < MOST_COMMITS;
  $("key-history").replaceChildren(
    element("h3", {}, "History"),
    commits.length ? "" : element("p", { class: "quiet" }, "Nothing that the server has searched has changed this configuration."),
    element("ol", {}, ...commits.map((each) => item(key, each, isOne))),
    hasMore ? button("Show older commits", () => request(next)) : "",
  );
}

function item(key, each, isOne) {
  const count = each.changes.length + each.left_out;
  const about = commitTitle(each);
  const pin = () => openPin(key, pinTarget(each), commits ?? []);
  // Most commits stay closed, so the page makes their lines only when they are opened.
  const showChanges = ({ target }) => {
    if (target.children.length > 1) return;
    const lines = linesOfSteps(each.changes);
    target.append(element("div", { class: "diff mono" }, ...lines.slice(0, MOST_LINES)), more(lines.length - MOST_LINES) ?? "", more(each.left_out, " changes") ?? "");
  };
  const buttons = [
    // A directory takes no commits.
    each.author ? button("Roll back to this…", () => openRollback(key, each.commit, pin), { "aria-label": `Roll back to ${about}` }) : null,
    button("Pin to this…", pin, { "aria-label": `Pin to ${about}` }),
  ];
  return element(
    "li",
    { class: "card" },
    element(
      "div",
      { class: "title" },
      element("strong", {}, about),
      isOne ? null : element("span", { class: "quiet" }, `${each.source}, label ${each.label}`),
      element("time", { datetime: each.time, class: "quiet" }, when(each.time)),
      element("code", { class: "quiet" }, `${short(each.old_version)} → ${short(each.version)}`),
      each.version === session.shownVersion ? element("span", { class: "good" }, "served now") : null,
    ),
    element("details", { ontoggle: showChanges }, element("summary", { class: "quiet" }, `${count} ${count === 1 ? "change" : "changes"}`)),
    may("admin") ? element("div", { class: "buttons" }, ...buttons) : null,
  );
}
