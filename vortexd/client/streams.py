"""Opens a stream to a server, and limits the size of the handshake response. Trio."""

import os
import ssl
from collections.abc import Awaitable, Callable

import trio

from ..core.text import printable
from .address import Address

# A handshake response: its head, and the JSON body of a refusal.
_MAX_ANSWER = 65_536
_MAX_REASON = 200

Connect = Callable[[Address], Awaitable[trio.abc.Stream]]


def connector(ssl_context: ssl.SSLContext | None) -> Connect:
    """Make a function that opens a stream to an address. The TLS context checks certificates; default: the system's authorities."""

    async def connect(address: Address) -> trio.abc.Stream:
        if address.port is None:
            return await trio.open_unix_socket(address.host)
        stream = await trio.open_tcp_stream(address.host, address.port)
        if not address.is_tls:
            return stream
        # Made only when it is needed, because reading the system's authorities takes a while.
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
    """Wraps a stream: reports each arrival of bytes, and limits the size of the handshake response.

    Until `is_open` is set, the end of the stream raises OSError. Otherwise trio-websocket would wait for the handshake forever.
    """

    def __init__(self, stream: trio.abc.Stream, on_bytes: Callable[[], None]) -> None:
        self._stream = stream
        self._on_bytes = on_bytes
        self._received = 0
        self.is_open = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        # Only bytes of earlier calls count: the last read of the response may already hold many bytes that follow it.
        if not self.is_open and self._received > _MAX_ANSWER:
            raise ConnectionAbortedError("the answer to the handshake is too long")
        data = await self._stream.receive_some(max_bytes)
        self._on_bytes()
        self._received += len(data)
        if not self.is_open and not data:
            raise ConnectionAbortedError("the connection ended during the handshake")
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()
        if not self.is_open:
            raise ConnectionAbortedError("the answer to the handshake is invalid")


def reason_of(error: BaseException) -> str:
    """Return the reason for a failed connection, on one line. For a TLS error, the cause holds it."""
    cause = error.__cause__ if isinstance(error, trio.BrokenResourceError) else error
    if cause is not None and isinstance(cause.__cause__, BaseExceptionGroup):
        # There is one error for each address of the host name. Each distinct reason is named once.
        reasons = [os.strerror(each.errno or 0) for each in cause.__cause__.exceptions if isinstance(each, OSError)]
        return ", ".join(dict.fromkeys(reasons))[:_MAX_REASON]
    text = str(cause.strerror or cause) if isinstance(cause, OSError) else str(cause or error)
    return printable(text[:_MAX_REASON]) or type(error).__name__
