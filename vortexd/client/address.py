"""Server addresses and handshake requests: parses a URL and the watched names, builds host, request target and headers. Pure.

No URL holds a token, because URLs end up in logs. The parser rejects such a URL, and the client sends the token as a header.
"""

from urllib.parse import quote, urlsplit

import attrs

from ..core import names
from ..core.errors import InvalidName
from ..core.generation import Generation
from ..core.text import printable

SUBPROTOCOL = "vortex.v1"
_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
_MAX_INSTANCE = 128


@attrs.frozen
class Address:
    """The address of one server.

    Attributes:
        host: A host name or an IP address. If `port` is None, the path of a Unix socket.
        prefix: The path that precedes the path of each request.
    """

    host: str
    port: int | None
    is_tls: bool = False
    prefix: str = ""

    @property
    def authority(self) -> str:
        """The value of the header Host."""
        if self.port is None:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        if self.port is None:
            return printable(f"unix://{self.host}")
        return printable(f"{'wss' if self.is_tls else 'ws'}://{self.authority}{self.prefix}")


def parse_address(url: str) -> Address:
    """Parse `ws://`, `wss://`, `http://` or `https://` with host, port and a path prefix for `/ws`, or `unix:///path/of/socket`.

    Raises:
        ValueError: The address is invalid. The text doesn't repeat the address, because it may hold a secret.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the address of a server has an invalid host or port") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("the address of a server can't hold a user, query or fragment; pass a token as `token`")
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        return Address(parts.path, None)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("the address of a server must be ws://HOST:PORT, wss://, http://, https:// or unix:///PATH")
    prefix = parts.path.rstrip("/")
    if not prefix.isascii() or not prefix.isprintable() or " " in prefix:
        raise ValueError("the path in a server's address must be percent-encoded ASCII")
    return Address(parts.hostname, port or _PORTS[parts.scheme], parts.scheme in ("wss", "https"), prefix)


@attrs.frozen
class Subject:
    """The names that a client watches, and its own name. Make one with `subject_of`, which validates the names."""

    application: str
    profile: str
    label: str | None
    instance: str


def subject_of(application: str, profile: str, label: str | None, instance: str) -> Subject:
    """Validate the names and return them as a `Subject`.

    Raises:
        ValueError: A name is invalid.
    """
    if len(instance) > _MAX_INSTANCE or not instance.isprintable() or instance != instance.strip():
        raise ValueError(
            f"an instance must be at most {_MAX_INSTANCE} printable characters, without spaces around them"
        )
    try:
        # A label is optional. As in the handshake, "" means that there is none.
        return Subject(
            names.application(application), names.profile(profile), names.labels(label) if label else None, instance
        )
    except InvalidName as error:
        raise ValueError(error.reason) from None


def target(
    address: Address,
    subject: Subject,
    last_version: str | None,
    generation: Generation | None = None,
    *,
    is_sent_on: bool = False,
) -> str:
    """Build the request target of a handshake.

    Args:
        last_version: The version that the client has, if it has one.
        generation: The generation of that version, if it is known.
        is_sent_on: Whether a server that was behind has sent the client on. This server then sends its state in any case.
    """
    query = {
        "label": subject.label,
        "last_version": last_version,
        "generation": None if generation is None else str(generation),
        "sent_on": "1" if is_sent_on else None,
        "instance": subject.instance,
    }
    # An empty instance is sent, too: it tells the server that this client only watches.
    pairs = [f"{name}={quote(value, safe='')}" for name, value in query.items() if value is not None]
    path = "/".join(quote(name, safe=",") for name in (subject.application, subject.profile))
    return f"{address.prefix}/ws/{path}?{'&'.join(pairs)}"


def headers(token: str | None) -> list[tuple[bytes, bytes]]:
    """Build the headers of a handshake that carry the token.

    Raises:
        ValueError: A header can't hold the token. The text doesn't repeat the token.
    """
    if token is None:
        return []
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a token must be printable ASCII without spaces")
    return [(b"Authorization", b"Bearer " + token.encode("ascii"))]
