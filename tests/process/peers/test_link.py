"""One end of a link, over streams in memory."""

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

import vortexd.process.peers.link
from vortexd.process.peers.link import Link
from vortexd.process.peers.wire import Decoder, Frame, encode

STOP = Frame("stop")
LONG = Frame("answer", "0:1", "metrics", "x" * 200_000)


async def frames(stream: trio.abc.ReceiveStream, count: int) -> list[Frame]:
    """Read so many frames."""
    decoder, found = Decoder(), list[Frame]()
    with trio.fail_after(10):
        while len(found) < count:
            data = await stream.receive_some(65_536)
            assert data
            found += decoder.receive(data)
    return found


async def end(stream: trio.abc.ReceiveStream) -> bytes:
    """Read until the other end is closed."""
    data = b""
    with trio.fail_after(10):
        while part := await stream.receive_some(65_536):
            data += part
    return data


async def test_frames_arrive_whole_and_in_order_in_both_directions(nursery: trio.Nursery) -> None:
    ours, theirs = memory_stream_pair()
    one, other = Link(ours), Link(theirs)
    hear_one, heard_by_one = trio.open_memory_channel[Frame](10)
    hear_other, heard_by_other = trio.open_memory_channel[Frame](10)
    nursery.start_soon(one.run, hear_one.send_nowait)
    nursery.start_soon(other.run, hear_other.send_nowait)
    assert one.say(LONG)
    assert one.say(STOP)
    assert other.say(Frame("ask", "7"))

    with trio.fail_after(10):
        assert [LONG, STOP] == [await heard_by_other.receive(), await heard_by_other.receive()]
        assert Frame("ask", "7") == await heard_by_one.receive()
    nursery.cancel_scope.cancel()


async def test_a_frame_that_is_queued_before_the_link_runs_is_sent(nursery: trio.Nursery) -> None:
    ours, theirs = memory_stream_pair()
    link = Link(ours)
    assert link.say(STOP)
    nursery.start_soon(link.run, lambda _: None)

    assert [STOP] == await frames(theirs, 1)
    nursery.cancel_scope.cancel()


async def test_a_frame_may_arrive_byte_by_byte(nursery: trio.Nursery) -> None:
    ours, theirs = memory_stream_pair()
    hear, heard = trio.open_memory_channel[Frame](10)
    nursery.start_soon(Link(ours).run, hear.send_nowait)
    for byte in encode(STOP):
        await theirs.send_all(bytes([byte]))
        await wait_all_tasks_blocked()

    assert STOP == heard.receive_nowait()
    nursery.cancel_scope.cancel()


# The bounds of the queue.


async def test_the_queue_has_a_bounded_number_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vortexd.process.peers.link, "_MOST_WAITING", 3)
    link = Link(memory_stream_pair()[0])

    assert [True, True, True, False, False] == [link.say(STOP) for _ in range(5)]


@pytest.mark.parametrize(("spare", "is_queued"), [(0, True), (-1, False)])
async def test_the_queue_has_a_bounded_number_of_bytes(
    spare: int, is_queued: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vortexd.process.peers.link, "MOST", 2 * len(encode(LONG)) + spare)
    link = Link(memory_stream_pair()[0])

    assert [True, is_queued, False] == [link.say(LONG), link.say(LONG), link.say(LONG)]
    # A frame that found no room takes none. So a shorter one may still fit.
    assert is_queued != link.say(STOP)


async def test_a_frame_that_has_been_sent_makes_room(monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery) -> None:
    monkeypatch.setattr(vortexd.process.peers.link, "MOST", len(encode(LONG)))
    ours, theirs = memory_stream_pair()
    link = Link(ours)
    nursery.start_soon(link.run, lambda _: None)
    for _ in range(3):
        assert link.say(LONG)
        assert not link.say(LONG)
        assert [LONG] == await frames(theirs, 1)
        await wait_all_tasks_blocked()

    nursery.cancel_scope.cancel()


async def test_a_frame_that_is_not_sent_yet_takes_room(monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery) -> None:
    monkeypatch.setattr(vortexd.process.peers.link, "MOST", len(encode(LONG)))
    ours, _ = memory_stream_pair()
    ours.send_stream.send_all_hook = trio.sleep_forever
    link = Link(ours)
    nursery.start_soon(link.run, lambda _: None)
    assert link.say(LONG)
    # The other end is stopped, so the frame is out of the queue and on its way.
    await wait_all_tasks_blocked()

    assert not link.say(STOP)
    nursery.cancel_scope.cancel()


async def test_frames_that_a_stopped_process_does_not_read_are_dropped(nursery: trio.Nursery) -> None:
    ours, _ = memory_stream_pair()
    ours.send_stream.send_all_hook = trio.sleep_forever
    link = Link(ours)
    nursery.start_soon(link.run, lambda _: None)
    await wait_all_tasks_blocked()
    said = 0
    while said < 100_000 and link.say(Frame("notify", text="x" * 1_000)):
        said += 1
        await trio.lowlevel.checkpoint()

    # One frame is on its way. As many as the queue holds wait behind it.
    assert 1_025 == said
    nursery.cancel_scope.cancel()


async def test_the_queue_for_a_stopped_process_is_bounded_in_bytes_too(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vortexd.process.peers.link, "MOST", 1_000_000)
    ours, _ = memory_stream_pair()
    ours.send_stream.send_all_hook = trio.sleep_forever
    link = Link(ours)
    nursery.start_soon(link.run, lambda _: None)
    said = 0
    while said < 100 and link.say(Frame("answer", text="x" * 100_000)):
        said += 1
        await wait_all_tasks_blocked()

    assert 9 == said
    nursery.cancel_scope.cancel()


# The end of the link.


async def test_the_link_ends_with_its_other_end_and_is_closed() -> None:
    ours, theirs = memory_stream_pair()
    link = Link(ours)
    await theirs.send_stream.aclose()
    with trio.fail_after(10):
        await link.run(lambda frame: pytest.fail(str(frame)))

    assert b"" == await end(theirs)
    assert not link.say(STOP)


async def test_frames_that_arrived_before_the_end_are_heard() -> None:
    ours, theirs = memory_stream_pair()
    heard: list[Frame] = []
    await theirs.send_all(encode(STOP) + encode(LONG) + encode(STOP)[:-1])
    await theirs.send_stream.aclose()
    with trio.fail_after(10):
        await Link(ours).run(heard.append)

    assert [STOP, LONG] == heard


async def test_the_link_ends_although_the_other_end_takes_no_frame() -> None:
    ours, theirs = memory_stream_pair()
    ours.send_stream.send_all_hook = trio.sleep_forever
    link = Link(ours)
    link.say(STOP)
    await theirs.send_stream.aclose()

    with trio.fail_after(10):
        await link.run(lambda _: None)


@pytest.mark.parametrize("error", [trio.BrokenResourceError, trio.ClosedResourceError])
async def test_a_link_that_breaks_ends_and_is_closed(error: type[Exception]) -> None:
    async def fail() -> None:
        raise error

    ours, theirs = memory_stream_pair()
    ours.receive_stream.receive_some_hook = fail
    with trio.fail_after(10):
        await Link(ours).run(lambda _: None)

    assert b"" == await end(theirs)


@pytest.mark.parametrize("error", [trio.BrokenResourceError, trio.ClosedResourceError])
async def test_a_link_that_can_not_send_still_hears(error: type[Exception], nursery: trio.Nursery) -> None:
    attempts: list[bool] = []

    async def fail() -> None:
        attempts.append(True)
        raise error

    ours, theirs = memory_stream_pair()
    ours.send_stream.send_all_hook = fail
    link = Link(ours)
    hear, heard = trio.open_memory_channel[Frame](10)
    nursery.start_soon(link.run, hear.send_nowait)
    link.say(STOP)
    link.say(STOP)
    await wait_all_tasks_blocked()
    await theirs.send_all(encode(LONG))

    with trio.fail_after(10):
        assert LONG == await heard.receive()
    # After half a frame, no other frame could be read.
    assert [True] == attempts
    nursery.cancel_scope.cancel()


async def test_a_caller_closes_the_link_at_once_and_its_queue_is_lost() -> None:
    ours, theirs = memory_stream_pair()
    link = Link(ours)
    async with trio.open_nursery() as running:
        running.start_soon(link.run, lambda _: None)
        await wait_all_tasks_blocked()
        link.say(STOP)
        with trio.fail_after(10):
            await link.aclose()

    assert b"" == await end(theirs)
    assert not link.say(STOP)


async def test_a_cancelled_link_is_closed() -> None:
    ours, theirs = memory_stream_pair()
    link = Link(ours)
    async with trio.open_nursery() as running:
        running.start_soon(link.run, lambda _: None)
        await wait_all_tasks_blocked()
        running.cancel_scope.cancel()

    assert b"" == await end(theirs)
    assert not link.say(STOP)


async def test_an_unreadable_frame_is_a_defect_that_is_not_hidden() -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"\xff" * 8)
    with trio.fail_after(10), pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="too long")):
        await Link(ours).run(lambda _: None)

    assert b"" == await end(theirs)


async def test_an_error_of_the_hearer_is_not_hidden() -> None:
    def fail(_: Frame) -> None:
        raise KeyError("no such worker")

    ours, theirs = memory_stream_pair()
    await theirs.send_all(encode(STOP))
    with trio.fail_after(10), pytest.RaisesGroup(KeyError):
        await Link(ours).run(fail)
