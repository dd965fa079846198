"""Outbound frames, read back by wsproto."""

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from vortexd.realtime.frames import text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_client_reads_the_frame_as_one_message(size: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(text_frame(b"x" * size))
    events = list(client.events())

    assert "x" * size == "".join(event.data for event in events if isinstance(event, TextMessage))
    assert isinstance(events[-1], TextMessage)
    assert events[-1].message_finished


def test_a_compressed_frame_is_marked() -> None:
    assert (0x81, 0xC1) == (text_frame(b"")[0], text_frame(b"", is_compressed=True)[0])
