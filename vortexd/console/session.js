// What the page knows while it is signed in. Its modules share this.

import { element } from "./dom.js";

export const session = {
  // What the token allows, as the server says. null until the server has answered.
  me: null,
  // By key: the document that was last shown, to find what changed.
  documents: new Map(),
  // By key: its newest version.
  versions: new Map(),
  // By key that the token may read: the version that the server named, or null.
  names: new Map(),
  // Whether changes arrive over the WebSocket. Otherwise, they are found by comparing versions.
  isFollowing: true,
  // A key without files that the page needs for its connection. It isn't shown.
  madeUpKey: null,
  shownKey: null,
  // The version of the shown key.
  shownVersion: null,
  // By key: the commit that last changed a file of it, if it comes from a Git source.
  origins: new Map(),
  // By key that the token may read: its pin.
  pins: new Map(),
};

export function may(right) {
  return session.me !== null && session.me.grants.some((grant) => grant.rights.includes(right));
}

export function forbidden(what, right) {
  const reason = session.me?.kind === "anonymous" ? "Anonymous users may not see this" : "Your token doesn't allow this";
  return element("p", { class: "bad" }, `${reason}: ${what} requires the right ${right}.`);
}
