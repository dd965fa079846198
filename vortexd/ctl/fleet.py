"""Show which instances have applied a configuration, rejected it, or are silent.

It reads the fleet from the server, and prints a table or JSON, sorted by application.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from ..core.text import printable
from .instances import Fleet, add_key_arguments, asked_for, read_fleet
from .printing import aligned
from .server import add_server_arguments, server_of

_STATES = ("applied", "rejected", "silent", "gone")
_MOST = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; see `cli.COMMANDS`."""
    add_server_arguments(parser)
    add_key_arguments(parser, is_required=False)
    parser.add_argument("--state", choices=_STATES, help="list only instances in this state")
    parser.add_argument("--keys", action="store_true", help="print only the counts of each key, without instances")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the fleet."""
    parameters = asked_for(arguments) | ({"state": arguments.state} if arguments.state else {})
    fleet = read_fleet(server_of(arguments), parameters, 0 if arguments.keys else _MOST)
    if arguments.json:
        print(json.dumps({"keys": fleet.keys, "complete": fleet.is_complete} | _cluster_members(fleet)))
    else:
        print("\n".join(_lines(fleet, time.time(), arguments.keys)))
    return 0


def _lines(fleet: Fleet, now: float, only_keys: bool) -> Iterator[str]:
    if not fleet.keys:
        yield "no instances"
    for number, key in enumerate(fleet.keys):
        if number and not only_keys:
            yield ""
        yield summary(key)
        yield from aligned([_row(each, key["version"], now) for each in key["instances"]])
    if fleet.is_cut and not only_keys:
        yield f"... only the first {_MOST} instances are listed; name an application or a state"
    if not fleet.is_whole:
        yield "a worker of the server hasn't answered: its instances are missing"
    yield from nodes_without_instances(fleet)
    yield from store_away(fleet)


def _cluster_members(fleet: Fleet) -> dict[str, Any]:
    """Return the members that only a cluster has."""
    nodes = {"nodes": fleet.nodes} if fleet.nodes else {}
    return nodes | ({"store_away_since": fleet.store_away_since} if fleet.store_away_since is not None else {})


def store_away(fleet: Fleet) -> Iterator[str]:
    """Yield a line if the server can't use the store of its cluster."""
    if fleet.store_away_since is not None:
        yield printable(
            f"the server can't use etcd since {fleet.store_away_since}: nodes and counts may have changed meanwhile"
        )


def nodes_without_instances(fleet: Fleet, *, only_silent: bool = False) -> Iterator[str]:
    """Yield a line for each node of the cluster whose instances aren't listed."""
    for node in fleet.nodes:
        if node["reason"] and (node["silent"] or not only_silent):
            counts = {"last": f"; its counts are those of {node['as_of']}", "unknown": "; its instances aren't counted"}
            # `vortexctl cluster forget` refuses nodes in other states.
            remedy = f"; if it won't come back: vortexctl cluster forget {node['name']}"
            end = remedy if node["state"] == "away" else ""
            yield printable(f"node {node['name']}: {node['reason']}{counts.get(node['counts'], '')}{end}")


def name_of(key: dict[str, Any]) -> str:
    """Return a key as people write it."""
    return printable(f"{key['app']}:{key['profile']}:{key['label']}")


def summary(key: dict[str, Any]) -> str:
    """Return one line: the key, the server's version, how many instances have applied it, and the roll-out."""
    counts = key["counts"]
    others = "".join(f", {counts[state]} {state}" for state in (*_STATES[1:], "away") if counts.get(state))
    if counts.get("before_restart"):
        others += f", {counts['before_restart']} acknowledged only before the server's restart"
    applied = f"{counts['applied']} of {counts['connected']} applied{_share(key)}"
    rolling = f"; roll-out to {key['target']} {key.get('rollout', 'running')}" if key.get("target") else ""
    return printable(f"{name_of(key)}  {key['version'] or '-'}  {applied}{others}{rolling}")


def _share(key: dict[str, Any]) -> str:
    """Return the percentage of a key, and what it counts if that isn't only the connected instances."""
    counts, percent = key["counts"], key["percent"]
    if percent is None:
        return ""
    if away := counts.get("away"):
        return f" ({percent:g} % of {counts['connected'] + away}, with those away)"
    if percent < 100 and counts["applied"] == counts["connected"]:
        return f" ({percent:g} %, because a node's instances are unknown)"
    return f" ({percent:g} %)"


def _row(instance: dict[str, Any], version: str | None, now: float) -> Sequence[str]:
    ack = instance["ack"] or {}
    remarks = []
    if ack.get("error"):
        remarks.append(ack["error"])
    elif ack and ack["version"] != version:
        remarks.append(f"{ack['status']} {ack['version']}")
    if former := instance.get("before_restart"):
        reason = f": {former['error']}" if former.get("error") else ""
        remarks.append(f"{former['status']} {former['version']} before the server's restart{reason}")
    if instance["shares_name"]:
        remarks.append(f"same name as another, connection {instance['connection']}")
    return (
        f"  {instance['name']}",
        instance["state"],
        ago(now - datetime.fromisoformat(instance["since"]).timestamp()),
        "; ".join(remarks),
    )


def ago(seconds: float) -> str:
    """Return a time span in its largest unit."""
    whole = max(int(seconds), 0)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"
