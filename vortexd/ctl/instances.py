"""Reads the whole fleet from a server: the counts of all keys, and as many instances as the caller wants."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from .errors import CtlError
from .server import Server

_PAGE = 1_000
_MOST_PAGES = 10_000


@attrs.frozen
class Fleet:
    """The keys that the caller asked for.

    Attributes:
        keys: As the server sends them.
        is_whole: Every worker has answered.
        is_cut: There are more instances than the caller wanted.
        nodes: The nodes of the server's cluster, as the server sends them. If a node was silent on any page, it is silent.
        store_away_since: Since when the server can't use the store of its cluster. None if it can, or if there is no cluster.
    """

    keys: tuple[dict[str, Any], ...]
    is_whole: bool
    is_cut: bool = False
    nodes: tuple[dict[str, Any], ...] = ()
    store_away_since: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every worker and every node has answered."""
        return self.is_whole and not any(each["silent"] for each in self.nodes)

    def count(self, name: str) -> int:
        """Return the sum of one count over all keys."""
        return sum(int(key["counts"][name]) for key in self.keys)

    @property
    def instances(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Yield each instance, with its key."""
        return ((key, each) for key in self.keys for each in key["instances"])


def add_key_arguments(parser: argparse.ArgumentParser, *, is_required: bool) -> None:
    """Add the options that name keys."""
    parser.add_argument("--app", required=is_required, metavar="NAME", help="the application, or a glob")
    parser.add_argument("--profile", required=is_required, metavar="NAME", help="the profile, or a glob")
    parser.add_argument("--label", metavar="NAME", help="the label, or a glob (default: every label)")


def asked_for(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the request's parameters for the keys that a command line names."""
    names = {"app": arguments.app, "profile": arguments.profile, "label": arguments.label}
    return {name: value for name, value in names.items() if value}


def read_fleet(server: Server, parameters: Mapping[str, str], most: int) -> Fleet:
    """Request all keys, page by page, with at most `most` of their instances.

    Raises:
        CtlError: See `Server.get`; also, the answer isn't that of a vortexd.
    """
    keys: dict[tuple[str, str, str], dict[str, Any]] = {}
    nodes: dict[str, dict[str, Any]] = {}
    is_whole, is_cut, room = True, False, most
    away_since: str | None = None
    page = {**parameters, "limit": str(_PAGE)}
    for _ in range(_MOST_PAGES):
        # A cursor is a position, so the filter may change between pages. "none" lists keys without instances.
        if not room:
            page["state"] = "none"
        listing = server.get("/api/v1/fleet", page).json()
        try:
            for key in listing["keys"]:
                known = keys.setdefault((key["app"], key["profile"], key["label"]), {**key, "instances": []})
                known["instances"] += key["instances"][:room]
                is_cut |= len(key["instances"]) > room
                room -= len(key["instances"][:room])
            is_whole &= not listing.get("workers_silent")
            for node in listing.get("nodes", ()):
                if node["silent"] or node["name"] not in nodes:
                    nodes[node["name"]] = node
            store = listing.get("store", {})
            if store.get("status", "UP") != "UP":
                away_since = str(store["since"])
            after = listing["next"]
        except (KeyError, TypeError, AttributeError):
            raise CtlError("this vortexctl doesn't understand the server's answer; is it a vortexd?") from None
        if after is None:
            return Fleet(tuple(keys.values()), is_whole, is_cut, tuple(nodes.values()), away_since)
        page["after"] = str(after)
    raise CtlError("the server's list of instances doesn't end")
