"""Several sources as one tree: precedence, labels that a source lacks, and trees that stay the same object."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from random import Random

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from vortexd.core.commits import Commit, PastFiles
from vortexd.core.errors import RemoteError, SourceError
from vortexd.core.model import Config, Edits, Files, Key, Origin, Tree
from vortexd.core.pushes import Branch, NewCommit, PushError, PushFault
from vortexd.pipeline.state import State
from vortexd.pipeline.store import Store, stage
from vortexd.resolve.tree import ParsedTree, parse_tree
from vortexd.settings.formats import FormatSettings
from vortexd.settings.history import HistorySettings
from vortexd.settings.root import Settings
from vortexd.source.base import Publish
from vortexd.source.composite import Sources, merge, open_sources, places
from vortexd.source.files.settings import FilesSettings
from vortexd.source.files.source import FilesSource
from vortexd.source.git.settings import GitSettings
from vortexd.source.git.source import GitSource
from vortexd.source.memory import directory_for
from vortexd.source.status import SourceStatus

from ..repository import Repository
from ..wiring import served_state


class Hand:
    """A source that a test publishes with."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = SourceStatus(name, "files")
        self.publish: Publish | None = None

    async def run(self, publish: Publish) -> None:
        self.publish = publish
        await trio.sleep_forever()

    async def say(self, tree: Tree) -> None:
        assert self.publish is not None
        await self.publish(tree)


def files(root: str, revision: str | None = None, **contents: str) -> Files:
    origin = Origin(revision, "Ada", f"2030-01-01T00:00:0{len(revision)}Z") if revision else None
    return Files({f"{name}.yml": text.encode() for name, text in contents.items()}, {}, root, ("",), revision, origin)


def resolved(tree: Tree, application: str = "orders", profile: str = "dev", label: str | None = None) -> Config:
    return served(parse_tree(tree, FormatSettings())).resolve(Key(application, profile, label or tree.default_label))


def served(parsed: ParsedTree) -> State:
    return State(parsed.labels, parsed.default_label)


def merged(*trees: Tree, patterns: tuple[tuple[str, ...], ...] = ()) -> Tree:
    return merge(trees, places(patterns or ((),) * len(trees)), {})


def test_all_of_the_first_source_goes_before_the_second() -> None:
    one = Tree({"main": files("one/", application="a: 1\nb: 1\n")})
    two = Tree({"main": files("two/", **{"orders-dev": "a: 2\nc: 2\n"})})
    config = resolved(merged(one, two))

    assert {"a": 1, "b": 1, "c": 2} == config.document
    assert ["one/application.yml", "two/orders-dev.yml"] == [source.name for source in config.sources]


def test_the_version_is_null_with_several_sources_and_the_commit_with_one() -> None:
    one, two = (Tree({"main": files(f"{name}/", name, orders="a: 1")}) for name in ("aa", "bbb"))

    assert "aa" == resolved(merged(one)).revision
    config = resolved(merged(one, two))
    assert config.revision is None
    assert "bbb" == (config.origin and config.origin.commit)


def test_a_label_is_there_if_one_source_has_it() -> None:
    one = Tree({"main": files("one/", orders="a: 1"), "dev": files("one/", orders="a: dev")})
    two = Tree({"main": files("two/", orders="b: 2"), "x": files("two/", orders="b: x")})
    tree = merged(one, two)

    assert {"a": "dev"} == resolved(tree, label="dev").document
    assert {"b": "x"} == resolved(tree, label="x").document
    assert {"a": 1, "b": 2} == resolved(tree).document


def test_a_directory_without_labels_belongs_to_every_label_and_defaults_are_each_ones_own() -> None:
    shared = files("one/", orders="a: 1")
    one = Tree({"main": shared}, "main", shared)
    two = Tree({"master": files("two/", orders="b: 2"), "dev": files("two/", orders="b: 3")}, "master")
    tree = merged(one, two)

    assert {"a": 1, "b": 2} == resolved(tree).document
    assert {"a": 1, "b": 3} == resolved(tree, label="dev").document


def test_sources_with_patterns_are_alternatives_to_the_one_behind_them() -> None:
    own = Tree({"main": files("own/", "aa", orders="a: own")})
    rest = Tree({"main": files("rest/", "bbb", application="a: rest", orders="b: rest")})
    tree = merged(own, rest, patterns=(("orders", "*/prod"), ()))

    assert {"a": "own"} == resolved(tree).document
    assert "aa" == resolved(tree).revision
    assert {"a": "rest"} == resolved(tree, "billing").document
    assert {} == resolved(tree, "billing", "test,prod").document


def test_a_broken_file_of_one_source_is_replaced_by_its_last_good_content_and_the_other_sources_move_on() -> None:
    limits = FormatSettings()
    one, two = files("one/", orders="a: 1"), files("two/", orders="b: 1", billing="c: 1")
    before = parse_tree(merged(Tree({"main": one}), Tree({"main": two})), limits)
    broken, newer = files("one/", orders="a: ["), files("two/", orders="b: 2", billing="c: 2")
    after = served(parse_tree(merged(Tree({"main": broken}), Tree({"main": newer})), limits, before))

    assert {"a": 1, "b": 2} == after.resolve(Key("orders", "dev", "main")).document
    assert {"c": 2} == after.resolve(Key("billing", "dev", "main")).document


def test_a_broken_file_for_everybody_holds_only_those_who_are_served_from_its_source() -> None:
    limits, patterns = FormatSettings(), (("orders",), ())
    parsed = None
    # Each time it is the other source that is broken for everybody; `billing` must not go back to what it was first.
    for own, others in (("a: 1", "c: 1"), ("a: [", "c: 2"), ("a: 3", "c: [")):
        one = Tree({"main": files("own/", application=own)})
        rest = Tree({"main": files("rest/", application=others)})
        parsed = parse_tree(merged(one, rest, patterns=patterns), limits, parsed)

    assert parsed is not None
    state = served(parsed)
    assert {"a": 3} == state.resolve(Key("orders", "dev", "main")).document
    assert {"c": 2} == state.resolve(Key("billing", "dev", "main")).document


def test_what_is_made_of_the_same_files_is_the_same_object() -> None:
    trees = [Tree({"main": files("one/", orders="a: 1")}), Tree({"main": files("two/", orders="a: 1")})]
    before = merge(trees, places(((), ())), {})
    after = merge([trees[0], Tree(trees[1].labels)], places(((), ())), before.labels)

    assert after.labels["main"] is before.labels["main"]


async def test_nothing_is_published_before_each_was_read_and_then_each_goes_on_alone() -> None:
    one, two = Hand("one"), Hand("two")
    sources = Sources([one, two], [(), ()])
    trees: list[Tree] = []

    async def publish(tree: Tree) -> None:
        trees.append(tree)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sources.run, publish)
        await trio.testing.wait_all_tasks_blocked()
        await one.say(Tree({"main": files("one/", orders="a: 1")}))
        assert [] == trees
        await two.say(Tree({"main": files("two/", orders="b: 1")}))
        two.status.failed("gone")
        await one.say(Tree({"main": files("one/", orders="a: 2")}))
        nursery.cancel_scope.cancel()

    assert [{"a": 1, "b": 1}, {"a": 2, "b": 1}] == [resolved(tree).document for tree in trees]
    assert [False, True] == [report.is_failing for report in sources.reports()]


def test_a_commit_that_touches_no_file_of_a_key_leaves_its_version_and_origin_alone() -> None:
    store = Store(HistorySettings())
    key = Key("orders", "dev", "main")
    first = Origin("aa", "Ada", "2030-01-01T00:00:02Z")
    for revision, other in (("aa", "c: 1"), ("bbb", "c: 2")):
        one = attrs.evolve(
            files("one/", revision, orders="a: 1", billing=other), edits=Edits(2, {"orders.yml": (1, first)})
        )
        state = served(parse_tree(merged(Tree({"main": one})), FormatSettings()))
        changes = store.commit(stage(served_state(state), store.configs()))
        if revision == "aa":
            store.add(key)
        config = store.find(key)

    assert [] == changes
    assert config is not None
    assert ("bbb", first) == (config.revision, config.origin)


async def test_fetch_now_names_the_sources_it_is_for(tmp_path: Path) -> None:
    settings = Settings(
        source=(
            GitSettings(uri="https://git.example/a.git"),
            GitSettings(uri="https://user:secret@git.example/b.git"),
            FilesSettings(path=str(tmp_path)),
        )
    )
    sources = open_sources(settings, {"STATE_DIRECTORY": str(tmp_path)}, Random(1))

    assert 2 == sources.fetch_now()
    assert 1 == sources.fetch_now("https://git.example/b.git")
    assert 0 == sources.fetch_now("https://git.example/c.git")


@pytest.mark.parametrize(
    ("addresses", "refs", "count"),
    [
        ([], [], 2),
        (["git@git.example:a.git", "https://git.example/a"], [], 1),
        (["https://git.example/c.git"], [], 0),
        (["https://git.internal/a.git"], [], 1),
        (["https://git.example/"], [], 2),
        (["https://git.example/c.git", ""], [], 0),
        ([], ["refs/heads/release/1"], 2),
        ([], ["refs/heads/feature"], 1),
        (["https://git.example/b"], ["refs/heads/feature"], 0),
        (["https://git.example/b"], ["refs/heads/feature", "refs/heads/release/1"], 1),
        ([], ["refs/notes/commits"], 0),
    ],
)
def test_news_are_for_the_sources_that_have_the_repository_and_serve_the_branch(
    tmp_path: Path, addresses: list[str], refs: list[str], count: int
) -> None:
    settings = Settings(
        source=(
            GitSettings(uri="https://git.example/a.git"),
            GitSettings(uri="ssh://git@git.example/b.git", labels=("release/*",)),
            FilesSettings(path=str(tmp_path)),
        )
    )

    assert count == open_sources(settings, {"STATE_DIRECTORY": str(tmp_path)}, Random(1)).notified(addresses, refs)


class Remote(Hand):
    """A source with a remote, which notes whether it was asked to fetch."""

    def __init__(self, name: str, state: str = "s1") -> None:
        super().__init__(name)
        self.remote_state = state
        self.fetches = 0
        self.asked: list[object] = []
        self.report: Callable[[str], None] = lambda state: None

    def fetch_now(self) -> None:
        self.fetches += 1

    async def wait_looked(self) -> None:
        pass

    def is_meant(self, addresses: Collection[str], refs: Collection[str]) -> bool:
        self.asked.append((list(addresses), list(refs)))
        return list(addresses) == [self.name]

    def report_news(self, report: Callable[[str], None]) -> None:
        self.report = report


def test_sources_of_a_remote_fetch_unless_they_have_its_state() -> None:
    one, other, current, hand = Remote("git:x"), Remote("git:y"), Remote("git:x", "s2"), Hand("git:x")
    sources = Sources([one, other, current, hand], [(), (), (), ()])

    assert 1 == sources.behind("git:x", "s2")
    assert [1, 0, 0] == [each.fetches for each in (one, other, current)]
    assert 0 == sources.behind("git:z", "s2")
    assert [(["git:x"], []), (["git:z"], [])] == other.asked


def test_a_new_state_of_a_remote_is_reported_with_the_name_of_its_source() -> None:
    one, hand = Remote("git:x"), Hand("files:y")
    sources = Sources([one, hand], [(), ()])
    one.report("before anybody listens")
    reported: list[tuple[str, str]] = []
    sources.report_news(lambda name, state: reported.append((name, state)))
    one.report("s2")
    later = Remote("git:later")
    sources.replace(Sources([later], [()]))
    later.report("s3")

    assert [("git:x", "s2"), ("git:later", "s3")] == reported


def test_without_a_listener_sources_take_the_place_of_others_as_ever() -> None:
    sources, later = Sources([Remote("git:x")], [()]), Remote("git:later")
    sources.replace(Sources([later], [()]))
    later.report("s3")

    assert ["git:later"] == [report.name for report in sources.reports()]


async def test_two_sources_of_one_repository_have_a_mirror_each(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"orders.yml": "a: 1", "team/orders.yml": "a: 2"})
    git = GitSettings(uri=repository.uri, schemes=("file",))
    settings = Settings(source=(attrs.evolve(git, search_paths=("team",)), git))
    trees: list[Tree] = []

    async with trio.open_nursery() as nursery:

        async def publish(tree: Tree) -> None:
            trees.append(tree)
            nursery.cancel_scope.cancel()

        with trio.fail_after(20):
            await open_sources(settings, {"STATE_DIRECTORY": str(tmp_path)}, Random(1)).run(publish)

    assert [{"a": 2}] == [resolved(tree).document for tree in trees]
    assert 2 == len(list((tmp_path / "git").glob("*.git")))


async def test_sources_take_the_place_of_others_and_what_those_gave_stays_until_all_were_read() -> None:
    former, one, two = Hand("former"), Hand("one"), Hand("two")
    sources = Sources([former], [()])
    trees: list[Tree] = []

    async def publish(tree: Tree) -> None:
        trees.append(tree)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sources.run, publish)
        await trio.testing.wait_all_tasks_blocked()
        await former.say(Tree({"main": files("former/", orders="a: 0")}))
        sources.replace(Sources([one, two], [(), ()]))
        await trio.testing.wait_all_tasks_blocked()
        # What it still had to say comes too late.
        await former.say(Tree({"main": files("former/", orders="a: 9")}))
        await one.say(Tree({"main": files("one/", orders="a: 1")}))
        assert 1 == len(trees)
        await two.say(Tree({"main": files("two/", orders="b: 1")}))
        nursery.cancel_scope.cancel()

    assert [{"a": 0}, {"a": 1, "b": 1}] == [resolved(tree).document for tree in trees]
    assert ["one", "two"] == [report.name for report in sources.reports()]


async def test_labels_in_use_are_kept_by_sources_that_came_later(tmp_path: Path) -> None:
    settings = Settings(source=(GitSettings(uri="https://git.example/a.git"),))
    sources, later = (open_sources(settings, {"STATE_DIRECTORY": str(tmp_path)}, Random(1)) for _ in range(2))
    sources.keep_labels(lambda: {"preview"})
    sources.replace(later)

    assert [{"preview"}] == [each._reader._wanted.in_use() for each in later._sources if isinstance(each, GitSource)]


# What is remembered.


def memory_of(sources: Sources) -> list[bool]:
    return [each._remembered is not None for each in sources._sources if isinstance(each, FilesSource)]


def test_directories_are_remembered_unless_their_settings_say_otherwise(tmp_path: Path) -> None:
    settings = Settings(
        source=(
            FilesSettings(path="/srv/a"),
            FilesSettings(path="/srv/b", remember=False),
            GitSettings(uri="https://git.example/a.git"),
        )
    )
    kept, not_kept = (open_sources(settings, {}, Random(1), memory=memory) for memory in (tmp_path, None))

    assert ([True, False], [False, False]) == (memory_of(kept), memory_of(not_kept))
    assert not_kept._begin is None


async def test_what_is_not_remembered_any_more_is_removed_before_sources_run(tmp_path: Path) -> None:
    settings = Settings(source=(FilesSettings(path=str(tmp_path / "a")), FilesSettings(path="/b", remember=False)))
    for root in (f"file:{tmp_path}/a/", "file:/b/", "file:/gone/"):
        directory_for(tmp_path / "m", root).mkdir(parents=True)
    sources = open_sources(settings, {}, Random(1), memory=tmp_path / "m")
    assert sources._begin is not None
    sources._begin()

    assert [directory_for(tmp_path / "m", f"file:{tmp_path}/a/")] == [*(tmp_path / "m").iterdir()]


async def test_the_commit_before_is_asked_of_the_sources_with_that_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = ("https://git.example/a.git", "https://user:secret@git.example/b.git", "https://git.example/b.git")
    settings = Settings(source=(*(GitSettings(uri=uri) for uri in uris), FilesSettings(path=str(tmp_path))))
    sources = open_sources(settings, {"STATE_DIRECTORY": str(tmp_path)}, Random(1))
    asked: list[tuple[str, str]] = []
    known: dict[int, Files] = {}

    async def before(source: GitSource, commit: str) -> Files | None:
        asked.append((source.name, commit))
        return known.get(len(asked))

    monkeypatch.setattr(GitSource, "before", before)
    assert await sources.before("https://git.example/b.git/", "c1") is None
    assert [("https://git.example/b.git", "c1")] * 2 == asked
    assert await sources.before(f"file:{tmp_path}/", "c1") is None
    assert 2 == len(asked)
    known[3] = Files({})
    assert known[3] is await sources.before("https://git.example/b.git/", "c2")
    assert 3 == len(asked)


def test_the_layers_of_a_published_state_stay_apart_and_keep_their_applications() -> None:
    own = Tree({"main": files("p/", "c1", application="a: 1")})
    published = merged(
        Tree({"main": files("1/", orders="b: 1")}),
        Tree({"main": files("2/", application="c: 1")}),
        Tree({"main": files("3/", application="d: 1")}),
        patterns=(("orders",), (), ()),
    )
    again = merged(published)
    for application in ("orders", "billing"):
        assert resolved(published, application).sources == resolved(again, application).sources or [
            each.name for each in resolved(published, application).sources
        ] == [each.name for each in resolved(again, application).sources]
    stacked = merged(published, own).labels["main"]
    layers = [stacked, *stacked.others]
    assert ["1/", "2/", "3/", "p/"] == [each.root for each in layers]
    assert [("orders",), (), (), ()] == [each.applications for each in layers]
    groups = [each.group for each in layers]
    assert groups[0] == groups[1]
    assert 3 == len({*groups})
    assert not any(each.others for each in stacked.others)


def test_a_published_state_alone_keeps_its_commit() -> None:
    assert "c1" == merged(merged(Tree({"main": files("p/", "c1", application="a: 1")}))).labels["main"].revision


async def test_the_order_of_commits_is_asked_of_the_sources_with_that_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = ("https://git.example/a.git", "https://user:secret@git.example/b.git", "https://git.example/b.git")
    settings = Settings(source=(*(GitSettings(uri=uri) for uri in uris), FilesSettings(path=str(tmp_path))))
    sources = open_sources(settings, {"STATE_DIRECTORY": str(tmp_path)}, Random(1))
    known: list[bool | None] = [None, False, None, True]
    asked: list[str] = []

    async def is_before(source: GitSource, commit: str, other: str) -> bool | None:
        asked.append(f"{source.name} {commit} {other}")
        return known.pop(0)

    monkeypatch.setattr(GitSource, "is_before", is_before)
    assert await sources.is_before("https://git.example/b.git/", "c1", "c2") is False
    assert await sources.is_before("https://git.example/b.git/", "c1", "c2") is True
    assert ["https://git.example/b.git c1 c2"] * 4 == asked
    assert await sources.is_before(f"file:{tmp_path}/", "c1", "c2") is None
    assert sources.has_commits("https://git.example/a.git/")
    assert not sources.has_commits(f"file:{tmp_path}/")


def test_a_source_is_current_until_its_last_look_has_failed() -> None:
    one, other = Hand("one"), Hand("two")
    one.status, other.status = (SourceStatus(name, "files", root=f"{name}/") for name in ("one", "two"))
    sources = Sources([one, other], [(), ()])
    one.status.failed("gone")

    assert [False, True, True] == [sources.is_current(root) for root in ("one/", "two/", "three/")]
    one.status.succeeded()
    assert sources.is_current("one/")


def test_content_at_another_place_is_another_state() -> None:
    first = Tree({"main": files("e/", application="a: 1")})
    placed = attrs.evolve(first.labels["main"], position="7")
    once = merge([Tree({"main": placed})], places(((),)), {})
    same = merge([Tree({"main": placed})], places(((),)), once.labels)
    moved = merge([Tree({"main": attrs.evolve(placed, position="8")})], places(((),)), once.labels)

    assert same.labels["main"] is once.labels["main"]
    assert ("7", "8") == (once.labels["main"].position, moved.labels["main"].position)


# Former states.


class Rememberer(Hand):
    """A source that has former states: as many as a test says, each with its number in it."""

    def __init__(self, name: str, count: int) -> None:
        super().__init__(name)
        self.count = count
        self.asked: list[int] = []

    async def former(self, before: int = 0) -> tuple[int, Tree] | None:
        self.asked.append(before)
        number = (before or self.count + 1) - 1
        return (number, Tree({"main": files(self.name, orders=f"{self.name}: {number}")})) if number else None


async def past(sources: Sources) -> list[tuple[object, object]]:
    """Walk through all former states."""
    found: list[tuple[object, object]] = []
    place = 0, 0
    while (former := await sources.former(place)) is not None:
        place, tree = former
        found.append((place, resolved(tree).document))
    return found


async def run_with(nursery: trio.Nursery, sources: Sources, *hands: Hand) -> None:
    """Run sources, and let each publish its present state."""
    nursery.start_soon(sources.run, nothing)
    await wait_all_tasks_blocked()
    for each in hands:
        await each.say(Tree({"main": files(each.name, orders=f"{each.name}: 9")}))


async def nothing(_: Tree) -> None:
    pass


async def test_a_former_state_of_each_source_in_turn_goes_with_the_present_states_of_the_others(
    nursery: trio.Nursery,
) -> None:
    hands = Rememberer("a", 2), Hand("b"), Rememberer("c", 1)
    sources = Sources(hands, [()] * 3)
    await run_with(nursery, sources, *hands)

    assert sources.has_former
    assert [
        ((0, 2), {"a": 2, "b": 9, "c": 9}),
        ((0, 1), {"a": 1, "b": 9, "c": 9}),
        ((2, 1), {"a": 9, "b": 9, "c": 1}),
    ] == await past(sources)
    assert ([0, 2, 1], [0, 1]) == (hands[0].asked, hands[2].asked)


async def test_the_present_files_are_those_of_each_label_as_they_were_published_last(nursery: trio.Nursery) -> None:
    hand = Hand("a")
    sources = Sources([hand], [()])
    assert [] == [*sources.present()]
    await run_with(nursery, sources, hand)
    await hand.say(Tree({"main": files("a", orders="a: 1"), "next": files("a", orders="a: 2")}))

    assert [b"a: 1", b"a: 2"] == [each.contents["orders.yml"] for each in sources.present()]


async def test_sources_without_former_states_have_none(nursery: trio.Nursery) -> None:
    hand = Hand("a")
    sources = Sources([hand], [()])
    await run_with(nursery, sources, hand)

    assert not sources.has_former
    assert [] == await past(sources)


async def test_before_all_sources_are_read_former_states_can_not_be_read(nursery: trio.Nursery) -> None:
    hands = Rememberer("a", 2), Hand("b")
    sources = Sources(hands, [()] * 2)
    await run_with(nursery, sources, hands[0])
    with pytest.raises(SourceError, match="the sources are being read"):
        await sources.former()
    assert [] == hands[0].asked


async def test_other_sources_may_take_the_place_while_a_former_state_is_read(nursery: trio.Nursery) -> None:
    class Slow(Rememberer):
        async def former(self, before: int = 0) -> tuple[int, Tree] | None:
            sources.replace(Sources([Hand("c")], [()]))
            return await super().former(before)

    hands = Slow("a", 1), Hand("b")
    sources = Sources(hands, [()] * 2)
    await run_with(nursery, sources, *hands)
    former = await sources.former()

    assert former is not None
    assert {"a": 1, "b": 9} == resolved(former[1]).document


async def test_a_common_reader_has_the_former_states_of_all_sources(nursery: trio.Nursery) -> None:
    hand, common = Rememberer("a", 3), Rememberer("all", 2)
    sources = Sources([hand], [()])
    sources.read_former_from(common)
    assert sources.has_former
    # They don't depend on the sources, which may not have been read.
    assert [((0, 2), {"all": 2}), ((0, 1), {"all": 1})] == await past(sources)
    assert [] == hand.asked

    sources.replace(Sources([Hand("b")], [()]))
    assert 2 == len(await past(sources))
    sources.read_former_from(None)
    assert not sources.has_former


# A state in their place.


async def test_a_state_stands_in_only_until_all_sources_are_read(nursery: trio.Nursery) -> None:
    published: list[Tree] = []

    async def publish(tree: Tree) -> None:
        published.append(tree)

    hands = Hand("a"), Hand("b")
    sources = Sources(hands, [()] * 2)
    await run_with(nursery, sources, hands[0])
    first, second = (Tree({"main": files("x", orders=f"x: {each}")}) for each in range(2))
    await sources.stand_in(publish, first)
    with trio.CancelScope() as waiting:
        waiting.cancel()
        await sources.wait_published()
    assert waiting.cancelled_caught
    await hands[1].say(second)
    await sources.wait_published()
    await sources.stand_in(publish, second)

    assert [first] == published


async def test_commits_are_asked_of_the_sources_with_that_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uris = ("https://git.example/a.git", "https://user:secret@git.example/b.git", "https://git.example/b.git")
    settings = Settings(source=(*(GitSettings(uri=uri) for uri in uris), FilesSettings(path=str(tmp_path))))
    sources = open_sources(settings, {"STATE_DIRECTORY": str(tmp_path)}, Random(1))
    asked: list[str] = []
    known = [Commit(Origin("c1", "Ada", ""), None, ())]

    def commits(source: GitSource, commit: str) -> list[Commit]:
        asked.append(source.name)
        return known if len(asked) == 2 else []

    async def at(source: GitSource, commit: str, near: PastFiles | None) -> PastFiles | None:
        return PastFiles(Files({}), {}, (source.name, commit, near))

    async def subject(source: GitSource, commit: str) -> str:
        return f"{commit} of {source.name}"

    for name, function in (("commits", commits), ("at", at), ("subject", subject)):
        monkeypatch.setattr(GitSource, name, function)
    root = "https://git.example/b.git/"
    assert known == [*sources.commits(root, "c1")]
    assert ["https://git.example/b.git"] * 2 == asked
    assert [] == [*sources.commits(root, "c1")]
    assert [] == [*sources.commits(f"file:{tmp_path}/", "c1")]
    assert 4 == len(asked)

    first = await sources.at(root, "c1", None)
    second = await sources.at(root, "c2", first)
    assert first is not None
    assert second is not None
    assert ("https://git.example/b.git", "c2", first) == second.snapshot
    assert "c1 of https://git.example/b.git" == await sources.subject(root, "c1")
    for wait in (sources.at(f"file:{tmp_path}/", "c1", None), sources.subject(f"file:{tmp_path}/", "c1")):
        with pytest.raises(SourceError):
            await wait


async def test_versions_are_asked_of_the_directory_with_that_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    settings = Settings(
        source=(GitSettings(uri="https://git.example/a.git"), *(FilesSettings(path=str(path)) for path in paths))
    )
    sources = open_sources(settings, {"STATE_DIRECTORY": str(tmp_path)}, Random(1))

    async def versions(source: FilesSource) -> list[Commit]:
        return [Commit(Origin("v1", "", ""), None, [source.root])]

    async def version(source: FilesSource, files: Files, id: str, near: PastFiles | None) -> PastFiles | None:
        return PastFiles(files, {}, (source.root, id, near))

    monkeypatch.setattr(FilesSource, "versions", versions)
    monkeypatch.setattr(FilesSource, "version", version)
    two, git = Files({}, root=f"file:{paths[1]}/"), Files({}, root="https://git.example/a.git/")
    assert [[two.root]] == [each.paths for each in await sources.versions(two)]
    first = await sources.version(two, "v1", None)
    second = await sources.version(two, "v2", first)
    assert second is not None
    assert ((two.root, "v2", first), two) == (second.snapshot, second.files)
    assert ([], None) == ([*await sources.versions(git)], await sources.version(git, "v1", None))


async def test_a_state_is_read_by_the_first_source_with_that_root_that_has_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = ("https://git.example/a.git", "https://user:secret@git.example/b.git", "https://git.example/b.git")
    settings = Settings(source=(*(GitSettings(uri=uri) for uri in uris), FilesSettings(path=str(tmp_path))))
    sources = open_sources(settings, {"STATE_DIRECTORY": str(tmp_path)}, Random(1))
    asked: list[GitSource] = []

    async def state_at(source: GitSource, commit: str) -> Files:
        asked.append(source)
        if source is not sources._sources[2] or commit == "c2":
            raise SourceError(f"it has no {commit}")
        return Files({}, revision=commit)

    monkeypatch.setattr(GitSource, "state_at", state_at)
    root = "https://git.example/b.git/"
    assert "c1" == (await sources.state_at(root, "c1")).revision
    assert [*sources._sources[1:3]] == asked
    with pytest.raises(SourceError, match="^it has no c2$"):
        await sources.state_at(root, "c2")
    with pytest.raises(SourceError, match="^no source has the commit$"):
        await sources.state_at(f"file:{tmp_path}/", "c1")


def test_the_bytes_of_a_directory_may_be_copied_unless_its_settings_say_otherwise(tmp_path: Path) -> None:
    settings = Settings(
        source=(
            FilesSettings(path="/srv/a"),
            FilesSettings(path="/srv/b", remember=False),
            GitSettings(uri="https://git.example/a.git"),
        )
    )
    sources = open_sources(settings, {}, Random(1), memory=tmp_path)
    roots = ("file:/srv/a/", "file:/srv/b/", "https://git.example/a.git/")

    assert [True, False, True] == [sources.may_copy(root) for root in roots]


class Repo(Hand):
    """A source that notes what is made and pushed."""

    def __init__(self, name: str, *tags: str) -> None:
        super().__init__(name)
        self.tags = tags
        self.done: list[object] = []

    root = "git:/a/"

    def commits(self, commit: str) -> list[Commit]:
        return []

    async def at(self, commit: str, near: PastFiles | None) -> PastFiles | None:
        return None

    async def subject(self, commit: str) -> str:
        return ""

    def branch(self, label: str) -> Branch:
        if label in self.tags:
            raise RemoteError("a tag", 409)
        return Branch(self.name, label, f"head of {label}", (), pushes=True)

    async def commit(self, new: NewCommit) -> str:
        self.done.append(new)
        return "1"

    async def push(self, branch: str, head: str, commit: str) -> None:
        self.done.append((branch, head, commit))


async def test_a_branch_is_found_with_all_labels_that_it_serves(nursery: trio.Nursery) -> None:
    """The default label of the second source is served under that of the first one, too."""
    first, repo = Hand("first"), Repo("repo", "v1")
    sources = Sources([first, repo], [(), ()])
    nursery.start_soon(sources.run, nothing)
    await wait_all_tasks_blocked()
    await first.say(Tree({"main": files("file:/a/")}, "main"))
    with pytest.raises(SourceError, match="are being read"):
        sources.branch(repo.root, "main")
    trees = {"master": files(repo.root, "1"), "dev": files(repo.root, "2"), "v1": files(repo.root, "3")}
    await repo.say(Tree(trees, "master"))

    assert Branch("repo", "master", "head of master", ["main", "master"], True) == sources.branch(repo.root, "main")
    assert Branch("repo", "dev", "head of dev", ["dev"], True) == sources.branch(repo.root, "dev")
    assert sources.branch("file:/a/", "main") is None
    with pytest.raises(RemoteError, match="a tag"):
        sources.branch(repo.root, "v1")


async def test_commits_are_made_and_pushed_by_the_source_with_that_root() -> None:
    repo = Repo("repo")
    sources = Sources([Hand("first"), repo], [(), ()])
    new = NewCommit("0", (), "x", "ada", 0)

    assert "1" == await sources.commit(repo.root, new)
    await sources.push(repo.root, "main", "0", "1")
    assert [new, ("main", "0", "1")] == repo.done
    for act in (partial(sources.commit, "other", new), partial(sources.push, "file:/a/", "main", "0", "1")):
        with pytest.raises(PushError, match="no source has this repository") as caught:
            await act()
        assert PushFault.LOCAL is caught.value.fault
