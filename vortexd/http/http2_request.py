"""One request of an HTTP/2 connection: checks its head for the application, and receives the parts of its body."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence

import attrs
import trio

from ..core.errors import RemoteError
from ..net.head import MAX_TARGET_BYTES
from ..net.proxies import Proxies, Sender
from .request_head import RequestHead


class HeadRefused(Exception):
    """The connection refuses the head with a status and no body. The application doesn't see the request."""

    def __init__(self, status: int, *headers: tuple[bytes, bytes]) -> None:
        self.status = status
        self.headers = [*headers]


@attrs.define(slots=True, eq=False)
class RequestStream:
    """A request that is being received or answered. It is the `Body` of its request.

    Attributes:
        deadline: The time by Trio's clock at which the body must be complete.
        taken: Called with the number of flow-control bytes that the application has taken. The client may send more then.
        received: The parts of the body that the application hasn't taken yet, each with its number of flow-control bytes.
        is_whole: Whether the end of the body was received.
        arrived: Set when a part or the end was received.
        gone: For a response that lasts, set when the client has gone. Until then, None.
        may_wait: Returns whether another request of the connection may wait.
        is_waiting: Whether the request waits; see `waiting.Waiting`.
    """

    number: int
    headers: Sequence[tuple[bytes, bytes]]
    deadline: float
    taken: Callable[[int], Awaitable[None]]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    received: list[tuple[bytes, int]] = attrs.field(factory=list)
    is_whole: bool = False
    arrived: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event | None = None
    may_wait: Callable[[], bool] = lambda: True
    is_waiting: bool = False

    def leave(self) -> None:
        """Record that the client has gone. A response that lasts ends by itself, and any other one is cancelled."""
        if self.gone is not None:
            self.gone.set()
        else:
            self.scope.cancel()

    async def receive(self) -> bytes | None:
        """See `request_head.Body`. If the client leaves, the request is cancelled, so its body doesn't end."""
        while not self.received and not self.is_whole:
            self.arrived = trio.Event()
            with trio.fail_at(self.deadline):
                await self.arrived.wait()
        if not self.received:
            return None
        parts, self.received = self.received, []
        await self.taken(sum(length for _, length in parts))
        return b"".join(data for data, _ in parts)

    async def wait_gone(self) -> None:
        """See `request_head.Body`."""
        await trio.sleep_forever()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """See `request_head.Body`. After its body, a request of HTTP/2 has no deadline."""
        if not self.may_wait():
            raise RemoteError("too many requests of this connection wait", 429, {"Retry-After": "1"})
        self.is_waiting = True
        try:
            yield
        finally:
            self.is_waiting = False

    def head(self, sender: Sender, proxies: Proxies | None, only: frozenset[str] | None = None) -> RequestHead:
        """Check the head, and return it for the application.

        Args:
            only: If there are too many connections, the only paths that are answered. None for all paths.

        Raises:
            HeadRefused: The head isn't valid, or its path isn't answered now.
        """
        pseudo = {name: value for name, value in self.headers if name.startswith(b":")}
        method, target, authority = (pseudo.get(name, b"") for name in (b":method", b":path", b":authority"))
        headers = [each for each in self.headers if not each[0].startswith(b":")]
        if authority:
            # A Host header with the same value as `:authority` isn't a second host.
            host = (b"host", authority)
            headers = [host, *(each for each in headers if each != host)]
        if method == b"CONNECT":
            raise HeadRefused(501)
        if not any(name == b"host" for name, _ in headers):
            raise HeadRefused(400)
        if not target.startswith(b"/") or not (method + target).isascii():
            raise HeadRefused(400)
        if len(target) > MAX_TARGET_BYTES:
            raise HeadRefused(414)
        path, _, query = target.decode("ascii").partition("?")
        if only is not None and path not in only:
            raise HeadRefused(503, (b"retry-after", b"1"))
        if not self.is_whole and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"transfer-encoding", b"chunked"))
        return RequestHead(method.decode("ascii"), path, query, headers, sender, proxies)
