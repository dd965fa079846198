"""A request with a complete head, as a connection passes it on: the head, and a way to receive the body. Pure.

Nothing is decoded here. If a path were decoded before it is split, nobody could tell `/` from `%2F`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import attrs

from ..net.proxies import Proxies, Sender
from .endpoint import Response


class PeerGone(Exception):
    """The peer closed the connection before its request was complete, so nobody waits for a response."""


class Body(Protocol):
    """The body of one request, as its connection receives it."""

    async def receive(self) -> bytes | None:
        """Receive the next part, which may be empty. After the last part, return None.

        Raises:
            PeerGone: The peer has closed the connection.
            trio.TooSlowError: The peer takes too long to send the body.
        """
        ...

    async def wait_gone(self) -> None:
        """Wait until the peer closes the connection. Call this only after the last part of the body.

        Some connections cancel the request when the peer leaves. Then this waits until that happens.
        """
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """Let the request wait inside the `with`, without the deadline of a request. Afterwards it has a new one.

        Raises:
            RemoteError: Too many requests of this connection wait.
        """
        ...


@attrs.frozen(slots=True, eq=False)
class RequestHead:
    """The head of one request.

    Attributes:
        method: As the client sent it.
        path: As the client sent it, without the query.
        query: As the client sent it, without the `?`.
        headers: Pairs of a name in lower case and a value.
        sender: The peer of the connection.
        proxies: If the peer is a trusted proxy, all trusted proxies; the headers name the client then. Else None.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[bytes, bytes]]
    sender: Sender
    proxies: Proxies | None = None

    @property
    def may_have_body(self) -> bool:
        """Whether a body may follow. In HTTP/2, a body needs no header that announces it."""
        return self.method not in ("GET", "HEAD", "OPTIONS") or any(
            name in (b"content-length", b"transfer-encoding") for name, _ in self.headers
        )

    @property
    def content_length(self) -> int | None:
        """The length that the head announces, or None. The parser has checked that it is exactly one number."""
        return next((int(value) for name, value in self.headers if name == b"content-length"), None)


class Respond(Protocol):
    """The function of the application that a connection calls: `app.Application.respond`."""

    async def __call__(self, head: RequestHead, body: Body, /) -> Response:
        """Respond to one request."""
        ...
