"""A client after its handshake, without a connection."""

from collections.abc import Callable

import attrs
import pytest

from tests.fakes import KEY, TIMESTAMP, open_gate
from vortexd.auth import Admission, Kind, Principal
from vortexd.fleet import Instance
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.encoder import Payload
from vortexd.protocol.frames import text_frame
from vortexd.realtime.client import Client
from vortexd.settings.realtime import RealtimeSettings


def client(hello: Callable[[str, str], bytes] | None = None) -> Client:
    admission = Admission(open_gate(), Principal("", Kind.ANONYMOUS, ()))
    made = Client(KEY, None, admission, Instance(KEY, "c1"), b"answer")
    return made if hello is None else attrs.evolve(made, hello=hello)


@pytest.mark.parametrize(
    ("old_version", "new_version", "kind"),
    [
        (None, "2", "config_snapshot"),
        ("1", "2", "config_change"),
        ("2", "2", "in_sync"),
        ("1", None, "config_removed"),
    ],
)
def test_the_greeting_is_a_frame_with_hello_that_announces_the_first_state(
    old_version: str | None, new_version: str | None, kind: str
) -> None:
    made = client(hello=lambda kind, timestamp: f"{kind} at {timestamp}".encode())
    greeting = made.greeting(Delivery(KEY, old_version, new_version, Payload(b"x")), TIMESTAMP)

    assert text_frame(f"{kind} at {TIMESTAMP}".encode()) == greeting
    # It is for one client only, so no compressed form of it is kept.
    assert bytes is type(greeting)


def test_the_greeting_is_empty_for_a_client_without_hello() -> None:
    assert b"" == client().greeting(Delivery(KEY, None, "2", Payload(b"x")), TIMESTAMP)


def test_a_client_of_the_plain_protocol_has_no_compression_no_hello_and_no_owner() -> None:
    made = client()

    assert (None, None, ("", "")) == (made.window_bits, made.hello, made.owner)
    assert RealtimeSettings() == made.settings


def test_a_client_never_changes() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        client().last_version = "2"  # type: ignore[misc]  # this is what the test is about
