"""[cluster] of vortexd.toml. The etcd through which several nodes of vortexd hear of each other."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ..core.constraints import Rule, choice, seconds, setting, texts, whole
from .etcd import EtcdAccess, access_conflicts, is_endpoint

_NAME = re.compile(r"[A-Za-z0-9_-]{0,64}")
_NODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OTHERS = re.compile(r"[^A-Za-z0-9._-]")
# The most versions of a published state that etcd keeps.
MOST_VERSIONS = 100


def is_node(text: str) -> bool:
    """Return whether a text can be the name of a node."""
    return _NODE.fullmatch(text) is not None


def _own_first(_: type, fields: list["attrs.Attribute[Any]"]) -> list["attrs.Attribute[Any]"]:
    """Put the section's own keys before those of the access to etcd, so that its text begins with the name."""
    return sorted(fields, key=lambda field: field.name in (*EtcdAccess.access_paths, "user"))


@attrs.frozen(field_transformer=_own_first)
class ClusterSettings(EtcdAccess):
    """[cluster]."""

    name: str = setting(
        "",
        Rule(
            "at most 64 letters, digits, hyphens and underscores", lambda value: _NAME.fullmatch(str(value)) is not None
        ),
        doc='The name of the cluster. Nodes with the same name in the same etcd are one cluster. "" means none: vortexd '
        "then needs no etcd.",
        more='All keys of the cluster begin with `/vortexd/NAME/`. See "SEVERAL MACHINES" in vortexd-operations(7).',
        restart=True,
    )
    node: str = setting(
        "",
        Rule(
            "at most 64 letters, digits, dots, hyphens and underscores",
            lambda value: value == "" or is_node(str(value)),
        ),
        doc='The name of this node, which no other node of the cluster may have. "" means the name of the machine.',
        restart=True,
    )
    engine: str = choice("etcd", doc="The kind of store: etcd 3.4 or newer.", restart=True)
    # Without a cluster there is no address, so that of `EtcdAccess` as an example would mislead here.
    endpoints: tuple[str, ...] = texts(
        "an address of etcd, as https://host:port",
        is_endpoint,
        doc="The client addresses of etcd's members, `https://host:port` or `http://host:port`. If one doesn't answer, "
        "vortexd turns to the next.",
        more="A cluster needs at least one.",
    )
    advertise: str = setting(
        "",
        Rule("an address, as https://host:port, or empty", lambda value: value == "" or is_endpoint(value)),
        doc="The address at which other nodes reach this one, `https://host:port`. They ask it for this node's clients. "
        '"" means that they only count them.',
        more="vortexd shows it in `/status`.",
    )
    forget_after: float = seconds(
        600.0,
        1,
        doc="Seconds after which the cluster forgets a node that went away without a drain. Until then `/status` lists "
        "it as away.",
    )
    publish: bool = setting(
        False,
        doc="Whether this node, while it leads, writes what it serves from its sources into etcd. Nodes without these "
        'sources then serve it by a source of kind "published".',
        more="A node that publishes leads rather than one that does not. etcd gets the bytes of the sources, "
        "so encrypted values stay encrypted. The keys begin with `/vortexd-published/NAME/`. A node with a source of "
        'kind "published" cannot publish. If the sources of this node cannot be read within 10 seconds of its start, it '
        "serves what is published until they can.",
    )
    published_versions: int = whole(
        5,
        1,
        MOST_VERSIONS,
        doc="The number of published versions that etcd keeps. Versions share what they have in common. A node that "
        "reads a version more slowly than so many new ones appear reads the newest one instead.",
        more="After a restart of all nodes, clients can resume from each kept version.",
    )


def cluster_conflicts(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the problems between the keys of [cluster].

    Args:
        table: The table from the text. Its values may have wrong types. Another check reports those.
    """
    name = table.get("name", "")
    if name == "":
        for field in attrs.fields(ClusterSettings):
            if table.get(field.name, field.default) not in (field.default, []):
                yield field.name, "has no effect without name"
    elif isinstance(name, str):
        yield from access_conflicts(table)


def node_name(settings: ClusterSettings, host: str) -> str:
    """Return the name of this node.

    Args:
        host: The name of the machine. Characters that a node's name can't have become hyphens.
    """
    return settings.node or _OTHERS.sub("-", host)[:64] or "localhost"
