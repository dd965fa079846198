"""Adapters with a fault each, named by the first argument: the runner must find it. All but `clockless` don't conform."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import trio

from vortexd.client import address, link, protocol, replica, server_rotation
from vortexd.client.change import Change
from vortexd.client.disconnect import Disconnect
from vortexd.client.view import Stale, State

from . import python_trio
from .python_trio import Reporter, report

_LONG = 600


def replace(owner: object, name: str, value: Any) -> None:
    """Replace a part of the client, which must exist."""
    getattr(owner, name)
    setattr(owner, name, value)


def lossy() -> None:
    """Loses each second change."""
    original, count = Reporter.change, [0]

    def change(self: Reporter, change: Change, *, is_main: bool) -> None:
        count[0] += 1
        if count[0] % 2:
            original(self, change, is_main=is_main)

    replace(Reporter, "change", change)


def trusting() -> None:
    """Verifies no version."""
    named = [""]
    receive = replica.Replica.receive

    def trust(self: replica.Replica, message: Any) -> bool:
        named[0] = message.get("new_version") or message.get("version")
        return receive(self, message)

    replace(replica.Replica, "receive", trust)
    replace(replica, "version_of_body", lambda _: named[0])


def forgetful() -> None:
    """Never names the version that it has."""
    target = address.target
    replace(link, "target", lambda server, subject, *_, **__: target(server, subject, None))


def mute() -> None:
    """Sends no acknowledgement."""
    replace(link.Link, "acknowledge", lambda *_: None)


def hasty() -> None:
    """Comes back at once, whatever the delay that the server names."""
    replace(server_rotation, "delay_before", lambda *_: 0.0)


def hanging() -> None:
    """Stops for ever at the first change, and doesn't end when it should."""
    replace(Reporter, "change", lambda *_, **__: time.sleep(_LONG))


def rambling() -> None:
    """Prints a line that is no event."""
    print("the client has started", flush=True)


def crashing() -> None:
    """Ends at the first change."""

    def crash(*_: Any, **__: Any) -> None:
        print("out of luck", file=sys.stderr, flush=True)
        os._exit(3)

    replace(Reporter, "change", crash)


def flooding() -> None:
    """Prints events without an end, once there is a connection."""
    original = Reporter.turn

    def turn(self: Reporter, state: State) -> None:
        original(self, state)
        while not isinstance(state, Stale):
            report("current")

    replace(Reporter, "turn", turn)


def endless() -> None:
    """Prints a line without an end."""
    while True:
        sys.stdout.write("[" * 65_536)


def stubborn() -> None:
    """Comes back, although it must not."""
    replace(protocol.Conversation, "close", lambda *_: Disconnect("a reason"))


def orphaning() -> None:
    """Starts a process, prints its number to standard error, and leaves it behind."""
    process = subprocess.Popen(["sleep", str(_LONG)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(process.pid, file=sys.stderr, flush=True)
    os._exit(3)


def clockless() -> None:
    """Has no clock that can be set; apart from that it conforms."""


FAULTS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        *(lossy, trusting, forgetful, mute, hasty, hanging, rambling, crashing, flooding, endless, stubborn, orphaning),
        clockless,
    )
}

if __name__ == "__main__":
    fault = sys.argv[1]
    FAULTS[fault]()
    if fault == "clockless":
        trio.run(python_trio.main, None)
    else:
        python_trio.run()
