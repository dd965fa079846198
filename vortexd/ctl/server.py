"""A running vortexd as the commands ask it: where it is, the token, and requests that end within a time.

In come what the command line and the environment say; out go answers as JSON, or a `CtlError` that says whose fault it is: who can't be reached
may be asked again, who refuses won't say anything else.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs

from .errors import CtlError

DEFAULT_SERVER = "http://127.0.0.1:8888"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "": 1.0}
_MAX_BYTES = 268_435_456
_READ_BYTES = 65_536


class Unreachable(CtlError):
    """Nobody answers, or somebody who isn't ready; asked again, they may."""


class Refused(CtlError):
    """The server has answered, and says no.

    Attributes:
        code: The HTTP status.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


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
        except ValueError:
            raise CtlError("the server's answer isn't JSON; is it a vortexd?") from None


class Server:
    """See the module.

    Args:
        url: http://HOST:PORT, https://HOST:PORT, either with a path in front of the server's, or unix:/PATH.
        token: Sent as `Authorization: Bearer`, or None.
        ca: A file of certificates to trust in place of the system's, or None.
        timeout: Seconds that a request may take.

    Attributes:
        timeout: May be set to another one.

    Raises:
        CtlError: The address can't be one, or the file can't be used.
    """

    def __init__(self, url: str, token: str | None = None, ca: Path | None = None, timeout: float = 10.0) -> None:
        self.url = url
        self._path = ""
        self._socket: str | None = None
        self._host, self._port, self._context = "localhost", 80, None
        self._token = token
        self.timeout = timeout
        if url.startswith("unix:/"):
            self._socket = url.removeprefix("unix:")
            return
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise CtlError(_NO_ADDRESS, 2) from None
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or parts.username
        ):
            raise CtlError(_NO_ADDRESS, 2)
        self._host, self._path = parts.hostname, parts.path.rstrip("/")
        self._port = port or (443 if parts.scheme == "https" else 80)
        if parts.scheme == "https":
            self._context = _context(ca)

    def get(self, path: str, parameters: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """Ask for a path. An answer of 304 is one like 200.

        Args:
            headers: With underscores for hyphens.

        Raises:
            Unreachable: There is no answer in time, or one of 5xx or 429.
            Refused: Any other one.
        """
        target = self._path + path + (f"?{urlencode(parameters)}" if parameters else "")
        answer = self._exchange(target, {name.replace("_", "-"): value for name, value in headers.items()})
        if answer.status in (200, 304):
            return answer
        text = f"{self.url} answers {answer.status}: {_reason(answer.body)}"
        raise Unreachable(text) if answer.status >= 500 or answer.status == 429 else Refused(text, answer.status)

    def _exchange(self, target: str, headers: Mapping[str, str]) -> Answer:
        deadline = time.monotonic() + self.timeout
        if self._token:
            headers = {**headers, "Authorization": f"Bearer {self._token}"}
        with contextlib.closing(self._connection()) as connection:
            try:
                connection.request("GET", target, headers={"Accept": "application/json", **headers})
                response = connection.getresponse()
                body = b""
                while part := response.read1(_READ_BYTES):
                    body += part
                    if len(body) > _MAX_BYTES or time.monotonic() > deadline:
                        raise Unreachable(f"{self.url} takes longer than {self.timeout:g} s to answer")
                return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
            except TimeoutError:
                raise Unreachable(f"{self.url} gives no answer within {self.timeout:g} s") from None
            except ssl.SSLError as error:
                raise Unreachable(f"{self.url} can't be trusted, or speaks no TLS: {error.reason}; see --ca") from None
            except OSError as error:
                why = error.strerror or str(error)
                raise Unreachable(f"{self.url} can't be reached: {why.lower()}") from None
            except http.client.HTTPException:
                raise Unreachable(f"{self.url} doesn't speak HTTP, or broke off") from None

    def _connection(self) -> http.client.HTTPConnection:
        if self._socket is not None:
            return _UnixConnection(self._socket, self.timeout)
        if self._context is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self.timeout, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self.timeout)


_NO_ADDRESS = "the server is http://HOST:PORT, https://HOST:PORT or unix:/PATH; see --server"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise CtlError(f"{ca} can't be used: {(error.strerror or 'no certificates').lower()}", 2) from None


def _reason(body: bytes) -> str:
    """What an error says, as far as it is one of ours."""
    try:
        said = json.loads(body)
        return str(said.get("message") or said.get("error"))[:500]
    except (ValueError, AttributeError):
        return "and doesn't say why; is it a vortexd?"


# The command line.


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that asks a server."""
    parser.add_argument(
        "--server",
        metavar="URL",
        default=os.environ.get("VORTEXD_URL") or DEFAULT_SERVER,
        help=f"http://HOST:PORT, https://HOST:PORT or unix:/PATH; or VORTEXD_URL in the environment; else {DEFAULT_SERVER}",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="a file with the token; or VORTEXD_TOKEN in the environment"
    )
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="certificates to trust in place of the system's, as PEM"
    )


def server_of(arguments: argparse.Namespace, timeout: float = 10.0) -> Server:
    """The server that a command line means."""
    return Server(arguments.server, read_token(arguments.token_file), arguments.ca, timeout)


def read_token(file: Path | None) -> str | None:
    """The token of a file, or of the environment; None where there is none.

    Raises:
        CtlError: The file can't be read, or what it holds can't be a token.
    """
    if file is None:
        token = os.environ.get("VORTEXD_TOKEN", "").strip()
        where = "VORTEXD_TOKEN"
    else:
        where = str(file)
        try:
            token = file.read_text().strip()
        except UnicodeDecodeError:
            raise CtlError(f"{file} holds no token", 2) from None
        except OSError as error:
            raise CtlError(f"{file} can't be read: {(error.strerror or 'I/O error').lower()}", 2) from None
        if not token:
            raise CtlError(f"{file} holds no token", 2)
    if not (token.isascii() and token.isprintable()):
        raise CtlError(f"{where} holds no token", 2)
    return token or None


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
