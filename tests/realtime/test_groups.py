"""Groups of parked connections: each key has one subscriber for all of its connections with a single key."""

from collections.abc import Collection
from typing import Any, cast

import pytest

from tests.fakes import KEY
from vortexd.core.model import Key
from vortexd.pipeline.broadcast import Delivery, Subscriber
from vortexd.pipeline.encoder import Payload
from vortexd.pipeline.registry import Registry
from vortexd.realtime.groups import Groups
from vortexd.realtime.parked import Parked

from .test_outgoing import parked

OTHER = Key("billing", "dev", "main")
DELIVERY = Delivery(KEY, "1", "2", Payload(b"{}"))


class Queue:
    def __init__(self) -> None:
        self.found: list[tuple[list[Parked], Delivery]] = []

    def put_all(self, members: Collection[Parked], delivery: Delivery) -> None:
        self.found.append((list(members), delivery))


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def registry() -> Registry[Subscriber]:
    return Registry()


@pytest.fixture
def groups(registry: Registry[Subscriber], queue: Queue) -> Groups:
    return Groups(registry, queue)


def at(key: Key) -> Parked:
    made = parked()
    made.key = key
    return made


def test_the_connections_of_a_key_are_one_subscriber(
    groups: Groups, registry: Registry[Subscriber], queue: Queue
) -> None:
    members = [parked(), parked(), at(OTHER)]
    for each in members:
        groups.add(each)
    groups.add(members[0])
    [group] = registry.subscribers(KEY)
    group.deliver(DELIVERY)

    assert 2 == len(cast(Any, group))
    assert [(members[:2], DELIVERY)] == queue.found
    assert 1 == len(registry.subscribers(OTHER))


def test_a_group_ends_with_its_last_connection_and_may_begin_again(
    groups: Groups, registry: Registry[Subscriber], queue: Queue
) -> None:
    one, other = parked(), parked()
    groups.add(one)
    groups.add(other)
    groups.discard(one)
    assert registry.is_wanted(KEY)
    groups.discard(other)
    assert not registry.is_wanted(KEY)
    groups.add(one)
    [group] = registry.subscribers(KEY)
    group.deliver(DELIVERY)

    assert [([one], DELIVERY)] == queue.found


def test_a_connection_with_several_keys_is_a_subscriber_of_its_own(
    groups: Groups, registry: Registry[Subscriber]
) -> None:
    several = parked(has_patterns=True)
    groups.add(several)
    assert [several] == list(registry.subscribers(KEY))
    groups.discard(several)
    assert not registry.is_wanted(KEY)
