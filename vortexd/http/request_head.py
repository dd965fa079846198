"""A request whose head is complete, as a connection hands it over: the head, and a way to receive the body. Pure.

Nothing is decoded: a reader that decodes a path before it takes it apart can't tell `/` from `%2F`.
"""

from collections.abc import Sequence
from typing import Protocol

import attrs

from ..net.proxies import Proxies, Sender
from .endpoint import Response


class PeerGone(Exception):
    """The peer has left before its request was whole, so nobody waits for a response."""


class Body(Protocol):
    """The body of one request, as its connection receives it."""

    async def receive(self) -> bytes | None:
        """Receive the next part, which may be empty; None behind the last part.

        Raises:
            PeerGone: The peer has left.
            trio.TooSlowError: The body takes too long.
        """
        ...

    async def wait_gone(self) -> None:
        """Wait until the peer has left, once the body is whole. A connection that cancels the request in that case waits for ever."""
        ...


@attrs.frozen(slots=True, eq=False)
class RequestHead:
    """The head of one request.

    Attributes:
        method: As it was sent.
        path: As it was sent, without the query.
        query: As it was sent, without the `?`.
        headers: Names in lower case.
        sender: The peer of the connection.
        proxies: The trusted proxies, if the peer is one of them: the headers name the sender then. Else None.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[bytes, bytes]]
    sender: Sender
    proxies: Proxies | None = None

    @property
    def may_have_body(self) -> bool:
        """Whether a body may follow. HTTP/2 needs no header that announces one."""
        return self.method not in ("GET", "HEAD") or any(
            name in (b"content-length", b"transfer-encoding") for name, _ in self.headers
        )

    @property
    def content_length(self) -> int | None:
        """The length that the head announces; None if it announces none. The parser has checked that it is one number."""
        return next((int(value) for name, value in self.headers if name == b"content-length"), None)


class Respond(Protocol):
    """The application, as a connection sees it: see `app.Application.respond`."""

    async def __call__(self, head: RequestHead, body: Body, /) -> Response:
        """Respond to one request."""
        ...
