"""A running vortexd as the commands ask it: where it is, the token, and requests that end within a time.

In come what the command line and the environment say; out go answers, or a `CtlError` that says whose fault it is and what to do. The invariants: a
request takes no longer than its time and no more memory than its bound, whoever answers; it goes to the server that is named, by no proxy and no
redirection; and the token is in no argument and no message.
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
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs

from ..core.text import printable
from ..settings.secure_files import OTHERS_READ_OR_WRITE, TrustedFiles, as_text
from .errors import CtlError

DEFAULT_SERVER = "http://127.0.0.1:8888"
SERVER_VARIABLE, TOKEN_VARIABLE = "VORTEXCTL_SERVER", "VORTEXCTL_TOKEN"
# The second is what programs beside vortexctl are told by, too.
TOKEN_VARIABLES = (TOKEN_VARIABLE, "VORTEXD_TOKEN")
TIMEOUT = 10.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "": 1.0}
_MAX_BYTES = 268_435_456
_READ_BYTES = 65_536
_MAX_REASON = 500
_NO_ADDRESS = "the server must be http://HOST:PORT, https://HOST:PORT or unix:/PATH; see --server"


class Unreachable(CtlError):
    """Nobody answers, or somebody who isn't ready; asked again, they may."""


class Refused(CtlError):
    """The server has answered, and says no.

    Attributes:
        code: The HTTP status.
        reason: What the server says, alone.
    """

    def __init__(self, text: str, code: int, reason: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason


@attrs.frozen
class Answer:
    """What a server answered.

    Attributes:
        headers: Names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            CtlError: It isn't.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise CtlError("what answers there is no vortexd: it doesn't speak JSON; see --server") from None


@attrs.frozen
class Address:
    """Where a server is.

    Attributes:
        path: What goes before the paths of the server.
        unix: The path of its Unix socket, or None.
    """

    url: str
    host: str = "localhost"
    port: int = 80
    path: str = ""
    unix: str | None = None
    is_secure: bool = False


def parse_address(url: str) -> Address:
    """Take an address apart: http://HOST:PORT, https://HOST:PORT, either with a path behind it, or unix:/PATH.

    Raises:
        CtlError: It can't be one; what it was isn't repeated, for there may be a password in it.
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
        raise CtlError(f"a password or token doesn't belong into an address; see --token-file or {TOKEN_VARIABLE}", 2)
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise CtlError(_NO_ADDRESS, 2)
    is_secure = parts.scheme == "https"
    default = 443 if is_secure else 80
    return Address(url, parts.hostname, default if port is None else port, parts.path.rstrip("/"), None, is_secure)


class Server:
    """See the module.

    Args:
        address: Its URL, as `parse_address` has it.
        token: Sent as `Authorization: Bearer`, or None.
        ca: A file of certificates to trust in place of the system's, or None.
        timeout: Seconds that a request may take, all in all.

    Attributes:
        timeout: May be set to another one.

    Raises:
        CtlError: The address can't be one, or the file can't be used.
    """

    def __init__(
        self, address: str, token: str | None = None, ca: Path | None = None, timeout: float = TIMEOUT
    ) -> None:
        self.address = parse_address(address)
        self.url = printable(address)
        self.token = token
        if ca is not None and not self.address.is_secure:
            raise CtlError("--ca-file is for addresses that begin with https://", 2)
        self.context = _context(ca) if self.address.is_secure else None
        self.timeout = timeout

    @property
    def client_url(self) -> str:
        """The address as `vortexd.client` takes it, which names a Unix socket as URLs do."""
        return self.address.url if self.address.unix is None else f"unix://{self.address.unix}"

    def get(
        self,
        path: str,
        parameters: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        **headers: str,
    ) -> Answer:
        """Ask for a path. An answer of 304 is one like 200.

        Args:
            headers: With underscores for hyphens. `Accept` is JSON, unless it stands here.

        Raises:
            Unreachable: There is no answer in time, or one of 5xx or 429.
            Refused: Any other one.
        """
        query = urlencode(parameters)
        target = self.address.path + path + (f"?{query}" if query else "")
        answer = self._exchange(target, {name.replace("_", "-"): value for name, value in headers.items()})
        if answer.status in (200, 304):
            return answer
        raise self._error(answer)

    def _exchange(self, target: str, headers: Mapping[str, str]) -> Answer:
        headers = {"Accept": "application/json", "User-Agent": "vortexctl", **headers}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        deadline = time.monotonic() + self.timeout
        try:
            with closing(self._connected()) as connected:
                connection = http.client.HTTPConnection(self.address.host, self.address.port)
                connection.default_port = 443 if self.address.is_secure else 80
                connection.sock = _Timed(connected, deadline)
                connection.request("GET", target, headers=headers)
                response = connection.getresponse()
                body = self._body(response)
                return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
        except TimeoutError:
            raise Unreachable(f"{self.url} gives no whole answer within {self.timeout:g} s; try again later") from None
        except ssl.SSLCertVerificationError as error:
            why = f"{self.url} shows a certificate that isn't trusted: {error.verify_message.rstrip('.').lower()}"
            raise Unreachable(f"{why}; name the file of its authority with --ca-file") from None
        except ssl.SSLError:
            raise Unreachable(f"{self.url} doesn't speak TLS as we do; is it an http:// address?") from None
        except http.client.HTTPException:
            hint = "" if self.address.is_secure else "; is it a vortexd, and is it an https:// address?"
            raise Unreachable(f"{self.url} breaks off, or doesn't speak HTTP{hint}") from None
        except ConnectionResetError:
            raise Unreachable(f"{self.url} breaks off; is it a vortexd, and is it an https:// address?") from None
        except OSError as error:
            why = (error.strerror or str(error) or "error").lower()
            raise Unreachable(f"{self.url} can't be reached: {why}; is vortexd running there? See --server") from None

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
                raise CtlError(f"{self.url} answers with more than {_MAX_BYTES} bytes")
        if response.length:
            raise http.client.IncompleteRead(b"")
        return bytes(body)

    def _error(self, answer: Answer) -> CtlError:
        reason = _reason(answer.body)
        if answer.status == 401:
            if self.token:
                text = f"{self.url} doesn't accept the token: it is wrong, has expired or was withdrawn"
            else:
                text = f"{self.url} wants a token: name its file with --token-file, or set {TOKEN_VARIABLE}"
            return Refused(text, 401, reason or "")
        if reason is None:
            text = f"{self.url} answers {answer.status}, and not as a vortexd does; see --server"
        else:
            hint = "; name another with --label" if reason == "no such label" else ""
            text = f"{self.url} answers {answer.status}: {reason}{hint}"
        if broken := answer.headers.get("x-vortex-broken"):
            text += f"; broken: {broken}"
        if answer.status >= 500 or answer.status == 429:
            return Unreachable(text)
        return Refused(text, answer.status, reason or "")


class _Timed:
    """A socket as http.client wants one, on which everything together has to be done by a time."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._connected = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self.in_time().sendall(data)

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        # http.client closes it when the head of the answer has come. Whoever made the socket closes it.
        pass

    def in_time(self) -> socket.socket:
        """The socket, which waits as long as is left and no longer."""
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
    """What an error of a vortexd says; None where it is none of a vortexd."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    reason = said.get("message") or said.get("description") if isinstance(said, dict) else None
    return printable(reason[:_MAX_REASON]) if isinstance(reason, str) else None


# What the command line says.


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that asks a server."""
    parser.add_argument(
        "--server",
        metavar="URL",
        help=f"http://HOST:PORT, https://HOST:PORT or unix:/PATH; else ${SERVER_VARIABLE}, else {DEFAULT_SERVER}",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"a file with the token; else ${TOKEN_VARIABLE}"
    )
    parser.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="certificates to trust in place of the system's, as PEM"
    )


def server_of(arguments: argparse.Namespace, timeout: float = TIMEOUT) -> Server:
    """The server that a command line means, or else the environment.

    Raises:
        CtlError: What they say can't be used.
    """
    url = arguments.server or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
    return Server(url, read_token(arguments.token_file), arguments.ca_file, timeout)


def read_token(file: Path | None) -> str | None:
    """The token of a file, or else of the environment; None where there is none.

    Raises:
        CtlError: The file can't be read, is open to others, or what it holds can't be a token.
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
        raise CtlError(f"{file} is empty; it must hold the token alone", 2)
    return token


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise CtlError(f"{where} must hold the token alone, on one line", 2)
    return token


def duration(text: str) -> float:
    """Seconds, of a text such as 90, 90s, 2m, 1h30m or 500ms; for argparse."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|)", text)
    if (
        not parts
        or "".join(number + unit for number, unit in parts) != text
        or (len(parts) > 1 and not all(unit for _, unit in parts))
    ):
        raise argparse.ArgumentTypeError("a duration is written like 90s, 2m or 1h30m")
    seconds: float = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return seconds
