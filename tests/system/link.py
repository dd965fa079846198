"""A link of TCP between two processes that a test can cut, with a word or without one."""

import contextlib
import socket
import threading
from types import TracebackType

_CONNECTIONS = 256
_PART = 65_536


class Link:
    """Listens on a port of 127.0.0.1, and passes each connection on to another port. Use it with `with`.

    Args:
        target: The port that it leads to.

    Attributes:
        port: The port on which it listens.
        is_holding: Set once `silence_before` has found its text.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._is_broken = False
        self._flows = threading.Event()
        self._flows.set()
        self._awaited = b""
        self.is_holding = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        """Pass nothing on. The connections stay open, and no end of them is told."""
        self._flows.clear()

    def silence_before(self, text: bytes) -> None:
        """Fall silent before the next part that contains a text, such as the beginning of an answer."""
        self.is_holding.clear()
        self._awaited = text

    def cut(self) -> None:
        """Close all connections, and each new one at once."""
        with self._lock:
            self._is_broken = True
            closed, self._open = self._open, []
        for each in closed:
            _close(each)
        self._flows.set()

    def mend(self) -> None:
        """Pass on what has waited, and new connections."""
        with self._lock:
            self._is_broken = False
        self._flows.set()

    def __enter__(self) -> "Link":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        _close(self._listener)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                self._pass_on(here)

    def _pass_on(self, here: socket.socket) -> None:
        try:
            there = socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            _close(here)
            return
        there.settimeout(None)
        with self._lock:
            is_refused = self._is_broken or len(self._open) >= 2 * _CONNECTIONS
            self._open += [] if is_refused else [here, there]
        if is_refused:
            _close(here)
            _close(there)
            return
        for one, other in ((here, there), (there, here)):
            threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PART):
                if self._awaited and self._awaited in data:
                    self._awaited = b""
                    self.silence()
                    self.is_holding.set()
                self._flows.wait()
                sink.sendall(data)
        self._flows.wait()
        with self._lock:
            self._open = [each for each in self._open if each not in (source, sink)]
        _close(source)
        _close(sink)


def _close(connection: socket.socket) -> None:
    """Close a socket, and wake the thread that waits for it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
