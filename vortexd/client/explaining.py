"""Asks a server where the values of a configuration come from: one HTTP request, over the client's own connector. Trio.

A server may be old, deny the right `read`, or not answer. The client then does without: `ask` returns None and never raises, within a deadline.
"""

import logging

import h11
import trio

from ..core.model import Key
from .address import Address, headers
from .origins import target
from .streams import Connect, reason_of

log = logging.getLogger("vortexd.client")
# Seconds for the connection, the request and the whole answer. Meanwhile an error waits for its places.
DEADLINE = 2.0
# The explanation of a large configuration, at about 300 bytes for each key.
MAX_BYTES = 16_777_216


async def ask(connect: Connect, address: Address, token: str | None, key: Key, wanted: str) -> bytes | None:
    """Return the server's explanation of a key, or None if there is none in time.

    Args:
        wanted: Explain only this flat key and the keys below it. "": all keys.
    """
    with trio.move_on_after(DEADLINE):
        try:
            stream = await connect(address)
            try:
                return await _request(stream, address, token, target(address, key, wanted))
            finally:
                await trio.aclose_forcefully(stream)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError) as error:
            log.info("the server doesn't explain where values come from: %s", reason_of(error))
        except Exception:  # the handler of last resort: without places, the error that needs them is still of use
            log.exception("asking where values come from failed")
    return None


async def _request(stream: trio.abc.Stream, address: Address, token: str | None, path: str) -> bytes | None:
    connection = h11.Connection(h11.CLIENT)
    fields = [(b"Host", address.authority.encode()), (b"Accept", b"application/json"), (b"Connection", b"close")]
    request = h11.Request(method="GET", target=path, headers=[*fields, *headers(token)])
    await stream.send_all(connection.send(request) or b"")
    connection.send(h11.EndOfMessage())
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65_536)))
        elif isinstance(event, h11.Response) and event.status_code != 200:
            return None
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BYTES:
                return None
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)
        elif not isinstance(event, h11.Response | h11.InformationalResponse):
            return None
