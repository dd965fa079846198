"""Wait until the instances of an application have applied its configuration.

It asks the server for its fleet, again and again, until the goal is reached. The exit status is 0 if it is reached, and 1 after the timeout or if an
instance has rejected the configuration. It is 3 if the last request failed. While a configuration is in a roll-out, the
goal can't be reached, and a rejection doesn't end the wait: the roll-out itself reacts to it. If the roll-out halts, the wait ends.
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
from .conditions import sentences
from .errors import CtlError
from .fleet import name_of, nodes_without_instances, store_away, summary
from .instances import Fleet, add_key_arguments, asked_for, read_fleet
from .key import key_path
from .server import TIMEOUT, Server, TooSlow, Unreachable, add_server_arguments, duration, server_of

_INTERVAL = 1.0
# Seconds for the last request, even if less time is left. A server asks its workers twice, for at most 1 s each, and the other nodes for
# at most 2 s. With less time, a worker or node that is silent would look like a server that is.
_LEAST = 5.0
# The most instances to name, of those that rejected the configuration or are silent.
_NAMED = 20
# The most configurations to look at for a pin or a label that the gate holds back.
_MOST_ASKED = 3
# The phases of a roll-out that goes on only if a person acts.
_STOPPED = ("halted", "aborted")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; see `cli.COMMANDS`."""
    add_server_arguments(parser)
    add_key_arguments(parser, is_required=True)
    parser.add_argument(
        "--version", metavar="VERSION", help="wait for this version (default: the server's current version)"
    )
    parser.add_argument(
        "--not-version", metavar="VERSION", help="wait for any version but this, such as the previous version"
    )
    parser.add_argument(
        "--percent",
        type=_percent,
        default=100.0,
        metavar="P",
        help="the share of connected instances, in percent (default: 100)",
    )
    parser.add_argument("--min", type=_count, default=1, metavar="N", help="the least number of instances (default: 1)")
    parser.add_argument(
        "--timeout", type=duration, default=120.0, metavar="TIME", help="such as 30s or 2m (default: 2m)"
    )
    parser.add_argument(
        "--ignore-rejected", action="store_true", help="keep waiting even if an instance has rejected it"
    )
    parser.add_argument("--json", action="store_true", help="print the final state of the fleet as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Wait until the goal is reached. Return 1 if it isn't."""
    goal = Goal(
        arguments.version, arguments.not_version, arguments.percent, arguments.min, not arguments.ignore_rejected
    )
    deadline = time.monotonic() + arguments.timeout
    waiting = Waiting(server_of(arguments), asked_for(arguments), goal)
    while True:
        # The last request may end a few seconds after the deadline.
        outcome = waiting.look(min(TIMEOUT, max(deadline - time.monotonic(), _LEAST)))
        for line in waiting.news():
            print(f"vortexctl: {line}", file=sys.stderr, flush=True)
        left = deadline - time.monotonic()
        if outcome is not None or left <= 0:
            break
        time.sleep(min(_INTERVAL, left))
    if arguments.json:
        print(json.dumps({"reached": outcome is True, "keys": waiting.fleet.keys if waiting.fleet else []}))
    elif outcome:
        print("\n".join(map(summary, waiting.fleet.keys if waiting.fleet else ())))
    for line in store_away(waiting.fleet) if waiting.fleet else ():
        print(f"vortexctl: warning: {line}", file=sys.stderr)
    if outcome:
        return 0
    if waiting.unreachable is not None and not waiting.is_slowed:
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
    """The condition to wait for.

    Attributes:
        version: The version that the server must have. None: any.
        not_version: The version that the server must not have. None: any is fine.
        percent: The share of connected instances that must have applied it.
        least: The number of instances that must have applied it, whatever their share.
        fails_early: Whether a rejection, or a roll-out that has stopped, ends the wait.
    """

    version: str | None = None
    not_version: str | None = None
    percent: float = 100.0
    least: int = 1
    fails_early: bool = True

    def means(self, key: dict[str, Any]) -> bool:
        """Whether the server's version of a key is the expected version.

        If another node has a newer one, it isn't. It isn't during a roll-out of the key, either. If the roll-out has
        stopped, all instances have the old version again, so a goal that names this version may be reached.
        """
        version = key["version"]
        if key.get("behind") or self._is_rolling(key):
            return False
        return version is not None and self.version in (None, version) and self.not_version != version

    def _is_rolling(self, key: dict[str, Any]) -> bool:
        """Whether a roll-out of the key stands in the way of the goal."""
        return bool(key.get("target")) and not (key.get("rollout") in _STOPPED and self.version == key["version"])

    def is_reached(self, fleet: Fleet) -> bool:
        """Whether the goal is reached.

        Keys without connected instances are ignored, unless they are in a roll-out. If no key has any, only `least` decides.
        """
        keys = [key for key in fleet.keys if key["counts"]["connected"]]
        applied = sum(key["counts"]["applied"] for key in keys)
        connected = sum(key["counts"]["connected"] for key in keys)
        return (
            fleet.is_complete
            and all(map(self.means, keys))
            and not any(map(self._is_rolling, fleet.keys))
            and applied >= self.least
            and applied * 100 >= self.percent * connected
        )

    def is_lost(self, fleet: Fleet) -> bool:
        """Whether an instance has rejected the version, or a roll-out has stopped, so that the wait ends early."""
        return self.fails_early and any(
            key.get("rollout") in _STOPPED if self._is_rolling(key) else self.means(key) and key["counts"]["rejected"]
            for key in fleet.keys
        )


def _goes_on(key: dict[str, Any]) -> bool:
    return bool(key.get("target")) and key.get("rollout") not in _STOPPED


def _rolling(key: dict[str, Any]) -> str:
    versions = f"from version {key['version']} to {key['target']}"
    if key.get("rollout") in _STOPPED:
        return printable(f"the roll-out of {name_of(key)} {versions} is {key['rollout']}")
    return printable(f"{name_of(key)} is in a roll-out {versions}")


class Waiting:
    """One wait: it keeps the results of the last request.

    Attributes:
        fleet: The fleet that the server last sent, or None.
        unreachable: Why the last request failed, or None.
    """

    def __init__(self, server: Server, parameters: dict[str, str], goal: Goal) -> None:
        self._server = server
        self._parameters = parameters
        self._goal = goal
        self.fleet: Fleet | None = None
        self.unreachable: Unreachable | None = None
        # The roll-outs that `news` has named.
        self._named: set[str] = set()

    @property
    def is_slowed(self) -> bool:
        """Whether the last request took too long, and the answer before it named a worker or node that is silent.

        The connection may have gone to that worker, so another request may well succeed.
        """
        return isinstance(self.unreachable, TooSlow) and self.fleet is not None and not self.fleet.is_complete

    def look(self, timeout: float) -> bool | None:
        """Ask the server once, for at most `timeout` seconds. Return True if the goal is reached, False if it can't be, and None if it isn't yet.

        Raises:
            CtlError: The server refuses, so another request wouldn't help.
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

    def news(self) -> Iterator[str]:
        """Yield a line for each roll-out that the wait goes on for, once."""
        for key in self.fleet.keys if self.fleet is not None else ():
            line = f"{_rolling(key)}; waiting for its end" if _goes_on(key) else ""
            if line and line not in self._named:
                self._named.add(line)
                yield line

    def why(self) -> Iterator[str]:
        """Yield the reasons for which the goal wasn't reached, line by line."""
        fleet = self.fleet
        if fleet is None or not fleet.count("connected"):
            yield "no instance is connected"
        if fleet is None:
            return
        asked = 0
        for key in fleet.keys:
            yield summary(key)
            if key.get("behind"):
                yield f"the server is behind for {name_of(key)}: another node of its cluster has a newer version"
            elif key.get("target"):
                yield _rolling(key)
            elif key["counts"]["connected"] and not self._goal.means(key):
                yield f"the server has version {key['version']} of {name_of(key)}, which isn't the expected version"
                if asked < _MOST_ASKED:
                    asked += 1
                    yield from self._conditions(key)
        if not fleet.is_whole:
            yield "a worker of the server hasn't answered"
        yield from nodes_without_instances(fleet, only_silent=True)
        for key, each in fleet.instances:
            ack = each["ack"] or {}
            yield printable(f"rejected by {each['name']} ({name_of(key)}): {ack.get('error') or 'it gave no reason'}")
        if self.unreachable is not None:
            yield str(self.unreachable)
        elif not self._goal.is_lost(fleet):
            yield from self._silent()

    def _conditions(self, key: dict[str, Any]) -> Iterator[str]:
        """Yield the reasons for which the server may have no newer version: a pin, or the gate."""
        try:
            path = key_path(key["app"], key["profile"], key["label"])
            # "*" matches any version, so the answer carries no document.
            answer = self._server.get(path, If_None_Match="*")
        except (CtlError, KeyError):
            return
        yield from map(printable, sentences(answer.headers))

    def _silent(self) -> Iterator[str]:
        try:
            silent = read_fleet(self._server, {**self._parameters, "state": "silent"}, _NAMED)
        except CtlError:
            return
        names = [printable(each["name"]) for _, each in silent.instances]
        if names:
            more = silent.count("silent") - len(names)
            yield f"silent: {', '.join(names)}" + (f" and {more} more" if more > 0 else "")
