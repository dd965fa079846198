// The values of documents: their paths, their differences, and the masks over secrets.

import { element } from "./dom.js";

// The most lines of a difference that the page shows.
export const MOST_LINES = 60;
const SECRET = /pass(word|wd|phrase)?s?$|secret|token|credential|private|api[-_.]?key|access[-_.]?key|client[-_.]?key/i;
const MASK = "••••••••";

/** Return the scalars of a document by path, in order. */
export function flatten(value, path = "", into = new Map()) {
  const isEmpty = value !== null && typeof value === "object" && !Object.keys(value).length;
  if (value === null || typeof value !== "object" || isEmpty) {
    into.set(path, isEmpty ? (Array.isArray(value) ? "[]" : "{}") : JSON.stringify(value));
  } else if (Array.isArray(value)) {
    value.forEach((each, index) => flatten(each, `${path}[${index}]`, into));
  } else {
    for (const [name, each] of Object.entries(value)) flatten(each, path ? `${path}.${name}` : name, into);
  }
  return into;
}

function isSecret(path) {
  return path.split(/[.[\]]+/).some((part) => SECRET.test(part));
}

/** Show a value. If its name suggests a secret, hide it behind a button. */
export function shown(path, text) {
  if (!isSecret(path)) return element("span", { class: "mono" }, text);
  const hidden = element("span", { class: "mono" }, MASK);
  const button = element("button", { class: "link", type: "button", "aria-label": `Show ${path}` }, "show");
  button.addEventListener("click", () => {
    const isHidden = hidden.textContent === MASK;
    hidden.textContent = isHidden ? text : MASK;
    button.textContent = isHidden ? "hide" : "show";
  });
  return element("span", {}, hidden, " ", button);
}

export function difference(before, after) {
  return linesOf(flatten(before), flatten(after));
}

/** Return the lines that show two states of some values, each a map from path to text. */
function linesOf(old, now) {
  const lines = [];
  const line = (kind, sign, path, text) => lines.push(element("div", { class: kind }, `${sign} ${path}: `, shown(path, text)));
  for (const path of [...new Set([...old.keys(), ...now.keys()])].sort()) {
    if (old.get(path) === now.get(path)) continue;
    if (old.has(path) && path) line("removed", "−", path, old.get(path));
    if (now.has(path) && path) line("added", "+", path, now.get(path));
  }
  return lines;
}

/** Return the lines for the member "changes" of a response of /api/v1/diff. */
export function linesOfSteps(steps) {
  const [old, now] = [new Map(), new Map()];
  for (const step of steps) {
    if ("old" in step) flatten(step.old, dotted(step.from ?? step.path), old);
    const value = step.op === "move" ? step.old : step.new;
    if (value !== undefined) flatten(value, dotted(step.path), now);
  }
  return linesOf(old, now);
}

/** Return a JSON pointer in the form of the paths of `flatten`. */
function dotted(pointer) {
  const steps = pointer.split("/").slice(1);
  const parts = steps.map((step) => (/^\d+$/.test(step) ? `[${step}]` : `.${step.replaceAll("~1", "/").replaceAll("~0", "~")}`));
  return parts.join("").replace(/^\./, "");
}
