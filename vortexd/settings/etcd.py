"""How vortexd reaches an etcd: its members, the user, and the certificates."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import attrs

from ..core.constraints import Rule, path, setting, texts
from .secrets import file_problem, secret_problem
from .secure_files import OTHERS_READ_OR_WRITE


def is_endpoint(value: object) -> bool:
    """Return whether a text is http://host:port or https://host:port. The port may be missing."""
    try:
        parts = urlsplit(str(value))
        has_port = parts.port != 0
        # As in `cluster.connection.Endpoint`: a name that can be looked up, in ASCII.
        (parts.hostname or "").encode("ascii").decode().encode("idna")
    except ValueError:
        return False
    rest = parts.path.strip("/") or parts.query or parts.fragment
    return (
        parts.scheme in ("http", "https") and bool(parts.hostname) and has_port and "@" not in parts.netloc and not rest
    )


@attrs.frozen
class EtcdAccess:
    """The settings with which a section reaches an etcd."""

    access_paths: ClassVar[tuple[str, ...]] = ("password_file", "ca_file", "certificate", "key")

    endpoints: tuple[str, ...] = texts(
        "an address of etcd, as https://host:port",
        is_endpoint,
        doc="The client addresses of etcd's members, `https://host:port` or `http://host:port`. If one doesn't answer, "
        "vortexd turns to the next.",
        example='["https://etcd-1.example:2379", "https://etcd-2.example:2379"]',
    )
    user: str = setting(
        "",
        Rule("a name on one line", lambda value: str(value).isprintable()),
        doc='The user of etcd. "" means none, for an etcd whose authentication is not enabled.',
    )
    password_file: str = path(
        doc="The file with the user's password. vortexd reads it each time that it needs a new token. vortexd refuses "
        "the file if the group or other users have access to it."
    )
    ca_file: str = path(
        doc='The PEM file with the authorities that etcd\'s certificates are checked against. "" means those of the '
        "system."
    )
    certificate: str = path(
        doc='A PEM file with the certificate that vortexd shows to etcd, and its chain. "" means none.',
        more="The certificate opens the connection. etcd takes no user from it, because vortexd uses etcd's JSON "
        "gateway.",
    )
    key: str = path(
        doc='A PEM file with the private key, without a password. "" means that the key is in the file of '
        "`certificate`. vortexd refuses the file that contains the key if the group or other users have access to it."
    )


def access_conflicts(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the problems between the keys of one section that reaches an etcd.

    Args:
        table: The table from the text. Its values may have wrong types. Another check reports those.
    """
    endpoints = table.get("endpoints")
    if not endpoints:
        yield "endpoints", "is missing; name the client addresses of etcd's members"
    elif isinstance(endpoints, list) and len({*map(str, endpoints)}) < len(endpoints):
        yield "endpoints", "must name each address once"
    if table.get("password_file") and not table.get("user"):
        yield "password_file", "has no effect without user"
    if table.get("user") and not table.get("password_file"):
        yield "password_file", "is missing; name the file with the user's password"
    if table.get("key") and not table.get("certificate"):
        yield "key", "has no effect without certificate"
    # Nodes of a cluster also check the certificates of each other. Usually all of them have addresses of one kind.
    addresses = [*endpoints, table.get("advertise")] if isinstance(endpoints, list) else None
    if addresses is not None and not any(str(each).startswith("https:") for each in addresses):
        for name in ("ca_file", "certificate"):
            if table.get(name):
                yield name, "has no effect without an https:// address in endpoints"


def unusable_access(access: EtcdAccess, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the problems with the files of such a section. Blocks on the file system."""
    if access.password_file and (problem := secret_problem(access.password_file, environ)) is not None:
        yield "password_file", problem
    private = "key" if access.key else "certificate"
    for name, is_pem in (("ca_file", True), ("certificate", True), ("key", False)):
        file = getattr(access, name)
        forbidden = OTHERS_READ_OR_WRITE if name == private else 0
        if file and (problem := file_problem(file, environ, forbidden, is_pem=is_pem)) is not None:
            yield name, problem
