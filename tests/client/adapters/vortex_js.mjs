// The adapter of vortex.js; ../conformance/ADAPTERS.md describes its lines. Its clock can be set.
//
// On Node 20, run it as `node --experimental-websocket vortex_js.mjs`.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const environment = (name) => process.env[`CONFORMANCE_${name}`];
const report = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

// The clock of vortex.js. Node's own modules keep theirs.
let now = 0;
let count = 0;
const timers = new Map();
globalThis.fake = {
  performance: { now: () => 1000 * now },
  setTimeout: (call, delay) => {
    timers.set(++count, { call, due: now + delay / 1000 });
    return count;
  },
  clearTimeout: (number) => timers.delete(number),
};

async function advance(seconds) {
  now = seconds;
  for (const [number, { call, due }] of [...timers]) if (due <= now && timers.delete(number)) call();
  await new Promise((resolve) => setTimeout(resolve, 5));
}

const path = new URL("../../../vortexd/console/vortex.js", import.meta.url);
const source = `const { performance, setTimeout, clearTimeout } = globalThis.fake;\n${readFileSync(path)}`;
const { watch } = await import(`data:text/javascript;base64,${Buffer.from(source).toString("base64")}`);
report({ clock: 0 });
const patterns = environment("PATTERNS").split(" ").filter(Boolean);
const options = { patterns, token: environment("TOKEN") || undefined, transport: environment("TRANSPORT") };
const config = watch(environment("URL"), environment("APPLICATION"), environment("PROFILE"), options);
config.on("change", ({ key, oldVersion, version, document, patch, isBehind }) =>
  report({ change: { key, old_version: oldVersion, version, document, patch, is_behind: isBehind } }),
);
config.on("refused", ({ code }) => report({ refused: code }));
let wasConnected = false;
config.on("state", ({ name }) => {
  if (name === "connected" && !wasConnected) report("current");
  if (name === "stale" || name === "failed") report({ end: { return: name === "stale" } });
  wasConnected = name === "connected";
});

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if (command.ack) config.ack(command.ack.version, command.ack.status, command.ack.error);
  if ("clock" in command) {
    await advance(command.clock);
    report(command);
  }
}
process.exit(0);
