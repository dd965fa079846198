"""Show the labels that the server's gate holds back, or let one held-back state through.

It reads the labels from the server, or sends one exception with its reason.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.text import printable
from .acts import MISREAD, endpoint, other, post
from .errors import CtlError
from .printing import Paint, add_colour_argument, paint_of
from .server import Server, add_server_arguments, server_of

PATH = "/api/v1/gate"
# The beginning of a commit, which has 40 or 64 digits.
_ABBREVIATED = re.compile(r"[0-9a-f]{7,63}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; see `cli.COMMANDS`."""
    parser.add_argument("--let-through", metavar="LABEL", help="publish a state of this label that is held back")
    parser.add_argument(
        "--state",
        metavar="STATE",
        help="with --let-through: the state, as this command lists it, or at least its first 7 digits",
    )
    parser.add_argument("--reason", metavar="TEXT", help="with --let-through: why; the log shows it")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    add_colour_argument(parser)
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the labels and return 1 if one is held back; or let a state through."""
    exception = (arguments.let_through, arguments.state, arguments.reason)
    if any(each is not None for each in exception):
        if not all(exception):
            raise CtlError("--let-through LABEL, --state STATE and --reason TEXT must be given together", 2)
        if arguments.json:
            raise CtlError("--json is only for the list, so it can't be combined with --let-through", 2)
        return _let_through(server_of(arguments), *exception)
    server = server_of(arguments)
    paint = paint_of(arguments.color, sys.stdout.isatty())
    with endpoint(server, PATH):
        answer = server.get(PATH).json()
    try:
        held, standing = list(answer["held_back"]), list(answer["standing"])
        lines = [line for each in held for line in _held_lines(each, paint)]
        lines += [line for each in standing for line in _standing_lines(each, paint)]
    except MISREAD:
        raise other(server) from None
    print(json.dumps(answer) if arguments.json else "\n".join(lines or ["the gate holds nothing back"]))
    return 1 if held else 0


def _let_through(server: Server, label: str, state: str, reason: str) -> int:
    state = _whole(server, label, state)
    wanted = {"label": label, "state": state, "reason": reason}
    act = "the server has let the state through"
    post(server, PATH, wanted, lambda _: None, act=act, look="vortexctl gate")
    print(printable(f"the server has published state {state} of {label}"))
    return 0


def _whole(server: Server, label: str, state: str) -> str:
    """Return the state of a label that is held back and begins with these digits. If there is none, return the digits.

    Raises:
        CtlError: As `Server.get`; or the answer isn't that of a vortexd.
    """
    if not _ABBREVIATED.fullmatch(state):
        return state
    with endpoint(server, PATH):
        answer = server.get(PATH).json()
    try:
        held = [str(each["state"]) for each in answer["held_back"] if each["label"] == label]
    except MISREAD:
        raise other(server) from None
    # The gate holds back at most one state of a label.
    return next((each for each in held if each.startswith(state)), state)


def _held_lines(refusal: Mapping[str, Any], paint: Paint) -> Iterator[str]:
    label, state = refusal["label"], refusal["state"]
    names = refusal.get("applications") or []
    part = f" for {', '.join(map(str, names))}" if names else ""
    yield paint(printable(f"{label}: the gate holds back {state}{part} since {refusal['since']}"), "red")
    yield from reasons_of(refusal)
    again = f"vortexctl gate --let-through {label} --state {state} --reason TEXT"
    yield printable(f"    {_remedy(refusal)}; or let this state through: {again}")


def _remedy(refusal: Mapping[str, Any]) -> str:
    """Say what makes the server publish a state that it holds back."""
    failure = refusal["failure"]
    if failure is not None:
        cause = "command" if " the command " in f" {failure}" else "gate, or raise its limits"
        return f"Repair the {cause} (vortexd judges again in 5 to 60 s)"
    if any(each.get("rule_state") == "served" for each in refusal["findings"]):
        return "Correct the file, or first publish the new schema in a commit of its own"
    return "Correct the file"


def _standing_lines(verdict: Mapping[str, Any], paint: Paint) -> Iterator[str]:
    said = "the server serves what the gate would refuse"
    if verdict["failure"] is not None and not verdict["findings_count"]:
        said = "the gate couldn't judge what the server serves (it judges it again in 5 to 60 s)"
    yield paint(printable(f"{verdict['label']}: {said}"), "yellow")
    yield from reasons_of(verdict)


def reasons_of(judged: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each finding, for the findings that aren't listed, and for a gate that couldn't judge."""
    for each in judged["findings"]:
        pointer = each["pointer"] or "the top of the document"
        place = "" if each["file"] is None else f" ({each['file']})"
        if each["line"] is not None:
            place = f" ({each['file']}:{each['line']})"
        former = " of the served state" if each.get("rule_state") == "served" else ""
        reason = f"{each['keyword']} of {each['rule']}{former} at {pointer}"
        if each.get("problem"):
            reason = f"{each['rule']} can't be used: {each['problem']}"
        yield printable(f"    {each['key']}: {reason}{place}")
    if (more := judged["findings_count"] - len(judged["findings"])) > 0:
        yield f"    and {more} more findings"
    if judged["failure"] is not None:
        yield printable(f"    the gate {judged['failure']}")
