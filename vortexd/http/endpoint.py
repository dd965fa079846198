"""The base class of all endpoints, and the request and the response in the form that endpoints use.

When a request reaches its endpoint, only the token is decoded. Each endpoint splits its path before it decodes the
segments. If the path were decoded first, the endpoint couldn't tell `/` from `%2F`.
"""

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, overload

import attrs

from ..audit import Actor
from ..auth import Admission, Forbidden, Kind, Right
from .event_stream import EventStream
from .schemas import Operations, Schema
from .waiting import Waiting

JSON = "application/json"


class Headers:
    """The headers of a request. The case of names is ignored. If a header occurs several times, the first one counts.

    Args:
        raw: Pairs of a name in lower case and a value.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a header, or the default."""
        wanted = name.lower().encode("ascii")
        for each, value in self._raw:
            if each == wanted:
                return value.decode("latin-1")
        return default


@attrs.frozen(slots=True, eq=False)
class Request:
    """A request.

    Attributes:
        method: As the client sent it. When the endpoint gets the request, it is one of the endpoint's methods, in capitals.
        path: As the client sent it, without the query and without the prefix of the settings.
        query: As the client sent it, without the `?`.
        headers: The headers. The case of names is ignored.
        body: The complete body, within its limit.
        admission: The client and its rights. None if the endpoint requires no token (`Endpoint.is_public`).
        admit: Checks the token. For an endpoint that requires a token only from some clients.
        peer: The address of the client, or "" for a Unix socket. A trusted proxy has named it, if there is one.
        check: Checks Host and Origin, as `admit` does first. For an endpoint that answers without a token.
        may_wait: Whether the response may be a `Waiting`. A request with a body or with many headers can't wait.
        waited: If the request has waited already, the `Waiting` that its endpoint returned. Else None.
    """

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    admission: Admission | None
    admit: Callable[[], Admission]
    peer: str = ""
    check: Callable[[], None] = lambda: None
    may_wait: bool = False
    waited: Waiting | None = None

    @property
    def segments(self) -> list[str]:
        """The parts of the path between its slashes, not decoded. The path `/` has one empty segment."""
        return self.path.split("/")[1:]

    @property
    def owner(self) -> Admission:
        """The client. Only for endpoints that aren't public."""
        assert self.admission is not None  # the request handler has checked the token
        return self.admission

    def admitted(self) -> "Request":
        """Check the token, and return the same request with its admission.

        Raises:
            RemoteError: As `Gate.admit` raises it.
        """
        members = self.method, self.path, self.query, self.headers, self.body
        return Request(*members, self.admit(), self.admit, self.peer, self.check, self.may_wait, self.waited)

    @property
    def actor(self) -> Actor:
        """The client, for the audit log. Only for endpoints that aren't public."""
        principal = self.owner.principal
        return Actor(principal.name, principal.kind.value, self.peer or "unix")

    @property
    def client(self) -> str:
        """Identifies the client for limits: by its kind and name or, if it needs no token, by its address.

        Only for endpoints that aren't public.
        """
        actor = self.actor
        return f"{actor.kind} {actor.peer if self.owner.principal.kind is Kind.ANONYMOUS else actor.name}"


@attrs.frozen(slots=True, eq=False)
class Response:
    """A response.

    Attributes:
        content_type: None if there is no content (204, 304).
        headers: Headers in addition to those of every response. Without `Cache-Control` here, `no-store` is sent.
        route: If the endpoint has several routes, the label of this one for the metrics; never a path.
        stream: The body, if it lasts. Then there is no other, and the connection ends with it.
        waiting: If the request must wait before it is answered, its wait. Nothing else of the response counts then.
    """

    status: int = 200
    body: bytes = b""
    content_type: str | None = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict)
    route: str = ""
    stream: EventStream | None = None
    waiting: Waiting | None = None

    def on(self, route: str) -> "Response":
        """Return the same response with this label for the metrics."""
        return Response(self.status, self.body, self.content_type, self.headers, route, self.stream, self.waiting)

    def content(self, method: str) -> bytes:
        """Return the body to send in the response to a request with this method."""
        return b"" if method == "HEAD" or self.status in (204, 304) else self.body

    @functools.cached_property
    def lines(self) -> bytes:
        """All headers as lines of HTTP/1.1.

        Raises:
            ValueError: A header would end its line (H06).
        """
        head = self.head()
        lines = b"".join(b"%s: %s\r\n" % header for header in head)
        if lines.count(b"\n") != len(head) or lines.count(b"\r") != len(head) or b"\0" in lines:
            raise ValueError("a header of a response has more than one line")
        return lines

    def head(self) -> list[tuple[bytes, bytes]]:
        """Return all headers in the form of ASGI."""
        head = [(b"x-content-type-options", b"nosniff")]
        if self.content_type is not None:
            head.append((b"content-type", self.content_type.encode("latin-1")))
            head.append((b"content-length", b"%d" % len(self.body)))
        if "Cache-Control" not in self.headers:
            head.append((b"cache-control", b"no-store"))
        head += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        return head


class Endpoint(ABC):
    """Answers the requests for some paths, and declares all that the other modules need to know about it.

    The router uses `paths`. The request handler uses `methods`, `is_public` and `right`. Quart uses `body_bytes`, and the
    metrics use `route`. The OpenAPI document uses `operations` and `schemas`. So a new endpoint needs one module, and one
    line where the daemon makes its endpoints.

    Attributes:
        route: The template of its path, as the label of its metrics.
        paths: Its entries in the table of routes: paths, or prefixes of paths that end in `/`. The default is `route` alone.
        methods: The methods that it accepts. Other methods get 405. If GET is accepted, HEAD is accepted too.
        is_public: Whether it requires no token.
        checks_token: Whether it checks the token itself, because one of its methods needs none.
        right: The right for the whole daemon that a token must have. None if any valid token is enough, or if the endpoint
            checks a right for each key.
        acts: The acts that it does, as the audit log names them, by method. Attempts without the right are recorded.
        operations: Its part of `paths` in the OpenAPI document.
        schemas: The schemas that only its operations refer to, by name.
    """

    route: ClassVar[str]
    paths: ClassVar[tuple[str, ...]]
    methods: ClassVar[tuple[str, ...]] = ("GET", "HEAD")
    is_public: ClassVar[bool] = False
    checks_token: ClassVar[bool] = False
    right: ClassVar[Right | None] = None
    acts: ClassVar[Mapping[str, str]] = {}
    operations: ClassVar[Operations] = {}
    schemas: ClassVar[Mapping[str, Schema]] = {}

    def __init_subclass__(cls) -> None:
        if "paths" not in vars(cls) and "route" in vars(cls):
            cls.paths = (cls.route,)

    @property
    def body_bytes(self) -> int | None:
        """The largest size of a body in bytes; None for `server.body_bytes`."""
        return None

    def is_announced(self, path: str, headers: Headers, length: int) -> bool:
        """Return whether the head proves that a known sender sends a body of this length. A stranger can't take its place then.

        Args:
            path: The path without the prefix of the settings.
        """
        return False

    @property
    def is_served(self) -> bool:
        """Whether the router serves this endpoint. The OpenAPI document describes it in any case."""
        return True

    def forbidden(self, error: Forbidden) -> Response:
        """Make the response to a token without `right`. The default raises the error, which makes the usual response."""
        raise error

    @abstractmethod
    async def answer(self, request: Request) -> Response:
        """Answer a request. Its method is one of `methods`, and its owner has `right`.

        Raises:
            RemoteError: The client made a mistake, or the server can't answer now.
            FormatError, ResolveError: The configuration can't be read.
        """


def etag_of(body: bytes) -> str:
    """Compute a strong entity tag of a body (RFC 9110 section 8.8.3)."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this body already (RFC 9110 section 13.1.2, the weak comparison)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags
