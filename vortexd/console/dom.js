// The page's elements, and short texts. All values become text, never markup.

export const $ = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((each) => each !== null && each !== undefined));
  return made;
}

// By the id of an element: what it shows.
const shownIn = new Map();

/** Replace the content of an element if what it shows has changed. Otherwise, the keyboard's focus stays where it is. */
export function update(id, content, make) {
  const text = JSON.stringify(content);
  if (shownIn.get(id) === text) return;
  shownIn.set(id, text);
  $(id).replaceChildren(...make());
}

/** Replace the content of an element in any case. */
export function replace(id, ...parts) {
  shownIn.delete(id);
  $(id).replaceChildren(...parts);
}

export function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, text);
}

/** Return a line that says how many more there are, or null if there are none. */
export function more(count, what = "") {
  return count > 0 ? element("p", { class: "quiet" }, `and ${count} more${what}`) : null;
}

export function time(date) {
  return element("time", { datetime: date.toISOString(), class: "quiet" }, date.toLocaleTimeString());
}

export function table(heads, rows) {
  const cell = (name, content, isNumber) => element(name, isNumber ? { class: "number" } : {}, content);
  const isNumber = (index) => rows.some((row) => typeof row[index] === "number");
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...heads.map((head, index) => cell("th", head, isNumber(index))))),
      element(
        "tbody",
        {},
        ...rows.map((row) =>
          element("tr", {}, ...row.map((each, index) => cell("td", each instanceof Node ? each : String(each ?? "–"), isNumber(index)))),
        ),
      ),
    ),
  );
}

export function short(version) {
  return version === null ? "nothing" : String(version).slice(0, 8);
}

/** Return the text for a commit, or for a version of a directory, which has no author. */
export function commitTitle(commit) {
  return commit.author ? `${short(commit.commit)} by ${commit.author}: ${commit.message}` : `version ${short(commit.commit)} of the directory`;
}

export function when(text) {
  return text === null ? "never" : new Date(text).toLocaleString();
}
