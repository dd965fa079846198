"""Wait until the instances of an application have applied its configuration.

In comes what the server says of its fleet, again and again; out go one line and an exit status: 0 they have, 1 they haven't in time, or one of them
has rejected it, 3 the server couldn't be asked in the end.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import attrs

from ..core.text import printable
from .errors import CtlError
from .fleet import name_of, summary
from .instances import Fleet, add_key_arguments, asked_for, read_fleet
from .server import Server, Unreachable, add_server_arguments, duration, server_of

_INTERVAL = 1.0
# How many are named, of those who rejected it or haven't spoken.
_NAMED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.COMMANDS`."""
    add_server_arguments(parser)
    add_key_arguments(parser, is_required=True)
    parser.add_argument("--version", metavar="VERSION", help="wait for this version; else for whatever the server has")
    parser.add_argument("--not-version", metavar="VERSION", help="wait for another version than this, the one before")
    parser.add_argument("--percent", type=_percent, default=100.0, metavar="P", help="of those connected; default: 100")
    parser.add_argument("--min", type=_count, default=1, metavar="N", help="at least so many of them; default: 1")
    parser.add_argument(
        "--timeout", type=duration, default=120.0, metavar="TIME", help="such as 30s or 2m; default: 2m"
    )
    parser.add_argument("--ignore-rejected", action="store_true", help="go on waiting where one has rejected it")
    parser.add_argument("--json", action="store_true", help="print the fleet as it is in the end, as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Wait. Returns 1 where it isn't as asked."""
    goal = Goal(
        arguments.version, arguments.not_version, arguments.percent, arguments.min, not arguments.ignore_rejected
    )
    deadline = time.monotonic() + arguments.timeout
    waiting = Waiting(server_of(arguments), asked_for(arguments), goal)
    while True:
        # A request that began in time may take a second beyond it.
        outcome = waiting.look(min(10.0, max(deadline - time.monotonic(), 1.0)))
        left = deadline - time.monotonic()
        if outcome is not None or left <= 0:
            break
        time.sleep(min(_INTERVAL, left))
    if arguments.json:
        print(json.dumps({"reached": outcome is True, "keys": waiting.fleet.keys if waiting.fleet else []}))
    elif outcome:
        print("\n".join(map(summary, waiting.fleet.keys if waiting.fleet else ())))
    if outcome:
        return 0
    if waiting.unreachable is not None:
        raise waiting.unreachable
    for line in waiting.why():
        print(f"vortexctl: {line}", file=sys.stderr)
    return 1


def _percent(text: str) -> float:
    with suppress(ValueError):
        if 0 <= (number := float(text)) <= 100:
            return number
    raise argparse.ArgumentTypeError("must be a number from 0 to 100")


def _count(text: str) -> int:
    with suppress(ValueError):
        if (number := int(text)) >= 0:
            return number
    raise argparse.ArgumentTypeError("must be a whole number, and not negative")


@attrs.frozen
class Goal:
    """What is waited for.

    Attributes:
        version: The version that the server has to have; None is any.
        not_version: The one that it must not have; None is none.
        percent: How many of those connected have to have applied it.
        least: How many have to have, whatever share that is.
        fails_early: Whether one that has rejected it ends the wait.
    """

    version: str | None = None
    not_version: str | None = None
    percent: float = 100.0
    least: int = 1
    fails_early: bool = True

    def means(self, key: dict[str, Any]) -> bool:
        """Whether the version that the server has of a key is the one that is waited for."""
        version = key["version"]
        return version is not None and self.version in (None, version) and self.not_version != version

    def is_reached(self, fleet: Fleet) -> bool:
        """Whether it is as wanted. Keys without anybody are passed over; where none has anybody, only `least` says whether that is enough."""
        keys = [key for key in fleet.keys if key["counts"]["connected"]]
        applied = sum(key["counts"]["applied"] for key in keys)
        connected = sum(key["counts"]["connected"] for key in keys)
        return (
            fleet.is_whole
            and all(map(self.means, keys))
            and applied >= self.least
            and applied * 100 >= self.percent * connected
        )

    def is_lost(self, fleet: Fleet) -> bool:
        """Whether somebody has rejected it, and that is the end."""
        return self.fails_early and any(self.means(key) and key["counts"]["rejected"] for key in fleet.keys)


class Waiting:
    """One wait, from look to look.

    Attributes:
        fleet: What was seen last, or None.
        unreachable: Why the last look saw nothing, or None.
    """

    def __init__(self, server: Server, parameters: dict[str, str], goal: Goal) -> None:
        self._server = server
        self._parameters = parameters
        self._goal = goal
        self.fleet: Fleet | None = None
        self.unreachable: Unreachable | None = None

    def look(self, timeout: float) -> bool | None:
        """Ask once, for so many seconds. Returns whether the goal is reached or lost; None is neither.

        Raises:
            CtlError: The server refuses, so that asking again is of no use.
        """
        self._server.timeout = timeout
        try:
            fleet = self.fleet = read_fleet(self._server, {**self._parameters, "state": "rejected"}, _NAMED)
        except Unreachable as error:
            self.unreachable = error
            return None
        self.unreachable = None
        if self._goal.is_lost(fleet):
            return False
        return True if self._goal.is_reached(fleet) else None

    def why(self) -> Iterator[str]:
        """Why the goal wasn't reached, line by line."""
        fleet = self.fleet
        if fleet is None or not fleet.count("connected"):
            yield "no instance is connected"
        if fleet is None:
            return
        for key in fleet.keys:
            yield summary(key)
            if key["counts"]["connected"] and not self._goal.means(key):
                yield f"the server has version {key['version']} of {name_of(key)}, which isn't the one waited for"
        if not fleet.is_whole:
            yield "a worker of the server has not answered"
        for key, each in fleet.instances:
            ack = each["ack"] or {}
            yield printable(f"rejected by {each['name']} ({name_of(key)}): {ack.get('error') or 'it does not say why'}")
        if not self._goal.is_lost(fleet):
            yield from self._silent()

    def _silent(self) -> Iterator[str]:
        try:
            silent = read_fleet(self._server, {**self._parameters, "state": "silent"}, _NAMED)
        except CtlError:
            return
        names = [printable(each["name"]) for _, each in silent.instances]
        if names:
            more = silent.count("silent") - len(names)
            yield f"silent: {', '.join(names)}" + (f" and {more} more" if more > 0 else "")
