"""The usage of keys: for any order of calls, the store, the registry and the usage agree."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vortexd.core.errors import UnknownLabel
from vortexd.core.model import Change, Files, Key, Tree
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.pipeline import key_usage as module
from vortexd.pipeline.key_usage import KeyUsage
from vortexd.pipeline.registry import Registry
from vortexd.pipeline.state import State
from vortexd.pipeline.store import Store, stage
from vortexd.resolve.tree import parse_tree
from vortexd.settings.formats import FormatSettings
from vortexd.settings.history import HistorySettings

from ..wiring import served_state

A, B, C = (Key(name, "dev", "main") for name in "abc")
# A key that a listing may name and that no state can resolve.
UNKNOWN = Key("a", "dev", "gone")
KEYS = (A, B, C, UNKNOWN)
PATTERNS = tuple(map(parse_pattern, ("a", "b:dev:main", "*:*:main", "*")))


class Used:
    """The three parts, and what they broadcast."""

    def __init__(self, idle_keys: int = 10) -> None:
        history = HistorySettings(idle_keys=idle_keys)
        self.store = Store(history)
        self.registry: Registry[str] = Registry()
        self.usage: KeyUsage[str] = KeyUsage(self.store, self.registry, history)
        self.changes: list[Change] = []
        self.publish()

    def publish(self) -> None:
        tree = Tree({"main": Files({"application.yml": b"x: 1"})})
        parsed = parse_tree(tree, FormatSettings())
        self.store.commit(stage(served_state(State(parsed.labels, "main")), self.store.configs()))

    def broadcast(self, changes: Iterable[Change]) -> int:
        """Note changes, and count those who are found at that moment as the broadcaster does."""
        changes = list(changes)
        self.changes += changes
        return sum(len(self.registry.subscribers(change.key)) for change in changes)

    def taken(self) -> list[tuple[Key, str]]:
        """The beginnings and ends since the last time."""
        taken = [(change.key, "end" if change.new is None else "begin") for change in self.changes]
        self.changes.clear()
        return taken

    def hold(self, key: Key) -> None:
        self.usage.hold(key, self.broadcast)

    def release(self, key: Key) -> None:
        self.usage.release(key, self.broadcast)

    def subscribe(self, subscriber: str, *patterns: Pattern) -> list[Key]:
        return list(self.usage.subscribe(subscriber, patterns, {}))

    def unsubscribe(self, subscriber: str, *patterns: Pattern) -> None:
        self.usage.unsubscribe(subscriber, patterns)

    def update(self, *existing: Key) -> int:
        return self.usage.update(frozenset(existing), self.broadcast)


class Model:
    """What has to be true, from the causes alone."""

    def __init__(self) -> None:
        self.mains: Counter[Key] = Counter()
        self.existing: frozenset[Key] = frozenset()
        self.wanted: dict[Pattern, set[str]] = {pattern: set() for pattern in PATTERNS}

    @property
    def known(self) -> set[Key]:
        return {*self.existing, *(+self.mains)}

    def subscribers(self, key: Key) -> set[str]:
        if key not in self.known:
            return set()
        return {each for pattern, members in self.wanted.items() if pattern.matches(key) for each in members}

    @property
    def used(self) -> set[Key]:
        return {*(+self.mains), *(key for key in self.known if self.subscribers(key))}


def check(used: Used, model: Model, idle_keys: int) -> None:
    assert model.known == set(used.registry)
    assert model.known == {key for key in KEYS if used.usage.is_known(key)}
    assert model.used == {key for key in KEYS if used.usage.is_used(key)}
    assert model.used <= set(used.store)
    assert len(set(used.store) - model.used) <= idle_keys
    for key in KEYS:
        assert used.usage.find(key) is (used.store.find(key) if key in model.used else None)
    for key in KEYS:
        assert model.subscribers(key) == set(used.registry.subscribers(key))


operations = st.one_of(
    st.tuples(st.just("hold"), st.sampled_from(KEYS)),
    st.tuples(st.just("release"), st.sampled_from(KEYS)),
    st.tuples(st.just("subscribe"), st.sampled_from("xy"), st.sets(st.sampled_from(PATTERNS))),
    st.tuples(st.just("unsubscribe"), st.sampled_from("xy"), st.sets(st.sampled_from(PATTERNS))),
    st.tuples(st.just("update"), st.frozensets(st.sampled_from(KEYS))),
    st.tuples(st.just("publish")),
)


def apply(used: Used, model: Model, name: str, *arguments: Any) -> None:
    """Do one thing to both."""
    before, were_subscribed = model.known, {key: model.subscribers(key) for key in KEYS}
    match name:
        case "hold" if arguments[0] == UNKNOWN:
            with pytest.raises(UnknownLabel):
                used.hold(UNKNOWN)
            assert [] == used.taken()
        case "hold":
            used.hold(key := arguments[0])
            model.mains[key] += 1
            is_new = key not in before and bool(model.subscribers(key))
            assert [(key, "begin")] * is_new == used.taken()
            assert used.usage.version_of(key) is not None
        case "release" if not model.mains[arguments[0]]:
            with pytest.raises(KeyError):
                used.release(arguments[0])
        case "release":
            used.release(key := arguments[0])
            model.mains[key] -= 1
            assert [(key, "end")] * (key not in model.known) == used.taken()
        case "subscribe":
            subscriber, patterns = arguments
            matched = used.subscribe(subscriber, *patterns)
            for pattern in patterns:
                model.wanted[pattern].add(subscriber)
            assert {key for key in model.known if any(each.matches(key) for each in patterns)} == set(matched)
        case "unsubscribe":
            subscriber, patterns = arguments
            used.unsubscribe(subscriber, *patterns)
            for pattern in patterns:
                model.wanted[pattern].discard(subscriber)
        case "update":
            kept = {key for key in KEYS if used.store.find(key) is not None}
            deliveries = used.update(*arguments[0])
            model.existing = arguments[0]
            ended = (before - model.known) & kept
            assert {(key, "end") for key in ended} == set(used.taken())
            assert sum(len(were_subscribed[key]) for key in ended) == deliveries
        case _:
            used.publish()


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(operations, max_size=30), st.integers(0, 2))
def test_all_views_of_what_is_in_use_agree_whatever_the_order(steps: Sequence[tuple[Any, ...]], idle_keys: int) -> None:
    used, model = Used(idle_keys), Model()
    for step in steps:
        apply(used, model, *step)
        check(used, model, idle_keys)


# Idle keys.


def test_a_released_key_stays_until_newer_ones_need_the_room() -> None:
    used = Used(idle_keys=2)
    for key in (A, B, C):
        used.hold(key)
        used.release(key)

    assert [B, C] == list(used.store)


@pytest.mark.parametrize("by", ["main subscription", "pattern"])
def test_a_key_that_is_used_again_is_not_among_those_that_make_room(by: str) -> None:
    used = Used(idle_keys=1)
    used.update(A)
    used.hold(A)
    used.release(A)
    if by == "pattern":
        used.subscribe("x", parse_pattern("a"))
    else:
        used.hold(A)
    for key in (B, C):
        used.hold(key)
        used.release(key)

    assert [A, C] == list(used.store)


def test_a_key_that_ends_while_it_is_idle_keeps_its_place() -> None:
    used = Used(idle_keys=2)
    used.update(A, B)
    for key in (A, B):
        used.hold(key)
        used.release(key)
    used.update()
    used.hold(C)
    used.release(C)

    assert [B, C] == list(used.store)


def test_a_key_held_twice_is_released_twice() -> None:
    used = Used(idle_keys=0)
    used.hold(A)
    used.hold(A)
    used.release(A)
    assert used.usage.is_used(A)

    used.release(A)
    assert not used.usage.is_used(A)
    assert [] == list(used.store)


def test_a_key_that_was_removed_is_not_held_again_though_a_connection_has_it() -> None:
    used = Used()
    used.hold(A)
    other = parse_tree(Tree({"other": Files({"application.yml": b"x: 1"})}), FormatSettings())
    used.store.commit(stage(served_state(State(other.labels, "other")), used.store.configs()))
    with pytest.raises(UnknownLabel):
        used.hold(A)
    used.publish()
    used.hold(A)
    for _ in range(2):
        used.release(A)

    assert not used.usage.is_used(A)


def test_another_bound_drops_idle_keys_at_once_and_no_others() -> None:
    used = Used()
    for key in (A, B, C):
        used.hold(key)
    used.release(A)
    used.release(B)
    used.usage.replace(HistorySettings(idle_keys=1))
    assert [B, C] == list(used.store)

    used.usage.replace(HistorySettings(idle_keys=0))
    assert [C] == list(used.store)


def test_a_key_of_no_connection_and_no_pattern_is_never_kept() -> None:
    used = Used()
    used.update(A, B)
    used.update()

    assert [] == list(used.store)
    assert [] == used.taken()


# Beginnings and ends.


def test_subscribers_by_pattern_are_still_found_when_a_key_ends() -> None:
    used = Used()
    used.subscribe("x", parse_pattern("*"))
    used.update(A, B)
    used.publish()

    assert 1 == used.update(B)
    assert [(A, "end")] == used.taken()
    assert not used.registry.subscribers(A)


def test_the_same_keys_again_cost_nothing_and_end_nothing() -> None:
    used = Used()
    used.subscribe("x", parse_pattern("*"))
    existing = frozenset((A, B))
    used.usage.update(existing, used.broadcast)

    assert () == used.usage.new(existing)
    assert 0 == used.usage.update(existing, used.broadcast)
    assert {A, B} == {key for key in KEYS if used.usage.is_used(key)}


def test_keys_of_a_new_tree_are_new_unless_a_connection_has_them() -> None:
    used = Used()
    used.hold(A)
    used.subscribe("x", parse_pattern("b"))
    existing = frozenset((A, B, C))

    assert {B, C} == set(used.usage.new(existing))
    assert {B} == used.usage.appearing(existing)


def test_labels_of_main_subscriptions_are_those_of_all_their_parts() -> None:
    used = Used()
    assert frozenset() == used.usage.main_labels()
    used.update(UNKNOWN)
    used.hold(A)
    assert frozenset({"main"}) == used.usage.main_labels()
    used.release(A)
    assert frozenset() == used.usage.main_labels()


def test_a_key_that_nobody_has_any_more_has_no_version_though_the_store_keeps_it() -> None:
    used = Used()
    used.hold(A)
    assert used.usage.version_of(A) == getattr(used.store.find(A), "version", None) is not None
    used.release(A)

    assert A in used.store
    assert used.usage.find(A) is None
    assert used.usage.version_of(A) is None


def test_what_is_resolved_already_is_not_resolved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    used = Used()
    used.hold(A)
    known = used.store.find(A)
    used.release(A)
    used.usage.replace(HistorySettings(idle_keys=0))
    monkeypatch.setattr(State, "resolve", None)
    used.usage.hold(A, used.broadcast, known)
    assert known is used.usage.find(A)

    used.update(B)
    assert {B} == used.usage.unresolved([A, B])
    used.usage.subscribe("x", [parse_pattern("b")], {B: known})
    assert known is used.usage.find(B)


def test_keys_without_a_pattern_are_retired_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTLED_AT_ONCE", 1)
    used = Used(idle_keys=0)
    used.subscribe("x", parse_pattern("*"))
    used.update(A, B, C)
    used.unsubscribe("x", parse_pattern("*"))
    assert 2 == len(used.store)

    assert [True, False] == [used.usage.settle(), used.usage.settle()]
    assert [] == list(used.store)


# Keys that are brought into use before a subscription.


def test_keys_are_in_use_before_their_pattern_is_subscribed_to() -> None:
    used = Used()
    used.update(A, B)
    assert used.store.state is not None
    config = used.store.state.resolve(A)
    with used.usage.ahead() as expect:
        expect(A, config)
        expect(B, None)
        expect(C, config)
        assert (True, True, False) == tuple(map(used.usage.is_used, (A, B, C)))
        assert config is used.usage.find(A)
        assert [A, B] == list(used.store)
        assert not used.usage.settle()
        used.subscribe("s", *PATTERNS[3:])

    assert config is used.usage.find(A)
    assert (True, True) == (used.usage.is_used(A), used.usage.is_used(B))
    used.unsubscribe("s", *PATTERNS[3:])
    assert (False, False) == (used.usage.is_used(A), used.usage.is_used(B))
    assert {A, B} == set(used.usage._idle)


def test_keys_whose_subscription_fails_are_retired_unless_another_pattern_matches_them() -> None:
    used = Used()
    used.update(A, B)
    with pytest.raises(ZeroDivisionError), used.usage.ahead() as expect:
        expect(A, None)
        expect(B, None)
        used.subscribe("s", PATTERNS[1])
        raise ZeroDivisionError

    assert (False, True) == (used.usage.is_used(A), used.usage.is_used(B))
    assert [A] == list(used.usage._idle)


def test_an_idle_key_that_is_brought_into_use_is_no_longer_idle_and_keeps_its_configuration() -> None:
    used = Used()
    used.update(A)
    used.hold(A)
    used.release(A)
    assert [A] == list(used.usage._idle)
    config = used.store.find(A)
    with used.usage.ahead() as expect:
        expect(A, None)
        assert [] == list(used.usage._idle)
        assert config is used.usage.find(A) is not None
        used.subscribe("s", PATTERNS[0])


def test_a_key_in_use_is_not_retired_by_another_subscription_that_fails() -> None:
    used = Used()
    used.update(A)
    used.hold(A)
    used.subscribe("s", PATTERNS[0])
    with pytest.raises(ZeroDivisionError), used.usage.ahead() as expect:
        expect(A, None)
        raise ZeroDivisionError

    assert used.usage.is_used(A)


def test_a_key_that_is_retired_meanwhile_comes_back_with_the_subscription() -> None:
    used = Used(idle_keys=0)
    used.update(A)
    used.subscribe("other", PATTERNS[3])
    used.unsubscribe("other", PATTERNS[3])
    with used.usage.ahead() as expect:
        expect(A, None)
        used.registry.doubt([A])
        used.usage.settle()
        assert [] == list(used.store)
        used.subscribe("s", PATTERNS[0])

    assert used.usage.is_used(A)
    assert [A] == list(used.store)
