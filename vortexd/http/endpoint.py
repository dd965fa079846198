"""What an endpoint is, and the request and the response as it sees them.

The invariant: of a request only the token has been decoded. Each endpoint takes its own path apart before it decodes the segments: a path that is decoded
first can't tell `/` from `%2F`.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, overload

import attrs

from ..auth import Admission, Forbidden, Right
from .schemas import Operations, Schema

JSON = "application/json"


class Headers:
    """The headers of a request; names without regard to case. If a header comes several times, the first counts.

    Args:
        raw: Names in lower case.
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
        method: As it was sent; one of the endpoint's, in capitals, once the endpoint is asked.
        path: As it was sent, without the query, and without the prefix of the settings.
        query: As it was sent, without the `?`.
        headers: Names without regard to case.
        body: All of it, within its limit.
        admission: The client, and what it may do. None if the endpoint asks for no token (`Endpoint.is_public`).
        admit: Checks the token, for an endpoint that asks only some clients for one.
    """

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    admission: Admission | None
    admit: Callable[[], Admission]

    @property
    def segments(self) -> list[str]:
        """The path between its slashes, not decoded; that of `/` is one empty segment."""
        return self.path.split("/")[1:]

    @property
    def owner(self) -> Admission:
        """The client, unless the endpoint is public."""
        assert self.admission is not None  # the request handler admits before it calls
        return self.admission

    def admitted(self) -> "Request":
        """The same request, with its admission.

        Raises:
            RemoteError: As `Gate.admit`.
        """
        return Request(self.method, self.path, self.query, self.headers, self.body, self.admit(), self.admit)


@attrs.frozen(slots=True, eq=False)
class Response:
    """A response.

    Attributes:
        content_type: None if there is no content (204, 304).
        headers: Beside those of every response. `Cache-Control: no-store` is one of these, unless it is set here.
        route: The label for the metrics, if the endpoint has several; never a path.
    """

    status: int = 200
    body: bytes = b""
    content_type: str | None = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict)
    route: str = ""

    def on(self, route: str) -> "Response":
        """The same response, with the label of its metrics."""
        return Response(self.status, self.body, self.content_type, self.headers, route)

    def head(self) -> list[tuple[bytes, bytes]]:
        """All headers, as ASGI has them."""
        head = [(b"x-content-type-options", b"nosniff")]
        if self.content_type is not None:
            head.append((b"content-type", self.content_type.encode("latin-1")))
            head.append((b"content-length", b"%d" % len(self.body)))
        if "Cache-Control" not in self.headers:
            head.append((b"cache-control", b"no-store"))
        head += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        return head


class Endpoint(ABC):
    """Answers the requests of some paths, and declares all that the rest of the HTTP side needs to know of it.

    The router goes by `paths`, the request handler by `methods`, `is_public` and `right`, Quart by `body_bytes`, the metrics by `route`, and the OpenAPI
    document by `operations` and `schemas`. So a new endpoint is one module, and one line where the daemon makes its endpoints.

    Attributes:
        route: The template of its path, as the label of its metrics.
        paths: Its entries in the table of routes: paths, or beginnings of paths that end in `/`. `route` alone, unless it says otherwise.
        methods: Others get 405. HEAD goes with GET.
        is_public: Whether it asks for no token.
        right: The right that a token must have for the daemon as a whole. None if any valid token will do, or if the endpoint asks about each key.
        operations: Its part of the OpenAPI document's `paths`.
        schemas: The schemas that only its operations refer to, by name.
    """

    route: ClassVar[str]
    paths: ClassVar[tuple[str, ...]]
    methods: ClassVar[tuple[str, ...]] = ("GET", "HEAD")
    is_public: ClassVar[bool] = False
    right: ClassVar[Right | None] = None
    operations: ClassVar[Operations] = {}
    schemas: ClassVar[Mapping[str, Schema]] = {}

    def __init_subclass__(cls) -> None:
        if "paths" not in vars(cls) and "route" in vars(cls):
            cls.paths = (cls.route,)

    @property
    def body_bytes(self) -> int | None:
        """Bytes that a body may have; None for `server.body_bytes`."""
        return None

    @property
    def is_served(self) -> bool:
        """Whether the router serves it. The OpenAPI document describes it in any case."""
        return True

    def forbidden(self, error: Forbidden) -> Response:
        """Make the response to a token without `right`; raises the error for the usual one."""
        raise error

    @abstractmethod
    async def answer(self, request: Request) -> Response:
        """Answer a request with one of `methods`, from an owner with `right`.

        Raises:
            RemoteError: The client's mistake.
            FormatError, ResolveError: Configuration can't be read.
        """


def etag_of(body: bytes) -> str:
    """A strong validator of a body (RFC 9110 section 8.8.3)."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this very body (RFC 9110 section 13.1.2, the weak comparison)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags
