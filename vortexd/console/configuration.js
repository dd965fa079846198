// The view Configuration: the names, and one configuration with the origin of each value.

import { $, button, element, short, update } from "./dom.js";
import { reasons, refusalsOf } from "./gate.js";
import { showHistoryOf } from "./history.js";
import { keyName } from "./marks.js";
import { showPin } from "./pins.js";
import { contentOf, pathOf, send } from "./requests.js";
import { forbidden, may, session } from "./session.js";
import { filePlace, inPlaceOf } from "./sources.js";
import { flatten, shown } from "./values.js";

const MOST_LISTED = 500;

export function listKeys() {
  const wanted = $("find-key").value.trim().toLowerCase();
  const keys = [...new Set([...session.documents.keys(), ...session.names.keys()])].filter((key) => key !== session.madeUpKey && key.toLowerCase().includes(wanted)).sort();
  const listed = keys.slice(0, MOST_LISTED);
  update("key-list", [keys.length, listed, session.shownKey], () => [
    ...listed.map((key) => element("li", {}, button(keyName(key), () => showDocument(key), { "aria-current": key === session.shownKey }))),
    keys.length > MOST_LISTED ? element("li", { class: "quiet" }, `and ${keys.length - MOST_LISTED} more`) : "",
  ]);
}

/** Show no configuration, as for another user. */
export function forgetDocument() {
  session.shownKey = session.shownVersion = null;
  $("document").replaceChildren(element("p", { class: "quiet" }, "Choose an application. The page shows where each of its values comes from."));
  showHistoryOf(null);
  listKeys();
}

/** Open the view with a configuration. */
export function openKey(key) {
  location.hash = "#configuration";
  showDocument(key);
}

export async function showDocument(key) {
  session.shownKey = key;
  listKeys();
  let [explanation, refusals] = [null, []];
  try {
    const answer = await send(`/api/v1/explain/${pathOf(key)}`);
    explanation = await contentOf(answer);
    refusals = refusalsOf(answer.headers.get("X-Vortex-Held-Back"));
  } catch (error) {
    if (session.shownKey === key) showParts(key, null, withoutPlaces(key, error));
    return;
  }
  if (session.shownKey !== key) return;
  const { layers } = explanation;
  const rows = explanation.keys.map((each) => {
    const holders = each.held_by.map((held) =>
      element("li", { class: held.outcome }, `${place(layers[held.layer], held)} `, shown(each.key, JSON.stringify(held.value ?? null)), ` ${why(held, layers)}`),
    );
    const value = each.layer === null ? element("span", { class: "bad" }, "the server can't decrypt it") : shown(each.key, JSON.stringify(each.value));
    return element(
      "tr",
      {},
      element("td", { class: "path" }, each.key),
      element(
        "td",
        { class: "value" },
        value,
        element(
          "details",
          {},
          element("summary", { class: "quiet" }, each.layer === null ? "why" : place(layers[each.layer], each.held_by.find((held) => held.outcome === "wins"))),
          element("ul", {}, ...holders),
        ),
      ),
    );
  });
  showParts(key, explanation.version, [
    ...refusals.flatMap(heldBack),
    ...explanation.broken.map((each) => element("p", { class: "bad" }, `${filePlace(each)} is broken: ${each.reason}. The server uses instead: `, inPlaceOf(each), ".")),
    element("p", { class: "quiet" }, "version ", element("code", {}, explanation.version), ` · ${rows.length} values from ${layers.filter((each) => each.active).length} layers`),
    rows.length
      ? element("div", { class: "scroll" }, element("table", {}, element("tbody", {}, ...rows)))
      : element("p", { class: "quiet" }, "No file applies to this key, so its configuration is empty."),
  ]);
}

function showParts(key, version, parts) {
  session.shownVersion = version;
  $("document").replaceChildren(element("h3", {}, keyName(key)), element("div", { id: "document-pin" }), ...parts);
  showPin();
  showHistoryOf(key);
}

/** Say which state the gate holds back, in place of which the key keeps its former one. */
function heldBack(refusal) {
  return [element("p", { class: "bad" }, `The gate holds back the state ${short(refusal.state)} of ${refusal.label}. The server keeps serving the former one.`), ...reasons(refusal)];
}

/** If a key's explanation isn't available, show its values, if they have arrived over the WebSocket. */
function withoutPlaces(key, error) {
  const said = element("p", { class: "bad" }, error.status === 403 && !may("read") ? forbidden("the origin of values", "read").textContent : error.message);
  const document = session.documents.get(key);
  if (error.status !== 403 || document === undefined) return [said];
  const rows = [...flatten(document)].filter(([path]) => path).map(([path, text]) => element("tr", {}, element("td", { class: "path" }, path), element("td", { class: "value" }, shown(path, text))));
  return [said, element("div", { class: "scroll" }, element("table", {}, element("tbody", {}, ...rows)))];
}

function place(layer, held) {
  const file = layer.file ?? layer.name;
  const document = layer.document !== null ? ` (document ${layer.document})` : "";
  return `${file}${held?.line ? `:${held.line}` : ""}${document}`;
}

function why(held, layers) {
  const by = held.by === null || held.by === undefined ? "" : ` by ${place(layers[held.by])}`;
  const cipher = { decrypted: ", decrypted", failed: ", no encryption key decrypts it", kept: ", encrypted" }[held.cipher] ?? "";
  return `${held.outcome.replaceAll("_", " ")}${by}${cipher}`;
}
