"""Inbound messages: whole ones, and limits that count bytes and frames."""

import pytest
from wsproto.events import TextMessage

from vortexd.realtime.close import CloseReason
from vortexd.realtime.inbound import Inbound, Unacceptable


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
