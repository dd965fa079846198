"""The served state: one immutable value, which the commit replaces as a whole."""

import attrs
import pytest
import trio

from vortexd.core.model import BrokenFile, Config, Files, Key, Tree
from vortexd.core.patterns import parse_pattern
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.served import ServedState
from vortexd.pipeline.state import State
from vortexd.resolve.listing import list_keys
from vortexd.resolve.tree import parse_tree
from vortexd.settings.formats import FormatSettings

from ..wiring import Wired

SHOP = Key("shop", "dev", "main")
EXTRA = b"spring.profiles.include: x"


def tree(**contents: bytes) -> Tree:
    return Tree({"main": Files({f"{name}.yml": content for name, content in contents.items()}, root="file:/c/")})


def served(files: Tree) -> ServedState:
    parsed = parse_tree(files, FormatSettings())
    return ServedState(files, State(parsed.labels, parsed.default_label), list_keys(parsed), FormatSettings())


def test_a_served_state_never_changes() -> None:
    value = served(tree(shop=b"a: 1"))

    for field in attrs.fields(ServedState):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field.name, None)


def test_it_names_the_broken_files_and_the_sources_without_any() -> None:
    value = served(Tree({"main": Files({"shop.yml": b"a: ["}, root="file:/c/"), "next": Files({}, root="file:/d/")}))

    assert [("main", "shop.yml")] == list(value.broken)
    assert frozenset({"file:/d/"}) == value.empty_sources
    assert value.state.labels is value.parsed.labels
    assert "main" == value.parsed.default_label


def test_it_knows_whether_a_file_that_was_broken_is_there() -> None:
    [broken] = served(tree(shop=b"a: [")).broken.values()
    other_root = attrs.evolve(broken, root="file:/other/")
    other_label = attrs.evolve(broken, label="next")

    def found(files: Tree, each: BrokenFile = broken) -> bool:
        return served(files).has_file(each)

    assert [True, False] == [found(tree(shop=b"a: 1")), found(tree(cart=b"a: 1"))]
    assert [False, False] == [found(tree(shop=b"a: 1"), each) for each in (other_root, other_label)]


class Looking:
    """A subscriber that looks at what is served whenever it is handed something."""

    def __init__(self, whole: Wired) -> None:
        self.whole = whole
        self.seen: list[tuple[object, ...]] = []

    def deliver(self, delivery: Delivery) -> None:
        self.seen.append(look(self.whole))


def look(whole: Wired) -> tuple[object, ...]:
    """What a reader sees of one publication: its document, what exists, what fails, what is broken, the label."""
    reader, value = whole.reader, whole.store.served
    config: Config | None = whole.key_usage.find(SHOP)
    return (
        config.document.get("a") if config is not None else None,
        reader.names_in("main").applications & {"one", "two", "three"},
        type(reader.fault_of(SHOP)).__name__,
        sorted(path for _, path in reader.broken),
        sorted(value.tree.labels["main"].contents) if value is not None else None,
    )


PUBLICATIONS = [
    tree(shop=b"a: 1", one=b"x: 1"),
    tree(shop=b"a: 2", two=b"x: 1", cart=b"b: ["),
    # The key can't be resolved any more, and keeps what it has.
    tree(shop=b"a: 3", three=b"x: 1", **{"shop-dev": EXTRA}),
    tree(shop=b"a: 4", one=b"x: 1"),
]
EXPECTED: list[tuple[object, ...]] = [
    (1, {"one"}, "NoneType", [], ["one.yml", "shop.yml"]),
    (2, {"two"}, "NoneType", ["cart.yml"], ["cart.yml", "shop.yml", "two.yml"]),
    (2, {"three"}, "ResolveError", [], ["shop-dev.yml", "shop.yml", "three.yml"]),
    (4, {"one"}, "NoneType", [], ["one.yml", "shop.yml"]),
]


async def test_a_reader_never_sees_parts_of_two_publications() -> None:
    """Another task looks at every step of the loop, and a subscriber within the commit."""
    whole = Wired()
    seen: list[tuple[object, ...]] = []

    async def watch() -> None:
        while True:
            if not seen or seen[-1] != look(whole):
                seen.append(look(whole))
            await trio.lowlevel.checkpoint()

    await whole.publisher.publish(PUBLICATIONS[0])
    whole.pipeline.hold(SHOP)
    subscriber = Looking(whole)
    whole.registry.add(subscriber, SHOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.lowlevel.checkpoint()
        for each in PUBLICATIONS[1:]:
            await whole.publisher.publish(each)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert EXPECTED == seen
    assert [EXPECTED[1], EXPECTED[3]] == subscriber.seen


async def test_the_end_of_a_key_is_delivered_before_the_new_state_is_in_force() -> None:
    whole = Wired()
    await whole.publisher.publish(PUBLICATIONS[0])
    before = whole.store.served
    seen: list[object] = []

    class Ends:
        def deliver(self, delivery: Delivery) -> None:
            seen.append((delivery.kind, whole.store.served is before))

    await whole.pipeline.subscribe(Ends(), [parse_pattern("one")], 10)
    await whole.publisher.publish(PUBLICATIONS[1])

    assert ("config_removed", True) in seen


async def test_what_is_cancelled_before_its_commit_changes_nothing() -> None:
    whole = Wired()
    await whole.publisher.publish(PUBLICATIONS[0])
    whole.pipeline.hold(SHOP)
    before, sight = whole.store.served, look(whole)
    with trio.CancelScope() as scope:
        scope.cancel()
        await whole.publisher.publish(PUBLICATIONS[1])

    assert before is whole.store.served
    assert sight == look(whole)


async def test_other_keys_of_encryption_leave_the_listing_and_the_tree_as_they_are() -> None:
    whole = Wired()
    await whole.publisher.publish(PUBLICATIONS[1])
    before = whole.store.served
    await whole.publisher.resolve_by(None)
    after = whole.store.served

    assert before is not None
    assert after is not None
    assert before.state is not after.state
    assert (before.tree, before.listing, before.broken) == (after.tree, after.listing, after.broken)


async def test_a_key_that_came_into_use_during_the_staging_is_among_the_failures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Wired()
    await whole.publisher.publish(PUBLICATIONS[0])
    commit, late = whole.store.commit, attrs.evolve(SHOP, profile="dev,prod")

    def committing(staged: object) -> object:
        whole.pipeline.hold(late)
        return commit(staged)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(whole.store, "commit", committing)
    await whole.publisher.publish(PUBLICATIONS[2])

    assert whole.store.served is not None
    assert [late] == list(whole.store.served.failures)
    assert "ResolveError" == type(whole.reader.fault_of(late)).__name__
