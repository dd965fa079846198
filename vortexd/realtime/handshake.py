"""The opening handshake (RFC 6455 section 4.2): what is asked for, and every answer to it. Pure.

In comes a request head, out goes either an `Opening` with a wsproto connection ready for frames, or a `Refusal` with the whole HTTP
answer. A client never sees a bare cut: whatever is wrong, it is told with a status.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from http import HTTPStatus

import attrs
import orjson
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.utilities import RemoteProtocolError

from ..core import names
from ..core.errors import InvalidName, RemoteError
from ..protocol.deflate import Deflate

SUBPROTOCOL = "vortex.v1"
# RFC 9110 has no limit; versions are 16 characters, and whatever else is sent can only be an unknown one.
_MAX_VERSION_LENGTH = 64
_MAX_INSTANCE_LENGTH = 128
_BODY = (b"content-length", b"transfer-encoding")


class Refusal(RemoteError):
    """The handshake is answered with an HTTP status, and the connection closed."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason, status, headers)

    def to_bytes(self) -> bytes:
        """The whole HTTP/1.1 answer; the connection is to be closed after it."""
        body = orjson.dumps({"status": self.status, "error": HTTPStatus(self.status).phrase, "message": self.reason})
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


@attrs.frozen(slots=True)
class Target:
    """What the path and the query of a WebSocket request ask for, decoded and validated.

    Attributes:
        label: One, or several separated by commas, as over HTTP; None where the request names none.
        last_version: What the client has, or None; any text, since versions are opaque.
        instance: What the client calls itself, "" where it isn't to be counted, or None.
    """

    application: str
    profile: str
    label: str | None
    last_version: str | None
    instance: str | None = None


def parse_target(target: str) -> Target:
    """Take a request target apart.

    Raises:
        Refusal: 404 where the path isn't `/ws/{application}/{profile}`, 400 where a name or the query can't be one.
    """
    path, _, query = target.partition("?")
    segments = path.split("/")
    if len(segments) != 4 or segments[:2] != ["", "ws"]:
        raise Refusal(404, "WebSockets are at /ws/{application}/{profile}")
    try:
        parameters = _parameters(query)
        label = parameters.get("label")
        return Target(
            names.application(names.decode_segment(segments[2])),
            names.profile(names.decode_segment(segments[3])),
            names.labels(label) if label else None,
            parameters.get("last_version") or None,
            parameters.get("instance"),
        )
    except InvalidName as error:
        raise Refusal(error.status, error.reason) from None


def _parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        # Names as well, or `%6cabel` would be a label to whoever checks it elsewhere and none to us.
        name = names.decode_segment(name)
        if name in parameters:
            raise Refusal(400, "a query parameter stands twice")
        parameters[name] = names.decode_segment(value)
    if len(parameters.get("last_version", "")) > _MAX_VERSION_LENGTH:
        raise Refusal(400, "invalid last_version")
    instance = parameters.get("instance", "")
    # As it is shown to people: what looks like another name would be taken for it.
    if len(instance) > _MAX_INSTANCE_LENGTH or not instance.isprintable() or instance != instance.strip():
        raise Refusal(400, f"instance is a name of at most {_MAX_INSTANCE_LENGTH} printable characters")
    return parameters


@attrs.frozen(slots=True, eq=False)
class Opening:
    """A request that is a WebSocket handshake, not yet answered.

    Attributes:
        websocket: Holds the frames that came behind the head, if any, once it is accepted.
        headers: All headers of the request, names in lower case.
        subprotocols: What the client offers, in its order.
    """

    websocket: WSConnection
    headers: tuple[tuple[bytes, bytes], ...]
    subprotocols: tuple[str, ...]
    _behind: bytes

    @property
    def is_versioned(self) -> bool:
        """Whether the client asked for our subprotocol."""
        return SUBPROTOCOL in self.subprotocols

    @property
    def is_ahead(self) -> bool:
        """Whether the client has sent more than its request already."""
        return bool(self._behind)

    def accept(self, connection_id: str, deflate: Deflate | None = None) -> bytes:
        """The 101 answer.

        Args:
            deflate: Accepts permessage-deflate where the client offers it.
        """
        answer = self.websocket.send(
            AcceptConnection(
                subprotocol=SUBPROTOCOL if self.is_versioned else None,
                extensions=[deflate] if deflate else [],
                extra_headers=[(b"X-Connection-Id", connection_id.encode("ascii"))],
            )
        )
        if self._behind:
            self.websocket.receive_data(self._behind)
        return answer


def open_handshake(head: bytes) -> Opening:
    """Check a request head (and what follows it) against RFC 6455 section 4.2.1.

    Raises:
        Refusal: 400 for what can't be a handshake, 426 for another version of the protocol.
    """
    websocket = WSConnection(ConnectionType.SERVER)
    # Taken apart here, for a server of wsproto's (1.3) forgets what came behind the head.
    head, end, behind = head.partition(b"\r\n\r\n")
    if b"\n" in head.replace(b"\r\n", b""):
        raise Refusal(400, "a line doesn't end in CR LF")
    try:
        websocket.receive_data(head + end)
        request = next(websocket.events(), None)
    except RemoteProtocolError as error:
        raise _refusal(error) from None
    except UnicodeError:
        # wsproto decodes header values before it checks them.
        raise Refusal(400, "a header can't be decoded") from None
    if not isinstance(request, Request):
        raise Refusal(400, "the request is incomplete")
    if not head.partition(b"\r\n")[0].endswith(b" HTTP/1.1"):
        raise Refusal(400, "a handshake is HTTP/1.1")
    if any(header in _BODY and value != b"0" for header, value in request.extra_headers):
        # Its body would be taken for frames.
        raise Refusal(400, "a handshake has no body")
    keys = [value for name, value in request.extra_headers if name == b"sec-websocket-key"]
    if len(keys) != 1 or not _is_nonce(keys[0]):
        raise Refusal(400, "Sec-WebSocket-Key is 16 bytes in Base64")
    return Opening(websocket, tuple(_headers(head)), tuple(request.subprotocols), behind)


def _headers(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The headers of a sound head, which wsproto sorts into several places."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        yield name.lower(), value.strip()


def _is_nonce(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _refusal(error: RemoteProtocolError) -> Refusal:
    hint = error.event_hint
    if isinstance(hint, RejectConnection) and hint.status_code == 426:
        return Refusal(
            426,
            "the version of the protocol is 13",
            # RFC 9110: a 426 says what to upgrade to, and an Upgrade is named in Connection (7.8), which may stand twice.
            {"Sec-WebSocket-Version": "13", "Upgrade": "websocket", "Connection": "Upgrade"},
        )
    return Refusal(400, f"not a WebSocket handshake: {error}", {"Sec-WebSocket-Version": "13"})
