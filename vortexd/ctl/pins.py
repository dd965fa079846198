"""List the configurations that are pinned, until when, by whom and why.

It reads the pins from the server, and prints a table or JSON, in the order of the keys.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..core.text import printable
from .acts import MISREAD, endpoint, other
from .fleet import ago
from .printing import aligned
from .server import add_server_arguments, server_of

PATH = "/api/v1/pins"
_HEAD = ("KEY", "VERSION", "COMMIT", "UNTIL", "BY", "SINCE", "REASON")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; see `cli.COMMANDS`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the pins."""
    server = server_of(arguments)
    with endpoint(server, PATH):
        answer = server.get(PATH).json()
    try:
        pins = sorted(answer["pins"], key=name_of)
        lines = list(_lines(pins, time.time()))
    except MISREAD:
        raise other(server) from None
    print(json.dumps({**answer, "pins": pins}) if arguments.json else "\n".join(lines))
    return 0


def name_of(pin: Mapping[str, Any]) -> str:
    """Return the key of a pin as people write it."""
    names = pin["application"], pin["profile"], pin["label"]
    if not all(isinstance(each, str) for each in names):
        raise TypeError
    return ":".join(names)


def remarks(pins: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each pin that the server can't serve."""
    for pin in pins:
        if not pin.get("served", True):
            yield printable(
                f"{name_of(pin)} isn't served from its pin: a label is gone, or the files of the pin can't be used"
            )


def _lines(pins: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    if pins:
        yield from aligned([_HEAD, *(_row(pin, now) for pin in pins)])
    else:
        yield "no configuration that the token may see is pinned"
    yield from remarks(pins)


def _row(pin: Mapping[str, Any], now: float) -> tuple[str, ...]:
    until = "until lifted"
    if pin["until"] is not None:
        until = f"{pin['until']} (in {ago(datetime.fromisoformat(pin['until']).timestamp() - now)})"
    return (name_of(pin), pin["version"], (pin["commit"] or "-")[:12], until, pin["by"], pin["since"], pin["reason"])
