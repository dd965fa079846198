"""Opening a stream to a server, and keeping what comes before its first message within bounds. Trio."""

import os
import ssl
from collections.abc import Awaitable, Callable

import trio

from ..core.text import printable
from .address import Address

# The answer to a handshake: a head, and the JSON of a refusal.
_MAX_ANSWER = 65_536
_MAX_REASON = 200

Connect = Callable[[Address], Awaitable[trio.abc.Stream]]


def connector(ssl_context: ssl.SSLContext | None) -> Connect:
    """What opens a stream to an address, certificates checked by a context, or by the system's authorities."""

    async def connect(address: Address) -> trio.abc.Stream:
        if address.port is None:
            return await trio.open_unix_socket(address.host)
        stream = await trio.open_tcp_stream(address.host, address.port)
        if not address.is_tls:
            return stream
        # Made when it is needed: reading the system's authorities takes a while.
        context = ssl_context or ssl.create_default_context()
        secure = trio.SSLStream(stream, context, server_hostname=address.host, https_compatible=True)
        try:
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(secure)
            raise
        return secure

    return connect


class ObservedStream(trio.abc.Stream):
    """Passes a stream on, notes each arrival of bytes, and keeps the answer to the handshake within bounds.

    Before `is_open`, an end is an OSError: trio-websocket would leave who waits for the handshake waiting.
    """

    def __init__(self, stream: trio.abc.Stream, on_bytes: Callable[[], None]) -> None:
        self._stream = stream
        self._on_bytes = on_bytes
        self._received = 0
        self.is_open = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        # What has come before: with the last of the answer may come much that is none of it.
        if not self.is_open and self._received > _MAX_ANSWER:
            raise ConnectionAbortedError("the answer to the handshake is too long")
        data = await self._stream.receive_some(max_bytes)
        self._on_bytes()
        self._received += len(data)
        if not self.is_open and not data:
            raise ConnectionAbortedError("the connection ended within the handshake")
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()
        if not self.is_open:
            raise ConnectionAbortedError("the answer to the handshake is none")


def reason_of(error: BaseException) -> str:
    """Why a connection can't be opened; of TLS it is the cause that says it."""
    cause = error.__cause__ if isinstance(error, trio.BrokenResourceError) else error
    if cause is not None and isinstance(cause.__cause__, BaseExceptionGroup):
        # One for each address that a name has: what is the same of all is said once.
        reasons = [os.strerror(each.errno or 0) for each in cause.__cause__.exceptions if isinstance(each, OSError)]
        return ", ".join(dict.fromkeys(reasons))[:_MAX_REASON]
    text = str(cause.strerror or cause) if isinstance(cause, OSError) else str(cause or error)
    return printable(text[:_MAX_REASON]) or type(error).__name__
