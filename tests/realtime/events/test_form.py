import orjson
import pytest

from tests.fakes import KEY, TIMESTAMP
from vortexd.core.patterns import parse_pattern
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.encoder import Payload
from vortexd.protocol import messages
from vortexd.protocol.close import CloseReason
from vortexd.protocol.events import HEARTBEAT, LAST_CHUNK, chunk, event
from vortexd.realtime.events.cursor import Cursors
from vortexd.realtime.events.form import EventForm, owner_of_cursor
from vortexd.realtime.parked import Subscriptions
from vortexd.realtime.versions import Versions

from ..lot import FakeLot

CURSORS = Cursors(lambda: [b"s" * 32])
CHUNKED, PLAIN = EventForm(CURSORS, is_chunked=True), EventForm(CURSORS, is_chunked=False)
OLD, NEW = "0" * 16, "1" * 16


def delivery(old: str | None = OLD, new: str | None = NEW) -> Delivery:
    return Delivery(KEY, old, new, Payload(b'{"a":1}'))


def test_a_form_of_events_is_not_compressed() -> None:
    assert ("events", None) == (PLAIN.transport, PLAIN.window_bits)
    assert PLAIN.events is PLAIN


@pytest.mark.parametrize(
    ("old", "new", "kind", "name"),
    [
        (None, NEW, "config_snapshot", NEW),
        (OLD, NEW, "config_change", NEW),
        (NEW, NEW, "in_sync", NEW),
        (OLD, None, "config_removed", ""),
    ],
)
def test_the_event_of_a_delivery_has_its_type_and_the_version_after_it(
    old: str | None, new: str | None, kind: str, name: str
) -> None:
    made = delivery(old, new)

    assert event(made.payload, kind, name.encode()) == PLAIN.shared(made)
    assert chunk(PLAIN.shared(made)) == CHUNKED.shared(made)


def test_all_clients_of_a_form_share_the_bytes() -> None:
    made = delivery()

    for form in (PLAIN, CHUNKED):
        assert form.shared(made) is form.shared(made) is EventForm(CURSORS, is_chunked=form is CHUNKED).shared(made)


def test_a_message_for_one_client_has_no_id() -> None:
    text = messages.lagged(3, TIMESTAMP)

    assert event(text, "lagged") == PLAIN.message(text)
    assert chunk(event(text, "lagged")) == CHUNKED.message(text)


def test_a_heartbeat_is_a_comment() -> None:
    assert (HEARTBEAT, chunk(HEARTBEAT)) == (PLAIN.heartbeat(KEY, NEW, ""), CHUNKED.heartbeat(KEY, NEW, ""))


@pytest.mark.parametrize("reason", CloseReason)
def test_the_last_event_has_the_code_unless_the_end_was_announced(reason: CloseReason) -> None:
    last = CHUNKED.ending(reason)

    assert last.endswith(LAST_CHUNK)
    if reason in (CloseReason.DRAIN, CloseReason.BEHIND, CloseReason.CLIENT, CloseReason.LOST):
        assert (LAST_CHUNK, b"") == (last, PLAIN.ending(reason))
    else:
        said = orjson.dumps({"code": reason.code, "reason": reason.text})
        assert (chunk(event(said, "close")) + LAST_CHUNK, event(said, "close")) == (last, PLAIN.ending(reason))


def test_the_owner_of_a_cursor_is_the_token_or_anybody() -> None:
    assert ("digest", "ci") == owner_of_cursor(KEY, (), ("digest", "ci")).identity
    assert ("", "") == owner_of_cursor(KEY, (), ("", "192.0.2.1")).identity


def test_parked_clients_with_equal_versions_share_events_and_each_step_has_its_own_id() -> None:
    lot = FakeLot()
    more = Subscriptions((parse_pattern("o*"),), ("", "h"))
    one, two = (lot.add(OLD, form=CHUNKED, more=more) for _ in range(2))
    versions = Versions({KEY: OLD})
    for each in (one, two):
        each._versions = versions
    steps = [delivery(OLD, "2" * 16), delivery("2" * 16, NEW)]
    found = CHUNKED.for_parked(one, steps)

    assert found is CHUNKED.for_parked(two, steps)
    owner = owner_of_cursor(KEY, more.patterns, more.owner)
    for made, version in zip(found, ("2" * 16, NEW), strict=True):
        assert b"id: " + CURSORS.make(owner, {KEY: version}) + b"\n" in made
    assert found is not CHUNKED.for_parked(lot.add(NEW, form=CHUNKED, more=more), steps)
    assert {KEY: OLD} == one.versions


def test_events_of_many_cohorts_are_not_kept() -> None:
    lot = FakeLot()
    more = Subscriptions((parse_pattern("o*"),), ("", "h"))
    form = EventForm(CURSORS, is_chunked=True)
    steps = [delivery()]
    for _ in range(200):
        form.for_parked(lot.add(OLD, form=form, more=more), steps)
        assert len(form._cohorts) <= 64


def test_a_client_with_one_key_gets_the_shared_events() -> None:
    parked = FakeLot().add(OLD, form=PLAIN)
    made = delivery()

    assert [PLAIN.shared(made)] == PLAIN.for_parked(parked, [made])
