"""The opening handshake (RFC 6455 section 4.2): parses the request, and makes the response. Pure.

If the request is valid, the result is an `Opening` with a wsproto connection that is ready for frames. Otherwise it is a
`Refusal` with the whole HTTP response. The server never just cuts the connection: each error has a response with a status.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus

import attrs
import orjson
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.handshake import server_extensions_handshake
from wsproto.utilities import RemoteProtocolError

from ..core import names
from ..core.errors import InvalidName, RemoteError
from ..core.generation import Generation
from ..net.head import EMPTY_LINE, Head
from ..protocol.deflate import Deflate

SUBPROTOCOL = "vortex.v1"
# RFC 9110 sets no limit. Versions have 16 characters, so any longer text is an unknown version.
MAX_VERSION_LENGTH = 64
_MAX_GENERATION_LENGTH = 64
_BODY = (b"content-length", b"transfer-encoding")
# The paths whose names are remembered, and the longest of them.
_CACHED_PATHS, _CACHED_PATH = 1_024, 256
# The lists of offered extensions whose answer is remembered, and the longest of them.
_CACHED_OFFERS, _CACHED_OFFER = 256, 256
# RFC 6455 section 1.3: the server proves with this text that it has understood the handshake.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHOSEN = b"\r\nSec-WebSocket-Protocol: " + SUBPROTOCOL.encode("ascii")


class Refusal(RemoteError):
    """The server refuses the handshake with an HTTP status, and then closes the connection."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason, status, headers)

    def to_bytes(self) -> bytes:
        """Make the whole HTTP/1.1 response. The caller must close the connection after it."""
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
    """The parsed path and query of a WebSocket request, decoded and validated.

    Attributes:
        label: One label, or several separated by commas, as over HTTP. None if the request names no label.
        last_version: The version that the client has, or None. It may be any text, because versions are opaque.
        instance: The client's name of itself; "" if the fleet must not count it; None if the request has no name.
        generation: The generation that the client claims for its version, or None.
        is_sent_on: Whether another server has sent the client on, because the client was ahead of it.
        wants_candidate: Whether a client without a name asks for the candidate of a roll-out.
    """

    application: str
    profile: str
    label: str | None
    last_version: str | None
    instance: str | None = None
    generation: Generation | None = None
    is_sent_on: bool = False
    wants_candidate: bool = False


def parse_target(target: str) -> Target:
    """Parse a request target.

    Raises:
        Refusal: The path isn't `/ws/{application}/{profile}` (404), or a name or the query isn't valid (400).
    """
    path, _, query = target.partition("?")
    try:
        application, profile = (_names_of if len(path) <= _CACHED_PATH else _names_of.__wrapped__)(path)
        return make_target(application, profile, parse_query(query) if query else {})
    except InvalidName as error:
        raise Refusal(error.status, error.reason) from None


def make_target(application: str, profile: str, parameters: Mapping[str, str]) -> Target:
    """Make the target from valid names and the parameters of the query.

    Raises:
        InvalidName: The label isn't valid.
    """
    label = parameters.get("label")
    return Target(
        application,
        profile,
        names.labels(label) if label else None,
        parameters.get("last_version") or None,
        parameters.get("instance"),
        Generation.parse(parameters.get("generation", "")),
        parameters.get("sent_on") == "1",
        parameters.get("canary") == "true",
    )


# Clients of one application all send the same path.
@lru_cache(_CACHED_PATHS)
def _names_of(path: str) -> tuple[str, str]:
    """Return the application and the profile that a path names."""
    segments = path.split("/")
    if len(segments) != 4 or segments[:2] != ["", "ws"]:
        raise Refusal(404, "WebSockets are at /ws/{application}/{profile}")
    return names.application(names.decode_segment(segments[2])), names.profile(names.decode_segment(segments[3]))


def parse_query(query: str) -> dict[str, str]:
    """Decode the parameters of a query, and check those of a handshake.

    Raises:
        InvalidName: A name or a value isn't valid UTF-8.
        Refusal: A parameter isn't valid, or occurs twice.
    """
    parameters: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        # Decode names too. Otherwise a proxy could read `%6cabel` as `label`, and this server could not.
        name = names.decode_segment(name)
        if name in parameters:
            raise Refusal(400, "a query parameter occurs twice")
        parameters[name] = names.decode_segment(value)
    if len(parameters.get("last_version", "")) > MAX_VERSION_LENGTH:
        raise Refusal(400, "invalid last_version")
    if len(parameters.get("generation", "")) > _MAX_GENERATION_LENGTH:
        raise Refusal(400, "invalid generation")
    if parameters.get("canary", "") not in ("", "true", "false"):
        raise Refusal(400, "canary is true or false")
    instance = parameters.get("instance", "")
    if not names.is_instance_name(instance):
        raise Refusal(400, f"instance is a name of at most {names.MAX_INSTANCE_LENGTH} printable characters")
    return parameters


@attrs.frozen(slots=True, eq=False)
class Opening:
    """A valid WebSocket handshake that is not answered yet.

    Attributes:
        websocket: The wsproto connection. After `accept`, it also has the frames that the client sent after the head.
        headers: All headers of the request, with names in lower case.
        subprotocols: The subprotocols that the client offers, in its order.
    """

    websocket: WSConnection
    headers: tuple[tuple[bytes, bytes], ...]
    subprotocols: tuple[str, ...]
    _behind: bytes

    @property
    def is_versioned(self) -> bool:
        """Whether the client offers the subprotocol vortex.v1."""
        return SUBPROTOCOL in self.subprotocols

    @property
    def is_ahead(self) -> bool:
        """Whether the client has already sent bytes after its request."""
        return bool(self._behind)

    def accept(self, connection_id: str, deflate: Deflate | None = None) -> bytes:
        """Accept the handshake, and return the 101 response.

        Args:
            deflate: Accepts permessage-deflate, if the client offers it.
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
    """Check a request head, and the bytes after it, against RFC 6455 section 4.2.1.

    Raises:
        Refusal: The request isn't a valid handshake (400), or uses another version of the protocol (426).
    """
    websocket = WSConnection(ConnectionType.SERVER)
    # Split the bytes here, because a server connection of wsproto (1.3) loses the bytes after the head.
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
        raise Refusal(400, "a handshake must use HTTP/1.1")
    if any(header in _BODY and value != b"0" for header, value in request.extra_headers):
        # wsproto would parse the body as frames.
        raise Refusal(400, "a handshake has no body")
    keys = [value for name, value in request.extra_headers if name == b"sec-websocket-key"]
    if len(keys) != 1 or not _is_nonce(keys[0]):
        raise Refusal(400, "Sec-WebSocket-Key is 16 bytes in Base64")
    return Opening(websocket, tuple(_headers(head)), tuple(request.subprotocols), behind)


# The headers that a usual handshake has at most once.
_OF_HANDSHAKES = frozenset(
    {
        b"upgrade",
        b"connection",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
    }
)


@attrs.frozen(slots=True, eq=False)
class Form:
    """The parts of a usual handshake that determine the response, except for the key.

    Attributes:
        is_versioned: As in `Opening`.
        offers: The extensions that the client offers.
    """

    is_versioned: bool
    offers: bytes


@attrs.frozen(slots=True, eq=False)
class UsualOpening:
    """A valid handshake in the form that nearly all clients send.

    It is the same as the `Opening` of the same head, but is made and accepted in a few microseconds.

    Attributes:
        headers: As in `Opening`. Empty if the handshake was recognized by an earlier one.
    """

    headers: Sequence[tuple[bytes, bytes]]
    form: Form
    _key: bytes

    @property
    def is_versioned(self) -> bool:
        """As in `Opening`."""
        return self.form.is_versioned

    def accept(self, connection_id: str, deflate: Deflate | None = None) -> bytes:
        """Make the 101 response; see `Opening.accept`."""
        digest = binascii.b2a_base64(hashlib.sha1(self._key + _GUID, usedforsecurity=False).digest(), newline=False)
        answer = [
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
            digest,
        ]
        if self.form.is_versioned:
            answer.append(_CHOSEN)
        offers = self.form.offers
        if deflate is not None and offers:
            chosen, bits = (_chosen if len(offers) <= _CACHED_OFFER else _chosen.__wrapped__)(offers)
            deflate.window_bits = bits
            if chosen is not None:
                answer += (b"\r\nSec-WebSocket-Extensions: ", chosen)
        answer += (b"\r\nX-Connection-Id: ", connection_id.encode("ascii"), EMPTY_LINE * 2)
        return b"".join(answer)


# Most clients use one of a few libraries, and each library sends the same offers.
@lru_cache(_CACHED_OFFERS)
def _chosen(offers: bytes) -> tuple[bytes | None, int | None]:
    """Choose among the extensions that a client offers. Returns the answer, and `Deflate.window_bits`."""
    # The choice doesn't depend on the limit of a message.
    deflate = Deflate(0)
    chosen = server_extensions_handshake(_split(offers), [deflate])
    return chosen, deflate.window_bits


def usual_opening(data: bytes, head: Head) -> UsualOpening | None:
    """Check a request head against RFC 6455 section 4.2.1. Returns None if `open_handshake` must decide.

    `open_handshake` accepts each head that this accepts. The opposite isn't true: this knows no reasons, and no rare forms.

    Args:
        data: The bytes of the head, and nothing else.
        head: What they mean.
    """
    if head.method != b"GET" or len(data) != head.size or not data.partition(b"\r\n")[0].endswith(b" HTTP/1.1"):
        return None
    found: dict[bytes, bytes] = {}
    for name, value in head.headers:
        if name in _OF_HANDSHAKES:
            if name in found or not value.isascii():
                return None
            found[name] = value
        elif name in _BODY and value != b"0":
            return None
    key = found.get(b"sec-websocket-key", b"")
    is_valid = (
        found.get(b"upgrade", b"").lower() == b"websocket"
        and "upgrade" in _split(found.get(b"connection", b"").lower())
        and found.get(b"sec-websocket-version") == b"13"
        and _is_nonce(key)
    )
    if not is_valid:
        return None
    is_versioned = SUBPROTOCOL in _split(found.get(b"sec-websocket-protocol", b""))
    return UsualOpening(head.headers, Form(is_versioned, found.get(b"sec-websocket-extensions", b"")), key)


def _split(value: bytes) -> list[str]:
    return [each.strip() for each in value.decode("ascii").split(",")]


def _headers(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers of a valid head. wsproto sorts them into several members."""
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
            "the server speaks only version 13 of the protocol",
            # RFC 9110: a 426 names the protocol in Upgrade, and Connection must name Upgrade (7.8). Connection may occur twice.
            {"Sec-WebSocket-Version": "13", "Upgrade": "websocket", "Connection": "Upgrade"},
        )
    return Refusal(400, f"not a WebSocket handshake: {error}", {"Sec-WebSocket-Version": "13"})
