"""The broadcaster: one payload of each change, and one delivery for every subscriber of its key."""

import pytest

from tests.fakes import KEY, config
from vortexd.core.diff import patch_between
from vortexd.core.model import Change, Config, Key
from vortexd.core.patterns import parse_pattern
from vortexd.pipeline.broadcast import Broadcaster, Delivery, Subscriber
from vortexd.pipeline.encoder import Payload
from vortexd.pipeline.registry import Registry

OTHER = Key("billing", "dev", "main")
OLD, NEW = config(KEY, {"a": 1}), config(KEY, {"a": 2})


class Recorder:
    """A subscriber that keeps its deliveries."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def deliver(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)


class Broadcasting:
    """A broadcaster with its neighbours. Its clock is `now`. `events` has the calls in their order."""

    def __init__(self) -> None:
        self.registry: Registry[Subscriber] = Registry()
        self.now = 7.0
        self.looks = 0
        self.encoded: list[Change] = []
        self.events: list[str] = []
        self.broadcaster = Broadcaster(self.registry, self._encode, self._clock, self._changed)

    def _encode(self, change: Change) -> Payload:
        self.encoded.append(change)
        self.events.append(f"encode {change.key.application}")
        return Payload(f"payload {len(self.encoded)}".encode())

    def _clock(self) -> float:
        self.looks += 1
        return self.now

    def _changed(self, change: Change) -> None:
        self.events.append(f"change {change.key.application}")

    def subscriber(self, key: Key = KEY) -> Recorder:
        made = Recorder()
        self.registry.add(made, key)
        return made


def changed(old: Config | None, new: Config | None, *, has_patch: bool = True) -> Change:
    either = new or old
    assert either is not None
    return Change(either.key, old, new, patch_between(old, new) if old and new and has_patch else None)


@pytest.mark.parametrize(
    ("change", "old_version", "new_version", "kind"),
    [
        pytest.param(changed(OLD, NEW), OLD.version, NEW.version, "config_change", id="changed"),
        pytest.param(changed(OLD, NEW, has_patch=False), None, NEW.version, "config_snapshot", id="without a patch"),
        pytest.param(changed(None, NEW), None, NEW.version, "config_snapshot", id="begun"),
        pytest.param(changed(OLD, None), None, None, "config_removed", id="ended"),
    ],
)
def test_a_delivery_names_the_versions_of_its_change(
    change: Change, old_version: str | None, new_version: str | None, kind: str
) -> None:
    it = Broadcasting()
    receiver = it.subscriber()

    assert 1 == it.broadcaster.publish([change])
    (delivery,) = receiver.deliveries
    assert (KEY, old_version, new_version) == (delivery.key, delivery.old_version, delivery.new_version)
    assert (b"payload 1", 7.0, kind) == (delivery.payload, delivery.published, delivery.kind)


@pytest.mark.parametrize(
    ("old_version", "new_version", "kind"),
    [
        (None, None, "config_removed"),
        ("1", None, "config_removed"),
        (None, "1", "config_snapshot"),
        ("1", "1", "in_sync"),
        ("1", "2", "config_change"),
    ],
)
def test_the_versions_of_a_delivery_determine_its_type(
    old_version: str | None, new_version: str | None, kind: str
) -> None:
    delivery = Delivery(KEY, old_version, new_version, Payload(b""))

    assert (kind, None) == (delivery.kind, delivery.published)


def test_all_subscribers_of_a_key_share_one_delivery_that_is_encoded_once() -> None:
    it = Broadcasting()
    direct, both, by_pattern, other = it.subscriber(), it.subscriber(), Recorder(), it.subscriber(OTHER)
    it.registry.appear(KEY)
    it.registry.subscribe(both, parse_pattern("orders"))
    it.registry.subscribe(by_pattern, parse_pattern("ord*"))

    assert 3 == it.broadcaster.publish([changed(OLD, NEW)])
    (delivery,) = direct.deliveries
    assert [delivery] == both.deliveries == by_pattern.deliveries
    assert [] == other.deliveries
    assert 1 == len(it.encoded)


def test_a_publication_is_delivered_in_the_order_of_its_changes_and_at_one_time() -> None:
    it = Broadcasting()
    receiver = it.subscriber()
    it.registry.add(receiver, OTHER)
    changes = [changed(None, config(OTHER, {"b": 1})), changed(OLD, NEW)]

    assert 2 == it.broadcaster.publish(changes)
    assert [OTHER, KEY] == [each.key for each in receiver.deliveries]
    assert changes == it.encoded
    assert ["change billing", "encode billing", "change orders", "encode orders"] == it.events
    assert 1 == it.looks


def test_a_change_without_a_subscriber_is_reported_and_not_encoded_and_the_next_one_follows() -> None:
    it = Broadcasting()
    receiver = it.subscriber()

    assert 1 == it.broadcaster.publish([changed(None, config(OTHER, {"b": 1})), changed(OLD, NEW)])
    assert ["change billing", "change orders", "encode orders"] == it.events
    assert [KEY] == [each.key for each in receiver.deliveries]


def test_a_publication_without_changes_delivers_nothing() -> None:
    it = Broadcasting()
    receiver = it.subscriber()

    assert 0 == it.broadcaster.publish([])
    assert ([], []) == (receiver.deliveries, it.events)


def test_a_subscriber_may_leave_and_join_during_a_delivery() -> None:
    """A connection that can't take a delivery ends its subscription. A connection that wakes replaces itself."""
    it = Broadcasting()
    late = Recorder()

    class Leaving(Recorder):
        def deliver(self, delivery: Delivery) -> None:
            super().deliver(delivery)
            it.registry.discard(self, KEY)
            it.registry.add(late, KEY)

    leaving = Leaving()
    it.registry.add(leaving, KEY)
    last = it.subscriber()

    assert 2 == it.broadcaster.publish([changed(OLD, NEW)])
    assert (1, 0, 1) == (len(leaving.deliveries), len(late.deliveries), len(last.deliveries))
    assert 2 == it.broadcaster.publish([changed(NEW, OLD)])
    assert (1, 1, 2) == (len(leaving.deliveries), len(late.deliveries), len(last.deliveries))


def test_the_callback_for_changes_is_optional() -> None:
    registry: Registry[Subscriber] = Registry()
    receiver = Recorder()
    registry.add(receiver, KEY)
    broadcaster = Broadcaster(registry, lambda _: Payload(b"x"), lambda: 0.0)

    assert 1 == broadcaster.publish([changed(OLD, NEW)])
    assert [b"x"] == [each.payload for each in receiver.deliveries]


class Group(Recorder):
    """Several connections that are one subscriber."""

    def __len__(self) -> int:
        return 5


def test_a_group_gets_one_delivery_and_counts_as_all_of_its_connections() -> None:
    part = Broadcasting()
    group = Group()
    part.registry.add(group, KEY)
    single = part.subscriber()

    assert 5 + 1 == part.broadcaster.publish([changed(OLD, NEW)])
    [delivery] = group.deliveries
    assert [delivery] == single.deliveries


def test_the_changes_that_will_be_published_later_are_known_by_their_keys() -> None:
    broadcaster = Broadcasting().broadcaster
    third = Key("search", "dev", "main")
    changes = [
        Change(OTHER, None, config(OTHER, {"a": 1}), None),
        Change(KEY, OLD, NEW, None),
        Change(third, config(third, {}), None, None),
    ]
    keys = (OTHER, KEY, third, Key("unknown", "dev", "main"))
    found = []
    assert [None] * 4 == [broadcaster.postponed(key) for key in keys]
    for following in (0, 1, 2):
        broadcaster.postpone(changes, following)
        found.append([broadcaster.postponed(key) for key in keys])
    other = config(OTHER, {"a": 1}).version
    # A key that ends has no version to begin with.
    assert [[other, NEW.version, None, None], [None, NEW.version, None, None], [None] * 4] == found
    broadcaster.postpone([changes[0]], 0)
    assert [other, None, None, None] == [broadcaster.postponed(key) for key in keys]
    broadcaster.postpone((), 0)
    assert [None] * 4 == [broadcaster.postponed(key) for key in keys]
