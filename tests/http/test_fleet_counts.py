"""Facts about the counts of all workers of a node."""

from collections.abc import Callable

import pytest

from vortexd.core.model import Key
from vortexd.fleet import Fleet, Instance, make_ack
from vortexd.http.fleet_counts import FleetCounts
from vortexd.process.peers import Answers, Peers
from vortexd.settings.fleet import FleetSettings

A, B = Key("a", "prod", "main"), Key("b", "prod", "main")
NOW = 1e9


def fleet(*keys: Key) -> Fleet:
    made = Fleet(FleetSettings(), lambda _: "v1")
    for number, key in enumerate(keys):
        join(made, key, f"host:{number}")
    return made


def join(made: Fleet, key: Key, name: str) -> Instance:
    instance = Instance(key, f"id-{name}", "", name, NOW)
    made.join(instance, NOW)
    made.acknowledge(instance, key, make_ack("v1", "applied", None, NOW))
    return instance


class Workers(Peers):
    """Other workers, of which a test makes some silent."""

    are_there = True

    def __init__(self, *others: Fleet, now: Callable[[], float] = lambda: NOW) -> None:
        super().__init__()
        self.others = [Peers() for _ in others]
        for peers, other in zip(self.others, others, strict=True):
            FleetCounts(other, now, peers)
        self.silent: set[int] = set()
        self.answers: list[str] = []

    async def ask(self, name: str, text: str = "") -> Answers:
        texts = {
            str(number): peers._handlers[name](text)
            for number, peers in enumerate(self.others)
            if number not in self.silent
        }
        self.answers = list(texts.values())
        return Answers({**texts, "supervisor": ""}, missing=len(self.silent))


async def counted(counts: FleetCounts) -> dict[str, tuple[int, int]]:
    return {each.key.application: (each.connected, each.applied) for each in await counts.collect()}


async def test_one_process_counts_its_own_instances() -> None:
    made = fleet(A, A, B)
    counts = FleetCounts(made, lambda: NOW)
    assert {"a": (2, 2), "b": (1, 1)} == await counted(counts)

    join(made, B, "new")
    assert {"a": (2, 2), "b": (2, 2)} == await counted(counts)


async def test_counts_that_have_not_changed_are_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fleet(A)
    counts = FleetCounts(made, lambda: NOW)
    first = await counts.collect()
    monkeypatch.setattr(made, "counts", lambda keys: pytest.fail("it counts again"))

    assert await counts.collect() is first


async def test_counts_are_counted_again_if_another_roll_out_is_in_force() -> None:
    made = fleet(A)
    counts = FleetCounts(made, lambda: NOW)
    first = await counts.collect()
    made.recount()

    assert await counts.collect() is not first


async def test_many_keys_are_all_counted() -> None:
    keys = [Key(f"a{number}", "prod", "main") for number in range(1_200)]

    assert {(key, 1) for key in keys} == {
        (each.key, each.connected) for each in await FleetCounts(fleet(*keys), lambda: NOW).collect()
    }


async def test_the_workers_of_a_node_count_together() -> None:
    counts = FleetCounts(fleet(A), lambda: NOW, Workers(fleet(A, B), fleet(B)))

    assert {"a": (2, 2), "b": (2, 2)} == await counted(counts)


async def test_more_keys_than_a_page_has_are_merged() -> None:
    keys = [Key(f"a{number:04}", "prod", "main") for number in range(1_500)]
    found = await FleetCounts(fleet(*keys), lambda: NOW, Workers(fleet(*keys))).collect()

    assert keys == [each.key for each in found]
    assert {2} == {each.connected for each in found}


async def test_a_worker_answers_with_counts_only_if_they_have_changed() -> None:
    other = fleet(B)
    workers = Workers(other)
    counts = FleetCounts(fleet(A), lambda: NOW, workers)
    first = await counts.collect()
    assert await counts.collect() is first
    assert [""] == workers.answers

    join(other, B, "new")
    assert {"a": (1, 1), "b": (2, 2)} == await counted(counts)
    assert [""] != workers.answers


async def test_a_worker_that_does_not_answer_has_its_last_counts() -> None:
    workers = Workers(fleet(B))
    counts = FleetCounts(fleet(A), lambda: NOW, workers)
    await counts.collect()
    workers.silent = {0}

    assert {"a": (1, 1), "b": (1, 1)} == await counted(counts)


@pytest.mark.parametrize("is_other", [False, True])
async def test_instances_that_left_too_long_ago_are_forgotten(is_other: bool) -> None:
    made, now = fleet(), NOW
    made.leave(join(made, A, "x"), NOW)
    own, others = (fleet(), [made]) if is_other else (made, [])
    counts = FleetCounts(own, lambda: now, Workers(*others, now=lambda: now))
    assert ["a"] == list(await counted(counts))
    now += 1e9

    assert {} == await counted(counts)
