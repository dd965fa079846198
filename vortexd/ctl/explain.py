"""Explain a configuration: which layers hold a key, which layer wins, and where each value is written.

The server explains; this command prints a line for each key. If keys are named, it prints a line for each layer that holds them.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ..core.text import printable
from .changes import brief
from .configuration import warn_of_conditions, warn_of_unknown
from .errors import CtlError
from .key import add_key_arguments, key_path, near
from .printing import Paint, add_colour_argument, aligned, paint_of
from .server import Server, add_server_arguments, server_of

_WIDTH = 60
_COLOURS = {"wins": "green", "unreadable": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; see `cli.COMMANDS`."""
    add_key_arguments(parser)
    parser.add_argument("key", metavar="KEY", nargs="*", help="such as database.pool.size; includes all keys below it")
    parser.add_argument(
        "--layers", action="store_true", help="show the documents that the server considered, instead of keys"
    )
    parser.add_argument("--json", action="store_true", help="print the server's answer as one JSON object")
    add_colour_argument(parser)
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation. Return 1 if there is no such key."""
    server = server_of(arguments)
    path = "/api/v1/explain" + key_path(arguments.app, arguments.profile, arguments.label)
    answer = server.get(path, [("key", key) for key in arguments.key])
    explanation = answer.json()
    warn_of_unknown(answer)
    warn_of_conditions(answer)
    paint = paint_of(arguments.color, sys.stdout.isatty())
    try:
        if arguments.key and not explanation["keys"]:
            raise CtlError(_missing(server, path, arguments.key), 1)
        lines = list(_lines(explanation, arguments, paint))
    except (KeyError, TypeError, IndexError, AttributeError):
        raise CtlError(f"{server.url} doesn't answer as a vortexd of this version does; see --server") from None
    print(json.dumps(explanation) if arguments.json else "\n".join(lines))
    return 0


def _lines(explanation: dict[str, Any], arguments: argparse.Namespace, paint: Paint) -> Iterator[str]:
    yield paint(
        printable(f"{explanation['app']}:{explanation['profile']}:{explanation['label']}  {explanation['version']}"),
        "bold",
    )
    for source in explanation["sources"]:
        # Older servers don't send this member.
        if origin := source.get("origin"):
            yield printable(f"last changed by {origin['author']} at {origin['time']} in commit {origin['commit'][:12]}")
    # Older servers don't send this member, either.
    for each in explanation.get("broken", ()):
        yield paint(printable(_broken(each)), "red")
    if arguments.layers:
        yield from _layers(explanation)
    elif arguments.key:
        for key in explanation["keys"]:
            yield ""
            yield from _key(key, explanation["layers"], paint)
    else:
        rows = [_row(key, explanation["layers"]) for key in explanation["keys"]]
        yield from aligned(rows) if rows else ("no keys",)


def _broken(broken: dict[str, Any]) -> str:
    place = ":".join(str(each) for each in (broken["file"], broken["line"], broken["column"]) if each is not None)
    commit = f" (of commit {broken['last_good'][:12]})" if broken["last_good"] else ""
    instead = {"last_good": f"its last good content is served{commit}", "without": "the server leaves it out"}
    return f"{place} is broken: {broken['reason']}; {instead.get(broken['served'], 'the server serves no key that reads it')}"


def _layers(explanation: dict[str, Any]) -> Iterator[str]:
    """Yield the active profiles and the documents, the strongest first."""
    for source in explanation["sources"]:
        active = [_profile(each) for each in source["profiles"]]
        yield printable(f"{source['root']}  {source['revision'] or ''}".rstrip())
        yield printable(f"  profiles, the strongest last: {', '.join(active)}")
    rows = [(_document(each), _remark(each)) for each in explanation["layers"]]
    yield from aligned(rows) if rows else ("no files",)


def _profile(profile: dict[str, Any]) -> str:
    return str(profile["name"]) + (f" (by {profile['because']})" if profile["because"] else "")


def _remark(layer: dict[str, Any]) -> str:
    demand = f"for the profiles {layer['on_profile']}" if layer["on_profile"] is not None else ""
    is_old = "its last good content, because the file is broken" if layer.get("last_good") else ""
    return ", ".join(filter(None, (demand, "" if layer["active"] else "not active", is_old)))


def _row(key: dict[str, Any], layers: Sequence[dict[str, Any]]) -> tuple[str, str, str]:
    if key["layer"] is None:
        return key["key"], "not served", ""
    winner = next(each for each in key["held_by"] if each["layer"] == key["layer"] and each["outcome"] == "wins")
    return key["key"], brief(key["value"], _WIDTH), _place(winner, layers)


def _key(key: dict[str, Any], layers: Sequence[dict[str, Any]], paint: Paint) -> Iterator[str]:
    yield paint(printable(key["key"]), "bold") + (f" = {brief(key['value'])}" if key["layer"] is not None else "")
    rows = [
        (
            each["outcome"].replace("_", " "),
            _place(each, layers),
            brief(each["value"], _WIDTH) if "value" in each else "",
            f"by {_document(layers[each['by']])}" if each["by"] is not None else "",
            each["cipher"] or "",
        )
        for each in key["held_by"]
    ]
    for held, line in zip(key["held_by"], aligned(rows), strict=True):
        yield "  " + paint(line, _COLOURS.get(held["outcome"], "dim"))


def _place(held: dict[str, Any], layers: Sequence[dict[str, Any]]) -> str:
    """Return `file:line:column`, as editors accept it."""
    layer = layers[held["layer"]]
    numbers = [str(each) for each in (held["line"], held["column"]) if each is not None]
    return ":".join([layer["file"] or layer["name"], *numbers])


def _document(layer: dict[str, Any]) -> str:
    number = layer["document"]
    return str(layer["file"] or layer["name"]) + (f" (document #{number})" if number is not None else "")


def _missing(server: Server, path: str, wanted: Sequence[str]) -> str:
    known = [each["key"] for each in server.get(path).json()["keys"]]
    return f"no layer holds {' or '.join(wanted)}{near(wanted, known)}"
