"""Inbound messages: complete messages, and the limits of bytes and frames."""

import pytest
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Event, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from vortexd.protocol.close import CloseReason
from vortexd.protocol.deflate import Deflate
from vortexd.realtime.inbound import Inbound, Unacceptable, sole_text


def part(text: str, *, frame: bool = True, message: bool = False) -> TextMessage:
    return TextMessage(data=text, frame_finished=frame, message_finished=message)


def test_parts_become_one_message_and_the_next_begins_anew() -> None:
    inbound = Inbound(10, 3)

    for _ in range(2):
        assert [None, None, "abc"] == [
            inbound.receive(part("a", frame=False)),
            inbound.receive(part("b")),
            inbound.receive(part("c", message=True)),
        ]
        assert not inbound.is_open


def test_a_message_that_has_begun_is_open() -> None:
    inbound = Inbound(10, 3)
    inbound.receive(part("", frame=False))

    assert inbound.is_open


@pytest.mark.parametrize(("text", "is_refused"), [("x" * 10, False), ("x" * 11, True), ("\N{GRINNING FACE}" * 3, True)])
def test_W06_the_limit_counts_bytes_and_not_characters(text: str, is_refused: bool) -> None:
    inbound = Inbound(10, 3)
    reason = None
    try:
        inbound.receive(part(text, message=True))
    except Unacceptable as error:
        reason = error.reason

    assert (CloseReason.TOO_BIG if is_refused else None) == reason


def test_W07_empty_frames_count() -> None:
    inbound = Inbound(10, 3)
    for _ in range(3):
        inbound.receive(part(""))

    with pytest.raises(Unacceptable) as caught:
        inbound.receive(part(""))
    assert CloseReason.POLICY is caught.value.reason


def sent(*events: Event) -> bytes:
    client = Connection(ConnectionType.CLIENT)
    return b"".join(client.send(event) for event in events)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (sent(TextMessage("hello")), "hello"),
        (sent(TextMessage("h" * 300)), "h" * 300),
        (sent(TextMessage("one"), TextMessage("two")), None),
        (sent(TextMessage("one"), Pong()), None),
        (sent(Pong()), None),
        (sent(BytesMessage(b"bytes")), None),
        (sent(TextMessage("one", message_finished=False)), None),
        (sent(TextMessage("hello"))[:-1], None),
        (sent(TextMessage("hello")) + b"\x81", None),
        (sent(CloseConnection(1000)), None),
        (b"\x81\x05hello", None),
        (b"\xc1\x85\0\0\0\0hello", None),
        (b"\x81\x82\0\0\0\0\xc3\x28", None),
        (b"\xff" * 20, None),
        (b"", None),
    ],
    # Masks are random.
    ids=lambda value: "" if isinstance(value, bytes) else str(value)[:10],
)
def test_a_sole_text_is_one_whole_frame_and_nothing_else(data: bytes, expected: str | None) -> None:
    assert expected == sole_text(data, [])


def test_W04_a_sole_text_is_inflated_no_further_than_a_message_may_be() -> None:
    extension = PerMessageDeflate(client_no_context_takeover=True)
    extension.finalize("permessage-deflate; client_no_context_takeover")
    client = Connection(ConnectionType.CLIENT, [extension])
    bomb, small = client.send(TextMessage("x" * 100_000)), client.send(TextMessage("x" * 1_000))

    assert len(bomb) < 1_000
    assert None is sole_text(bomb, [Deflate(1_000, 15)])
    assert "x" * 1_000 == sole_text(small, [Deflate(1_000, 15)])
