// The view Pins, and the dialogs that put and lift a pin. A pin freezes what the server serves for one key.

import { openDialog } from "./dialog.js";
import { $, button, commitTitle, element, short, update, when } from "./dom.js";
import { keyName, markKeys, pinEnd } from "./marks.js";
import { ask, change, pathOf } from "./requests.js";
import { forbidden, may, session } from "./session.js";

const SECONDS = { minutes: 60, hours: 3600, days: 86400 };
// The longest time of a pin that ends by itself, in seconds.
const MOST_SECONDS = 90 * SECONDS.days;
// The label of the key may be gone, or the server can't use the files of the pin.
const NOT_SERVED = "The server can't use this pin now, so it serves the source.";

/** Request the pins, and mark their keys. */
export async function updatePins() {
  if (!may("read")) return;
  const token = sessionStorage.getItem("token");
  const found = await ask("/api/v1/pins");
  if (token !== sessionStorage.getItem("token")) return;
  const pins = new Map(found.pins.map((each) => [`${each.application}:${each.profile}:${each.label}`, each]));
  const hasChanged = JSON.stringify([...pins]) !== JSON.stringify([...session.pins]);
  session.pins = pins;
  if (hasChanged) showMarks();
}

/** Forget the pins, as for another user. */
export function forgetPins() {
  session.pins = new Map();
  showMarks();
}

function showMarks() {
  $("pins-count").textContent = session.pins.size ? ` ${session.pins.size}` : "";
  markKeys();
  showPin();
}

/** The view. `updatePins` runs before it. */
export async function showPins() {
  const pins = [...session.pins];
  update("pins-body", [pins, may("read"), may("admin")], () => {
    if (!may("read")) return [forbidden("the list of pins", "read")];
    if (!pins.length) return [element("p", { class: "quiet" }, "No key is pinned. To pin one, choose it under Configuration.")];
    const about = element("p", {}, "The server serves a fixed state of these keys, whatever their source brings.");
    return [about, ...pins.map(([key, pin]) => card(key, pin))];
  });
}

function card(key, pin) {
  const state = `version ${short(pin.version)}${pin.commit === null ? "" : ` of commit ${short(pin.commit)}`}`;
  return element(
    "div",
    { class: "card" },
    element(
      "div",
      { class: "title" },
      element("strong", {}, keyName(key)),
      element("code", { class: "quiet" }, state),
      may("admin") ? button("Lift…", () => openLift(key), { "aria-label": `Lift the pin of ${key}` }) : null,
    ),
    element("p", {}, pin.reason),
    pin.served ? null : element("p", { class: "bad" }, NOT_SERVED),
    element("p", { class: "quiet" }, `by ${pin.by} since ${when(pin.since)}, ${pinEnd(pin)}`),
  );
}

/** Show the pin of the shown key above its document, and the button for it. */
export function showPin() {
  const key = session.shownKey;
  const pin = session.pins.get(key);
  const parts = pin ? [element("p", { class: "notice" }, `${about(pin)}${pin.served ? "" : ` (${NOT_SERVED})`}`)] : [];
  if (may("admin")) parts.push(pin ? button("Lift the pin…", () => openLift(key)) : button("Pin…", () => openPin(key)));
  $("document-pin")?.replaceChildren(...parts);
}

function about(pin) {
  const state = pin.commit === null ? `version ${short(pin.version)}` : `version ${short(pin.version)} of commit ${short(pin.commit)}`;
  return `${pin.by} has pinned this key to ${state} since ${when(pin.since)}, ${pinEnd(pin)}: ${pin.reason}`;
}

/**
 * Open the dialog that pins a key.
 *
 * @param to "" is the state that is served now. Otherwise a version or a commit.
 * @param commits The commits of the shown history, to choose from.
 */
export function openPin(key, to = "", commits = []) {
  if (session.pins.has(key)) {
    openLift(key);
    return;
  }
  const states = commits.map((each) => element("option", { value: pinTarget(each), selected: pinTarget(each) === to }, `${when(each.time)}, ${commitTitle(each)}`));
  if (to !== "" && !commits.some((each) => pinTarget(each) === to)) states.push(element("option", { value: to, selected: true }, short(to)));
  const state = element("select", { name: "to" }, element("option", { value: "", selected: to === "" }, "as the server serves it now"), ...states);
  const count = element("input", { name: "count", type: "number", min: 1, value: 2, required: true, step: 1, "aria-label": "How long" });
  const units = [...Object.keys(SECONDS), "until somebody lifts it"];
  const unit = element("select", { name: "unit", "aria-label": "Unit of the time" }, ...units.map((each) => element("option", { value: each, selected: each === "hours" }, each)));
  const limit = () => {
    count.disabled = !(unit.value in SECONDS);
    count.max = MOST_SECONDS / (SECONDS[unit.value] ?? 1);
  };
  unit.addEventListener("change", limit);
  limit();
  const [application, profile, label] = key.split(":");
  openDialog({
    title: `Pin ${key}`,
    parts: [
      element("p", {}, `The server serves the chosen state of ${key} until the pin ends, whatever its source brings. If that isn't the state that clients have, they receive it at once.`),
      element("p", { class: "quiet" }, "The server still reads and judges the source. Encrypted values are decrypted with the server's keys of today. Other keys aren't affected."),
      element("label", {}, "State ", state),
      element("div", { class: "row" }, element("label", {}, "For ", count), unit),
    ],
    action: "Pin",
    submit: async (reason) => {
      const seconds = count.disabled ? null : count.valueAsNumber * SECONDS[unit.value];
      await change("POST", "/api/v1/pins", { application, profile, label, to: state.value, reason, seconds });
      await changed();
    },
    again: () => startAgain(() => openPin(key, state.value, commits)),
  });
}

/** Return what a pin of an entry of the history names: the commit. For a version of a directory, it is the version of the document. */
export function pinTarget(entry) {
  return entry.author ? entry.commit : entry.version;
}

function openLift(key) {
  const pin = session.pins.get(key);
  openDialog({
    title: `Lift the pin of ${key}`,
    parts: [
      element("p", {}, `${about(pin)}.`),
      element("p", {}, `If you lift it, the server serves what the source has now. If that is another document, the clients of ${key} receive it at once.`),
    ],
    action: "Lift the pin",
    needsReason: false,
    submit: async (reason) => {
      const query = reason ? `?${new URLSearchParams({ reason })}` : "";
      await change("DELETE", `/api/v1/pins/${pathOf(key)}${query}`);
      await changed();
    },
    again: () => startAgain(() => (session.pins.has(key) ? openLift(key) : $("act").close())),
  });
}

/** Show the state that somebody else has made meanwhile. */
async function startAgain(open) {
  await changed();
  open();
}

/** Show the pins after a change. The change has succeeded, so an error here isn't its error. */
async function changed() {
  await updatePins().catch(() => {});
  dispatchEvent(new Event("refresh"));
}
