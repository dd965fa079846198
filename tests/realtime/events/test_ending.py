import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from vortexd.realtime.events.ending import end

from ..wire import socket_stream_pair


async def all_of(stream: trio.abc.ReceiveStream) -> bytes:
    read = bytearray()
    while data := await stream.receive_some():
        read += data
    return bytes(read)


async def test_the_last_event_is_read_before_the_connection_is_closed(autojump_clock: MockClock) -> None:
    ours, theirs = socket_stream_pair()
    async with trio.open_nursery() as nursery:

        async def close() -> None:
            await end(ours, b"last", 5.0, is_writing=False)

        nursery.start_soon(close)
        assert b"last" == await all_of(theirs)
        await wait_all_tasks_blocked()
        assert ours.socket.fileno() >= 0
        await theirs.aclose()
    assert ours.socket.fileno() == -1


@pytest.mark.parametrize("pair", [socket_stream_pair, lockstep_stream_pair])
async def test_a_client_that_does_not_close_is_closed_in_time(autojump_clock: MockClock, pair: object) -> None:
    assert callable(pair)
    ours, theirs = pair()
    began = trio.current_time()
    await end(ours, b"last", 5.0, is_writing=False)
    assert 5.0 == pytest.approx(trio.current_time() - began)
    await theirs.aclose()


async def test_nothing_follows_a_part_of_an_event() -> None:
    ours, theirs = memory_stream_pair()
    await end(ours, b"last", 5.0, is_writing=True)
    assert b"" == await all_of(theirs)


async def test_in_a_cancelled_scope_the_last_event_is_still_sent(autojump_clock: MockClock) -> None:
    ours, theirs = socket_stream_pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await end(ours, b"last", 5.0, is_writing=False)
    assert (b"last", 0.0) == (await all_of(theirs), trio.current_time())
    await theirs.aclose()


async def test_a_broken_connection_is_no_error() -> None:
    ours, theirs = socket_stream_pair()
    await theirs.aclose()
    await end(ours, b"last", 5.0, is_writing=False)
