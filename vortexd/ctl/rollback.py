"""Go back to a former version of a configuration by a new commit, which the server pushes.

The server plans the commit first. This command shows the plan, asks for a confirmation, has the server push, and waits until the server
serves the former version. Invariant: the server pushes only what was shown, because the request names the key and the newest commit of the plan.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import attrs

from ..core.text import printable
from .acts import AT_KEY, LONG_TIMEOUT, MISREAD, endpoint, other, post
from .configuration import warn, warn_of_unknown
from .errors import CtlError
from .key import add_whole_key_arguments, checked_key
from .plans import key_of, lines_of_plan
from .printing import add_colour_argument, paint_of
from .server import Server, add_server_arguments, duration, server_of
from .serving import Pushed, Serving

PATH = "/api/v1/rollback"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; see `cli.COMMANDS`."""
    add_whole_key_arguments(parser)
    parser.add_argument(
        "--to", required=True, metavar="VERSION|COMMIT", help="a former version of this configuration, or a commit"
    )
    parser.add_argument(
        "--shared", action="store_true", help="also change files that other applications read, if that is necessary"
    )
    parser.add_argument(
        "--reason",
        metavar="TEXT",
        default="",
        help="why; the commit and the audit log show it; required, except with --dry-run",
    )
    parser.add_argument("--yes", action="store_true", help="push without asking; required without a terminal")
    parser.add_argument("--dry-run", action="store_true", help="only show the plan")
    parser.add_argument(
        "--wait",
        type=duration,
        metavar="TIME",
        default=30.0,
        help="how long to wait until the server serves it, such as 30s or 2m; 0: don't wait (default: 30s)",
    )
    parser.add_argument("--json", action="store_true", help="print the plan as one JSON object, after the push")
    add_colour_argument(parser)
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Roll back. Return 1 if the person declines, or if the server doesn't serve the former version in time."""
    is_asking = not (arguments.yes or arguments.dry_run)
    if is_asking and (arguments.json or sys.stdin is None or not sys.stdin.isatty()):
        why = "--json" if arguments.json else "without a terminal, vortexctl can't ask whether to push, so it"
        raise CtlError(f"{why} requires --yes to push, or --dry-run to show only the plan", 2)
    if not arguments.dry_run and not arguments.reason:
        raise CtlError("a push requires --reason TEXT, which the commit and the audit log show", 2)
    server = server_of(arguments, LONG_TIMEOUT)
    application, profile, label = checked_key(arguments)
    wanted = {"application": application, "profile": profile, "label": label, "to": arguments.to}
    wanted |= {"reason": arguments.reason, "shared": arguments.shared}
    plan = _planned(server, wanted)
    try:
        key, lines = key_of(plan), list(lines_of_plan(plan, paint_of(arguments.color, sys.stdout.isatty())))
        seen = {"application": plan["application"], "profile": plan["profile"], "label": plan["label"]}
        seen["expected"], files, may_push = plan["head"], plan["files"], plan["pushable"]
        is_refused = plan.get("refused") is not None
    except MISREAD:
        raise other(server) from None
    if not arguments.json:
        print("\n".join(lines), flush=True)
    if arguments.dry_run or not files:
        if files and not may_push:
            warn(_why_not(key, arguments.to))
        if arguments.json:
            print(json.dumps(plan))
        return 0
    if not may_push:
        raise CtlError(_why_not(key, arguments.to))
    if is_refused:
        raise CtlError(
            "the gate would hold the commit back, so nothing was pushed; choose another version, or pin the key"
        )
    if is_asking and not _is_confirmed():
        print("nothing was pushed")
        return 1
    return _push(server, {**wanted, **seen}, arguments)


def _planned(server: Server, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Request the plan. It changes nothing, so a broken connection has no consequence."""
    with endpoint(server, PATH, AT_KEY):
        answer = server.post(PATH, {**wanted, "dry_run": True, "expected": None})
        plan = answer.json()
    if not isinstance(plan, dict):
        raise other(server)
    warn_of_unknown(answer)
    return plan


def _push(server: Server, wanted: Mapping[str, Any], arguments: argparse.Namespace) -> int:
    """Have the server push, and wait until it serves the version."""
    began = time.monotonic()
    look = f"vortexctl history {wanted['application']} {wanted['profile']} --label {wanted['label']} --limit 1"
    act = "the push has arrived at the remote repository"
    plan, pushed = post(server, PATH, {**wanted, "dry_run": False}, _pushed, act=act, look=look, rights=AT_KEY)
    if not arguments.json:
        print(printable(f"pushed commit {pushed.commit}"), flush=True)
    result: dict[str, Any] = {"served": None, "seconds": None}
    if arguments.wait:
        served = Serving(server, pushed).wait(arguments.wait)
        seconds = round(time.monotonic() - began, 3)
        result = {"served": served.is_reached, "seconds": seconds}
        if not served.is_reached:
            warn(f"commit {pushed.commit[:12]} is pushed, but after {seconds:.1f} s {served.reason}")
        elif not arguments.json:
            print(printable(f"the server serves version {pushed.version} after {seconds:.1f} s"))
    if arguments.json:
        print(json.dumps(plan | result))
    return 1 if result["served"] is False else 0


def _pushed(plan: Mapping[str, Any]) -> tuple[dict[str, Any], Pushed]:
    """Return the answer to a push, and what it says."""
    names = plan["application"], plan["profile"], plan["label"]
    pushed = Pushed(*names, plan["target"]["version"], plan["commit"])
    if not all(isinstance(each, str) for each in attrs.astuple(pushed)):
        raise TypeError
    return dict(plan), pushed


def _is_confirmed() -> bool:
    """Ask on the terminal. Only y and yes confirm."""
    print("Push this? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _why_not(key: str, to: str) -> str:
    return (
        "the server may not push to this source: set push = true in its [[source]]; "
        f"or keep the former version with a pin: vortexctl pin {key} --to {to} --reason TEXT"
    )
