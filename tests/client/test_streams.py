import contextlib
import ssl
from functools import partial

import pytest
import trio
import trio.testing

from tests.fakes import StreamSpy
from vortexd.client.address import Address
from vortexd.client.streams import ObservedStream, connector, reason_of


def test_what_went_wrong_is_one_printable_line() -> None:
    tls = trio.BrokenResourceError()
    tls.__cause__ = ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")

    assert "Connection refused" == reason_of(ConnectionRefusedError(111, "Connection refused"))
    assert "certificate verify failed: self-signed certificate" == reason_of(tls)
    assert "a\\nb" == reason_of(OSError("a\nb"))
    assert "BrokenResourceError" == reason_of(trio.BrokenResourceError())


async def test_nobody_listening_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="127.0.0.1"):
        await connector(None)(Address("127.0.0.1", 1))


async def test_a_peer_without_tls_leaves_no_stream_open() -> None:
    over = trio.Event()

    async def plain(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with contextlib.suppress(trio.BrokenResourceError):
            while await stream.receive_some():
                pass
        over.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, plain, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(trio.BrokenResourceError) as caught:
            await connector(None)(Address("127.0.0.1", port, True))
        # The peer sees the end of the connection, too.
        with trio.fail_after(10):
            await over.wait()
        nursery.cancel_scope.cancel()

    assert "WRONG_VERSION" in reason_of(caught.value).upper().replace(" ", "_")


async def test_each_arrival_is_noted_and_an_end_within_the_handshake_is_an_error() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    heard: list[int] = []
    tapped = ObservedStream(StreamSpy(ours), lambda: heard.append(1))
    await theirs.send_all(b"x")
    assert b"x" == await tapped.receive_some()
    await theirs.aclose()
    with pytest.raises(ConnectionAbortedError):
        await tapped.receive_some()
    tapped.is_open = True

    assert b"" == await tapped.receive_some()
    assert 3 == len(heard)
