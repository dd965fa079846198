// The names of keys, with a mark at each that is pinned.

import { element, when } from "./dom.js";
import { session } from "./session.js";

/** Show a key. The mark follows the pins for as long as the element is in the page. */
export function keyName(key) {
  const name = element("span", { "data-key": key });
  mark(name);
  return name;
}

/** Bring all marks in the page up to date. */
export function markKeys() {
  for (const name of document.querySelectorAll("[data-key]")) mark(name);
}

/** Say until when a pin lasts. */
export function pinEnd(pin) {
  return pin.until === null ? "until somebody lifts it" : `until ${when(pin.until)}`;
}

function mark(name) {
  const key = name.dataset.key;
  const pin = session.pins.get(key);
  const parts = pin ? [" ", element("span", { class: "mark", title: `by ${pin.by} ${pinEnd(pin)}: ${pin.reason}` }, pin.served ? "pinned" : "pin not in use")] : [];
  name.replaceChildren(key, ...parts);
}
