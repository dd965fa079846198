// Requests to the server, with the token of this tab.

// The URL above `/console/`, including any prefix that a proxy adds.
export const BASE = new URL("..", location.href).href.replace(/\/$/, "");
// Each page has many names, and no server has more pages of them than half of these.
const MOST_PAGES = 40;
// The server may push to a remote repository before it answers, in ms.
const CHANGE_TIMEOUT = 120000;
// By path: the entity tag and the content of the last response.
const pages = new Map();

export async function ask(path) {
  return contentOf(await send(path));
}

/** Request something again and again. The server sends it only if it has changed. */
export async function askAgain(path) {
  const known = pages.get(path);
  const answer = await send(path, known ? { "If-None-Match": known.tag } : {});
  if (answer.status === 304) return known.content;
  const content = await contentOf(answer);
  // If names have come or gone, the paths of their pages are others.
  if (pages.size > MOST_PAGES) pages.clear();
  pages.set(path, { tag: answer.headers.get("ETag"), content });
  return content;
}

export function send(path, headers = {}, options = {}) {
  const token = sessionStorage.getItem("token");
  return fetch(BASE + path, { ...options, headers: token ? { ...headers, Authorization: `Bearer ${token}` } : headers, cache: "no-store" });
}

/** Return the content of a response. An error has the status, and in `sentence` the server's own words. */
export async function contentOf(answer) {
  if (answer.ok) return answer.json();
  const said = await answer.json().catch(() => ({}));
  const reason = answer.status === 403 ? "Your token doesn't allow this." : (said.message ?? `${answer.status}`);
  throw Object.assign(new Error(reason), { status: answer.status, sentence: said.message ?? reason });
}

/** Ask the server to change something. Returns the content of its response, or null if there is none. */
export async function change(method, path, body = null) {
  const answer = await send(path, body === null ? {} : { "Content-Type": "application/json" }, {
    method,
    body: body === null ? null : JSON.stringify(body),
    signal: AbortSignal.timeout(CHANGE_TIMEOUT),
  });
  return answer.status === 204 ? null : contentOf(answer);
}

/** Forget all responses, because another user's are others. */
export function forgetPages() {
  pages.clear();
}

export function pathOf(key) {
  return key.split(":").map(encodeURIComponent).join("/");
}
