"""The publisher: the results of each publication, and their receivers."""

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from vortexd.aio.collector import MANY, Collector
from vortexd.core.errors import SourceError
from vortexd.core.model import Change, Config, Files, Key, PropertySource, Tree
from vortexd.core.patterns import parse_pattern
from vortexd.core.version import version_of
from vortexd.observe.publication import Publication
from vortexd.pipeline import publisher as module
from vortexd.pipeline import store
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.state import State
from vortexd.pipeline.store import Staged
from vortexd.settings.formats import FormatSettings
from vortexd.settings.history import HistorySettings

from ..fakes import FakePast
from ..wiring import Wired

SHOP = Key("shop", "dev", "main")


def tree(content: bytes) -> Tree:
    return Tree({"main": Files({"shop.yml": content}, root="file:/c/")}, "main")


async def test_the_served_state_has_all_that_was_published_with_it() -> None:
    whole, given = Wired(), tree(b"a: 1")
    assert whole.store.served is None
    await whole.publisher.publish(given)
    value = whole.store.served

    assert value is not None
    assert given is value.tree
    assert FormatSettings() == value.formats
    assert {"shop"} == {key.application for key in value.listing.keys}
    assert ({}, {}, frozenset()) == (value.failures, value.broken, value.empty_sources)


async def test_other_bounds_are_served_together_with_what_was_parsed_within_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, within = Wired(), FormatSettings(nodes=2)
    await whole.publisher.publish(tree(b"a: [1, 2, 3]"))
    commit, seen = whole.store.commit, []

    def committing(staged: Staged) -> object:
        seen.append((whole.reader.formats, len(whole.reader.broken)))
        return commit(staged)

    monkeypatch.setattr(whole.store, "commit", committing)
    await whole.publisher.parse_by(within)

    assert [(FormatSettings(), 0)] == seen
    assert (within, 1) == (whole.reader.formats, len(whole.reader.broken))


async def test_bounds_and_overrides_that_come_before_the_first_tree_are_those_of_its_publication() -> None:
    whole, within = Wired(), FormatSettings(nodes=20)
    with capture_logs() as logs:
        await whole.publisher.parse_by(within)
        await whole.publisher.resolve_by(None, PropertySource("o", {"b": 2}, {}))
    assert [] == logs
    assert whole.store.served is None
    await whole.publisher.publish(tree(b"a: 1"))

    assert within == whole.reader.formats
    assert {"a": 1, "b": 2} == (await whole.reader.read(SHOP)).document


async def test_a_publication_frees_the_answers_from_the_one_before() -> None:
    whole = Wired()
    await whole.publisher.publish(tree(b"a: 1"))
    await whole.reader.read(SHOP)
    answers = weakref.ref(whole.reader._answers)
    await whole.publisher.publish(tree(b"a: 2"))

    assert answers() is None


async def test_subscribers_get_a_change_once_the_new_state_is_in_force() -> None:
    """And `on_publication` is called last, when all of it is done."""
    order: list[str] = []
    whole = Wired(on_publication=lambda done: order.append(f"{done.changes} published"))

    class Subscribed:
        def deliver(self, delivery: object) -> None:
            config: Config | None = whole.key_usage.find(SHOP)
            order.append(f"delivered {config and config.document}")

    await whole.publisher.publish(tree(b"a: 1"))
    whole.pipeline.hold(SHOP)
    whole.registry.add(Subscribed(), SHOP)
    await whole.publisher.publish(tree(b"a: 2"))

    assert ["0 published", "delivered {'a': 2}", "1 published"] == order


async def test_last_good_content_that_is_found_later_changes_the_keys_that_read_it(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    """The tree is the same then. Only the content that was found tells it from the state before."""
    monkeypatch.setattr(module, "_AGAIN", 0.0)
    again = trio.Event()
    whole = Wired(on_publication=lambda done: again.set() if past.failure is None else None)
    past = FakePast({"shop.yml": [b"a: 7"]}, is_authoritative=True)
    past.failure = SourceError("the mirror is gone")
    await whole.publisher.publish(tree(b"a: 1"))
    whole.pipeline.hold(SHOP)
    with capture_logs():
        await whole.publisher.publish(Tree({"main": Files({"shop.yml": b"["}, root="file:/c/", past=past)}, "main"))
    past.failure = None
    nursery.start_soon(whole.publisher.run)
    with trio.fail_after(10):
        await again.wait()
    found = whole.key_usage.find(SHOP)

    assert found is not None
    assert {"a": 7} == found.document


async def test_the_clock_of_publications_never_runs_back() -> None:
    times = iter((5.0, 3.0, 9.0))
    whole, seen = Wired(now=lambda: next(times)), []
    for number in range(3):
        await whole.publisher.publish(tree(b"a: %d" % number))
        assert whole.store.state is not None
        seen.append(whole.store.state.published.seconds)

    assert [5.0, 5.0, 9.0] == seen


async def test_publications_are_one_after_the_other_and_each_counts_its_own_changes() -> None:
    done: list[Publication] = []
    whole = Wired(on_publication=done.append)
    await whole.publisher.publish(tree(b"a: 0"))
    whole.pipeline.hold(SHOP)
    async with trio.open_nursery() as nursery:
        for number in range(1, 4):
            nursery.start_soon(whole.publisher.publish, tree(b"a: %d" % number))

    assert [0, 1, 1, 1] == [each.changes for each in done]


@pytest.mark.parametrize("rounds", [0, 1, module._LATE_ROUNDS, module._LATE_ROUNDS + 1])
async def test_keys_that_come_into_use_while_others_are_staged_change_with_them(
    monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    """Those of the first rounds in a thread, and the rest by the commit."""
    whole, late = Wired(), [attrs.evolve(SHOP, profile=f"late{number}") for number in range(rounds)]
    await whole.publisher.publish(tree(b"a: 1"))
    whole.pipeline.hold(SHOP)
    waiting, stage, staged = iter(late), store.stage, 0

    def staging(*arguments: object) -> object:
        nonlocal staged
        staged += 1
        if (key := next(waiting, None)) is not None:
            trio.from_thread.run_sync(whole.pipeline.hold, key)
        return stage(*arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(module, "stage", staging)
    await whole.publisher.publish(tree(b"a: 2"))

    assert 1 + min(rounds, module._LATE_ROUNDS) == staged
    assert [{"a": 2}] * (rounds + 1) == [
        config.document for key in (SHOP, *late) if (config := whole.key_usage.find(key)) is not None
    ]


# Few keys are staged in the call of the thread that parses. Many are found by the store's index, and staged in another one.


def several(**files: bytes) -> Tree:
    return Tree({"main": Files({f"{name}.yml": each for name, each in files.items()}, root="file:/c/")}, "main")


@pytest.mark.parametrize(("count", "calls"), [(2, ["_parsed"]), (3, ["_parsed", "stage"])])
async def test_few_keys_are_staged_in_the_call_that_parses(
    monkeypatch: pytest.MonkeyPatch, count: int, calls: list[str]
) -> None:
    monkeypatch.setattr(module, "_FEW_KEYS", 2)
    whole, made = Wired(), []
    await whole.publisher.publish(tree(b"a: 1"))
    for number in range(count):
        whole.pipeline.hold(attrs.evolve(SHOP, profile=f"p{number}"))
    run_sync = trio.to_thread.run_sync

    async def noting(function: Callable[..., object], *arguments: object, **more: Any) -> object:
        made.append(function.__name__)
        return await run_sync(function, *arguments, **more)

    monkeypatch.setattr(trio.to_thread, "run_sync", noting)
    await whole.publisher.publish(tree(b"a: 2"))

    assert calls == made
    assert [{"a": 2}] * count == [each.document for each in whole.store.configs().values() if each is not None]


async def test_few_keys_and_many_keys_are_published_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await published(monkeypatch, 0) == await published(monkeypatch, 64)


async def published(monkeypatch: pytest.MonkeyPatch, few: int) -> list[object]:
    """What a subscriber gets, and what is served, in the course of many publications."""
    monkeypatch.setattr(module, "_FEW_KEYS", few)
    found: list[object] = []
    whole = Wired(on_publication=lambda done: found.append((done.changes, done.deliveries)))

    class Subscribed:
        def deliver(self, delivery: Delivery) -> None:
            found.append((delivery.key, delivery.old_version, delivery.new_version, bytes(delivery.payload)))

    await whole.publisher.publish(several(shop=b"a: 1", cart=b"b: 1", application=b"c: 1"))
    whole.pipeline.hold(SHOP)
    whole.pipeline.hold(attrs.evolve(SHOP, label="main,main"))
    subscriber = Subscribed()
    whole.registry.add(subscriber, SHOP)
    await whole.pipeline.subscribe(subscriber, [parse_pattern("*:*:*")], 100)
    steps: list[dict[str, bytes]] = [
        {"shop": b"a: 2", "cart": b"b: 1", "application": b"c: 1"},
        {"shop": b"a: 2", "cart": b"b: 2", "application": b"c: 2"},
        # A new application, which the pattern matches, together with a change.
        {"shop": b"a: 3", "cart": b"b: 2", "application": b"c: 2", "mail": b"d: 1"},
        # Broken, with its former content in its place, and then sound with the same content.
        {"shop": b"a: {", "cart": b"b: 2", "application": b"c: 2", "mail": b"d: 1"},
        {"shop": b"a: 3", "cart": b"b: 2", "application": b"c: 2", "mail": b"d: 2"},
        # Files that can't be combined, which keeps the key unsettled, and its recovery.
        {"shop": b"a[0]: 1\na[5000000]: 2", "cart": b"b: 2", "application": b"c: 2", "mail": b"d: 2"},
        {"shop": b"a[0]: 1\na[5000000]: 2", "cart": b"b: 3", "application": b"c: 2", "mail": b"d: 2"},
        {"shop": b"a: 4", "cart": b"b: 3", "application": b"c: 3", "mail": b"d: 2"},
        # An application that ends.
        {"shop": b"a: 4", "application": b"c: 3", "mail": b"d: 3"},
        {"shop": b"a: 4", "application": b"c: 3", "mail": b"d: 3"},
    ]
    for number, files in enumerate(steps):
        if number == 7:
            await whole.publisher.resolve_by(None, PropertySource("o", {"e": 2}, {}))
            await whole.publisher.parse_by(FormatSettings(nodes=1_000))
        with capture_logs() as logs:
            await whole.publisher.publish(several(**files))
        served = whole.store.served
        assert served is not None
        found += [logs, dict(served.failures), dict(served.broken), served.listing.keys]
        found += [(key, each.version, each.body) for key, each in whole.store.configs().items() if each is not None]
    assert any(failures for failures in found if isinstance(failures, dict))
    return found


async def test_after_a_reload_that_was_cancelled_few_keys_are_all_resolved_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, stage, scope = Wired(), store.stage, trio.CancelScope()
    await whole.publisher.publish(tree(b"a: 1"))
    whole.pipeline.hold(SHOP)

    def staging(*arguments: Any) -> Staged:
        trio.from_thread.run_sync(scope.cancel)
        return stage(*arguments)

    with monkeypatch.context() as patched, scope:
        patched.setattr(module, "stage", staging)
        await whole.publisher.resolve_by(None, PropertySource("o", {"b": 2}, {}))
    assert scope.cancelled_caught
    await whole.publisher.publish(tree(b"a: 1"))

    assert {"a": 1, "b": 2} == (await whole.reader.read(SHOP)).document


async def test_the_phases_are_told_apart_even_if_one_call_does_both(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Publication] = []
    whole, counter, stage = Wired(on_publication=done.append), 0.0, store.stage
    await whole.publisher.publish(tree(b"a: 1"))
    whole.pipeline.hold(SHOP)

    def staging(*arguments: Any) -> Staged:
        nonlocal counter
        counter += 10.0
        return stage(*arguments)

    monkeypatch.setattr(module, "stage", staging)
    monkeypatch.setattr(time, "perf_counter", lambda: counter)
    await whole.publisher.publish(tree(b"a: 2"))

    assert (0.0, 10.0, 0.0) == tuple(done[-1].phases[name] for name in ("parse", "resolve", "broadcast"))


async def test_what_is_parsed_again_after_a_reload_is_not_taken_over_from_before() -> None:
    whole = Wired()
    await whole.publisher.publish(tree(b"a: [1, 2, 3]"))
    former = whole.store.state
    await whole.publisher.parse_by(FormatSettings(nodes=1_000))

    assert isinstance(former, State)
    assert isinstance(whole.store.state, State)
    assert former.labels["main"] is not whole.store.state.labels["main"]


# Publications of many changes.


class Many:
    """A pipeline with many keys in use, and a subscriber of all of them that notes what it gets."""

    def __init__(self, keys: int) -> None:
        self.whole = Wired()
        self.keys = [Key(f"app{number}", "dev", "main") for number in range(keys)]
        self.deliveries: list[Delivery] = []

    def deliver(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    async def begin(self) -> None:
        await self.publish(0)
        for key in self.keys:
            self.whole.pipeline.hold(key)
            self.whole.registry.add(self, key)

    async def publish(self, number: int) -> None:
        await self.whole.publisher.publish(Tree({"main": Files({"application.yml": b"a: %d" % number})}))

    async def while_broadcasting(self, nursery: trio.Nursery, number: int) -> None:
        """Begin a publication, and wait until its first changes were broadcast."""
        nursery.start_soon(self.publish, number)
        while not self.deliveries:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("steps", [1, 2, 9])
async def test_other_tasks_run_between_the_changes_of_a_large_publication(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change and each delivery counts. A small publication is one step."""
    monkeypatch.setattr(module, "_DELIVERIES_AT_ONCE", 4)
    many = Many(2 * steps)
    await many.begin()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(many.publish, 1)
        seen = []
        while len(many.deliveries) < len(many.keys):
            seen.append(len(many.deliveries))
            documents = [config.document for key in many.keys if (config := many.whole.key_usage.find(key))]
            # The commit itself is one step.
            assert documents == [{"a": int(bool(many.deliveries))}] * len(many.keys)
            await trio.lowlevel.checkpoint()

    # Trio runs the tasks of a round in any order, so a step may be missed here.
    assert all(each % 2 == 0 and each - former <= 4 for former, each in pairwise((0, *seen, len(many.keys))))
    assert many.keys == [each.key for each in many.deliveries]


@pytest.mark.parametrize("ending", [2, 3])
async def test_a_key_that_ends_while_others_are_broadcast_does_not_change_afterwards(
    ending: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is the first of the next step or not."""
    monkeypatch.setattr(module, "_DELIVERIES_AT_ONCE", 4)
    many = Many(4)
    many.whole = Wired(HistorySettings(idle_keys=0))
    await many.begin()

    class Ending:
        def deliver(self, delivery: Delivery) -> None:
            """Is called in the first step."""
            nursery.start_soon(end)

    async def end() -> None:
        many.whole.pipeline.release(many.keys[ending])

    # It must run before the next step, and Trio runs the tasks of a round in any order.
    checkpoint = trio.lowlevel.cancel_shielded_checkpoint

    async def later() -> None:
        for _ in range(3):
            await checkpoint()

    monkeypatch.setattr(trio.lowlevel, "cancel_shielded_checkpoint", later)
    many.whole.registry.add(Ending(), many.keys[0])
    async with trio.open_nursery() as nursery:
        await many.publish(1)

    changes = [(key, "config_change") for key in many.keys if key != many.keys[ending]]
    assert sorted([*changes, (many.keys[ending], "config_removed")]) == sorted(
        (each.key, each.kind) for each in many.deliveries
    )


async def test_between_the_steps_the_changes_that_are_not_broadcast_yet_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_DELIVERIES_AT_ONCE", 4)
    many = Many(6)
    await many.begin()
    seen: list[list[str | None]] = []
    checkpoint = trio.lowlevel.cancel_shielded_checkpoint

    async def noting() -> None:
        if many.deliveries:
            seen.append([many.whole.pipeline.postponed(key) for key in many.keys])
        await checkpoint()

    monkeypatch.setattr(trio.lowlevel, "cancel_shielded_checkpoint", noting)
    await many.publish(1)
    new = many.deliveries[0].new_version

    assert [[None] * 2 + [new] * 4, [None] * 4 + [new] * 2] == [each for each in seen if any(each)]
    assert [None] * 6 == [many.whole.pipeline.postponed(key) for key in many.keys]


async def test_nothing_cancels_a_publication_between_its_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DELIVERIES_AT_ONCE", 1)
    many = Many(3)
    await many.begin()
    async with trio.open_nursery() as nursery:
        await many.while_broadcasting(nursery, 1)
        nursery.cancel_scope.cancel()

    assert many.keys == [each.key for each in many.deliveries]


async def test_the_next_publication_begins_after_the_last_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DELIVERIES_AT_ONCE", 1)
    many = Many(3)
    await many.begin()
    async with trio.open_nursery() as nursery:
        await many.while_broadcasting(nursery, 1)
        nursery.start_soon(many.publish, 2)

    one, two = version_of(b'{"a":1}'), version_of(b'{"a":2}')
    assert [one] * 3 + [two] * 3 == [each.new_version for each in many.deliveries]


async def test_the_deliveries_of_all_steps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DELIVERIES_AT_ONCE", 2)
    done: list[Publication] = []
    many = Many(5)
    many.whole = Wired(on_publication=done.append)
    await many.begin()
    await many.publish(1)

    assert (5, 5) == (done[-1].changes, done[-1].deliveries)


@pytest.mark.parametrize("content", [b"a: 1", b"a: 0 # the same"])
async def test_a_publication_leaves_nothing_pending(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the documents change or not. Other tasks run in between, and nothing cancels it."""
    monkeypatch.setattr(store, "_APPLIED_AT_ONCE", 1)
    many = Many(4)
    await many.begin()
    steps: list[int] = []
    apply, checkpoint = many.whole.store.apply, trio.lowlevel.cancel_shielded_checkpoint

    def applying() -> bool:
        steps.append(0)
        return apply()

    async def noting() -> None:
        steps.append(1)
        await checkpoint()

    monkeypatch.setattr(many.whole.store, "apply", applying)
    monkeypatch.setattr(trio.lowlevel, "cancel_shielded_checkpoint", noting)
    with trio.CancelScope() as scope:

        def committed() -> None:
            scope.cancel()
            # Trio itself has made such steps for the threads.
            steps.clear()

        monkeypatch.setattr(many.whole.reader, "drop_old_answers", committed)
        await many.whole.publisher.publish(Tree({"main": Files({"application.yml": content})}))

    assert [0, 1, 0, 1, 0, 1, 0] == steps
    assert not many.whole.store._pending


class Pauses(Collector):
    """Notes how many configurations each pause is for, and how many deliveries there were at its end."""

    def __init__(self, count: Callable[[], int]) -> None:
        super().__init__()
        self.counts: list[tuple[int, int]] = []
        self.brief: list[int] = []
        self._count = count

    @contextmanager
    def paused(self, count: int = MANY) -> Iterator[None]:
        yield
        self.counts.append((count, self._count()))

    @contextmanager
    def briefly_paused(self, count: int = MANY) -> Iterator[None]:
        yield
        self.brief.append(count)


async def test_the_collector_pauses_while_keys_are_resolved_and_broadcast() -> None:
    many = Many(3)
    pauses = Pauses(lambda: len(many.deliveries))
    many.whole = Wired(collector=pauses)
    await many.begin()
    # The first state counts by the keys that its files name.
    existing = many.whole.store.served
    assert existing is not None
    assert [(len(existing.listing.keys), 0)] == pauses.counts
    await many.publish(1)
    await many.whole.publisher.resolve_by(None, PropertySource("o", {"b": 2}, {}))

    assert [(3, 3), (3, 6)] == pauses.counts[1:]


@pytest.mark.parametrize("is_new_tree", [True, False])
async def test_former_configurations_are_freed_before_the_pause_ends(
    is_new_tree: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end returns their memory to the system."""

    async def run_sync(function: Callable[..., object], *arguments: object, **options: object) -> object:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    # A thread may keep its result for some moments, until it gets the interpreter lock once more.
    monkeypatch.setattr("vortexd.aio.threads.run_sync", run_sync)
    # Trio keeps the result of a task's last step until its next one.
    monkeypatch.setattr(module, "_DELIVERIES_AT_ONCE", 1)
    many = Many(3)
    formers: list[weakref.ref[Config]] = []
    alive: list[int] = []

    def count() -> int:
        alive.append(sum(former() is not None for former in formers))
        return 0

    many.whole = Wired(collector=Pauses(count))
    await many.begin()
    formers += [weakref.ref(config) for key in many.keys if (config := many.whole.store.find(key)) is not None]
    config = None
    if is_new_tree:
        await many.publish(1)
    else:
        await many.whole.publisher.resolve_by(None, PropertySource("o", {"b": 2}, {}))

    assert 3 == len(formers)
    assert [0, 0] == alive


@pytest.mark.parametrize(("count", "steps"), [(0, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
async def test_many_changes_are_freed_in_steps(count: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing cancels it, and the last step doesn't wait."""
    monkeypatch.setattr(module, "_FREED_AT_ONCE", 2)
    changes = [Change(SHOP, None, None) for _ in range(count)]
    left: list[int] = []
    checkpoint = trio.lowlevel.cancel_shielded_checkpoint

    async def noting() -> None:
        left.append(len(changes))
        await checkpoint()

    monkeypatch.setattr(trio.lowlevel, "cancel_shielded_checkpoint", noting)
    with trio.CancelScope() as scope:
        scope.cancel()
        await module._freed(changes)

    assert [] == changes
    assert [count - 2 * step for step in range(1, steps)] == left
    assert not scope.cancelled_caught


async def test_a_subscription_briefly_pauses_the_collector_for_the_keys_that_it_resolves() -> None:
    pauses = Pauses(lambda: 0)
    whole = Wired(collector=pauses)
    await whole.publisher.publish(Tree({"main": Files({f"{name}.yml": b"a: 1" for name in "xyz"})}))
    pauses.counts.clear()
    many = Many(0)
    await whole.pipeline.subscribe(many, [parse_pattern("x"), parse_pattern("y")], 10)
    await whole.pipeline.subscribe(many, [parse_pattern("*")], 10)

    assert ([2, 1], []) == (pauses.brief, pauses.counts)
