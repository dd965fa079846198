import pytest
import trio

from vortexd.http.http2_body import Http2Body


class Sending:
    """What sends the bytes, as slowly as a test wants."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.gone = trio.Event()
        self.body = Http2Body(self.send, self.gone)

    async def send(self, data: bytes) -> None:
        self.sent.append(data)
        if data == b"slow":
            await trio.sleep_forever()


async def test_bytes_are_sent_in_order() -> None:
    sending = Sending()
    await sending.body.wait_send_all_might_not_block()
    for each in (b"one", bytearray(b"two"), memoryview(b"three")):
        await sending.body.send_all(each)
    assert ([b"one", b"two", b"three"], True) == (sending.sent, sending.body.is_whole)


async def test_a_part_that_was_cut_off_is_known(autojump_clock: object) -> None:
    sending = Sending()
    with trio.move_on_after(1):
        await sending.body.send_all(b"slow")
    assert not sending.body.is_whole


async def test_nothing_is_received_until_the_client_has_gone(autojump_clock: object) -> None:
    sending = Sending()
    with trio.move_on_after(1) as scope:
        await sending.body.receive_some()
    assert scope.cancelled_caught
    sending.gone.set()
    assert b"" == await sending.body.receive_some(1)


async def test_after_the_client_has_gone_nothing_can_be_sent() -> None:
    sending = Sending()
    sending.gone.set()
    with pytest.raises(trio.BrokenResourceError):
        await sending.body.send_all(b"x")
    assert ([], True) == (sending.sent, sending.body.is_whole)


async def test_after_the_close_nothing_can_be_sent() -> None:
    sending = Sending()
    await sending.body.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await sending.body.send_all(b"x")
