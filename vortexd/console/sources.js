// The view Sources: the state of each source, with its broken files.

import { element, more, replace, table, when } from "./dom.js";
import { keyName } from "./marks.js";
import { ask, BASE } from "./requests.js";
import { forbidden, may } from "./session.js";

export async function showSources() {
  if (!may("admin")) {
    const { ok } = await fetch(`${BASE}/ready`, { cache: "no-store" });
    const state = element("p", { class: ok ? "good" : "bad" }, ok ? "The server is ready." : "The server isn't ready: it is starting, or a source is stale.");
    replace("sources-body", forbidden("the state of each source", "admin"), state);
    return;
  }
  const { sources } = await ask("/status");
  replace(
    "sources-body",
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
  return [element("h3", {}, "Broken files"), table(["Label", "File", "Reason", "Served instead", "Keys that read it"], rows), more(source.broken_files - rows.length)];
}

/** Show the files that the server has published before they were complete. */
function unfinishedFiles(source) {
  if (!source.unfinished_files) return [];
  const rows = source.unfinished.map((each) => [element("code", {}, each.file), each.reason]);
  return [element("h3", {}, "Unfinished files"), table(["File", "Reason"], rows), more(source.unfinished_files - rows.length)];
}

export function filePlace(broken) {
  return `${broken.file}${broken.line === null ? "" : `:${broken.line}`}`;
}

export function inPlaceOf(broken) {
  if (broken.served === "last_good") return `its last good content${broken.last_good ? ` (of commit ${broken.last_good.slice(0, 12)})` : ""}`;
  return broken.served === "without" ? "everything but this file" : element("span", { class: "bad" }, "nothing: requests for its keys fail");
}

function heldBack(held) {
  if (held === null) return "–";
  if (!held.count) return "none";
  const rest = held.count - held.first.length;
  const keys = held.first.flatMap((key, index) => [index ? ", " : "", keyName(key)]);
  return element("span", {}, ...keys, rest > 0 ? ` and ${rest} more` : "");
}
