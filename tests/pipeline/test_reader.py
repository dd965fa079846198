"""Reads of single clients: done on request, made once, and cached within bounds."""

import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from vortexd.core.commits import Commit, PastFiles
from vortexd.core.errors import FormatError, RemoteError, ResolveError, UnknownLabel
from vortexd.core.model import BrokenFile, Edits, Files, Key, Origin, Tree
from vortexd.core.version import version_of
from vortexd.pipeline import reader as reading
from vortexd.pipeline.former_states import FormerSources
from vortexd.pipeline.past_keys import Commits
from vortexd.pipeline.reader import ConfigReader
from vortexd.pipeline.served import ServedState
from vortexd.pipeline.state import State
from vortexd.pipeline.store import Store, stage
from vortexd.resolve.listing import list_keys
from vortexd.resolve.tree import ParsedTree, parse_tree
from vortexd.settings.formats import FormatSettings
from vortexd.settings.history import HistorySettings

from ..fakes import FormerTrees, NoVersions

SHOP = Key("shop", "dev", "main")


def tree(content: bytes, **more: bytes) -> Tree:
    return Tree({"main": Files({"shop.yml": content, **{f"{name}.yml": text for name, text in more.items()}})})


async def nothing_loaded(label: str) -> bool:
    return False


async def nothing_before(root: str, commit: str) -> Files | None:
    return None


class Served:
    """What is published is served at once."""

    def __init__(self, sources: FormerSources | None = None, commits: Commits | None = None) -> None:
        self.store = Store(HistorySettings())
        self.parsed: ParsedTree | None = None
        self.load_label: Callable[[str], Awaitable[bool]] = nothing_loaded
        self.load_before: Callable[[str, str], Awaitable[Files | None]] = nothing_before
        self.reader = ConfigReader(
            self.store,
            trio.CapacityLimiter(2),
            lambda label: self.load_label(label),
            lambda root, commit: self.load_before(root, commit),
            sources,
            commits,
        )

    async def publish(self, tree: Tree) -> None:
        self.parsed = parsed = parse_tree(tree, FormatSettings(), self.parsed)
        served = ServedState(tree, State(parsed.labels, parsed.default_label), list_keys(parsed), FormatSettings())
        self.store.commit(stage(served, self.store.configs()))


@pytest.fixture
def served() -> Served:
    return Served()


async def test_H02_nobody_who_reads_waits_for_those_who_want_explanations(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.publish(tree(b"a: 1"))
    explain, may_end, explained = State.explain, threading.Event(), []

    def waiting(state: State, key: Key) -> object:
        explained.append(key)
        may_end.wait(10)
        return explain(state, key)

    monkeypatch.setattr(State, "explain", waiting)
    async with trio.open_nursery() as asking:
        for name in ("a", "b", "c", "c"):
            asking.start_soon(served.reader.explain, attrs.evolve(SHOP, profile=name))
        await trio.testing.wait_all_tasks_blocked()
        try:
            with trio.fail_after(5):
                assert {"a": 1} == (await served.reader.read(SHOP)).document
        finally:
            may_end.set()

    assert ["a", "b", "c"] == sorted(each.profile for each in explained)


async def test_a_label_that_was_not_read_yet_is_asked_for(served: Served) -> None:
    await served.publish(tree(b"a: 1"))
    asked = []

    async def load(label: str) -> bool:
        asked.append(label)
        if label == "preview":
            await served.publish(Tree(dict(tree(b"a: 1").labels) | {label: Files({"shop.yml": b"a: 2"})}))
        return label == "preview"

    served.load_label = load

    assert {"a": 2} == (await served.reader.read(attrs.evolve(SHOP, label="preview"))).document
    with pytest.raises(UnknownLabel):
        await served.reader.read(attrs.evolve(SHOP, label="nothing"))
    await served.reader.read(SHOP)
    assert ["preview", "nothing"] == asked


async def test_without_a_default_label_the_reader_is_told_what_to_set(served: Served) -> None:
    files = Files({"shop.yml": b"a: 1"})
    await served.publish(Tree({"trunk": files, "dev": files}, "main"))
    with pytest.raises(UnknownLabel) as missing:
        await served.reader.read(SHOP)
    with pytest.raises(UnknownLabel) as other:
        await served.reader.read(attrs.evolve(SHOP, label="nothing"))

    assert 404 == missing.value.status
    assert "there is no default label; name a label, or set default_label of the source" == missing.value.reason
    assert [attrs.evolve(SHOP, label=each) for each in ("dev", "trunk")] == list(missing.value.alternatives)
    assert ("no such label", ()) == (other.value.reason, other.value.alternatives)


async def test_of_many_labels_a_hundred_are_looked_at(served: Served) -> None:
    files = Files({"shop.yml": b"a: 1"})
    await served.publish(Tree({f"{number:03}": files for number in range(101)}, "main"))
    with pytest.raises(UnknownLabel) as missing:
        await served.reader.read(SHOP)

    assert [f"{number:03}" for number in range(100)] == [key.label for key in missing.value.alternatives]


async def test_concurrent_reads_of_a_key_resolve_it_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await served.publish(tree(b"a: 1"))
    resolved = []
    real = trio.to_thread.run_sync

    async def counting(
        function: Callable[..., object],
        *arguments: object,
        abandon_on_cancel: bool = False,
        limiter: trio.CapacityLimiter | None = None,
    ) -> object:
        resolved.append(arguments)
        return await real(function, *arguments, abandon_on_cancel=abandon_on_cancel, limiter=limiter)

    monkeypatch.setattr("vortexd.pipeline.reader.trio.to_thread.run_sync", counting)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(served.reader.read, SHOP)

    assert [(SHOP,)] == resolved


async def test_a_key_that_was_never_sound_says_so_to_its_reader(served: Served) -> None:
    await served.publish(tree(b"a: ["))

    with pytest.raises(FormatError):
        await served.reader.read(SHOP)


async def test_L04_names_from_the_network_fill_a_small_part_and_push_nobody_out(served: Served) -> None:
    await served.publish(tree(b"a: 1", application=b"shared: 1"))
    own = attrs.evolve(SHOP, profile="default")
    mine = await served.reader.read(own)
    for number in range(reading._CACHE_KEYS):
        await served.reader.read(Key(f"made-up-{number}", "dev", "main"))

    assert reading._CACHE_KEYS // 8 + 1 == len(served.reader._answers.configs)
    assert mine is await served.reader.read(own)
    assert 0 == len(served.store)


async def test_several_labels_are_one_configuration_and_each_must_be_there(served: Served) -> None:
    files = {
        name: Files({"shop.yml": text}, origin=Origin(name, "Ann", ""))
        for name, text in (("one", b"a: 1"), ("two", b"b: 2"))
    }
    await served.publish(Tree(files, "one"))

    both = await served.reader.read(attrs.evolve(SHOP, label="one,two"))

    assert {"a": 1, "b": 2} == both.document
    with pytest.raises(UnknownLabel, match="^no such label$"):
        await served.reader.read(attrs.evolve(SHOP, label="one,three"))
    with pytest.raises(UnknownLabel, match="commits = true"):
        await served.reader.read(attrs.evolve(SHOP, label="one," + "a" * 40))


async def test_what_is_too_large_to_be_kept_is_read_all_the_same_and_once_for_all_that_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "_CACHE_BYTES", 8)
    served = Served()
    await served.publish(tree(b"a: 1000000000"))
    configs = []

    async def read() -> None:
        configs.append(await served.reader.read(SHOP))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read)

    assert {"a": 1_000_000_000} == configs[0].document
    assert 1 == len(set(map(id, configs)))
    assert not served.reader._answers.configs


async def test_what_exists_is_what_has_files_or_is_in_use(served: Served) -> None:
    await served.publish(tree(b"a: 1", **{"application-prod": b"shared: 1"}))
    made_up = attrs.evolve(SHOP, application="made-up")
    own = Key(SHOP.application, "default", SHOP.label)

    lists = [Key("shop", "prod,default", "main"), Key("shop", "prod,x", "main"), Key("shop,y", "prod", "main")]
    assert (True, False) == (served.reader.exists(own), served.reader.exists(made_up))
    assert [True, False, False] == [served.reader.exists(each) for each in lists]
    served.store.add(made_up)
    assert served.reader.exists(made_up)
    assert SHOP.application in served.reader.names_in(SHOP.label).applications


async def test_keys_are_listed_in_order_with_the_versions_that_are_known(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert () == await served.reader.keys()
    await served.publish(tree(b"a: 1", **{"b-dev": b"b: 1", "b": b"b: 2", "a": b""}))
    ordered = [("a", "default"), ("b", "default"), ("b", "dev"), ("shop", "default")]

    assert [Key(*names, "main") for names in ordered] == await served.reader.keys()
    made_up = Key("b", "a,c", "main")
    served.store.add(made_up)
    assert [*ordered[:1], ("b", "a,c"), *ordered[1:]] == [
        (key.application, key.profile) for key in await served.reader.keys()
    ]
    assert version_of(b'{"b":2}') == served.reader.known_version(made_up)
    shop = Key("shop", "default", "main")
    assert served.reader.known_version(shop) is None
    await served.reader.read(shop)
    assert version_of(b'{"a":1}') == served.reader.known_version(shop)

    # The names are sorted once for each state.
    monkeypatch.setattr(reading, "_ordered", None)
    served.store.drop(made_up)
    assert 4 == len(await served.reader.keys())


async def test_explanations_and_history_come_from_the_state_in_force(served: Served) -> None:
    await served.publish(tree(b"a: 1"))
    served.store.add(SHOP)
    await served.publish(tree(b"# a line\na: 2"))
    explanation, version = await served.reader.explain(SHOP)

    assert [2] == [each.line for each in explanation.keys["a"]]
    assert version_of(b'{"a":2}') == version
    assert {version_of(b'{"a":1}'): b'{"a":1}'} == served.reader.history(SHOP)
    with pytest.raises(UnknownLabel):
        await served.reader.explain(Key("shop", "dev", "nowhere"))


async def test_former_states_are_looked_up_anew_for_each_served_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vortexd.pipeline.former_states.AGAIN", 0.0)
    past = FormerTrees(tree(b"a: 0"))
    served = Served(past)
    unknown, old = "0" * 16, version_of(b'{"a":0}')
    assert not served.reader.may_recall(SHOP, unknown)
    await served.reader.recall(SHOP, unknown)
    await served.publish(tree(b"a: 1"))
    served.store.add(SHOP)
    assert served.reader.may_recall(SHOP, unknown)
    await served.reader.recall(SHOP, unknown)
    assert not served.reader.may_recall(SHOP, unknown)
    await served.publish(tree(b"a: 2"))
    assert served.reader.may_recall(SHOP, unknown)
    await served.reader.recall(SHOP, unknown)

    assert [(0, 0), (7, 1)] * 2 == past.asked
    assert served.reader._answers.states is not None
    assert served.reader._answers.states._limits is served.reader._former_limits
    assert b'{"a":0}' == served.store.body_of(SHOP, old)


@pytest.mark.parametrize("is_there", [True, False])
async def test_without_sources_that_have_former_states_nothing_is_looked_up(is_there: bool) -> None:
    past = FormerTrees(tree(b"a: 0"))
    past.has_former = False
    served = Served(past if is_there else None)
    await served.publish(tree(b"a: 1"))
    served.store.add(SHOP)
    assert not served.reader.may_recall(SHOP, "0" * 16)
    await served.reader.recall(SHOP, "0" * 16)
    assert [] == past.asked
    # Sources that come later may have some.
    past.has_former = True
    await served.publish(tree(b"a: 2"))

    assert is_there == served.reader.may_recall(SHOP, "0" * 16)


async def test_explanations_do_not_hold_up_former_states(served: Served) -> None:
    past = FormerTrees(tree(b"a: 0"))
    served = Served(past)
    await served.publish(tree(b"a: 1"))
    served.store.add(SHOP)
    served.reader._explaining.acquire_on_behalf_of_nowait(served)
    served.reader._threads.acquire_on_behalf_of_nowait(1)
    served.reader._threads.acquire_on_behalf_of_nowait(2)
    with trio.fail_after(5):
        await served.reader.recall(SHOP, version_of(b'{"a":0}'))

    assert [b'{"a":0}'] == [*served.reader.history(SHOP).values()]


async def test_before_the_first_state_nothing_can_be_explained(served: Served) -> None:
    with pytest.raises(UnknownLabel):
        await served.reader.explain(SHOP)


async def test_why_a_key_is_served_as_it_was_is_known(served: Served) -> None:
    await served.publish(tree(b"a: 1", cart=b"b: 1"))
    served.store.add(SHOP)
    await served.publish(tree(b"a: 2", cart=b"b: [1", **{"shop-dev": b"spring.profiles.include: x"}))

    faults = [served.reader.fault_of(Key(name, "dev", "main")) for name in ("shop", "cart", "other")]
    assert {"a": 1} == (await served.reader.read(SHOP)).document
    assert [ResolveError, FormatError, type(None)] == [*map(type, faults)]
    assert "spring.profiles.include" in str(faults[0])


# What is broken.


async def test_nothing_is_broken_before_the_first_state_and_while_all_is_well(served: Served) -> None:
    assert ({}, [], ()) == (served.reader.broken, served.reader.broken_for(SHOP), await served.reader.held_back())
    await served.publish(tree(b"a: 1"))
    assert ({}, [], ()) == (served.reader.broken, served.reader.broken_for(SHOP), await served.reader.held_back())


async def test_each_broken_file_is_told_with_the_keys_that_exist_or_are_in_use_and_read_it(served: Served) -> None:
    in_use = Key("shop", "made-up", "main")
    more = {"shop-dev": b"c: 1", "shop-prod": b"c: 1"}
    await served.publish(tree(b"a: 1", cart=b"b: 1", **more))
    served.store.add(in_use)
    await served.publish(tree(b"a: [", cart=b"b: 1", **more | {"shop-dev": b"c: ["}))

    held = await served.reader.held_back()
    found = {each.file.path: (each.count, [key.profile for key in each.keys]) for each in held}
    assert {"shop.yml": (4, ["default", "dev", "made-up", "prod"]), "shop-dev.yml": (1, ["dev"])} == found
    assert {("main", "shop.yml"), ("main", "shop-dev.yml")} == served.reader.broken.keys()
    assert ["shop-dev.yml", "shop.yml"] == sorted(each.path for each in served.reader.broken_for(SHOP))
    assert [] == served.reader.broken_for(Key("cart", "dev", "main"))


async def test_the_first_keys_are_named_and_all_are_counted(served: Served) -> None:
    shops = {f"shop{number:02}": b"a: 1" for number in range(reading.SHOWN_KEYS + 5)}
    await served.publish(tree(b"a: 1", application=b"a: [", **shops))
    [held] = await served.reader.held_back()

    assert (reading.SHOWN_KEYS + 6, reading.SHOWN_KEYS) == (held.count, len(held.keys))
    assert sorted(held.keys) == list(held.keys)


async def test_what_is_held_back_is_found_once_for_each_state(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Key] = []
    broken = State.broken

    def noted(state: State, key: Key) -> list[BrokenFile]:
        asked.append(key)
        return broken(state, key)

    monkeypatch.setattr(State, "broken", noted)
    await served.publish(tree(b"a: ["))
    first = await served.reader.held_back()
    assert first is await served.reader.held_back()
    assert 1 == len(asked)
    await served.publish(tree(b"a: ["))
    await served.reader.held_back()
    assert 2 == len(asked)


async def test_a_key_with_too_many_profiles_is_held_back_by_no_file(served: Served) -> None:
    many = ",".join(f"p{number}" for number in range(100))
    await served.publish(tree(f"spring.profiles.include: [{many}]".encode(), application=b"a: ["))
    served.store.expect(SHOP)

    assert [] == served.reader.broken_for(SHOP)
    assert SHOP not in (await served.reader.held_back())[0].keys
    assert [] == served.reader.broken_for(attrs.evolve(SHOP, label="none"))


# The commit before.


def committed(content: bytes, commit: str | None = "c2", **more: Any) -> Tree:
    files = Files(
        {"shop.yml": content, "cart.yml": b"c: 1"}, root="https://git/", revision=commit, locations=("", "conf/")
    )
    return Tree({"main": attrs.evolve(files, **more)})


class Before:
    """Answers for the commit before, and notes what it was asked."""

    def __init__(self, files: Files | None) -> None:
        self.files = files
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, root: str, commit: str) -> Files | None:
        self.asked.append((root, commit))
        await trio.lowlevel.checkpoint()
        return self.files


FORMER = Files({"shop.yml": b"a: 0", "conf/shop.yml": b"b: ${x}"}, revision="c1", origin=Origin("c1", "Ada", ""))


async def test_what_the_commit_before_made_of_a_key_is_resolved_as_that_of_now(served: Served) -> None:
    served.load_before = load = Before(FORMER)
    await served.publish(committed(b"a: 1"))

    found = await served.reader.before(SHOP)
    assert found is not None
    assert ({"a": 0, "b": "${x}"}, "c1") == (found.document, found.revision)
    assert [("https://git/", "c2")] == load.asked
    assert {"a": 1} == (await served.reader.read(SHOP)).document


async def test_it_is_the_commit_before_the_one_that_the_key_last_changed_with(served: Served) -> None:
    served.load_before = load = Before(FORMER)
    edits = Edits(5, {"shop.yml": (3, Origin("c3", "Ada", ""))})
    await served.publish(committed(b"a: 1", "c5", edits=edits))

    assert await served.reader.before(SHOP) is not None
    assert await served.reader.before(attrs.evolve(SHOP, application="cart")) is not None
    assert [("https://git/", "c3"), ("https://git/", "c5")] == load.asked


async def test_it_is_read_once_for_all_keys_until_something_new_is_served(served: Served) -> None:
    served.load_before = load = Before(FORMER)
    await served.publish(committed(b"a: 1"))
    async with trio.open_nursery() as nursery:
        for name in ("shop", "cart", "shop"):
            nursery.start_soon(served.reader.before, attrs.evolve(SHOP, application=name))
    again = await served.reader.before(SHOP)
    assert again is not None
    assert again is await served.reader.before(SHOP)
    assert 1 == len(load.asked)

    await served.publish(committed(b"a: 2", "c3"))
    await served.reader.before(SHOP)
    assert ["c2", "c3"] == [commit for _, commit in load.asked]


async def test_what_could_not_be_read_is_asked_for_again_with_the_next_state(served: Served) -> None:
    served.load_before = load = Before(None)
    await served.publish(committed(b"a: 1"))
    assert await served.reader.before(SHOP) is None
    await served.publish(committed(b"a: 1"))
    load.files = FORMER

    assert await served.reader.before(SHOP) is not None


async def test_what_is_published_while_a_commit_is_read_is_not_given_what_was_before_it(served: Served) -> None:
    async def publishing(root: str, commit: str) -> Files | None:
        await served.publish(committed(b"a: 2", "c3"))
        return FORMER

    served.load_before = publishing
    await served.publish(committed(b"a: 1"))
    found = await served.reader.before(SHOP)

    assert found is not None
    assert {"a": 0, "b": "${x}"} == found.document
    assert served.reader.kept(attrs.evolve(SHOP, label="c2^")) is None


async def test_only_so_many_commits_are_held(served: Served) -> None:
    served.load_before = load = Before(FORMER)
    files = committed(b"a: 1").labels["main"]
    labels = {f"l{number}": attrs.evolve(files, revision=f"c{number}") for number in range(5)}
    await served.publish(Tree(labels, "l0"))
    for label in (*labels, "l4", "l0"):
        await served.reader.before(Key("cart" if label == "l0" else "shop", label, label))

    assert ["c0", "c1", "c2", "c3", "c4"] == [commit for _, commit in load.asked][:5]
    await served.reader.before(Key("new", "dev", "l4"))
    await served.reader.before(Key("new", "dev", "l0"))
    assert 6 == len(load.asked)


async def test_where_several_sources_serve_a_key_or_none_of_git_or_several_labels_there_is_none(
    served: Served,
) -> None:
    served.load_before = load = Before(FORMER)
    other = Files({"shop.yml": b"z: 1"}, root="file:/x/", group=1)
    await served.publish(committed(b"a: 1", others=(other,)))
    assert await served.reader.before(SHOP) is None
    await served.publish(committed(b"a: 1", None))
    assert await served.reader.before(SHOP) is None
    files = committed(b"a: 1").labels["main"]
    await served.publish(Tree({"main": files, "next": files}))
    assert await served.reader.before(attrs.evolve(SHOP, label="main,next")) is None
    assert [] == load.asked
    without_git = ConfigReader(served.store, trio.CapacityLimiter(2))
    await served.publish(committed(b"a: 1"))
    assert await without_git.before(SHOP) is None


@pytest.mark.parametrize("files", [None, Files({"shop.yml": b"a: [", "application.yml": b""}, revision="c1")])
async def test_a_commit_before_that_is_not_there_or_broken_is_none(served: Served, files: Files | None) -> None:
    served.load_before = load = Before(files)
    await served.publish(committed(b"a: 1"))

    assert await served.reader.before(SHOP) is None
    assert await served.reader.before(SHOP) is None
    assert 1 == len(load.asked)


async def test_a_file_that_was_unreadable_in_the_commit_before_is_not_that_of_now(served: Served) -> None:
    served.load_before = Before(Files({}, {"shop.yml": "a link"}, revision="c1"))
    await served.publish(committed(b"a: 1"))

    assert await served.reader.before(SHOP) is None


# One served state after the other.


async def test_answers_end_with_the_served_state_that_they_are_from(served: Served) -> None:
    await served.publish(tree(b"a: 1"))
    first = weakref.ref(served.store.served)
    kept = await served.reader.read(SHOP)
    assert kept is served.reader.kept(SHOP)
    await served.publish(tree(b"a: 2"))

    assert served.reader.kept(SHOP) is None
    assert {"a": 2} == (await served.reader.read(SHOP)).document
    assert first() is None


async def test_old_answers_are_freed_before_the_next_question(served: Served) -> None:
    await served.publish(tree(b"a: 1"))
    await served.reader.read(SHOP)
    answers = weakref.ref(served.reader._answers)
    await served.publish(tree(b"a: 2"))
    assert answers() is not None
    served.reader.drop_old_answers()

    assert answers() is None
    # The next question makes the new ones.
    assert served.reader._current.served is None
    kept = await served.reader.read(SHOP)
    served.reader.drop_old_answers()
    assert kept is served.reader.kept(SHOP)


async def test_the_bounds_of_parsing_are_those_of_what_is_served(served: Served) -> None:
    assert FormatSettings() == served.reader.formats
    await served.publish(tree(b"a: 1"))
    value = served.store.served
    assert value is not None
    other = attrs.evolve(value, formats=FormatSettings(nodes=5))
    served.store.commit(stage(other, served.store.configs()))

    assert 5 == served.reader.formats.nodes


async def test_a_former_commit_is_parsed_within_the_bounds_of_what_is_served(served: Served) -> None:
    served.load_before = Before(Files({"shop.yml": b"a: [1, 2, 3, 4, 5, 6, 7, 8, 9]"}, revision="c1"))
    await served.publish(committed(b"a: 1"))
    value = served.store.served
    assert value is not None
    assert await served.reader.before(SHOP) is not None
    served.store.commit(stage(attrs.evolve(value, formats=FormatSettings(nodes=5)), served.store.configs()))

    assert await served.reader.before(SHOP) is None


# The commits that changed a key.


class OneCommit(NoVersions):
    """Knows one commit, and notes how often it is read."""

    def __init__(self) -> None:
        self.reads = 0

    def commits(self, root: str, commit: str) -> list[Commit]:
        return [Commit(Origin(commit, "Ada", "2026-01-01T00:00:00Z"), None, ["shop.yml"])]

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        self.reads += 1
        await trio.lowlevel.checkpoint()
        return PastFiles(Files({"shop.yml": b"a: 1"}), {}, None)

    async def subject(self, root: str, commit: str) -> str:
        return "Begin"


async def test_the_commits_that_changed_a_key_are_found_for_keys_that_nobody_uses() -> None:
    served = Served(commits=OneCommit())
    await served.publish(committed(b"a: 1"))
    page = await served.reader.changes(SHOP, "", 5, "", "ann")

    assert [("c2", "Begin", b"{}", b'{"a":1}')] == [
        (each.origin.commit, each.subject, each.old.body, each.new.body) for each in page.changes
    ]
    commit, document = await served.reader.document_at(SHOP, lambda commits: commits[0], "ann")
    assert ("c2", b'{"a":1}') == (commit.id, document and document.body)


async def test_a_page_is_read_once_for_all_who_ask_for_it_at_the_same_time() -> None:
    commits = OneCommit()
    served = Served(commits=commits)
    await served.publish(committed(b"a: 1"))
    async with trio.open_nursery() as nursery:
        for part in ("", "", "a"):
            nursery.start_soon(served.reader.changes, SHOP, part, 5, "", "ann")

    assert 2 == commits.reads


async def test_clients_share_a_page_and_an_act_of_an_administrator_reads_its_own() -> None:
    commits = OneCommit()
    served = Served(commits=commits)
    await served.publish(committed(b"a: 1"))
    async with trio.open_nursery() as nursery:
        for client in ("ann", "bob", None, None):
            nursery.start_soon(served.reader.changes, SHOP, "", 5, "", client)

    assert 2 == commits.reads


@pytest.mark.parametrize("with_commits", [False, True])
async def test_a_key_without_a_git_source_has_no_history(with_commits: bool) -> None:
    served = Served(commits=OneCommit() if with_commits else None)
    await served.publish(tree(b"a: 1"))
    for ask in (
        served.reader.changes(SHOP, "", 5, "", "ann"),
        served.reader.document_at(SHOP, lambda commits: commits[0], "ann"),
    ):
        with pytest.raises(RemoteError, match="no history of this key is known") as caught:
            await ask
        assert 404 == caught.value.status


async def test_a_key_with_several_labels_and_sources_has_a_history() -> None:
    served = Served(commits=OneCommit())
    files = committed(b"a: 1").labels["main"]
    more = Files({"shop.yml": b"b: 1"}, root="file:/d/", group=1)
    await served.publish(Tree({"main": attrs.evolve(files, others=(more,)), "dev": files}))
    key = attrs.evolve(SHOP, label="main,dev")
    page = await served.reader.changes(key, "", 5, "", "ann")

    assert [("c2", "main,dev", b'{"b":1}', b'{"a":1,"b":1}')] == [
        (each.origin.commit, each.label, each.old.body, each.new.body) for each in page.changes
    ]
    assert [("main", 1), ("main", 0), ("dev", 1)] == [(each.label, each.count) for each in page.layers]
    commit, document = await served.reader.document_at(key, lambda commits: commits[0], "ann")
    assert ("c2", b'{"a":1,"b":1}') == (commit.id, document and document.body)


async def test_an_unknown_label_has_no_history_either() -> None:
    served = Served(commits=OneCommit())
    await served.publish(committed(b"a: 1"))
    with pytest.raises(UnknownLabel):
        await served.reader.changes(attrs.evolve(SHOP, label="none"), "", 5, "", "ann")
