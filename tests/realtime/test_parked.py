"""A parked connection without its parking lot."""

import gc

import attrs
import pytest

from tests.fakes import KEY, open_gate
from vortexd.auth import Admission, Kind, Principal
from vortexd.core.model import Key
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.fleet import Instance
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.encoder import Payload
from vortexd.realtime.forms import web_socket_form
from vortexd.realtime.parked import Parked, SharedSubscriptions, Subscriptions
from vortexd.realtime.versions import Versions
from vortexd.settings.realtime import RealtimeSettings

OTHER = Key("billing", "dev", "main")


class RecordingQueue:
    """A queue that keeps what a connection puts into it."""

    def __init__(self) -> None:
        self.entries: list[tuple[Parked, Delivery]] = []

    def put(self, parked: Parked, delivery: Delivery) -> None:
        self.entries.append((parked, delivery))


def parked(
    queue: RecordingQueue | None = None,
    versions: str | Versions | None = "1",
    more: Subscriptions | None = None,
) -> Parked:
    admission = Admission(open_gate(), Principal("ci", Kind.TOKEN, ()))
    return Parked(
        queue or RecordingQueue(),
        *(
            5,
            KEY,
            versions,
            admission,
            web_socket_form(12),
            Instance(KEY, "c1", "h", None, 3.0),
            30.0,
            RealtimeSettings(),
            more,
        ),
    )


def test_a_delivery_is_put_into_the_queue_with_its_connection_and_changes_nothing_else() -> None:
    queue = RecordingQueue()
    connection = parked(queue)
    deliveries = [Delivery(KEY, "1", "2", Payload(b"x")), Delivery(OTHER, None, None, Payload(b"y"))]
    for each in deliveries:
        connection.deliver(each)

    assert [(connection, each) for each in deliveries] == queue.entries
    assert "1" == connection.version


def test_a_connection_is_its_own_chain() -> None:
    connection = parked()
    assert ({KEY: "1"}, "1") == (connection.versions, connection.version)
    connection.extend(Delivery(KEY, "1", "2", Payload(b"x")))

    assert ({KEY: "2"}, "2") == (connection.versions, connection.version)
    several = parked(versions=Versions({KEY: "1", OTHER: "7"}))
    assert ("1", "7") == (several.version, several.had(OTHER))


def test_a_connection_keeps_what_its_return_needs_and_waits_for_no_pong_at_first() -> None:
    connection = parked()

    assert (5, 12, 30.0, None) == (connection.fd, connection.form.window_bits, connection.next_ping, connection.pinged)
    assert ("ci", "c1") == (connection.admission.name, connection.instance.connection)
    assert RealtimeSettings() == connection.settings


def test_a_connection_without_subscriptions_has_no_patterns() -> None:
    patterns: tuple[Pattern, ...] = (parse_pattern("billing"), parse_pattern("s*"))
    subscribed = parked(more=Subscriptions(patterns, ("token", "ci")))

    assert () == parked().patterns
    assert patterns == subscribed.patterns
    assert subscribed.more is not None
    assert ("token", "ci") == subscribed.more.owner
    # Other connections may share them.
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        subscribed.more.patterns = ()  # type: ignore[misc]


def test_subscriptions_are_shared_by_owner_and_patterns_while_one_is_in_use() -> None:
    shared, patterns = SharedSubscriptions(), (parse_pattern("billing"),)
    one = shared.get(patterns, ("token", "ci"))

    assert one is shared.get((parse_pattern("billing:*"),), ("token", "ci"))
    others = [shared.get(patterns, ("token", "other")), shared.get((), ("token", "ci"))]
    assert all(each is not one for each in others)
    assert [("token", "other"), ("token", "ci")] == [each.owner for each in others]
    assert 3 == len(shared)
    del one, others
    gc.collect()
    assert 0 == len(shared)


def test_first_patterns_come_with_the_versions_of_their_keys() -> None:
    connection = parked()
    more = Subscriptions((parse_pattern("billing"),), ("token", "ci"))
    connection.subscribe(more, Versions({KEY: "1", OTHER: "7"}))

    assert (more, more.patterns) == (connection.more, connection.patterns)
    assert {KEY: "1", OTHER: "7"} == connection.versions
    connection.extend_all([Delivery(OTHER, "7", "8", Payload(b"x")), Delivery(KEY, "1", "2", Payload(b"y"))])
    assert {KEY: "2", OTHER: "8"} == connection.versions


def test_a_chain_of_one_key_is_extended_by_several_frames() -> None:
    connection = parked()
    connection.extend_all([Delivery(KEY, "1", "2", Payload(b"x")), Delivery(KEY, "2", "3", Payload(b"y"))])

    assert "3" == connection.version


def test_connections_are_compared_by_identity_so_that_they_serve_as_keys() -> None:
    one, other = parked(), parked()

    assert one != other
    assert 2 == len(dict.fromkeys((one, other, one)))


def test_a_connection_has_no_dictionary_of_attributes() -> None:
    """Thousands of them fit into memory, because each has only its slots."""
    assert not hasattr(parked(), "__dict__")
    assert not hasattr(Subscriptions((), ("", "")), "__dict__")
