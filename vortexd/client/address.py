"""Where a server is, and what is asked of it: a URL and a subject in, host, request target and headers out. Pure.

A token is in no URL, neither in one that is given here nor in one that is made here: URLs end up in logs.
"""

from urllib.parse import quote, urlsplit

import attrs

from ..core import names
from ..core.errors import InvalidName
from ..core.text import printable

SUBPROTOCOL = "vortex.v1"
_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
_MAX_INSTANCE = 128


@attrs.frozen
class Address:
    """A server.

    Attributes:
        host: A name or an address; the path of a Unix socket where `port` is None.
        prefix: What goes before the path of each request.
    """

    host: str
    port: int | None
    is_tls: bool = False
    prefix: str = ""

    @property
    def authority(self) -> str:
        """For the header Host."""
        if self.port is None:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        if self.port is None:
            return printable(f"unix://{self.host}")
        return printable(f"{'wss' if self.is_tls else 'ws'}://{self.authority}{self.prefix}")


def parse_address(url: str) -> Address:
    """Parse `ws://`, `wss://`, `http://`, `https://` with host, port and a path to go before `/ws`, or `unix:///path/of/socket`.

    Raises:
        ValueError: It can't be one. The text doesn't repeat it, for it may hold a secret.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the address of a server has an invalid host or port") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("the address of a server has no user, query or fragment; give a token as `token`")
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        return Address(parts.path, None)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("the address of a server is ws://HOST:PORT, wss://, http://, https:// or unix:///PATH")
    prefix = parts.path.rstrip("/")
    if not prefix.isascii() or not prefix.isprintable() or " " in prefix:
        raise ValueError("the path of a server's address is percent-encoded ASCII")
    return Address(parts.hostname, port or _PORTS[parts.scheme], parts.scheme in ("wss", "https"), prefix)


@attrs.frozen
class Subject:
    """What is watched, and by whom. Make one with `subject_of`, which validates."""

    application: str
    profile: str
    label: str | None
    instance: str


def subject_of(application: str, profile: str, label: str | None, instance: str) -> Subject:
    """Check the names.

    Raises:
        ValueError: One can't be one.
    """
    if len(instance) > _MAX_INSTANCE or not instance.isprintable() or instance != instance.strip():
        raise ValueError(f"an instance is at most {_MAX_INSTANCE} printable characters, without spaces around them")
    try:
        # A label is optional, and "" means none, as in the handshake.
        return Subject(
            names.application(application), names.profile(profile), names.labels(label) if label else None, instance
        )
    except InvalidName as error:
        raise ValueError(error.reason) from None


def target(address: Address, subject: Subject, last_version: str | None) -> str:
    """The request target of a handshake."""
    query = {"label": subject.label, "last_version": last_version, "instance": subject.instance}
    # An empty instance says something, too: a client that only watches.
    pairs = [f"{name}={quote(value, safe='')}" for name, value in query.items() if value is not None]
    path = "/".join(quote(name, safe=",") for name in (subject.application, subject.profile))
    return f"{address.prefix}/ws/{path}?{'&'.join(pairs)}"


def headers(token: str | None) -> list[tuple[bytes, bytes]]:
    """What goes with a handshake.

    Raises:
        ValueError: No header can hold the token. The text doesn't repeat it.
    """
    if token is None:
        return []
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a token is printable ASCII without spaces")
    return [(b"Authorization", b"Bearer " + token.encode("ascii"))]
