"""permessage-deflate: negotiation, inflating, and limits."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate

from vortexd.protocol.deflate import Deflate, deflate
from vortexd.protocol.frames import text_frame

NAME = "permessage-deflate"


@pytest.mark.parametrize(
    ("offer", "answer", "bits"),
    [
        ("", "", 15),
        ("; client_max_window_bits", "", 15),
        ("; client_max_window_bits=10", "", 15),
        ("; server_no_context_takeover; client_no_context_takeover", "", 15),
        ("; server_max_window_bits=9", "; server_max_window_bits=9", 9),
        ('; server_max_window_bits="15"', "; server_max_window_bits=15", 15),
    ],
)
def test_an_offer_is_accepted_without_context_on_either_side(offer: str, answer: str, bits: int) -> None:
    extension = Deflate(100)

    assert f"server_no_context_takeover; client_no_context_takeover{answer}" == extension.accept(NAME + offer)
    assert (True, bits) == (extension.enabled(), extension.window_bits)
    assert extension.accept(NAME) is None


@pytest.mark.parametrize(
    "offer",
    [
        "; unknown",
        "; server_max_window_bits",
        "; server_max_window_bits=8",
        "; server_max_window_bits=16",
        "; server_max_window_bits=09",
        "; client_max_window_bits=x",
        "; client_max_window_bits=٩",
        "; server_no_context_takeover=1",
        "; server_no_context_takeover; server_no_context_takeover",
    ],
)
def test_what_rfc_7692_says_to_decline_is_declined(offer: str) -> None:
    extension = Deflate(100)

    assert extension.accept(NAME + offer) is None
    assert not extension.enabled()


@given(st.binary(max_size=5_000), st.integers(9, 15))
def test_what_is_compressed_inflates_within_the_window(payload: bytes, bits: int) -> None:
    assert payload == zlib.decompressobj(-bits).decompress(deflate(payload, bits) + b"\0\0\xff\xff")


def server(message_bytes: int) -> Connection:
    extension = Deflate(message_bytes)
    extension.accept(NAME)
    return Connection(ConnectionType.SERVER, [extension])


def client() -> Connection:
    extension = PerMessageDeflate(client_no_context_takeover=True)
    extension.finalize(f"{NAME}; client_no_context_takeover; server_no_context_takeover")
    return Connection(ConnectionType.CLIENT, [extension])


def received(connection: Connection, data: bytes) -> str:
    connection.receive_data(data)
    return "".join(event.data for event in connection.events() if isinstance(event, TextMessage))


def test_messages_of_a_client_are_read_one_after_the_other_with_pings_between_their_frames() -> None:
    theirs, ours = client(), server(100_000)
    for text in ("short", "x" * 50_000, ""):
        first = theirs.send(TextMessage(data=text, message_finished=False))
        last = theirs.send(TextMessage(data="end", message_finished=True))

        assert text + "end" == received(ours, first + theirs.send(Ping(payload=b"between")) + last)


def test_a_shared_frame_is_read_by_a_client_again_and_again() -> None:
    theirs = client()
    frame = text_frame(b"hello " * 1_000).for_window(15)

    assert len(frame) < 100
    for _ in range(2):
        assert "hello " * 1_000 == received(theirs, frame)


def test_W04_a_bomb_costs_its_limit_and_no_more() -> None:
    bomb = client().send(TextMessage(data="\0" * 100_000_000))
    ours = server(1_000)
    ours.receive_data(bomb)
    events = list(ours.events())

    assert 1009 == next(event.code for event in events if isinstance(event, CloseConnection))
    assert sum(len(event.data) for event in events if isinstance(event, TextMessage)) <= 1_000


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\xc9\x80\0\0\0\0", 1002),
        (b"\x01\x80\0\0\0\0\xc0\x80\0\0\0\0", 1002),
        (b"\xc1\x82\0\0\0\0\xff\xff", 1007),
    ],
    ids=["a compressed ping", "a compressed continuation", "no deflate stream"],
)
def test_what_is_no_compressed_message_is_a_protocol_error(frame: bytes, code: int) -> None:
    ours = server(1_000)
    ours.receive_data(frame)

    assert [code] == [event.code for event in ours.events() if isinstance(event, CloseConnection)]
