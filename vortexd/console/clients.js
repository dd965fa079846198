// The view Clients: the connections, and what instances have acknowledged.

import { element, replace, short, table, when } from "./dom.js";
import { keyName } from "./marks.js";
import { ask } from "./requests.js";
import { forbidden, may, session } from "./session.js";

export async function showClients() {
  const parts = may("admin") ? await connections() : [forbidden("the list of connections", "admin")];
  parts.splice(3, 0, ...(await applied()));
  replace("clients-body", ...parts);
}

async function connections() {
  const found = await ask("/api/v1/connections?limit=200");
  const parts = [
    element("p", {}, `${found.total} ${found.total === 1 ? "connection" : "connections"}, ${found.parked} parked.`),
    element("h3", {}, "Connections by version"),
    table(
      ["Key", "Version", "", "Connections"],
      found.versions.map((each) => {
        const key = `${each.app}:${each.profile}:${each.label}`;
        const newest = session.versions.get(key) ?? session.names.get(key) ?? undefined;
        const isNewest = newest === undefined ? "" : newest === each.version ? element("span", { class: "good" }, "newest") : element("span", { class: "bad" }, "behind");
        return [keyName(key), element("code", {}, short(each.version)), isNewest, each.connections];
      }),
    ),
  ];
  parts.push(
    element("h3", {}, "Connections"),
    table(
      ["Key", "Instance", "Peer", "Token", "Version", "Patterns", "State"],
      found.connections.map((each) => [
        keyName(`${each.app}:${each.profile}:${each.label}`),
        each.instance || "–",
        each.peer,
        each.principal || "–",
        element("code", {}, short(each.version)),
        each.patterns,
        each.state,
      ]),
    ),
  );
  if (found.total > found.connections.length) parts.push(element("p", { class: "quiet" }, `and ${found.total - found.connections.length} more`));
  return parts;
}

async function applied() {
  if (!may("admin") && !may("read")) return [forbidden("the list of acknowledgements", "read")];
  return fleet(await ask("/api/v1/fleet?state=rejected&limit=200"));
}

/** Show which instances of each application have applied its version. */
function fleet({ keys, nodes }) {
  const shown = nodes ? nodesOfCluster(nodes) : [];
  if (!keys.length) return [element("p", { class: "quiet" }, "No instance has acknowledged a configuration yet."), ...shown];
  const states = ["applied", "rejected", "silent", "gone", ...(nodes ? ["away"] : [])];
  const hasRestarted = keys.some((each) => each.counts.before_restart);
  const rows = keys.map((each) => [
    keyName(`${each.app}:${each.profile}:${each.label}`),
    element("code", {}, short(each.version)),
    each.percent === null ? "–" : `${each.percent} %`,
    ...states.map((state) => each.counts[state]),
    ...(hasRestarted ? [each.counts.before_restart ?? 0] : []),
  ]);
  const rejected = keys.flatMap((each) =>
    each.instances.map((instance) => element("li", { class: "bad" }, `${instance.name} rejected ${short(instance.ack.version)} of ${each.app}:${each.profile}: ${instance.ack.error ?? "it gave no reason"}`)),
  );
  return [
    element("h3", {}, "Acknowledgements"),
    table(["Key", "Version", "Share applied", ...states, ...(hasRestarted ? ["acknowledged only before the server's restart"] : [])], rows),
    element("ul", {}, ...rejected),
    ...shown,
  ];
}

/** Show the nodes of the cluster, and whose instances are counted. */
function nodesOfCluster(nodes) {
  const counted = { current: "counted now", last: "counted until", unknown: "not counted" };
  const rows = nodes.map((each) => [
    each.name,
    element("span", { class: each.silent ? "bad" : "good" }, each.state),
    each.as_of ? `${counted[each.counts]} ${when(each.as_of)}` : counted[each.counts],
    each.reason ?? "–",
  ]);
  return [element("h3", {}, "Nodes"), table(["Node", "State", "Instances", "Instances aren't listed because"], rows)];
}
