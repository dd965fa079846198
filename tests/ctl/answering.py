"""A server that gives prepared answers and records the requests."""

import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Said = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class Answering:
    """Start a server on a free port. It repeats the last answer."""

    def __init__(self, answers: Sequence[Said], port: int) -> None:
        self.answers = list(answers)
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[Any] = []

    def next(self) -> Said:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def answering(*answers: Said, certificate: tuple[Path, Path] | None = None) -> Iterator[Answering]:
    """Run a server. An answer is a status and a body (text, or a value to send as JSON), and headers. Status 0: no answer.

    Args:
        certificate: The files of a certificate and its key; if given, the server uses TLS.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(self.path)

        def do_DELETE(self) -> None:
            self._answer(f"DELETE {self.path}")

        def do_POST(self) -> None:
            made.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(f"POST {self.path}")

        def _answer(self, asked: str) -> None:
            made.asked.append(asked)
            made.headers.append({name.lower(): value for name, value in self.headers.items()})
            status, body, *more = made.next()
            if not status:
                # End the connection without an answer.
                self.close_connection = True
                return
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in (more[0] if more else {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            # A client may not trust the certificate.
            pass

    with Quiet(("127.0.0.1", 0), Handler) as server:
        made = Answering(answers, server.server_port)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            made.url = made.url.replace("http:", "https:")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
