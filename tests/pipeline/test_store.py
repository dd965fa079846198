"""The store: last good states, history, and the detection of changes."""

import gc
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from unittest import mock

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vortexd.core.errors import FormatError, ResolveError, UnknownLabel
from vortexd.core.model import Change, Config, Edits, Files, Key, Moment, Origin, Tree
from vortexd.core.version import version_of
from vortexd.pipeline import store as module
from vortexd.pipeline.dependencies import Dependencies
from vortexd.pipeline.served import ServedState
from vortexd.pipeline.state import State
from vortexd.pipeline.store import Staged, Store, stage
from vortexd.resolve.alterations import alterations
from vortexd.resolve.tree import ParsedTree, parse_tree
from vortexd.settings.formats import FormatSettings
from vortexd.settings.history import HistorySettings

from ..wiring import served_state

SHOP, CART = Key("shop", "dev", "main"), Key("cart", "dev", "main")
GOOD = {"application.yml": b"shared: 0", "shop.yml": b"a: 0", "cart.yml": b"b: 0"}
BROKEN = b"a: [1"


class Stage:
    """A store that is published to, one set of files after the other."""

    def __init__(self, history: HistorySettings | None = None) -> None:
        self.store = Store(history or HistorySettings())
        self.files: dict[str, bytes] = {}
        self.parsed: ParsedTree | None = None

    def publish(self, files: dict[str, bytes], label: str = "main") -> list[Change]:
        self.files = dict(files)
        self.parsed = parsed = parse_tree(Tree({label: Files(files)}, label), FormatSettings(), self.parsed)
        return self.store.commit(stage(served_state(State(parsed.labels, label)), self.store.configs()))

    def update(self, **contents: bytes) -> list[Change]:
        return self.publish(self.files | {f"{name}.yml": content for name, content in contents.items()})

    def document(self, key: Key) -> object:
        config = self.store.find(key)
        return config and config.document


@pytest.fixture
def staged() -> Stage:
    staged = Stage()
    staged.publish(GOOD)
    staged.store.add(SHOP)
    staged.store.add(CART)
    return staged


def test_only_keys_with_another_document_change(staged: Stage) -> None:
    changes = staged.update(shop=b"a: 1")

    assert [SHOP] == [change.key for change in changes]
    assert {"a": 1, "shared": 0} == staged.document(SHOP)
    assert [] == staged.update(shop=b"a:   1  # the same")


def test_an_unknown_label_is_refused_and_not_held(staged: Stage) -> None:
    with pytest.raises(UnknownLabel):
        staged.store.add(Key("shop", "dev", "other"))
    assert [SHOP, CART] == list(staged.store)


def test_a_broken_file_holds_its_application_and_the_others_move_on(staged: Stage) -> None:
    changes = staged.update(shop=BROKEN, cart=b"b: 1")

    assert [CART] == [change.key for change in changes]
    assert {"a": 0, "shared": 0} == staged.document(SHOP)
    assert [SHOP] == [change.key for change in staged.update(shop=b"a: 2")]


def test_a_key_first_asked_for_while_its_file_is_broken_gets_the_last_good_state(staged: Stage) -> None:
    staged.update(shop=BROKEN, application=b"shared: 1")
    other = Key("shop", "prod", "main")
    staged.store.add(other)

    assert {"a": 0, "shared": 1} == staged.document(other)


@pytest.mark.parametrize("fixed_first", ["application", "shop"])
def test_a_shared_file_broken_on_top_of_an_own_one_is_mended_in_either_order(staged: Stage, fixed_first: str) -> None:
    staged.update(shop=BROKEN, cart=b"b: 1")
    staged.update(application=BROKEN, cart=b"b: 2")
    assert {"a": 0, "shared": 0} == staged.document(SHOP)
    assert {"b": 2, "shared": 0} == staged.document(CART)

    fixes = {"application": b"shared: 3", "shop": b"a: 3"}
    staged.update(**{fixed_first: fixes[fixed_first]})
    is_shared = fixed_first == "application"
    assert {"a": 0 if is_shared else 3, "shared": 3 if is_shared else 0} == staged.document(SHOP)
    assert {"b": 2, "shared": 3 if is_shared else 0} == staged.document(CART)

    staged.update(**fixes)
    assert {"a": 3, "shared": 3} == staged.document(SHOP)
    assert {"b": 2, "shared": 3} == staged.document(CART)


def test_former_states_are_let_go_of_however_long_a_file_stays_broken(staged: Stage) -> None:
    first = weakref.ref(staged.store.state)
    staged.update(shop=BROKEN)
    staged.update(cart=b"b: 1")

    assert first() is None
    assert {"a": 0, "shared": 0} == staged.document(SHOP)


def test_what_is_broken_from_the_start_says_which_file() -> None:
    staged = Stage()
    staged.publish(GOOD | {"shop.yml": BROKEN})
    staged.store.add(CART)

    with pytest.raises(FormatError, match="shop.yml"):
        staged.store.add(SHOP)


def test_an_unreadable_file_is_broken_and_not_absent(staged: Stage) -> None:
    files = Files({"application.yml": b"shared: 1"}, {"shop.yml": "permission denied"})
    parsed = parse_tree(Tree({"main": files}), FormatSettings(), staged.parsed)
    staged.store.commit(stage(served_state(State(parsed.labels, "main")), staged.store.configs()))

    assert {"a": 0, "shared": 1} == staged.document(SHOP)
    assert {"shared": 1} == staged.document(CART)


@pytest.mark.parametrize(("limit", "known"), [(7, 6), (8, 7), (9, 8)])
def test_history_holds_as_many_versions_as_it_may(limit: int, known: int) -> None:
    staged = Stage(HistorySettings(versions=limit))
    versions = []
    for number in range(known + 2):
        staged.publish({"shop.yml": b"a: %d" % number})
        if not number:
            staged.store.add(SHOP)
        config = staged.store.find(SHOP)
        assert config is not None
        versions.append(config.version)

    found = [staged.store.body_of(SHOP, version) is not None for version in versions]
    assert [len(versions) - 1 - number <= limit for number in range(len(versions))] == found


def test_history_is_bounded_in_bytes() -> None:
    staged = Stage(HistorySettings(bytes=30))
    staged.publish({"shop.yml": b"a: 0"})
    staged.store.add(SHOP)
    first = staged.store.find(SHOP)
    assert first is not None
    for number in range(1, 6):
        staged.publish({"shop.yml": b"a: %d" % number})

    # Four bodies of seven bytes fit.
    assert staged.store.body_of(SHOP, first.version) is None
    assert staged.store.body_of(SHOP, version_of(b'{"a":1}')) is not None


def test_a_document_that_comes_back_is_known_and_current(staged: Stage) -> None:
    first = staged.store.find(SHOP)
    assert first is not None
    staged.update(shop=b"a: 1")
    changes = staged.update(shop=b"a: 0")

    assert [first.version] == [change.new.version for change in changes if change.new]
    assert first.body == staged.store.body_of(SHOP, first.version)
    assert staged.store.body_of(SHOP, version_of(b'{"a":1,"shared":0}')) is not None


def test_a_label_that_goes_ends_its_keys_and_one_that_comes_back_begins_them(staged: Stage) -> None:
    gone = staged.publish(GOOD, label="next")
    assert {(SHOP, None), (CART, None)} == {(change.key, change.new) for change in gone}
    assert staged.store.find(SHOP) is None
    with pytest.raises(UnknownLabel):
        staged.store.add(SHOP)

    back = staged.publish(GOOD)
    assert {(SHOP, None), (CART, None)} == {(change.key, change.old) for change in back}
    assert {"a": 0, "shared": 0} == staged.document(SHOP)


def test_a_key_that_came_into_use_while_staging_is_resolved_by_the_commit(staged: Stage) -> None:
    parsed = parse_tree(Tree({"main": Files({"late.yml": b"c: 1"})}), FormatSettings())
    prepared = stage(served_state(State(parsed.labels, "main")), staged.store.configs())
    late = Key("late", "dev", "main")
    staged.store.add(late)
    changes = staged.store.commit(prepared)

    assert late in [change.key for change in changes]
    assert {"c": 1} == staged.document(late)


@pytest.mark.parametrize("settings", [HistorySettings(versions=8), HistorySettings(versions=10_000, bytes=1_000)])
def test_L05_history_has_its_bounds_however_often_a_key_changes(settings: HistorySettings) -> None:
    staged = Stage(settings)
    staged.publish(GOOD)
    staged.store.add(SHOP)
    versions = []
    for number in range(1_000):
        staged.update(shop=b"a: %d" % number)
        config = staged.store.find(SHOP)
        assert config is not None
        versions.append((config.version, len(config.body)))
    known = [(version, size) for version, size in versions[:-1] if staged.store.body_of(SHOP, version) is not None]

    assert 0 < len(known) <= settings.versions
    assert sum(size for _, size in known) <= settings.bytes
    assert known == versions[-1 - len(known) : -1]


def test_L07_publications_leave_nothing_to_the_collector_of_cycles() -> None:
    """Documents that only a collection frees would make memory grow, and the loop stop for each.

    What jsonpatch keeps of the edits of a list is a cycle, and small; whole documents and bodies are in none.
    """
    staged = Stage()
    staged.publish(GOOD)
    staged.store.add(SHOP)
    gc.collect()
    gc.disable()
    try:
        for number in range(20):
            staged.update(shop=b"a: {b: [%d, {c: %d}]}" % (number, number))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [type(each) for each in gc.garbage if isinstance(each, Config | State | bytes)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert [] == left


def test_the_history_of_a_key_is_in_order_and_without_the_current_version(staged: Stage) -> None:
    for number in (1, 2, 1):
        staged.update(shop=b"a: %d" % number)

    history = staged.store.history(SHOP)
    assert [b'{"a":0,"shared":0}', b'{"a":1,"shared":0}', b'{"a":2,"shared":0}'] == list(history.values())
    assert all(version_of(body) == version for version, body in history.items())
    assert {} == staged.store.history(Key("shop", "prod", "main"))


def test_what_is_explained_is_what_is_served_the_last_good_state_too(staged: Stage) -> None:
    staged.update(shop=BROKEN)
    state = staged.store.state
    assert state is not None
    explanation, version = state.explain(SHOP)

    config = staged.store.find(SHOP)
    assert config is not None
    assert config.version == version
    assert ["a", "shared"] == list(explanation.keys)


def test_what_was_never_sound_and_what_is_not_there_cannot_be_explained(staged: Stage) -> None:
    staged.publish({"shop.yml": BROKEN}, "other")
    state = staged.store.state
    assert state is not None

    with pytest.raises(FormatError):
        state.explain(Key("shop", "dev", "other"))
    with pytest.raises(UnknownLabel):
        state.explain(Key("shop", "dev", "nowhere"))


def test_other_bounds_let_go_at_once_of_what_is_beyond_them(staged: Stage) -> None:
    old = staged.store.find(SHOP)
    assert old is not None
    staged.update(shop=b"a: 1")
    assert staged.store.body_of(SHOP, old.version) is not None

    staged.store.replace(HistorySettings(versions=0))

    assert staged.store.body_of(SHOP, old.version) is None
    assert {SHOP, CART} == set(staged.store)


# Keys that are kept.


def test_a_key_that_is_added_is_resolved_unless_it_is_here(staged: Stage) -> None:
    before = staged.store.find(SHOP)
    staged.store.add(SHOP, staged.store.find(CART))
    assert before is staged.store.find(SHOP)

    known, late = staged.store.find(CART), Key("late", "dev", "main")
    staged.store.add(late, known)
    assert known is staged.store.find(late)


def test_a_key_that_is_expected_is_not_resolved_until_it_is_added(staged: Stage) -> None:
    late, other, known = Key("late", "dev", "main"), Key("other", "dev", "main"), staged.store.find(SHOP)
    staged.store.expect(late)
    assert staged.store.find(late) is None
    staged.store.add(late)
    assert {"shared": 0} == staged.document(late)

    staged.store.expect(other)
    staged.store.expect(other, known)
    assert known is staged.store.find(other)
    staged.store.expect(other, staged.store.find(CART))
    assert known is staged.store.find(other)


def test_an_expected_key_that_cannot_be_resolved_is_as_it_was_after_an_attempt(staged: Stage) -> None:
    gone = Key("shop", "dev", "gone")
    staged.store.expect(gone)
    with pytest.raises(UnknownLabel):
        staged.store.add(gone)

    assert gone in staged.store
    assert staged.store.find(gone) is None


def test_a_key_that_is_dropped_has_no_history(staged: Stage) -> None:
    staged.update(shop=b"a: 1")
    assert staged.store.history(SHOP)
    staged.store.drop(SHOP)

    assert SHOP not in staged.store
    assert 1 == len(staged.store)
    assert {} == staged.store.history(SHOP)


# What is served.


def test_the_commit_puts_the_staged_state_and_its_failures_in_force_at_once(staged: Stage) -> None:
    before = staged.store.served
    prepared = stage(served_state(State({}, "main")), {})
    prepared = prepared.with_more(Staged(prepared.served, {}, [], {SHOP: ResolveError("why")}, 2.0))
    assert before is staged.store.served
    assert 2.0 == prepared.diff_seconds
    staged.store.commit(prepared)
    after = staged.store.served

    assert after is not None
    assert after.state is prepared.served.state is staged.store.state
    assert {SHOP: "why"} == after.failures


def test_nothing_is_served_or_resolved_before_the_first_commit() -> None:
    store = Store(HistorySettings())

    assert (None, None) == (store.served, store.state)
    with pytest.raises(ResolveError):
        store.add(SHOP)
    assert [] == list(store)


# Who made a version, and when.


def commit(staged: Stage, number: int, content: bytes, seconds: float) -> list[Change]:
    """Publish a commit that changes `shop.yml`, at a moment."""
    origin = Origin(f"c{number}", f"Author {number}", "")
    files = Files({"shop.yml": content}, origin=origin, edits=Edits(number, {"shop.yml": (number, origin)}))
    state = State(parse_tree(Tree({"main": files}), FormatSettings()).labels, "main", published=Moment(seconds))
    return staged.store.commit(stage(served_state(state), staged.store.configs()))


def shop(staged: Stage) -> Config:
    config = staged.store.find(SHOP)
    assert config is not None
    return config


def test_a_version_that_comes_back_is_that_of_the_commit_that_brought_it_back(staged: Stage) -> None:
    seen = []
    for number, content in enumerate((b"a: 0", b"a: 1", b"a: 0", b"a: 1"), 1):
        [change] = [each for each in commit(staged, number, content, number) if each.key == SHOP]
        assert change.new is not None
        seen.append((change.new.origin and change.new.origin.author, change.new.published.seconds))

    assert [(f"Author {number}", number) for number in (1, 2, 3, 4)] == seen
    assert "c4" == (shop(staged).origin or Origin("", "", "")).commit


def test_a_commit_that_only_reformats_a_file_sends_nothing_and_is_the_origin_from_then_on(staged: Stage) -> None:
    commit(staged, 1, b"a: 0", 1.0)
    before = shop(staged)
    assert [] == commit(staged, 2, b"a:  0 # the same", 2.0)
    after = shop(staged)

    assert before.version == after.version
    assert after.pieces is before.pieces
    assert after.pieces is before.pieces
    assert ("c1", 1.0, "c2", 2.0) == (
        before.origin and before.origin.commit,
        before.published.seconds,
        after.origin and after.origin.commit,
        after.published.seconds,
    )


def test_a_publication_that_leaves_a_key_as_it_is_leaves_the_moment_of_its_version_alone(staged: Stage) -> None:
    origin = Origin("c1", "Ann", "")
    for seconds in (1.0, 2.0):
        files = Files({"shop.yml": b"a: 5"}, edits=Edits(int(seconds), {"shop.yml": (1, origin)}))
        state = State(parse_tree(Tree({"main": files}), FormatSettings()).labels, "main", published=Moment(seconds))
        staged.store.commit(stage(served_state(state), staged.store.configs()))

    assert 1.0 == shop(staged).published.seconds


# Only the keys that a change can alter are staged.


def alter(staged: Stage, files: dict[str, bytes]) -> tuple[dict[Key, Config | None], ServedState, State]:
    """What a new state of these files affects, the new state, and the state before it."""
    before = staged.store.state
    assert before is not None
    parsed = parse_tree(Tree({"main": Files(files)}), FormatSettings(), staged.parsed)
    now = served_state(State(parsed.labels, "main"))
    return staged.store.affected(alterations(before.labels, parsed.labels)), now, before


def test_only_the_readers_of_changed_files_are_affected(staged: Stage) -> None:
    affected, now, before = alter(staged, GOOD | {"shop.yml": b"a: 1"})
    prepared = stage(now, affected, before=before)

    assert [SHOP] == list(affected)
    assert [SHOP] == [change.key for change in staged.store.commit(prepared)]
    assert {"a": 1, "shared": 0} == staged.document(SHOP)
    assert {"b": 0, "shared": 0} == staged.document(CART)


def test_affected_keys_are_in_the_order_in_which_they_came(staged: Stage) -> None:
    affected, _, _ = alter(staged, GOOD | {"application.yml": b"shared: 1"})

    assert [SHOP, CART] == list(affected)


def test_a_key_that_reads_none_of_the_changed_files_is_not_affected(staged: Stage) -> None:
    other = Key("shop", "prod", "main")
    staged.store.add(other)
    affected, _, _ = alter(staged, GOOD | {"shop.yml": b"a: 1"})

    assert [SHOP, other] == list(affected)


def test_a_key_that_comes_while_others_are_staged_is_late_and_resolved_by_the_commit(staged: Stage) -> None:
    other = Key("shop", "prod", "main")
    affected, now, before = alter(staged, GOOD | {"shop.yml": b"a: 1"})
    staged.store.add(other)
    prepared = stage(now, affected, before=before)

    assert [other] == list(staged.store.late(prepared))
    assert [SHOP, other] == [change.key for change in staged.store.commit(prepared)]
    assert {"a": 1, "shared": 0} == staged.document(other)


def test_a_late_key_that_goes_again_is_forgotten(staged: Stage) -> None:
    other = Key("shop", "prod", "main")
    affected, now, before = alter(staged, GOOD)
    staged.store.add(other)
    staged.store.drop(other)

    assert {} == staged.store.late(stage(now, affected, before=before))


def test_a_key_that_goes_while_others_are_staged_stays_away(staged: Stage) -> None:
    affected, now, before = alter(staged, GOOD | {"application.yml": b"shared: 1"})
    staged.store.drop(SHOP)

    assert [CART] == [each.key for each in staged.store.commit(stage(now, affected, before=before))]
    assert SHOP not in staged.store


def test_a_key_that_keeps_a_former_state_is_staged_each_time(staged: Stage) -> None:
    staged.publish(GOOD | {"shop-dev.yml": b"spring.profiles.include: x"})
    affected, now, before = alter(staged, GOOD | {"shop-dev.yml": b"spring.profiles.include: x", "cart.yml": b"b: 1"})
    prepared = stage(now, affected, before=before, unsettled=staged.store.unsettled)
    staged.store.commit(prepared)

    assert [SHOP, CART] == list(affected)
    assert {SHOP} == staged.store.unsettled == prepared.kept == prepared.failures.keys()
    staged.publish(GOOD)
    assert frozenset() == staged.store.unsettled


def test_a_key_that_is_expected_is_staged_until_it_is_there(staged: Stage) -> None:
    gone = Key("shop", "dev", "other")
    staged.store.expect(gone)
    affected, now, before = alter(staged, GOOD)

    assert {gone: None} == affected
    staged.store.commit(stage(now, affected, before=before))
    assert {gone} == staged.store.unsettled
    staged.store.drop(gone)
    assert frozenset() == staged.store.unsettled


def test_keys_whose_files_have_not_changed_get_the_new_commit(staged: Stage) -> None:
    history = Edits(1, {"shop.yml": (1, Origin("1", "Author", ""))})
    commit = Files(GOOD, revision="1", origin=Origin("1", "Author", ""), edits=history)
    first = parse_tree(Tree({"main": commit}), FormatSettings(), staged.parsed)
    staged.store.commit(stage(served_state(State(first.labels, "main")), staged.store.configs()))
    newer = attrs.evolve(commit, revision="2", origin=Origin("2", "Author", ""))
    second = parse_tree(Tree({"main": newer}), FormatSettings(), first)
    affected = staged.store.affected(alterations(first.labels, second.labels))
    former = shop(staged)
    prepared = stage(served_state(State(second.labels, "main")), affected)

    assert {} == affected
    assert [] == staged.store.commit(prepared)
    assert "2" == shop(staged).revision
    assert shop(staged) is shop(staged)
    assert attrs.evolve(former, revision="2").origin == shop(staged).origin == Origin("1", "Author", "")


# Publications of many keys.


def test_only_keys_that_are_still_kept_change(staged: Stage) -> None:
    parsed = parse_tree(Tree({"main": Files(GOOD | {"application.yml": b"shared: 9"})}), FormatSettings())
    prepared = stage(served_state(State(parsed.labels, "main")), staged.store.configs())
    staged.store.drop(SHOP)

    assert [CART] == [change.key for change in staged.store.commit(prepared)]
    assert SHOP not in staged.store
    assert CART in staged.store


def test_a_key_that_reads_the_same_files_stays_in_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit doesn't touch the index for such a key, unless the key wasn't settled."""
    many = Stage()
    many.publish(GOOD)
    many.store.add(SHOP)
    before = many.store.state

    def publish(content: bytes) -> None:
        assert many.parsed is not None
        former = many.store.state
        tree = Tree({"main": Files(many.files | {"application.yml": content})})
        many.parsed = parse_tree(tree, FormatSettings(), many.parsed)
        now = served_state(State(many.parsed.labels, "main"))
        configs, unsettled = many.store.configs(), many.store.unsettled
        many.store.commit(stage(now, configs, before=former, unsettled=unsettled))

    assert before is not None
    puts: list[Key] = []
    put = Dependencies.put

    def putting(dependencies: Dependencies, config: Config) -> None:
        puts.append(config.key)
        put(dependencies, config)

    monkeypatch.setattr(Dependencies, "put", putting)
    publish(b"shared: 1")
    assert [] == puts
    assert {"a": 0, "shared": 1} == many.document(SHOP)
    assert frozenset() == many.store.unsettled
    state = many.store.state
    assert state is not None
    assert {SHOP} == many.store.affected(alterations(before.labels, state.labels)).keys()
    publish(b"shared: [")
    assert ([SHOP], frozenset()) == (puts, many.store.unsettled)


def test_a_key_without_a_configuration_is_settled_by_the_commit_that_resolves_it() -> None:
    many = Stage()
    many.publish({"shop.yml": BROKEN})
    many.store.expect(SHOP)
    assert {SHOP} == many.store.unsettled
    many.publish({"shop.yml": b"a: 1"})

    assert frozenset() == many.store.unsettled
    assert SHOP in many.store._dependencies


def test_former_versions_share_their_pieces_with_the_current_one() -> None:
    many = Stage()
    many.publish(GOOD)
    many.store.expect(SHOP)
    many.update(application=b"shared: 1")
    many.update(application=b"shared: 2")
    entry, config = many.store._entries[SHOP], many.store.find(SHOP)
    assert config is not None

    (former,) = [pieces for pieces in entry.history.values() if b"".join(pieces).endswith(b'"shared":1}')]
    assert former[1] is config.pieces[1]
    assert sum(len(body) for body in many.store.history(SHOP).values()) == entry.history_bytes
    for version, body in many.store.history(SHOP).items():
        assert version == version_of(body)
        assert body == many.store.body_of(SHOP, version)


def test_a_version_that_comes_back_is_the_newest_of_the_history() -> None:
    many = Stage(HistorySettings(versions=2))
    many.publish({"shop.yml": b"a: 0"})
    many.store.add(SHOP)
    for number in (1, 0, 1, 0):
        many.update(shop=b"a: %d" % number)
    assert [b'{"a":0}', b'{"a":1}'] == [*many.store.history(SHOP).values()]
    many.update(shop=b"a: 2")

    assert [b'{"a":1}', b'{"a":0}'] == [*many.store.history(SHOP).values()]
    assert 14 == many.store._entries[SHOP].history_bytes


def test_a_key_that_keeps_a_former_state_keeps_the_commit_of_that_state(staged: Stage) -> None:
    for revision, files in (("1", GOOD), ("2", GOOD | {"shop-dev.yml": b"spring.profiles.include: x"})):
        commit = Files(files, revision=revision, edits=Edits(1, {}))
        parsed = parse_tree(Tree({"main": commit}), FormatSettings(), staged.parsed)
        staged.store.commit(stage(served_state(State(parsed.labels, "main")), staged.store.configs()))

    cart = staged.store.find(CART)
    assert cart is not None
    assert ("1", "2") == (shop(staged).revision, cart.revision)


def config(text: bytes, key: Key = SHOP) -> Config:
    return Config(key, version_of(text), text, ())


def test_a_former_configuration_that_is_recalled_is_the_oldest(staged: Stage) -> None:
    staged.update(shop=b"a: 1")
    for text in (b'{"b":2}', b'{"b":1}'):
        staged.store.recall(config(text))
    staged.update(shop=b"a: 2")
    bodies = [b'{"b":1}', b'{"b":2}', b'{"a":0,"shared":0}', b'{"a":1,"shared":0}']

    assert bodies == [*staged.store.history(SHOP).values()]
    assert b'{"b":1}' == staged.store.body_of(SHOP, version_of(b'{"b":1}'))


def test_the_store_knows_the_versions_that_it_has_a_document_of(staged: Stage) -> None:
    staged.update(shop=b"a: 1")
    versions = [version_of(b'{"a":%d,"shared":0}' % each) for each in range(3)]
    assert [True, True, False] == [staged.store.knows(SHOP, each) for each in versions]
    assert [True, True, False] == [staged.store.body_of(SHOP, each) is not None for each in versions]
    staged.store.expect(other := attrs.evolve(SHOP, profile="prod"))
    assert [False, False] == [staged.store.knows(each, versions[0]) for each in (other, attrs.evolve(other, label="x"))]


def test_a_note_lasts_as_long_as_its_key(staged: Stage) -> None:
    assert staged.store.note_of(SHOP) is None
    for key in (SHOP, other := attrs.evolve(SHOP, profile="prod")):
        staged.store.note(key, note := object())
    staged.store.note(SHOP, note)
    assert staged.store.note_of(SHOP) is note
    assert (None, False) == (staged.store.note_of(other), other in staged.store)
    staged.store.drop(SHOP)
    staged.store.add(SHOP)
    assert staged.store.note_of(SHOP) is None


def test_a_version_that_is_known_is_not_recalled(staged: Stage) -> None:
    staged.update(shop=b"a: 1")
    before = staged.store.history(SHOP)
    for text in (b'{"a":0,"shared":0}', b'{"a":1,"shared":0}'):
        staged.store.recall(config(text))

    assert before == staged.store.history(SHOP)


def test_the_limits_of_the_history_hold_for_what_is_recalled_and_nothing_newer_makes_room() -> None:
    def recalled(history: HistorySettings, *texts: bytes) -> Stage:
        staged = Stage(history)
        staged.publish({"shop.yml": b"a: 0"})
        staged.store.add(SHOP)
        staged.update(shop=b"a: 1")
        for text in texts:
            staged.store.recall(config(text))
        return staged

    texts = b'{"b":2}', b'{"b":1}'
    few = recalled(HistorySettings(versions=2), *texts).store
    small = recalled(HistorySettings(bytes=14), *texts).store
    large = recalled(HistorySettings(bytes=13), *texts).store
    assert [b'{"b":2}', b'{"a":0}'] == [*few.history(SHOP).values()] == [*small.history(SHOP).values()]
    assert [b'{"a":0}'] == [*large.history(SHOP).values()]
    assert [False, False, True] == [each.has_room(SHOP) for each in (few, small, large)]
    small.replace(HistorySettings(bytes=7))
    assert [b'{"a":0}'] == [*small.history(SHOP).values()]


def test_nothing_is_recalled_for_a_key_that_is_not_kept(staged: Stage) -> None:
    other = attrs.evolve(SHOP, profile="prod")
    staged.store.recall(config(b'{"b":1}', other))

    assert other not in staged.store
    assert [True, False] == [staged.store.has_room(each) for each in (SHOP, other)]


# Pending configurations.


class Both:
    """Two stores that get the same publications. One of them applies nothing until it must."""

    def __init__(self) -> None:
        history = HistorySettings(versions=3)
        self.eager, self.lazy = Store(history), Store(history)
        self.files = dict(GOOD)
        self.revision = 0
        self.parsed: ParsedTree | None = None
        self.publish({}, None)

    def publish(self, files: dict[str, bytes | None], meanwhile: tuple[str, Key] | None, label: str = "main") -> None:
        """Publish files, and add or drop a key while they are staged. None removes a file."""
        self.files = {path: content for path, content in (self.files | files).items() if content is not None}
        self.revision += 1
        former = self.parsed
        tree = Tree({label: Files(self.files, revision=str(self.revision))}, label)
        self.parsed = parsed = parse_tree(tree, FormatSettings(), former)
        found = []
        for store, limit in ((self.eager, 512), (self.lazy, 0)):
            before, served = store.state, served_state(State(parsed.labels, label))
            if before is not None and former is not None:
                configs = store.affected(alterations(before.labels, parsed.labels))
            else:
                configs = store.configs()
            prepared = stage(served, configs, before=before, unsettled=store.unsettled)
            if meanwhile is not None:
                change_keys(store, *meanwhile)
            with mock.patch.object(module, "_APPLIED_AT_ONCE", limit):
                changes = store.commit(prepared)
            found.append([(change.key, view(change.old), view(change.new), change.patch) for change in changes])
            found[-1].append(list(configs))  # type: ignore[arg-type]
        assert found[0] == found[1]

    def do(self, kind: str, *arguments: Any) -> None:
        for store in (self.eager, self.lazy):
            match kind:
                case "replace":
                    store.replace(HistorySettings(versions=arguments[0]))
                case "apply":
                    store.apply()
                case "recall":
                    key, text = arguments
                    store.recall(config(text, key))
                case _:
                    change_keys(store, kind, *arguments)

    def compare(self, key: Key) -> None:
        one, other = self.eager, self.lazy
        assert view(one.find(key)) == view(other.find(key))
        assert list(one.history(key).items()) == list(other.history(key).items())
        assert one.has_room(key) == other.has_room(key)

    def compare_bodies(self, key: Key) -> None:
        for version in self.eager.history(key):
            assert self.lazy.knows(key, version)
            assert self.eager.body_of(key, version) == self.lazy.body_of(key, version) is not None

    def compare_all(self) -> None:
        assert list(self.eager) == list(self.lazy)
        assert self.eager.unsettled == self.lazy.unsettled
        for key in PENDING:
            assert (key in self.eager) == (key in self.lazy)
            self.compare(key)


PENDING = (SHOP, CART, Key("shop", "prod", "main"), Key("shop", "dev", "other"), Key("new", "dev", "main"))
_keys = st.sampled_from(PENDING)
_files = st.dictionaries(
    st.sampled_from((*GOOD, "shop-prod.yml", "new.yml")),
    st.sampled_from((b"a: 0", b"a: 1", b"a: 2", b"a:  1 # the same", BROKEN, b"spring.profiles.include: x", None)),
    max_size=3,
)
_changing = st.tuples(st.sampled_from(("add", "expect", "drop")), _keys)
PENDING_STEPS = st.one_of(
    st.tuples(st.just("publish"), _files, st.none() | _changing),
    st.tuples(st.just("publish"), _files, st.none() | _changing, st.sampled_from(("main", "other"))),
    _changing,
    st.tuples(st.just("compare"), _keys),
    st.tuples(st.just("compare_bodies"), _keys),
    st.tuples(st.just("recall"), _keys, st.sampled_from((b'{"a":1}', b'{"a":1,"shared":0}', b'{"b":1}'))),
    st.tuples(st.just("replace"), st.sampled_from((0, 1, 3))),
    st.tuples(st.just("apply")),
)


def change_keys(store: Store, kind: str, key: Key) -> None:
    """Add, expect or drop a key, if that is possible."""
    if kind == "drop":
        if key in store:
            store.drop(key)
    elif kind == "expect":
        store.expect(key)
    else:
        with suppress(FormatError, ResolveError, UnknownLabel):
            store.add(key)


def view(config: Config | None) -> object:
    return config and (config.key, config.version, config.body, config.revision, config.origin, config.reads)


@given(st.lists(PENDING_STEPS, max_size=20))
@settings(deadline=None, max_examples=examples(400))
def test_nobody_can_see_whether_a_configuration_is_pending(steps: Sequence[tuple[Any, ...]]) -> None:
    both = Both()
    both.do("add", SHOP)
    both.do("add", CART)
    for kind, *arguments in steps:
        if kind in ("publish", "compare", "compare_bodies"):
            getattr(both, kind)(*arguments)
        else:
            both.do(kind, *arguments)
    both.compare_all()


class Pending(Stage):
    """A store that applies nothing until it must, with two keys whose new configurations are pending."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.publish(GOOD)
        self.store.add(SHOP)
        self.store.add(CART)
        self.applied: list[Key] = []
        apply = self.store._apply

        def applying(key: Key, config: Config | None) -> None:
            self.applied.append(key)
            apply(key, config)

        monkeypatch.setattr(module, "_APPLIED_AT_ONCE", 1)
        monkeypatch.setattr(self.store, "_apply", applying)
        self.changes = self.update(application=b"shared: 1")


@pytest.fixture
def pending(monkeypatch: pytest.MonkeyPatch) -> Pending:
    return Pending(monkeypatch)


def test_a_large_commit_visits_no_key(pending: Pending) -> None:
    assert [] == pending.applied
    assert [SHOP, CART] == [change.key for change in pending.changes]
    assert {"a": 0, "shared": 1} == pending.document(SHOP)
    assert {"b": 0, "shared": 1} == pending.document(CART)
    assert [SHOP, CART] == pending.applied


@pytest.mark.parametrize(("limit", "applied"), [(1, 0), (2, 2), (3, 2)])
def test_a_small_commit_leaves_nothing_pending(limit: int, applied: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pending = Pending(monkeypatch)
    pending.store.apply()
    pending.store.apply()
    pending.applied.clear()
    monkeypatch.setattr(module, "_APPLIED_AT_ONCE", limit)
    pending.update(application=b"shared: 2")

    assert applied == len(pending.applied)


def test_some_pending_configurations_are_applied_at_a_time(pending: Pending) -> None:
    assert pending.store.apply()
    assert 1 == len(pending.applied)
    assert not pending.store.apply()
    assert {SHOP, CART} == set(pending.applied)
    assert not pending.store.apply()
    assert 2 == len(pending.applied)


@pytest.mark.parametrize("read", ["find", "history", "body_of", "knows", "has_room", "recall"])
def test_a_pending_configuration_is_applied_before_its_key_is_read(read: str, pending: Pending) -> None:
    version = version_of(b'{"a":0,"shared":0}')
    if read == "find":
        assert {"a": 0, "shared": 1} == pending.document(SHOP)
    elif read == "history":
        assert [version] == list(pending.store.history(SHOP))
    elif read == "knows":
        assert pending.store.knows(SHOP, version_of(b'{"a":0,"shared":1}'))
    elif read == "has_room":
        pending.store._settings = HistorySettings(versions=1)
        assert not pending.store.has_room(SHOP)
    elif read == "recall":
        pending.store.recall(config(b'{"b":1}'))
        assert [b'{"b":1}', b'{"a":0,"shared":0}'] == [*pending.store.history(SHOP).values()]
    else:
        assert b'{"a":0,"shared":0}' == pending.store.body_of(SHOP, version)

    assert [SHOP] == pending.applied


def test_other_bounds_apply_to_what_is_pending(pending: Pending) -> None:
    pending.store.replace(HistorySettings(versions=0))

    assert {} == pending.store.history(SHOP)
    assert {"a": 0, "shared": 1} == pending.document(SHOP)


def test_the_history_has_the_limits_of_the_commit(pending: Pending) -> None:
    """Limits that are replaced later don't bring back what these limits drop."""
    pending.store.replace(HistorySettings(versions=0))
    pending.update(application=b"shared: 2")
    pending.store.replace(HistorySettings(versions=9))

    assert {} == pending.store.history(SHOP)


def test_the_next_publication_begins_with_what_was_pending(pending: Pending) -> None:
    assert {SHOP, CART} == pending.store.configs().keys() == set(pending.applied)
    pending.update(application=b"shared: 2")
    affected, _, _ = alter(pending, pending.files | {"shop.yml": b"a: 1"})

    assert [b'{"a":0,"shared":2}'] == [config.body for config in affected.values() if config]
    assert [b'{"a":0,"shared":0}', b'{"a":0,"shared":1}'] == [*pending.store.history(SHOP).values()]


def test_the_next_commit_loses_nothing_that_is_pending(pending: Pending) -> None:
    """Even if no keys were collected for it."""
    state = pending.store.state
    assert state is not None
    assert [] == pending.store.commit(stage(served_state(state), {}))

    assert {"a": 0, "shared": 1} == pending.document(SHOP)
    assert {"b": 0, "shared": 1} == pending.document(CART)


def test_a_pending_failure_is_known_before_it_is_applied(pending: Pending) -> None:
    pending.update(application=b"shared: [")
    pending.publish(
        {"application.yml": b"shared: 1", "shop-dev.yml": b"spring.profiles.include: x", "cart.yml": b"b: 0"}
    )

    assert {SHOP} == pending.store.unsettled
    assert {"a": 0, "shared": 1} == pending.document(SHOP)


def test_a_key_that_is_dropped_while_its_configuration_is_pending_is_gone(pending: Pending) -> None:
    pending.store.drop(SHOP)

    assert {CART} == pending.store.configs().keys()
    pending.store.expect(SHOP)
    assert (None, {}) == (pending.store.find(SHOP), pending.store.history(SHOP))


def test_a_staged_key_that_the_store_does_not_keep_neither_changes_nor_stays(pending: Pending) -> None:
    other = Key("shop", "prod", "main")
    configs = {**pending.store.configs(), other: None}
    parsed = parse_tree(Tree({"main": Files(GOOD)}), FormatSettings())
    changes = pending.store.commit(stage(served_state(State(parsed.labels, "main")), configs))

    assert [SHOP, CART] == [change.key for change in changes]
    assert pending.store.find(other) is None
    assert [SHOP, CART] == list(pending.store)
    pending.store.expect(other)
    assert pending.store.find(other) is None


def test_a_key_that_was_dropped_before_the_keys_were_collected_does_not_matter(pending: Pending) -> None:
    """The commit looks up each change's key only if a key was dropped since then."""
    pending.store.drop(CART)
    configs = pending.store.configs()
    parsed = parse_tree(Tree({"main": Files(GOOD)}), FormatSettings())
    prepared = stage(served_state(State(parsed.labels, "main")), configs)
    looked_up: list[Key] = []

    class Entries(dict[Key, Any]):
        def __contains__(self, key: object) -> bool:
            looked_up.append(key)  # type: ignore[arg-type]
            return super().__contains__(key)

    pending.store._entries = Entries(pending.store._entries)

    assert [SHOP] == [change.key for change in pending.store.commit(prepared)]
    assert [] == looked_up


def test_the_memory_of_pending_configurations_is_freed(pending: Pending) -> None:
    empty = dict[Key, Config | None]().__sizeof__()
    assert pending.store._pending.__sizeof__() > empty
    pending.document(SHOP)
    pending.document(CART)
    pending.store.apply()

    assert empty == pending.store._pending.__sizeof__()
