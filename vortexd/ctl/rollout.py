"""Show the roll-outs of changes, and resume, abort or promote one.

It reads the roll-outs from the server. An act is one request, which names the version that the server had shown before. So it can't reach
another change that began meanwhile.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ..core.text import printable
from .acts import AT_KEY, LONG_TIMEOUT, MISREAD, endpoint, other, post
from .errors import CtlError
from .fleet import ago
from .key import add_whole_key_arguments, checked_key
from .pins import name_of
from .printing import aligned
from .server import Server, add_server_arguments, server_of

PATH = "/api/v1/rollouts"
_HEAD = ("KEY", "STATUS", "STEP", "SHARE", "APPLIED", "TARGET", "COMMIT", "SINCE", "REASON")
# The status of a roll-out whose target all clients have.
_ENDED = "done"
_DONE = {"resume": "runs again", "abort": "is aborted", "promote": "is promoted"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; see `cli.COMMANDS`."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    listing = actions.add_parser("list", help="list the roll-outs that aren't done", allow_abbrev=False)
    listing.add_argument("--all", action="store_true", help="also list those that are done")
    _add_common(listing)
    show = actions.add_parser("show", help="show the roll-out of one configuration", allow_abbrev=False)
    add_whole_key_arguments(show)
    _add_common(show)
    for name, text in (
        ("resume", "let a halted roll-out go on"),
        ("abort", "end a roll-out: all instances keep the stable version, or return to it"),
        ("promote", "give the new version to all clients at once"),
    ):
        act = actions.add_parser(name, help=text, allow_abbrev=False)
        add_whole_key_arguments(act)
        act.add_argument(
            "--target", metavar="VERSION", help="act only if this is the new version (default: what the server shows)"
        )
        act.add_argument("--reason", required=True, metavar="TEXT", help="why; the roll-out and the audit log show it")
        _add_common(act)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the roll-outs, or act on one."""
    if arguments.action == "list":
        query = {"all": "true"} if arguments.all else {}
        _print(arguments, *_read(server_of(arguments), query, partial(_table, with_done=arguments.all)))
    elif arguments.action == "show":
        _print(arguments, *_read(server_of(arguments), _query(arguments), _details))
    else:
        _act(arguments)
    return 0


def _print(arguments: argparse.Namespace, answer: Mapping[str, Any], lines: Sequence[str]) -> None:
    print(json.dumps(answer) if arguments.json else "\n".join(lines))


def _query(arguments: argparse.Namespace) -> dict[str, str]:
    application, profile, label = checked_key(arguments)
    return {"application": application, "profile": profile} | ({"label": label} if label else {})


def _read(
    server: Server, query: Mapping[str, str], lines: Callable[[Sequence[Mapping[str, Any]], float], Iterator[str]]
) -> tuple[Mapping[str, Any], Sequence[str]]:
    """Return the server's answer, and what `lines` makes of its roll-outs."""
    with endpoint(server, PATH, AT_KEY if "application" in query else "the right admin"):
        answer = server.get(PATH, query).json()
    try:
        found = sorted(answer["rollouts"], key=name_of)
        return {**answer, "rollouts": found}, list(lines(found, time.time()))
    except MISREAD:
        raise other(server) from None


def _act(arguments: argparse.Namespace) -> None:
    act, server = arguments.action, server_of(arguments, LONG_TIMEOUT)
    application, profile, label = checked_key(arguments)
    answer, outlook = _read(server, _query(arguments), lambda found, _: _outlook(act, found))
    # The newest change comes first.
    shown = answer["rollouts"][0]
    target = arguments.target or shown["target"]
    if target != shown["target"]:
        raise CtlError(f"the roll-out is to version {shown['target']}, and not to {target}; nothing has changed", 3)
    for line in outlook:
        print(line, file=sys.stderr)
    wanted = {"act": act, "application": application, "profile": profile, "label": label}
    rollout, lines = post(
        server,
        PATH,
        {**wanted, "target": target, "reason": arguments.reason},
        lambda rollout: (rollout, list(_outcome(act, rollout))),
        act="the server has done this",
        look="vortexctl rollout list",
        rights=AT_KEY,
    )
    _print(arguments, rollout, lines)


def _outlook(act: str, found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what an act will do, and to how many instances."""
    if not found:
        raise ValueError
    rollout = found[0]
    counts, target, stable = rollout["counts"], rollout["target"], rollout["stable"]
    if rollout["status"] in ("waiting", "done") or act == "resume":
        return
    if act == "abort":
        if rollout["status"] != "running":
            yield printable(f"all instances have version {stable} already, until the configuration changes again")
        elif counts is None:
            yield printable(f"all instances that have version {target} will return to version {stable}")
        else:
            having = _instances(counts["reached"])
            yield printable(f"up to {having} with version {target} will return to version {stable}")
    elif counts is None:
        yield printable(f"all clients will get version {target} at once")
    else:
        rest = max(counts["named"] + counts["gone"] - counts["reached"], 0)
        yield printable(
            f"{_instances(rest)} with version {stable}, and all clients without a name, will get version {target} at once"
        )


def _instances(count: int) -> str:
    return "1 instance" if count == 1 else f"{count} instances"


def _outcome(act: str, rollout: Mapping[str, Any]) -> Iterator[str]:
    yield printable(f"the roll-out of {name_of(rollout)} to version {rollout['target']} {_DONE[act]}")
    if act == "abort":
        if rollout["commit"]:
            yield printable(f"revert the change now: git revert {rollout['commit'][:12]}")
            yield "a server without the state of this roll-out serves the newest commit"
        else:
            yield "undo the change in the source now"
            yield "a server without the state of this roll-out serves the newest state of the source"


def _table(rollouts: Sequence[Mapping[str, Any]], now: float, with_done: bool) -> Iterator[str]:
    if rollouts:
        yield from aligned([_HEAD, *(_row(each, now) for each in rollouts)])
    else:
        others = "" if with_done else "; --all also lists those that are done"
        yield f"there is no roll-out of a configuration that the token may read{others}"


def _row(rollout: Mapping[str, Any], now: float) -> tuple[str, ...]:
    counts, is_done = rollout["counts"], rollout["status"] == _ENDED
    return (
        name_of(rollout),
        rollout["status"],
        # A roll-out that was promoted is done before its last step, and yet all clients have its version.
        "-" if is_done else f"{rollout['step']}/{len(rollout['steps'])}",
        "100 %" if is_done else f"{rollout['share']} %",
        "-" if counts is None else f"{counts['applied']}/{counts['reached']}",
        rollout["target"],
        (rollout["commit"] or "-")[:12],
        "-" if rollout["stepped"] is None else ago(now - datetime.fromisoformat(rollout["stepped"]).timestamp()),
        rollout["problem"] or rollout["reason"] or "-",
    )


def _details(rollouts: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    for each in rollouts:
        counts = each["counts"]
        is_done = each["status"] == _ENDED
        yield printable(f"{name_of(each)}  {each['status']}")
        if not is_done:
            yield printable(f"  stable   {each['stable']}")
        commit = f" (commit {each['commit'][:12]}, {each['author'] or 'unknown author'})" if each["commit"] else ""
        yield printable(f"  target   {each['target']}{commit}")
        steps = ", ".join(f"{int(share)} %" for share in each["steps"])
        end = "; all clients have the target" if is_done else ""
        yield f"  step     {each['step']} of {len(each['steps'])} ({steps}){end}"
        yield f"  needs    {each['applied']} % applied within {each['within']:g} s"
        if counts is not None:
            names = ("named", "reached", "applied", "rejected", "silent")
            # An instance that has gone counts as silent, too.
            gone = f" ({counts['gone']} of them gone)" if counts["gone"] else ""
            yield "  counts   " + ", ".join(f"{counts[name]} {name}" for name in names) + gone
            if counts["unanswered"]:
                yield f"  unknown  {counts['unanswered']} workers or nodes haven't answered"
        if each["deadline"] is not None:
            left = ago(datetime.fromisoformat(each["deadline"]).timestamp() - now)
            yield f"  halts in {left}, unless the step is done by then"
        if each["reason"]:
            by = f" ({each['by']})" if each["by"] else ""
            yield printable(f"  reason   {each['reason']}{by}")
        if each["problem"]:
            yield printable(f"  problem  {each['problem']}: no instance gets the new version until it is recorded")
