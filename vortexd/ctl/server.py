"""A running vortexd, as the commands use it: its address, the token, and requests with a deadline.

Settings come from the command line and the environment. A request returns an answer or raises a `CtlError`, which says who is at fault and
how to fix it. Invariants: no answer can exceed the request's limits of time and memory. Requests go straight to the named server, through
no proxy and no redirection. The token appears in no argument and no message.
"""

import argparse
import http.client
import io
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs

from ..core.text import printable
from ..settings.secure_files import OTHERS_READ_OR_WRITE, TrustedFiles, as_text
from .errors import CtlError

DEFAULT_SERVER = "http://127.0.0.1:8888"
SERVER_VARIABLE, TOKEN_VARIABLE = "VORTEXCTL_SERVER", "VORTEXCTL_TOKEN"
# Other programs beside vortexctl read the second variable, too.
TOKEN_VARIABLES = (TOKEN_VARIABLE, "VORTEXD_TOKEN")
TIMEOUT = 10.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "": 1.0}
_MAX_BYTES = 268_435_456
_READ_BYTES = 65_536
# The words of a remote's hook, which a refused push has, take up to 1,000 characters.
_MAX_REASON = 1_500
_NO_ADDRESS = "the server must be http://HOST:PORT, https://HOST:PORT or unix:/PATH; see --server"


class Unreachable(CtlError):
    """The server doesn't answer, or isn't ready. A later request may succeed.

    Attributes:
        may_have_acted: Whether the server may have done what was requested, although there is no proper answer.
    """

    def __init__(self, text: str, may_have_acted: bool = False) -> None:
        super().__init__(text)
        self.may_have_acted = may_have_acted


class TooSlow(Unreachable):
    """The server didn't answer completely in time."""


class Refused(CtlError):
    """The server has answered with a refusal.

    Attributes:
        code: The HTTP status.
        reason: Only the server's own text.
    """

    def __init__(self, text: str, code: int, reason: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason


@attrs.frozen
class Answer:
    """A server's answer.

    Attributes:
        headers: With names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body as JSON.

        Raises:
            CtlError: The body isn't JSON.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise CtlError("the server didn't answer with JSON, so it isn't a vortexd; see --server") from None


@attrs.frozen
class Address:
    """The address of a server.

    Attributes:
        path: The prefix of all paths of the server.
        unix: The path of its Unix socket, or None.
    """

    url: str
    host: str = "localhost"
    port: int = 80
    path: str = ""
    unix: str | None = None
    is_secure: bool = False


def parse_address(url: str) -> Address:
    """Parse an address: http://HOST:PORT, https://HOST:PORT, either with a path after it, or unix:/PATH.

    Raises:
        CtlError: The address is invalid. The text doesn't repeat the address, because it may hold a password.
    """
    if url.startswith("unix:/"):
        return Address(url, unix=url.removeprefix("unix:"))
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise CtlError(_NO_ADDRESS, 2) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise CtlError(_NO_ADDRESS, 2)
    if parts.username is not None or parts.password is not None:
        raise CtlError(f"an address must not hold a password or token; see --token-file or {TOKEN_VARIABLE}", 2)
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise CtlError(_NO_ADDRESS, 2)
    is_secure = parts.scheme == "https"
    default = 443 if is_secure else 80
    return Address(url, parts.hostname, default if port is None else port, parts.path.rstrip("/"), None, is_secure)


class Server:
    """A running vortexd, and how to reach it.

    Args:
        address: The server's URL; see `parse_address`.
        token: Sent as `Authorization: Bearer`, or None.
        ca: A file of certificates to trust instead of the system's, or None.
        timeout: Seconds that a whole request may take.

    Attributes:
        timeout: Callers may change it between requests.

    Raises:
        CtlError: The address is invalid, or the file can't be used.
    """

    def __init__(
        self, address: str, token: str | None = None, ca: Path | None = None, timeout: float = TIMEOUT
    ) -> None:
        self.address = parse_address(address)
        self.url = printable(address)
        self.token = token
        if ca is not None and not self.address.is_secure:
            raise CtlError("--ca-file requires an address that begins with https://", 2)
        self.context = _context(ca) if self.address.is_secure else None
        self.timeout = timeout

    @property
    def client_url(self) -> str:
        """The address in the form of `vortexd.client`, which names a Unix socket as unix:///PATH."""
        return self.address.url if self.address.unix is None else f"unix://{self.address.unix}"

    def get(
        self,
        path: str,
        parameters: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        **headers: str,
    ) -> Answer:
        """Send a GET request for a path. 304 counts as success, like 200.

        Args:
            headers: Names with underscores for hyphens. `Accept` is JSON unless it is given.

        Raises:
            Unreachable: There is no answer in time, or the status is 5xx or 429.
            Refused: The server answers with any other status.
        """
        query = urlencode(parameters)
        target = self.address.path + path + (f"?{query}" if query else "")
        answer = self._exchange(target, {name.replace("_", "-"): value for name, value in headers.items()})
        if answer.status in (200, 304):
            return answer
        raise self._error(answer)

    def delete(self, path: str, parameters: Mapping[str, str] | Sequence[tuple[str, str]] = ()) -> None:
        """Send a DELETE request for a path. Only 204 counts as success.

        Raises:
            Unreachable: As with `get`.
            Refused: As with `get`.
        """
        query = urlencode(parameters)
        answer = self._exchange(self.address.path + path + (f"?{query}" if query else ""), {}, "DELETE")
        if answer.status != 204:
            raise self._error(answer)

    def post(self, path: str, value: Any) -> Answer:
        """Send a value as JSON in a POST request for a path. Only 200, 201 and 204 count as success. Never sent twice.

        Raises:
            Unreachable: As with `get`.
            Refused: As with `get`.
        """
        body = json.dumps(value).encode()
        answer = self._exchange(self.address.path + path, {"Content-Type": "application/json"}, "POST", body)
        if answer.status in (200, 201, 204):
            return answer
        raise self._error(answer)

    def _exchange(
        self, target: str, headers: Mapping[str, str], method: str = "GET", content: bytes | None = None
    ) -> Answer:
        headers = {"Accept": "application/json", "User-Agent": "vortexctl", **headers}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        deadline = time.monotonic() + self.timeout
        with self._translated(has_sent=False):
            connected = self._connected()
        with closing(connected), self._translated(has_sent=True):
            connection = http.client.HTTPConnection(self.address.host, self.address.port)
            connection.default_port = 443 if self.address.is_secure else 80
            connection.sock = _Timed(connected, deadline)
            connection.request(method, target, content, headers)
            response = connection.getresponse()
            body = self._body(response)
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    @contextmanager
    def _translated(self, *, has_sent: bool) -> Iterator[None]:
        """Translate the errors of a connection. `has_sent` tells whether the server may have the request."""
        try:
            yield
        except TimeoutError:
            text = f"{self.url} didn't answer completely within {self.timeout:g} s; try again later"
            raise TooSlow(text, has_sent) from None
        except ssl.SSLCertVerificationError as error:
            why = f"{self.url} presents a certificate that isn't trusted: {error.verify_message.rstrip('.').lower()}"
            raise Unreachable(f"{why}; name its authority's file with --ca-file") from None
        except ssl.SSLError:
            text = f"the TLS handshake with {self.url} failed; is it an http:// address?"
            raise Unreachable(text, has_sent) from None
        except http.client.HTTPException:
            hint = "" if self.address.is_secure else "; is it a vortexd, and is it an https:// address?"
            text = f"{self.url} ended the connection early, or doesn't speak HTTP{hint}"
            raise Unreachable(text, has_sent) from None
        except ConnectionResetError:
            text = f"{self.url} ended the connection early; is it a vortexd, and is it an https:// address?"
            raise Unreachable(text, has_sent) from None
        except OSError as error:
            why = (error.strerror or str(error) or "error").lower()
            text = f"{self.url} can't be reached: {why}; is vortexd running there? See --server"
            raise Unreachable(text, has_sent) from None

    def _connected(self) -> socket.socket:
        address = self.address
        if address.unix is not None:
            connected = socket.socket(socket.AF_UNIX)
            try:
                connected.settimeout(self.timeout)
                connected.connect(address.unix)
            except BaseException:
                connected.close()
                raise
            return connected
        connected = socket.create_connection((address.host, address.port), self.timeout)
        if self.context is None:
            return connected
        try:
            return self.context.wrap_socket(connected, server_hostname=address.host)
        except BaseException:
            connected.close()
            raise

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        body = bytearray()
        while part := response.read1(_READ_BYTES):
            body += part
            if len(body) > _MAX_BYTES:
                raise CtlError(f"{self.url} sent more than {_MAX_BYTES} bytes")
        if response.length:
            raise http.client.IncompleteRead(b"")
        return bytes(body)

    def _error(self, answer: Answer) -> CtlError:
        reason = _reason(answer.body)
        if answer.status == 401:
            if self.token:
                text = f"{self.url} refused the token: it is wrong, expired or revoked"
            else:
                text = f"{self.url} requires a token: name its file with --token-file, or set {TOKEN_VARIABLE}"
            return Refused(text, 401, reason or "")
        if reason is None:
            text = f"{self.url} answered {answer.status}, but not as a vortexd does; see --server"
        else:
            hint = "; name another with --label" if reason == "no such label" else ""
            text = f"{self.url} answered {answer.status}: {reason}{hint}"
        if broken := answer.headers.get("x-vortex-broken"):
            text += f"; broken: {broken}"
        if answer.status >= 500 or answer.status == 429:
            # A vortexd that answers 503 has done nothing. A proxy that answers 502 or 504 may have passed the request on.
            has_done_nothing = answer.status == 429 or (answer.status == 503 and reason is not None)
            return Unreachable(text, not has_done_nothing)
        return Refused(text, answer.status, reason or "")


class _Timed:
    """A socket for http.client. All its operations together must finish by a deadline."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._connected = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self.in_time().sendall(data)

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        # http.client closes its socket after the head of the response. `_exchange` closes the real one.
        pass

    def in_time(self) -> socket.socket:
        """Return the socket, with the remaining time as its timeout."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connected.settimeout(left)
        return self._connected


class _Reader(io.RawIOBase):
    def __init__(self, timed: _Timed) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._timed.in_time().recv_into(buffer)


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise CtlError(f"{ca} holds no certificates; --ca-file takes a PEM file", 2) from None
    except OSError as error:
        raise CtlError(f"{ca} can't be read: {(error.strerror or 'I/O error').lower()}; see --ca-file", 2) from None


def _reason(body: bytes) -> str | None:
    """Return the text of a vortexd's error. None if the error isn't from a vortexd."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return None
    reason = error.get("message") or error.get("description") if isinstance(error, dict) else None
    return printable(reason[:_MAX_REASON]) if isinstance(reason, str) else None


# The command line.


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the server and the token."""
    parser.add_argument(
        "--server",
        metavar="URL",
        help=f"http://HOST:PORT, https://HOST:PORT or unix:/PATH (default: ${SERVER_VARIABLE}, else {DEFAULT_SERVER})",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"a file with the token (default: ${TOKEN_VARIABLE})"
    )
    parser.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="certificates to trust instead of the system's, as PEM"
    )


def server_of(arguments: argparse.Namespace, timeout: float = TIMEOUT) -> Server:
    """Return the server that the command line names, or else the environment.

    Raises:
        CtlError: The address, the token or the certificates can't be used.
    """
    url = arguments.server or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
    return Server(url, read_token(arguments.token_file), arguments.ca_file, timeout)


def read_token(file: Path | None) -> str | None:
    """Read the token from a file, or else from the environment. Return None if there is none.

    Raises:
        CtlError: The file can't be read, other users can read or write it, or it doesn't hold a token.
    """
    if file is None:
        name = next((each for each in TOKEN_VARIABLES if os.environ.get(each)), TOKEN_VARIABLE)
        return _checked(os.environ.get(name, ""), f"${name}") or None
    files = TrustedFiles(Path(), os.environ)
    text = files.load(file, OTHERS_READ_OR_WRITE, as_text)
    if text is None:
        raise CtlError("; ".join(f"{place} {problem}" for place, problem in files.problems), 2)
    token = _checked(text, str(file))
    if not token:
        raise CtlError(f"{file} is empty; it must hold only the token", 2)
    return token


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise CtlError(f"{where} must hold only the token, on one line", 2)
    return token


def duration(text: str) -> float:
    """Parse a duration such as 90, 90s, 2m, 1h30m or 500ms. Return seconds. For argparse."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|)", text)
    if (
        not parts
        or "".join(number + unit for number, unit in parts) != text
        or (len(parts) > 1 and not all(unit for _, unit in parts))
    ):
        raise argparse.ArgumentTypeError("a duration must be written like 90s, 2m or 1h30m")
    seconds: float = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return seconds
