"""A TLS connection on a socket that OpenSSL itself reads and writes: as a Trio stream, and without waiting.

The listener makes a stream of an accepted socket. The parking lot takes the socket out of a quiet stream, and makes a
stream of it again. Neither keeps bytes of its own. So an idle connection costs the memory of OpenSSL, and nothing else.

OpenSSL encrypts a record before the socket takes it. If the socket takes only a part, OpenSSL keeps the rest of the record,
and the caller must pass in the same bytes again. The invariant: after a short write, the next bytes written are those that
follow the ones counted as written. Each call of OpenSSL writes one record. Python doesn't enable partial writes, so OpenSSL
would count several records only together.
"""

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeAlias, TypeVar

import trio

# The most plaintext of one record (RFC 8446 section 5.1). A read of so many bytes leaves none of them inside OpenSSL.
RECORD_BYTES = 16_384

_T = TypeVar("_T")
_Wait: TypeAlias = Callable[[int], Awaitable[None]]


def write_now(encrypted: ssl.SSLSocket, data: bytes | memoryview) -> int:
    """Write as many bytes as the socket takes without a wait, and return their number.

    If the number is smaller, OpenSSL may keep a record of the bytes after them. Then write exactly those next.

    Raises:
        OSError: The connection is broken.
    """
    view, written = memoryview(data), 0
    try:
        while written < len(view):
            written += encrypted.send(view[written : written + RECORD_BYTES])
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        pass
    return written


def read_now(encrypted: ssl.SSLSocket) -> bytes | None:
    """Read at most one record without a wait.

    Returns None if no record is complete, and empty data if the connection has ended. Nothing may be left to be written.

    Raises:
        ssl.SSLWantWriteError: OpenSSL must write first, for example the answer to a renewed key, and the socket has no room.
    """
    try:
        return encrypted.recv(RECORD_BYTES)
    except ssl.SSLWantReadError:
        return None
    except ssl.SSLWantWriteError:
        raise
    except OSError:
        return b""


class TlsStream(trio.abc.Stream):
    """A TLS connection. It behaves as `trio.SSLStream` with `https_compatible`.

    One task may send and another receive at the same time. If sending is cancelled partway, the stream is broken.

    Args:
        encrypted: The socket, non-blocking. The stream owns it.
    """

    def __init__(self, encrypted: ssl.SSLSocket) -> None:
        self._socket: ssl.SSLSocket | None = encrypted
        self._is_broken = False
        self._busy: set[str] = set()
        # Reading and writing may both need the socket readable, or both writable. Only one task waits for each.
        self._waiting: dict[_Wait, trio.Event] = {}

    @classmethod
    def accept(cls, accepted: socket.socket, context: ssl.SSLContext) -> "TlsStream":
        """Make a stream of an accepted socket. The TLS handshake comes next. The stream takes the socket over.

        Raises:
            OSError: The peer has gone. The socket is closed then.
        """
        try:
            accepted.setblocking(False)
            # If the peer has gone, Python would not close the socket that it makes of this one.
            accepted.getpeername()
        except OSError:
            accepted.close()
            raise
        return cls(context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False))

    @property
    def tls_socket(self) -> ssl.SSLSocket:
        """The socket.

        Raises:
            trio.ClosedResourceError: The stream is closed or detached.
        """
        if self._socket is None:
            raise trio.ClosedResourceError
        return self._socket

    @property
    def has_unread(self) -> bool:
        """Whether OpenSSL has decrypted bytes that weren't received. The socket doesn't become readable for them."""
        return self.tls_socket.pending() > 0

    def detach(self) -> ssl.SSLSocket:
        """Take the socket out of the stream, which is closed then. No task may use it."""
        encrypted, self._socket = self.tls_socket, None
        return encrypted

    def write_now(self, data: bytes | memoryview) -> int:
        """Write as many bytes as the socket takes without a wait; see the function `write_now`.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: The connection is broken or closed.
        """
        self._check()
        try:
            return write_now(self.tls_socket, data)
        except OSError as error:
            self._is_broken = True
            raise trio.BrokenResourceError from error

    async def do_handshake(self) -> None:
        """Do the TLS handshake.

        Raises:
            trio.BrokenResourceError: The peer has gone, doesn't speak TLS, or doesn't trust the certificate.
            trio.ClosedResourceError: The stream was closed meanwhile.
        """
        await self._perform(self.tls_socket.do_handshake)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `trio.abc.SendStream`."""
        has_begun, written = False, 0

        def send() -> None:
            nonlocal has_begun, written
            has_begun = True
            while written < len(view):
                written += self.tls_socket.send(view[written : written + RECORD_BYTES])

        with self._alone("send"), memoryview(data) as view:
            try:
                await self._perform(send)
            except BaseException:
                # OpenSSL may keep the rest of a record. No other bytes may follow it.
                self._is_broken = self._is_broken or has_begun
                raise

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        with self._alone("send"):
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check()
            await self._wait(trio.lowlevel.wait_writable)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`. If the peer closes the connection without a TLS alert, that is its end, too."""
        most = RECORD_BYTES if max_bytes is None else max_bytes
        if most < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._alone("receive"):
            return await self._perform(lambda: self.tls_socket.recv(most))

    async def aclose(self) -> None:
        """Close the connection. Tell the peer by an alert, if the socket takes it at once. See `trio.abc.AsyncResource`.

        If the caller is cancelled, the alert is sent, too. If a send was cancelled partway, it isn't sent. The messages of all
        our protocols mark their own ends, so the alert can't make half of an answer look whole.
        """
        try:
            if self._socket is not None and not self._is_broken:
                # The peer's alert isn't awaited. If a record is partly written, OpenSSL sends no alert.
                with contextlib.suppress(OSError, ValueError):
                    self._socket.unwrap()
        finally:
            self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close the socket at once. A task that uses the stream gets an error."""
        if self._socket is not None:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._socket = None

    def _check(self) -> None:
        if self._socket is None:
            raise trio.ClosedResourceError
        if self._is_broken:
            raise trio.BrokenResourceError

    @contextlib.contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Let one task at a time send, and one receive."""
        if what in self._busy:
            raise trio.BusyResourceError(f"another task is using this stream to {what}")
        self._busy.add(what)
        try:
            yield
        finally:
            self._busy.discard(what)

    async def _perform(self, operate: Callable[[], _T]) -> _T:
        """Call a function of the socket again and again, until it needs no more of the socket. This is a checkpoint."""
        await trio.lowlevel.checkpoint_if_cancelled()
        has_waited = False
        while True:
            self._check()
            try:
                result = operate()
                break
            except ssl.SSLWantReadError:
                wait: _Wait = trio.lowlevel.wait_readable
            except ssl.SSLWantWriteError:
                wait = trio.lowlevel.wait_writable
            except OSError as error:
                self._is_broken = True
                raise trio.BrokenResourceError from error
            await self._wait(wait)
            has_waited = True
        if not has_waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return result

    async def _wait(self, wait: _Wait) -> None:
        """Wait for the socket. If another task does so already, wait until that one goes on."""
        other = self._waiting.get(wait)
        if other is not None:
            await other.wait()
            return
        self._waiting[wait] = done = trio.Event()
        try:
            await wait(self.tls_socket.fileno())
        finally:
            del self._waiting[wait]
            done.set()


def close_now(stream: trio.SocketStream | TlsStream) -> None:
    """Close the socket of a stream at once. A task that uses the stream gets an error."""
    if isinstance(stream, TlsStream):
        stream.close()
    else:
        stream.socket.close()
