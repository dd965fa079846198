"""Sends a POST that informs a program of a change, such as Spring's /actuator/refresh. One request, one response.

Invariant: it ends within its deadline, and reads only the head of the response.
"""

import ssl
from urllib.parse import urlsplit

import h11
import trio

from .commands import Failure

_MAX_HEAD = 16_384
_PORTS = {"http": 80, "https": 443}


async def post(url: str, authorization: str, timeout: float, context: ssl.SSLContext | None = None) -> None:
    """POST an empty body to an address.

    Args:
        authorization: The value of the header Authorization; "" for none.
        timeout: Seconds for the whole exchange.
        context: The TLS context for https. Default: trust the system's authorities.

    Raises:
        Failure: The address can't be reached in time, or the status isn't 2xx.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    with trio.move_on_after(timeout) as scope:
        try:
            stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
            if parts.scheme == "https":
                context = context or ssl.create_default_context()
                stream = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
            try:
                status = await _exchange(stream, _request(url, authorization))
            finally:
                await trio.aclose_forcefully(stream)
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
            raise Failure(f"post: no answer from {parts.scheme}://{parts.netloc}; is it running?") from None
    if scope.cancelled_caught:
        raise Failure(f"post took longer than {timeout:g} s")
    if not 200 <= status < 300:
        raise Failure(f"post: the program answered with {status}")


def _request(url: str, authorization: str) -> h11.Request:
    parts = urlsplit(url)
    headers = [
        ("Host", parts.netloc),
        ("Content-Length", "0"),
        ("Content-Type", "application/json"),
        ("Connection", "close"),
    ]
    if authorization:
        headers.append(("Authorization", authorization))
    return h11.Request(
        method="POST", target=parts._replace(scheme="", netloc="", fragment="").geturl() or "/", headers=headers
    )


async def _exchange(stream: trio.abc.Stream, request: h11.Request) -> int:
    """Send a request, and return the status of the response."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
    data = [connection.send(request), connection.send(h11.EndOfMessage())]
    await stream.send_all(b"".join(filter(None, data)))
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65_536)))
        elif isinstance(event, h11.Response):
            return event.status_code
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("closed before the response")
