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

export function when(text) {
  return text === null ? "never" : new Date(text).toLocaleString();
}
