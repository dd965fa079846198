"""A request and its answer, as endpoints see them: between the quart-trio application and the parts that know what is asked for.

The invariant: nothing of a request is decoded yet but its token. Each endpoint takes its own path apart before it decodes, for
who decodes first can't tell `/` from `%2F`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, overload

import attrs

from ..auth import Admission

JSON = "application/json"


class Headers:
    """The headers of a request; names without regard to case. Of one that stands several times it is the first.

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
    """What is asked for.

    Attributes:
        method: As it was sent; one of the endpoint's, in capitals, once the endpoint is asked.
        path: As it was sent, without the query, and without the prefix of the settings.
        query: As it was sent, without the `?`.
        headers: Names without regard to case.
        body: All of it, within `server.body_bytes`.
        admission: Who asks, and what they may do. None where the endpoint asks nobody (`Endpoint.is_public`).
        admit: Finds out who asks, for an endpoint that is public to some.
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
        """Who asks, where the endpoint isn't public."""
        assert self.admission is not None  # the application admits before it calls
        return self.admission

    def admitted(self) -> "Request":
        """The same, from somebody who is let in.

        Raises:
            RemoteError: As `Gate.admit`.
        """
        return Request(self.method, self.path, self.query, self.headers, self.body, self.admit(), self.admit)


@attrs.frozen(slots=True, eq=False)
class Response:
    """What is answered.

    Attributes:
        content_type: None where there is no content (204, 304).
        headers: Beside those that every answer has; `Cache-Control: no-store` is one of them unless it stands here.
        route: The template of the route for the metrics, where an endpoint serves several; never a path.
    """

    status: int = 200
    body: bytes = b""
    content_type: str | None = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict)
    route: str = ""

    def on(self, route: str) -> "Response":
        """The same, of a route."""
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


class Endpoint(Protocol):
    """What answers the requests below one first segment of the path.

    It raises RemoteError for what the peer did wrong, and FormatError or ResolveError where configuration can't be read; the
    application makes answers of them.

    Attributes:
        route: The template of its route, for the metrics.
        methods: Those it knows; others get 405. HEAD goes with GET.
        is_public: Whether nobody is asked for a token.

    One that has a `body_bytes` takes bodies up to that size, whatever `server.body_bytes` says.
    """

    @property
    def route(self) -> str: ...
    @property
    def methods(self) -> tuple[str, ...]: ...
    @property
    def is_public(self) -> bool: ...

    async def answer(self, request: Request) -> Response:
        """Answer a request with one of `methods`."""
        ...


def etag_of(body: bytes) -> str:
    """A strong validator of a body (RFC 9110 section 8.8.3)."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this very body (RFC 9110 section 13.1.2, the weak comparison)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags
