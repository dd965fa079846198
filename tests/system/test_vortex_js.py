"""The JavaScript client in Node, against the real process."""

import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.console.node import NODE, VORTEX, needs_node

from .fleet import save
from .process import Server
from .test_spring_clients import found, installed, run

SCRIPT = """
const { watch } = await import(process.argv[1]);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\\n");
const config = watch(process.argv[2], "billing", "prod", { instance: "node", patterns: ["shop:*"] });
config.on("state", ({ name, reason }) => say({ state: name, reason }));
await config.ready;
for (const version of [config.version]) {
  config.ack(version);
  say({ version, document: config.document });
}
for await (const change of config) {
  if (change.key === config.key) config.ack(change.version, change.document.bad ? "rejected" : "applied", change.document.bad);
  say({ key: change.key, version: change.version, document: change.document, patch: change.patch });
}
"""
SETTINGS = """
[server]
bind = ["127.0.0.1:{port}"]
drain_timeout = 1
[[source]]
path = "{source}"
quiet = 0.02
"""
DOCUMENT = 'whole: 1\nfraction: 1.0\nlarge: 12345678901234567890\nsmall: 1.0e-7\nname: "Zoë \\u2028 \\U0001F600"\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    save(directory / "billing.yml", DOCUMENT)
    save(directory / "shop.yml", "open: true\n")
    return directory


class Watching:
    """Run the script in Node, and read its output line by line."""

    def __init__(self, port: int, module: Path = VORTEX, option: str = "--experimental-websocket") -> None:
        command = [str(NODE), option, "--input-type=module", "--eval", SCRIPT]
        self.process = subprocess.Popen(
            [*command, module.as_uri(), f"ws://127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True
        )

        # Don't wait for a line forever.
        self.timer = threading.Timer(60, self.process.kill)
        self.timer.start()

    def until(self, is_it: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        assert self.process.stdout
        for line in self.process.stdout:
            said: dict[str, Any] = json.loads(line)
            if is_it(said):
                return said
        raise AssertionError("it has ended")


@pytest.fixture
def watching() -> Iterator[Callable[..., Watching]]:
    begun: list[Watching] = []

    def begin(*arguments: Any) -> Watching:
        begun.append(Watching(*arguments))
        return begun[-1]

    yield begin
    for each in begun:
        each.timer.cancel()
        each.process.kill()
        each.process.communicate()


def fleet(server: Server) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/api/v1/fleet?app=billing", timeout=20) as answer:
        (key,) = json.load(answer)["keys"]
    return dict(key)


def instance(server: Server, state: str) -> dict[str, Any]:
    """Return the fleet's entry for the script, once it has reached a state."""
    for _ in range(200):
        found = fleet(server)
        if [state] == [each["state"] for each in found["instances"]]:
            return {"version": found["version"], **found["instances"][0]}
        time.sleep(0.05)
    raise AssertionError(found)


@needs_node
def test_it_follows_changes_acknowledges_them_and_comes_back(source: Path, watching: Callable[..., Watching]) -> None:
    with Server(source, settings=SETTINGS.format(port=0, source=source)) as server:
        script = watching(server.port)
        first = script.until(lambda said: "document" in said)
        assert (1, 1, "Zo\u00eb \u2028 \U0001f600") == tuple(
            first["document"][name] for name in ("whole", "fraction", "name")
        )
        assert first["version"] == instance(server, "applied")["version"]

        save(source / "billing.yml", DOCUMENT + "bad: the pool is too small\n")
        changed = script.until(lambda said: said.get("key") == "billing:prod:main" and "bad" in said["document"])
        rejected = instance(server, "rejected")
        assert (changed["version"], "node", "the pool is too small") == (
            rejected["version"],
            rejected["name"],
            rejected["ack"]["error"],
        )
        assert [{"op": "add", "path": "/bad", "value": "the pool is too small"}] == changed["patch"]
        save(source / "billing.yml", DOCUMENT)
        assert first["version"] == script.until(lambda said: said.get("key") == "billing:prod:main")["version"]
        assert "applied" == instance(server, "applied")["state"]
        port = server.port
    script.until(lambda said: said.get("state") == "stale")
    with Server(source, settings=SETTINGS.format(port=port, source=source)) as server:
        script.until(lambda said: said.get("state") == "connected")
        # The client repeats its acknowledgement, so the new process knows it.
        assert first["version"] == instance(server, "applied")["ack"]["version"]


def test_a_server_that_is_away_is_left_at_once() -> None:
    """If a handshake fails, Node 20 reports only an error, without the close event that browsers send after it."""
    script = """
    const { watch } = await import(process.argv[1]);
    const config = watch("ws://127.0.0.1:1", "billing", "prod");
    const began = performance.now();
    config.on("state", ({ name }) => {
      process.stdout.write(JSON.stringify([name, performance.now() - began < 5000]));
      process.exit();
    });
    """
    command = [str(NODE), "--experimental-websocket", "--input-type=module", "--eval", script, VORTEX.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ["stale", True] == json.loads(done.stdout), done.stderr


@pytest.fixture
def project(tmp_path: Path, pytestconfig: pytest.Config) -> Path:
    """Put the client into a separate project with the package `ws`."""
    npm = found("npm")
    package = "ws@8.18.0"
    command = [npm, "install", "--no-audit", "--no-fund", "--no-save", package, "--prefix"]
    modules = installed(pytestconfig, "ws", [package], lambda directory: run([*command, str(directory)], directory))
    directory = tmp_path / "project"
    directory.mkdir()
    shutil.copy(VORTEX, directory / "vortex.mjs")
    (directory / "node_modules").symlink_to(modules / "node_modules")
    return directory


@needs_node
@pytest.mark.slow
def test_without_a_websocket_of_its_own_it_follows_with_the_package_ws(
    source: Path, project: Path, watching: Callable[..., Watching]
) -> None:
    module = project / "vortex.mjs"
    with Server(source, settings=SETTINGS.format(port=0, source=source)) as server:
        script = watching(server.port, module, "--no-experimental-websocket")
        first = script.until(lambda said: "document" in said)
        assert first["version"] == instance(server, "applied")["version"]
        save(source / "billing.yml", DOCUMENT + "more: true\n")
        changed = script.until(lambda said: said.get("key") == "billing:prod:main" and "more" in said["document"])
        assert [{"op": "add", "path": "/more", "value": True}] == changed["patch"]
        port = server.port
    script.until(lambda said: said.get("state") == "stale")
    with Server(source, settings=SETTINGS.format(port=port, source=source)):
        script.until(lambda said: said.get("state") == "connected")
