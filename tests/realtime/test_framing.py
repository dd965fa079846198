"""Frames that are made once for all clients."""

import threading

import pytest
import trio

from tests.fakes import KEY
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.encoder import Payload
from vortexd.protocol.frames import Frame, text_frame
from vortexd.realtime.forms import frame_of
from vortexd.realtime.framing import _SMALL_BYTES, Compressor

# What a frame of this size has before its payload.
HEADER_BYTES = 4


def test_a_payload_is_framed_once_for_all_its_deliveries() -> None:
    payload = Payload(b'{"type":"config_snapshot"}')
    frames = [frame_of(Delivery(KEY, old, "2", payload)) for old in (None, "1")]

    assert text_frame(payload) == frames[0]
    assert frames[0] is frames[1]


async def test_a_large_frame_is_compressed_once_for_all_who_ask() -> None:
    frame, compressor = text_frame(b"x" * 100_000), Compressor()
    forms: list[bytes] = []

    async def compress() -> None:
        forms.append(await compressor.compress(frame, 15))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(compress)

    assert 5 == len(forms)
    assert all(form is forms[0] for form in forms)
    assert len(forms[0]) < 1_000


@pytest.mark.parametrize(("more", "is_off_the_loop"), [(0, False), (1, True)])
async def test_only_a_large_frame_is_worth_a_thread(
    monkeypatch: pytest.MonkeyPatch, more: int, is_off_the_loop: bool
) -> None:
    used: list[int] = []
    for_window = Frame.for_window

    def noting(frame: Frame, window_bits: int) -> bytes:
        used.append(threading.get_ident())
        return for_window(frame, window_bits)

    monkeypatch.setattr(Frame, "for_window", noting)
    frame = text_frame(b"x" * (_SMALL_BYTES - HEADER_BYTES + more))
    form = await Compressor().compress(frame, 15)
    again = await Compressor().compress(frame, 15)

    assert form is again
    assert [is_off_the_loop, False] == [each != threading.get_ident() for each in used]


async def test_each_window_has_a_form_of_its_own() -> None:
    frame, compressor = text_frame(bytes(range(256)) * 100), Compressor()

    assert await compressor.compress(frame, 9) != await compressor.compress(frame, 15)
