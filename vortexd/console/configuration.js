// The view Configuration: the names, and one configuration with the origin of each value.

import { $, element } from "./dom.js";
import { ask, pathOf } from "./requests.js";
import { forbidden, may, session } from "./session.js";
import { filePlace, inPlaceOf } from "./sources.js";
import { flatten, shown } from "./values.js";

export function listKeys() {
  const wanted = $("find-key").value.trim().toLowerCase();
  const keys = [...new Set([...session.documents.keys(), ...session.names.keys()])].filter((key) => key !== session.madeUpKey && key.toLowerCase().includes(wanted)).sort();
  $("key-list").replaceChildren(
    ...keys.slice(0, 500).map((key) =>
      element(
        "li",
        {},
        element("button", { type: "button", "aria-current": key === session.shownKey, onclick: () => showDocument(key) }, key),
      ),
    ),
    keys.length > 500 ? element("li", { class: "quiet" }, `and ${keys.length - 500} more`) : "",
  );
}

/** Show no configuration, as for another user. */
export function forgetDocument() {
  session.shownKey = null;
  $("document").replaceChildren(element("p", { class: "quiet" }, "Choose an application. The page shows where each of its values comes from."));
  listKeys();
}

export async function showDocument(key) {
  session.shownKey = key;
  listKeys();
  let explanation;
  try {
    explanation = await ask(`/api/v1/explain/${pathOf(key)}`);
  } catch (error) {
    if (session.shownKey === key) $("document").replaceChildren(element("h3", {}, key), ...withoutPlaces(key, error));
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
  $("document").replaceChildren(
    element("h3", {}, key),
    ...explanation.broken.map((each) => element("p", { class: "bad" }, `${filePlace(each)} is broken: ${each.reason}. The server uses instead: `, inPlaceOf(each), ".")),
    element("p", { class: "quiet" }, "version ", element("code", {}, explanation.version), ` · ${rows.length} values from ${layers.filter((each) => each.active).length} layers`),
    rows.length
      ? element("div", { class: "scroll" }, element("table", {}, element("tbody", {}, ...rows)))
      : element("p", { class: "quiet" }, "No file applies to this key, so its configuration is empty."),
  );
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
