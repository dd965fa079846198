// The view Clients: the connections, and what instances have acknowledged.

import { element, replace, short, table, when } from "./dom.js";
import { keyName } from "./marks.js";
import { ask } from "./requests.js";
import { forbidden, may, session } from "./session.js";

export async function showClients() {
  const counted = may("admin") || may("read") ? await ask("/api/v1/fleet?state=rejected&limit=200") : null;
  const rolling = new Map((counted?.keys ?? []).filter((each) => each.target).map((each) => [keyOf(each), each.target]));
  const parts = may("admin") ? await connections(rolling) : [forbidden("the list of connections", "admin")];
  parts.splice(3, 0, ...(counted === null ? [forbidden("the list of acknowledgements", "read")] : fleet(counted)));
  replace("clients-body", ...parts);
}

/** Show the connections. `rolling` has the target of each key that is in a roll-out. */
async function connections(rolling) {
  const found = await ask("/api/v1/connections?limit=200");
  const parts = [
    element("p", {}, `${found.total} ${found.total === 1 ? "connection" : "connections"}, ${found.parked} parked.`),
    element("h3", {}, "Connections by version"),
    table(
      ["Key", "Version", "", "Connections"],
      found.versions.map((each) => {
        const key = keyOf(each);
        return [keyName(key), element("code", {}, short(each.version)), standing(key, each.version, rolling), each.connections];
      }),
    ),
  ];
  parts.push(
    element("h3", {}, "Connections"),
    table(
      ["Key", "Instance", "Peer", "Token", "Version", "Patterns", "State"],
      found.connections.map((each) => [
        keyName(keyOf(each)),
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

function keyOf({ app, profile, label }) {
  return `${app}:${profile}:${label}`;
}

/** Say how a version stands to the newest one, or to the two versions of a roll-out. */
function standing(key, version, rolling) {
  if (rolling.get(key) === version) return element("span", { class: "good" }, "new, in a roll-out");
  const newest = session.versions.get(key) ?? session.names.get(key) ?? undefined;
  if (newest === undefined) return "";
  if (newest !== version) return element("span", { class: "bad" }, "behind");
  return element("span", { class: "good" }, rolling.has(key) ? "stable" : "newest");
}

/** Show which instances of each application have applied its version. */
function fleet({ keys, nodes }) {
  const shown = nodes ? nodesOfCluster(nodes) : [];
  if (!keys.length) return [element("p", { class: "quiet" }, "No instance has acknowledged a configuration yet."), ...shown];
  const states = ["applied", "rejected", "silent", "gone", ...(nodes ? ["away"] : [])];
  const hasRestarted = keys.some((each) => each.counts.before_restart);
  const rows = keys.map((each) => [
    keyName(keyOf(each)),
    versionOf(each),
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

/** Show the version of a key, and the roll-out to another one. */
function versionOf({ version, target, rollout }) {
  const shown = element("code", {}, short(version));
  return target ? element("span", {}, shown, " → ", element("code", {}, short(target)), ` (roll-out ${rollout})`) : shown;
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
