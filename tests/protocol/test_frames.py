"""Outbound frames, which wsproto parses again."""

from random import Random

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage
from wsproto.extensions import PerMessageDeflate

from vortexd.protocol.frames import text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_client_reads_the_frame_as_one_message(size: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(text_frame(b"x" * size))
    events = list(client.events())

    assert "x" * size == "".join(event.data for event in events if isinstance(event, TextMessage))
    assert isinstance(events[-1], TextMessage)
    assert events[-1].message_finished


@pytest.mark.parametrize("size", [0, 127, 128, 129, 200, 65_535, 65_536, 65_540, 70_000])
def test_a_compressed_form_holds_the_same_message(size: int) -> None:
    payload = bytes(97 + number % 7 for number in range(size))
    frame = text_frame(payload)
    form = frame.for_window(15)
    extension = PerMessageDeflate()
    extension.finalize("permessage-deflate; server_no_context_takeover")
    client = Connection(ConnectionType.CLIENT, [extension])
    client.receive_data(form)

    assert payload.decode() == "".join(event.data for event in client.events() if isinstance(event, TextMessage))
    assert len(form) <= len(frame)


def test_a_compressed_form_is_made_once_and_is_marked() -> None:
    frame = text_frame(b"x" * 1_000)

    assert not frame.is_ready(15)
    assert frame.for_window(15) is frame.for_window(15)
    assert frame.is_ready(15)
    assert (0x81, 0xC1) == (frame[0], frame.for_window(15)[0])
    assert frame.for_window(9) is not frame.for_window(15)


def test_what_would_not_be_shorter_stays_as_it_is() -> None:
    short, random = text_frame(b"x" * 20), text_frame(Random(1).randbytes(1_000))

    assert short.is_ready(15)
    assert (short, random) == (short.for_window(15), random.for_window(15))
