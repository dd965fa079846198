"""Large responses to clients that don't read have one common limit."""

from contextlib import ExitStack

import pytest
import trio

from tests.http.serving import FilesReader, read_all, serving
from vortexd.net.outgoing import Outgoing

LARGE = "".join(f"a{number}: {'x' * 1_000_000}\n" for number in range(4))


def test_beyond_the_bound_the_one_that_takes_longest_ends() -> None:
    ended: list[str] = []
    outgoing = Outgoing(250)
    with ExitStack() as sending:
        for number in range(3):
            body = bytes([number]) * 100
            sending.enter_context(outgoing.holding(body, lambda number=number: ended.append(str(number))))  # type: ignore[misc]  # a default binds the number

        assert ["0"] == ended
    with outgoing.holding(b"x" * 249, lambda: ended.append("alone")):
        pass
    assert ["0"] == ended


def test_one_body_for_many_counts_once_until_the_last_has_it() -> None:
    ended: list[str] = []
    outgoing, body = Outgoing(250), b"x" * 200
    with outgoing.holding(body, lambda: ended.append("first")):
        for _ in range(10):
            with outgoing.holding(body, lambda: ended.append("other")):
                pass
        assert [] == ended
        with outgoing.holding(b"y" * 100, lambda: ended.append("second")):
            assert ["first"] == ended


def test_one_that_is_larger_than_the_bound_is_sent_alone() -> None:
    ended: list[str] = []
    with Outgoing(250).holding(b"x" * 1_000, lambda: ended.append("it")):
        assert [] == ended


async def test_H02_who_does_not_read_is_cut_off_when_others_need_the_room() -> None:
    files = {f"a{number}.yml": LARGE + f"b: {number}" for number in range(3)}
    async with serving(reader=FilesReader(files)) as http:
        http.bridge.outgoing = Outgoing(10_000_000)
        slow: list[trio.SocketStream] = []
        for number in range(3):
            stream = await http.connect()
            slow.append(stream)
            await stream.send_all(b"GET /a%d/default HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % number)
            # It has begun.
            assert b"HTTP/1.1 200" == await stream.receive_some(12)
        sizes = []
        with trio.fail_after(10):
            for stream in slow:
                async with stream:
                    sizes.append(len(await read_all(stream)))

    assert sizes[0] < 4_000_000 < sizes[1]
    assert sizes[2] > 4_000_000


@pytest.mark.parametrize("text", ["a: 1", LARGE])
async def test_who_reads_gets_all_of_it_however_many_they_are(text: str) -> None:
    async with serving(reader=FilesReader({"a.yml": text})) as http:
        http.bridge.outgoing = Outgoing(5_000_000)
        answers = []

        async def ask() -> None:
            answers.append(await http.ask("/a/default"))

        async with trio.open_nursery() as asking:
            for _ in range(20):
                asking.start_soon(ask)

    assert [200] * 20 == [answer.status for answer in answers]
    assert all(len(answer.body) > len(text) for answer in answers)
