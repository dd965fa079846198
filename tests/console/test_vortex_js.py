"""The client in JavaScript computes the same versions, documents, delays and ends as the client in Python."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonpatch
import orjson
import pytest

from vortexd.client.backoff import delay_before
from vortexd.client.replica import version_of
from vortexd.core.model import Key
from vortexd.core.patterns import parse_pattern
from vortexd.protocol.close import CloseReason

from .node import NODE, VORTEX, needs_node, run_js

pytestmark = needs_node

NAMES = ["a", "b", "/", "~", "~1", "", "é", "\U0001f600", "￮", "0", "-", "__proto__", "constructor"]
SCALARS = [1, 1.0, 0, -0.0, True, False, None, "", "x", "1", '\u2028\n\t\x01"\\', 1e22, 1.5e-9, 2**60 + 1, 0.1, 1e-7]


def document(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.random()
    if depth < 4 and kind < 0.45:
        return {chance.choice(NAMES): document(chance, depth + 1) for _ in range(chance.randint(0, 5))}
    if depth < 4 and kind < 0.6:
        return [document(chance, depth + 1) for _ in range(chance.randint(0, 4))]
    return chance.choice(SCALARS)


def text(value: object) -> str:
    return orjson.dumps(value).decode()


def test_versions_and_patches_are_those_of_everybody_else() -> None:
    chance = random.Random(7)
    cases, expected = [], []
    for _ in range(400):
        old, new = {"root": document(chance)}, {"root": document(chance)}
        patch = jsonpatch.make_patch(old, new).patch
        cases.append([text(old), text(patch)])
        # Compare with the library that made the patch: it treats 1 and true as equal, so the patch may leave them.
        expected.append([version_of(old), version_of(jsonpatch.apply_patch(old, patch)), version_of(old)])

    assert expected == run_js(
        """return given.map(([old, patch]) => {
            const tree = vortex.parse(old);
            const before = vortex.versionOf(tree);
            return [before, vortex.versionOf(vortex.patched(tree, vortex.parse(patch))), vortex.versionOf(tree)];
        })""",
        cases,
    )


def test_the_operations_of_rfc_6902_are_known_and_what_does_not_fit_is_refused() -> None:
    fits = [
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
        ({"a": [1, 2]}, [{"op": "copy", "from": "/a/0", "path": "/a/-"}], {"a": [1, 2, 1]}),
        (
            {"a": 1},
            [{"op": "test", "path": "/a", "value": 1}, {"op": "replace", "path": "", "value": {"b": 2}}],
            {"b": 2},
        ),
        ({"a/b": {"~": 1}}, [{"op": "remove", "path": "/a~1b/~0"}], {"a/b": {}}),
        ({"a": [1]}, [{"op": "add", "path": "/a/0", "value": None}], {"a": [None, 1]}),
    ]
    wrong: list[list[dict[str, object]]] = [
        [{"op": "remove", "path": "/b"}],
        [{"op": "replace", "path": "/a/7", "value": 1}],
        [{"op": "add", "path": "/a/9", "value": 1}],
        [{"op": "add", "path": "/a/01", "value": 1}],
        [{"op": "test", "path": "/a/0", "value": 1.0}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "jump", "path": "/a"}],
        [{"path": "/a"}],
        [{"op": "add", "path": "/a/toString/b", "value": 1}],
    ]
    found = run_js(
        """const tried = (old, patch) => {
            try { return vortex.plain(vortex.patched(vortex.parse(old), vortex.parse(patch))); } catch { return "refused"; }
        };
        return [given[0].map(([old, patch]) => tried(old, patch)), given[1].map((patch) => tried('{"a":[1,2]}', patch))]""",
        [[[text(old), text(patch)] for old, patch, _ in fits], list(map(text, wrong))],
    )

    assert [[new for _, _, new in fits], ["refused"] * len(wrong)] == found


@pytest.mark.parametrize(
    "bad", ["", "{", "[1,]", "{'a':1}", '{"a":1}x', "01", "+1", '"\x01"', "nul", "[" * 600 + "]" * 600]
)
def test_what_is_no_json_is_refused(bad: str) -> None:
    assert "SyntaxError" == run_js("try { return vortex.parse(given); } catch (e) { return e.name; }", bad)


def test_names_that_javascript_knows_are_names_like_others() -> None:
    assert [True, 1, "undefined"] == run_js(
        """const made = vortex.plain(vortex.parse('{"__proto__":{"polluted":1},"constructor":1}'));
        return [Object.hasOwn(made, "__proto__"), made.constructor, typeof {}.polluted]""",
        None,
    )


def test_patterns_match_as_they_do_on_the_server() -> None:
    globs = ["*", "a*", "*a", "a*b*c", "abc", "*b*", "a*a", "**", ""]
    keys = [
        Key(*names) for names in (("abc", "prod", "main"), ("aabbcc", "p", "m"), ("a", "prod", "x/y"), ("ab", "a", "b"))
    ]
    patterns = [each for each in (*globs, "abc:prod", "a*:p*:m*", "*:*:x/y") if each]

    assert [[parse_pattern(each).matches(key) for key in keys] for each in patterns] == run_js(
        "return given[0].map((pattern) => given[1].map((key) => vortex.matches(pattern, key)))",
        [patterns, list(map(str, keys))],
    )


def test_close_codes_mean_what_the_server_means_by_them() -> None:
    codes = [each.code for each in CloseReason] + [1005, 4100, 4450, 4999, 3000]
    known = {each.code: each.may_return for each in CloseReason} | {
        1005: True,
        4100: True,
        4450: False,
        4999: True,
        3000: False,
    }

    assert [known[code] for code in codes] == run_js("return given.map((code) => vortex.closed(code).mayReturn)", codes)


def test_it_comes_back_when_others_do() -> None:
    cases = [
        (attempt, chance, asked) for attempt in (0, 1, 2, 6, 40) for chance in (0.0, 0.5, 1.0) for asked in (None, 700)
    ]

    assert [delay_before(*case) for case in cases] == run_js(
        "return given.map((each) => vortex.delayBefore(...each))", cases
    )


def said(given: object, body: str) -> Any:
    """Return a conversation's messages. `hear` takes a message as an object; `begin` starts a new connection."""
    prelude = """
        const held = new vortex.Held();
        let conversation;
        const told = [];
        const flush = () => told.push(...conversation.takeOutgoing().map((text) => JSON.parse(text)));
        const begin = () => { conversation = new vortex.Conversation(held, given.patterns ?? [], 0); flush(); };
        const key = { app: "orders", profile: "dev", label: "main" };
        const hear = (type, members) => {
          const events = conversation.receive(JSON.stringify({ type, schema: 1, ...key, ...members }), 0);
          flush();
          return events;
        };
        const name = "orders:dev:main";
    """
    return run_js(f"{prelude} {body}; return told;", given)


def test_what_the_application_said_is_said_again_to_a_server_that_cannot_know_it() -> None:
    version, next_version = version_of({"a": 1}), version_of({"a": 2})
    told = said(
        [version, next_version],
        """
        const [one, two] = given;
        begin();
        hear("config_snapshot", { config: { a: 1 }, version: one });
        conversation.acknowledge(name, one, "rejected", "no room");
        flush();
        hear("in_sync", { version: one });
        begin();
        hear("in_sync", { version: one });
        hear("in_sync", { version: one });
        begin();
        hear("config_snapshot", { config: { a: 2 }, version: two });
        begin();
        hear("config_snapshot", { config: { a: 1 }, version: one });
        """,
    )

    ack = {
        "type": "ack",
        "app": "orders",
        "profile": "dev",
        "label": "main",
        "version": version,
        "status": "rejected",
        "error": "no room",
    }
    assert [ack, ack, ack] == told


def test_it_is_one_file_that_needs_no_other() -> None:
    source = Path(VORTEX).read_text()

    assert "import " not in source.replace('//     import { watch } from "./vortex.js";', "")
    assert "require(" not in source


# Environments without a WebSocket.

FAKE_WS = """
export default class {
  constructor(url, protocols) { process.stdout.write(JSON.stringify({ url, protocols }) + "\\n"); setTimeout(() => process.exit(), 0); }
  close() {}
}
"""


def without_websocket(directory: Path, script: str, *, has_package: bool) -> str:
    """Return a script's output in a Node without a WebSocket. The client is in a directory of its own."""
    shutil.copy(VORTEX, directory / "vortex.mjs")
    if has_package:
        package = directory / "node_modules" / "ws"
        package.mkdir(parents=True)
        (package / "package.json").write_text('{"name": "ws", "type": "module", "main": "index.js"}')
        (package / "index.js").write_text(FAKE_WS)
    (directory / "script.mjs").write_text(
        f'delete globalThis.WebSocket;\nconst {{ watch }} = await import("./vortex.mjs");\n{script}'
    )
    command = [str(NODE), str(directory / "script.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "" == done.stderr
    return done.stdout


WATCH = 'const config = watch("ws://127.0.0.1:1", "billing", "prod", { instance: "" });'
FOLLOW = (
    "const print = (what) => process.stdout.write(JSON.stringify(what) + '\\n');"
    'config.on("state", ({ name, reason }) => print([name, reason]));'
    "await config.ready.catch((error) => print(error.message));"
    "for await (const _ of config) print('a change');"
)


def test_it_takes_the_package_ws(tmp_path: Path) -> None:
    printed = without_websocket(tmp_path, WATCH, has_package=True)

    assert {"url": "ws://127.0.0.1:1/ws/billing/prod?instance=", "protocols": ["vortex.v1"]} == json.loads(printed)


def test_without_that_too_it_says_in_a_line_what_to_install(tmp_path: Path) -> None:
    failed, said = without_websocket(tmp_path, WATCH + FOLLOW, has_package=False).splitlines()

    reason = "this environment has no WebSocket: run `npm install ws`, or use Node 22 or newer"
    assert ["failed", reason] == json.loads(failed)
    assert reason == json.loads(said)


def test_who_has_closed_it_meanwhile_opens_nothing(tmp_path: Path) -> None:
    script = f"{WATCH} config.close(); setTimeout(() => process.stdout.write(config.state.name), 100);"

    assert "closed" == without_websocket(tmp_path, script, has_package=True)


def test_a_class_that_is_given_goes_before_the_package(tmp_path: Path) -> None:
    script = """
    class Given { constructor(url) { process.stdout.write("given"); setTimeout(() => process.exit(), 0); } close() {} }
    watch("ws://127.0.0.1:1", "billing", "prod", { WebSocket: Given });
    """

    assert "given" == without_websocket(tmp_path, script, has_package=True)


# Why a handshake was refused.

REFUSED = """
class Refused { constructor() { setTimeout(() => this.onclose({ code: 1006, reason: "" }), 0); } close() {} }
const headers = new Headers(%s);
const fetch = async () => ({ status: %d, headers, json: async () => ({ message: "no way" }) });
const config = watch("ws://127.0.0.1:1", "billing", "prod", { WebSocket: Refused, fetch });
config.on("state", ({ name, reason }) => { process.stdout.write(JSON.stringify([name, reason])); process.exit(); });
"""


@pytest.mark.parametrize(
    ("status", "headers", "state"),
    [
        (426, '{"X-Vortex-Refused": "403"}', ["failed", "refused with 403 no way"]),
        (426, '{"X-Vortex-Refused": "404"}', ["failed", "refused with 404 no way"]),
        (426, '{"X-Vortex-Refused": "503"}', ["stale", "refused with 503 no way"]),
        (426, "{}", ["stale", "can't connect to http://127.0.0.1:1"]),
        (401, "{}", ["failed", "refused with 401 no way"]),
    ],
)
def test_what_the_address_says_over_http_is_why_a_handshake_was_refused(
    tmp_path: Path, status: int, headers: str, state: list[str]
) -> None:
    assert state == json.loads(without_websocket(tmp_path, REFUSED % (headers, status), has_package=False))


# A server that is behind.

BEHIND = """
const log = [];
// No timer waits. The timers that watch over a connection never fire.
globalThis.setTimeout = (call, delay) => (delay < 10000 ? setImmediate(() => { log.push(["waited", delay]); call(); }) : null);
globalThis.clearTimeout = clearImmediate;
const message = (type, members) => ({ data: JSON.stringify({ type, schema: 1, app: "billing", profile: "prod", label: "main", ...members }) });
const answers = [
  (socket) => {
    socket.onmessage(message("config_snapshot", { config: { a: 1 }, version: %s, generation: "5f3a.17" }));
    socket.onclose({ code: 1006, reason: "" });
  },
  (socket) => {
    socket.onmessage(message("connection_closing", { reason: "behind", reconnect_after_ms: 300 }));
    socket.onclose({ code: 4421, reason: "" });
  },
  (socket) => {
    socket.onmessage(message("in_sync", { version: %s, generation: "5f3a.18" }));
    socket.onclose({ code: 1006, reason: "" });
  },
  () => {
    process.stdout.write(JSON.stringify(log));
    process.exit();
  },
];
class Scripted {
  constructor(url) {
    log.push(url);
    setImmediate(() => { this.onopen(); answers.shift()(this); });
  }
  close() {}
}
Math.random = () => 0;
watch(["ws://a:1", "ws://b:2", "ws://c:3"], "billing", "prod", { WebSocket: Scripted, instance: "" });
"""


def test_a_server_that_is_behind_sends_the_client_on_to_the_next_one_after_its_delay(tmp_path: Path) -> None:
    version = version_of({"a": 1})
    log = json.loads(without_websocket(tmp_path, BEHIND % (2 * (json.dumps(version),)), has_package=False))

    path = "/ws/billing/prod?instance="
    assert [
        f"ws://a:1{path}",
        ["waited", 0],
        f"ws://b:2{path}&last_version={version}&generation=5f3a.17",
        ["waited", 300],
        f"ws://c:3{path}&last_version={version}&generation=5f3a.17&sent_on=1",
        ["waited", 0],
        f"ws://a:1{path}&last_version={version}&generation=5f3a.18",
    ] == log
