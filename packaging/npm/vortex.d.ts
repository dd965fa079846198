// The types of vortex.js, the client of vortexd. vortexd-api(7) describes the protocol.
//
// The module exports more names. They are parts of the client, and may change in any version.

/** A value of a document or message. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** One operation of RFC 6902. Paths are JSON pointers. */
export type Operation =
  | { op: "add" | "replace" | "test"; path: string; value: Json }
  | { op: "remove"; path: string }
  | { op: "move" | "copy"; from: string; path: string };

export type Transport = "websocket" | "sse";

export interface State {
  /** "stale": not connected, and the client tries again. "failed": it doesn't try again. */
  name: "connecting" | "connected" | "stale" | "failed" | "closed";
  /** When this state began, in milliseconds since 1970. */
  since: number;
  /** Why the client isn't connected; null if there is no reason. */
  reason: string | null;
  /** The transport of the connection, or of the last attempt. "sse" stands for Server-Sent Events. */
  transport: Transport;
}

export interface Change<Document = any> {
  type: "changed";
  /** `application:profile:label`. */
  key: string;
  /** The version before; null if there was none. */
  oldVersion: string | null;
  /** The version now; null if the configuration has ended. */
  version: string | null;
  /** The document now; null if the configuration has ended. */
  document: Document | null;
  /** The change from the version before; null if the server sent the whole document. */
  patch: Operation[] | null;
  /** Where the change comes from, such as a commit; null if the server doesn't say. */
  origin: { [name: string]: Json } | null;
  /** Whether the document is older than one before, because the server is behind. The newer one follows by itself. */
  isBehind: boolean;
}

/** The server has refused a message. The connection stays open. */
export interface Refused {
  type: "refused";
  /** Such as "FORBIDDEN". */
  code: string;
  message: string;
}

/** The server has sent a heartbeat, and the document is the current one. */
export interface Beat {
  type: "beat";
}

export interface Events<Document = any> {
  change: Change<Document>;
  state: State;
  refused: Refused;
  beat: Beat;
}

export interface Options {
  /** The label; without one, the default label of the source. */
  label?: string | undefined;
  token?: string | undefined;
  /** Further keys to follow: `application:profile:label`, each a name or a glob. Missing parts mean "*". */
  patterns?: readonly string[];
  /** The name of this client in the fleet. A client with "" only watches, and isn't counted. */
  instance?: string | undefined;
  /** "auto", the default: a WebSocket, or Server-Sent Events if a proxy doesn't pass WebSockets. */
  transport?: "auto" | Transport | undefined;
  /** A class to use instead of the global one. Without either, the client uses that of the package `ws`. */
  WebSocket?: (new (url: string, protocols: string[]) => any) | undefined;
  /** A function to use instead of the global one. */
  fetch?: ((url: string, init: any) => Promise<any>) | undefined;
}

/** A configuration that the client keeps up to date. It yields the changes from now on, of all keys that it follows. */
export interface Watch<Document = any> {
  /** Resolves with the first state. Rejects with an Error if the client gives up before. */
  readonly ready: Promise<Watch<Document>>;
  readonly state: State;
  /** The current document; null before the first one, and after the configuration has ended. Never modified in place. */
  readonly document: Document | null;
  readonly version: string | null;
  /** `application:profile:label`; null before the first state. */
  readonly key: string | null;
  /** Whether the document is older than one before, because the server is behind. The newer one follows by itself. */
  readonly isBehind: boolean;
  /** The documents of all keys that `patterns` match, by `application:profile:label`. */
  readonly documents: Map<string, any>;
  /** Call a function for each event of a type. Returns a function that removes it. */
  on<Type extends keyof Events<Document>>(type: Type, listener: (event: Events<Document>[Type]) => void): () => void;
  /**
   * Report that the application has applied a version, or why it hasn't. Throws if there is no version yet.
   *
   * Returns whether the report can be sent. Over Server-Sent Events it can't: the client warns once, and sends it when a WebSocket works again.
   */
  ack(version: string, status?: "applied" | "rejected", error?: string | null, key?: string): boolean;
  /** Ends the connection for good. */
  close(): void;
  [Symbol.asyncIterator](): AsyncGenerator<Change<Document>, void, undefined>;
}

/**
 * Watch the configuration of an application.
 *
 * Throws if a URL isn't one of ws, wss, http or https, or if the transport doesn't exist.
 *
 * @param urls Servers; if one fails, the client tries the next one.
 * @param profile The default is "default".
 */
export function watch<Document = any>(urls: string | readonly string[], app: string, profile?: string, options?: Options): Watch<Document>;
