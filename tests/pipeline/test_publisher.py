"""The publisher: the results of each publication, and their receivers."""

import weakref

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from vortexd.core.model import Config, Files, Key, PropertySource, Tree
from vortexd.observe.publication import Publication
from vortexd.pipeline import publisher as module
from vortexd.pipeline import store
from vortexd.pipeline.state import State
from vortexd.pipeline.store import Staged
from vortexd.settings.formats import FormatSettings

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


async def test_what_is_parsed_again_after_a_reload_is_not_taken_over_from_before() -> None:
    whole = Wired()
    await whole.publisher.publish(tree(b"a: [1, 2, 3]"))
    former = whole.store.state
    await whole.publisher.parse_by(FormatSettings(nodes=1_000))

    assert isinstance(former, State)
    assert isinstance(whole.store.state, State)
    assert former.labels["main"] is not whole.store.state.labels["main"]
