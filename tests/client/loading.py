"""Runs a client in a fresh interpreter, against a server in this one, and lists the modules that it loads."""

import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs
import trio

from vortexd.client.address import Address
from vortexd.client.replica import version_of

from .said import change, snapshot
from .server import Peer

OLD, NEW, NEWEST = {"pool": 1}, {"pool": 2}, {"pool": 2, "hosts": ["a"]}
RECEIVED = [{"op": "replace", "path": "/pool", "value": 2}]
COMPUTED = [{"op": "add", "path": "/hosts", "value": ["a"]}]

_BEGIN = """
import importlib.metadata, json, sys
before = set(sys.modules)
"""
_IMPORT = """
import {package}
"""
# Each kind of client shows the first document, a patch of the server's, and a patch that it makes itself of a second snapshot.
_USE = """
import asyncio, os, tempfile, trio
import {package}.asyncio, {package}.blocking
arguments = sys.argv[1], "orders", "dev"

async def follow(config):
    print(json.dumps(dict(config)))
    await config.ack(config.version, "applied")
    async for change in config:
        print(json.dumps(change.patch))
        await config.ack(change.version, "applied")
        if change.patch[0]["path"] == "/hosts":
            break
    async for state in config.states():
        return print(json.dumps(str(state)))

async def on_trio(file):
    async with {package}.watch(*arguments, token="secret", patterns=["billing:*"], last_known_good=file) as config:
        await follow(config)

async def on_asyncio():
    async with {package}.asyncio.watch(*arguments) as config:
        await follow(config)

with tempfile.TemporaryDirectory() as directory:
    trio.run(on_trio, os.path.join(directory, "config.json"))
asyncio.run(on_asyncio())
with {package}.blocking.watch(*arguments) as config:
    print(json.dumps(dict(config)))
    config.ack(config.version, "applied")
    for change in config.changes():
        print(json.dumps(change.patch))
        config.ack(change.version, "applied")
        if change.patch[0]["path"] == "/hosts":
            break
    print(json.dumps(str(next(iter(config.states())))))
"""
# A view needs no server. The last line binds a document that doesn't fit, so the client would ask for the places of its values.
_BIND = """
import dataclasses
from {package}.change import Change
from {package}.view import View
from {package}.bound import attempt, Bound

@dataclasses.dataclass
class Settings:
    size: int

view = View(0.0)
view.begin(Change(None, None, "v1", {{"pool": {{"size": 1}}}}))
print(json.dumps(view["pool.size"]))
live = Bound(view, Settings, "pool", None)
live.refresh()
print(json.dumps([live.value.size, attempt(view, Settings, "pool").size]))
print(json.dumps(attempt(view, Settings, "").error.reason))
"""
_END = """
new = set(sys.modules) - before
ours = [name for name in new if name.partition(".")[0] == {top!r}]
others = {{name.partition(".")[0] for name in new}} - {{{top!r}}} - set(sys.stdlib_module_names)
distributions = importlib.metadata.packages_distributions()
print(json.dumps([sorted(ours), sorted({{each for name in others for each in distributions.get(name, [name])}})]))
"""
# Each of the three clients of `use` prints this.
SHOWN = [OLD, RECEIVED, COMPUTED, "connected"]


@attrs.frozen
class Loaded:
    """The modules and distributions that a program has loaded at its end.

    Attributes:
        modules: Those of the client's own package, sorted.
        distributions: The names of all others that aren't Python's own, sorted.
        shown: What the program has printed.
    """

    modules: list[str]
    distributions: list[str]
    shown: list[Any] = attrs.field(factory=list)


async def import_alone(package: str, environment: Mapping[str, str] | None = None) -> Loaded:
    """Import the package, and do nothing with it."""
    return await _run(_IMPORT, package, "", environment)


async def use(package: str, environment: Mapping[str, str] | None = None) -> Loaded:
    """Follow a server on Trio, on asyncio and in a thread, one after the other."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, _serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        loaded = await _run(_USE, package, f"ws://127.0.0.1:{port}", environment)
        nursery.cancel_scope.cancel()
    return loaded


async def bind(package: str) -> Loaded:
    """Bind a document to a dataclass, without a server."""
    return await _run(_IMPORT + _BIND, package, "", None)


async def _run(body: str, package: str, url: str, environment: Mapping[str, str] | None) -> Loaded:
    program = (_BEGIN + body + _END).format(package=package, top=package.partition(".")[0])
    with trio.fail_after(60):
        ended = await trio.run_process(
            [sys.executable, "-c", program, url], capture_stdout=True, env={**os.environ, **(environment or {})}
        )
    *shown, (modules, distributions) = map(json.loads, ended.stdout.splitlines())
    return Loaded(modules, distributions, shown)


async def _serve(stream: trio.SocketStream) -> None:
    peer = await Peer(stream, Address("127.0.0.1", 0), 0.0).opened()
    await peer.say(snapshot(OLD))
    # Each acknowledgement is answered by the next state, so that the client sees them one by one.
    answers = {version_of(OLD): change(OLD, NEW, RECEIVED), version_of(NEW): snapshot(NEWEST)}
    while message := await peer.heard_or_left():
        if message["type"] == "ack" and message["version"] in answers:
            await peer.say(answers[message["version"]])
