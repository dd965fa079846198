"""The newest commits of a label: the last author of each path, and the content before."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from vortexd.core.model import EDIT_COMMITS, Edits, Former, Origin
from vortexd.source.git.commits import Step
from vortexd.source.git.history import GitPast, Histories, History, edits_through
from vortexd.source.git.links import DANGLING, Way
from vortexd.source.git.mirror import Mirror
from vortexd.source.git.process import GitError
from vortexd.source.git.remotes import parse_remote
from vortexd.source.git.settings import GitSettings

from ...repository import Repository


class Mirrored:
    """A repository and a mirror of it; counts the readings of commits."""

    def __init__(self, path: Path) -> None:
        self.repository = Repository(path / "r.git")
        self.settings = GitSettings(uri=self.repository.uri, schemes=("file",), file_bytes=1_024)
        self.mirror = Mirror(path / "mirror", parse_remote(self.repository.uri), self.settings)
        self.readings: list[tuple[str, int, int]] = []
        read = self.mirror.commits

        async def counted(commit: str, count: int, known: Any, max_bytes: int) -> bytes:
            self.readings.append((commit, count, len(known)))
            return await read(commit, count, known, max_bytes)

        self.mirror.commits = counted  # type: ignore[method-assign]  # counts the calls
        self.merges: list[tuple[str, str | None, int]] = []
        read_merged = self.mirror.merged

        async def counted_merged(commit: str, before: str | None, count: int, max_bytes: int) -> bytes:
            self.merges.append((commit, before, count))
            return await read_merged(commit, before, count, max_bytes)

        self.mirror.merged = counted_merged  # type: ignore[method-assign]  # as above
        self.histories = Histories(self.mirror)

    async def read(self, commit: str, former: History | None = None, histories: Histories | None = None) -> History:
        await self.mirror.fetch(30)
        return await (histories or self.histories).read(commit, former)

    async def past(self, commit: str, path: str, ways: Mapping[str, Way] | None = None) -> list[Former]:
        past = GitPast(self.mirror, self.settings, await self.read(commit), ways or {})
        return [former async for former in past.contents(path)]

    def write(self, message: str, *parents: str, path: str = "a.yml", branch: str = "main") -> str:
        """Write a commit that changes a file, with this message and these parents. Return its id."""
        text = f"{message} {parents}"
        tree = self.repository.commit({path: text}, "trees", parent=parents[0] if parents else None)
        given = [argument for parent in parents for argument in ("-p", parent)]
        made = self.repository.git("commit-tree", *given, "-m", message, f"{tree}^{{tree}}").strip()
        self.repository.git("update-ref", f"refs/heads/{branch}", made)
        return made


@pytest.fixture
async def mirrored(tmp_path: Path) -> AsyncIterator[Mirrored]:
    mirrored = Mirrored(tmp_path)
    with mirrored.mirror.owned():
        await mirrored.mirror.prepare()
        yield mirrored


def last(history: History, *paths: str) -> str | None:
    origin = history.edits.last(paths)
    return origin.commit if origin else None


async def test_each_path_was_changed_last_by_the_newest_commit_that_touched_it(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    first = commit({"a.yml": "1", "b.yml": "1"}, author="Ada <a@example.org>")
    second = commit({"a.yml": "2", "c.yml": "1"}, author="Bob <b@example.org>")
    third = commit({"c.yml": None}, author="Cy <c@example.org>")
    history = await mirrored.read(third)

    assert [second, first, third, None] == [last(history, f"{name}.yml") for name in "abcd"]
    assert second == last(history, "b.yml", "a.yml", "d.yml")
    assert ["Cy", "Bob", "Ada"] == [step.origin.author for step in history.steps]
    assert Origin(first, "Ada", "2023-11-14T22:13:21Z") == history.steps[-1].origin
    assert [second, first, None] == [step.parent for step in history.steps]


async def test_only_first_parents_count_and_a_merge_brings_what_its_branch_changed(mirrored: Mirrored) -> None:
    repository = mirrored.repository
    base = repository.commit({"a.yml": "1", "b.yml": "1"})
    side = repository.commit({"b.yml": "2"}, "side", parent=base)
    main = repository.commit({"a.yml": "2"})
    merge = repository.git(
        "commit-tree",
        "-p",
        main,
        "-p",
        side,
        "-m",
        "m",
        f"{repository.commit({'b.yml': '2'}, 'x', parent=main)}^{{tree}}",
    ).strip()
    repository.git("update-ref", "refs/heads/main", merge)
    history = await mirrored.read(merge)

    assert [merge, main, base] == [step.origin.commit for step in history.steps]
    assert (main, merge) == (last(history, "a.yml"), last(history, "b.yml"))


async def test_a_history_goes_back_a_thousand_commits(mirrored: Mirrored) -> None:
    stream, ref = b"reset refs/heads/main\n", b"refs/heads/main"
    for number in range(EDIT_COMMITS + 1):
        name = b"old.yml" if number == 0 else b"first.yml" if number == 1 else b"a.yml"
        stream += b"commit %s\ncommitter t <t@t> %d +0000\ndata 1\nx\n" % (ref, 1_700_000_000 + number)
        stream += b"M 100644 inline %s\ndata 4\n%04d\n" % (name, number)
    mirrored.repository.git("fast-import", "--quiet", input=stream)
    tip = mirrored.repository.git("rev-parse", "main").strip()
    history = await mirrored.read(tip)

    assert EDIT_COMMITS == len(history.steps)
    assert last(history, "old.yml") is None
    assert mirrored.repository.git("rev-parse", f"main~{EDIT_COMMITS - 1}").strip() == last(history, "first.yml")
    # The ancestor a thousand commits back is the last that a broken file falls back to.
    assert [Former(None, history.steps[-1].parent)] == await mirrored.past(tip, "first.yml")

    newer = mirrored.repository.commit({"b.yml": "1"})
    for former in (history, None):
        after = await mirrored.read(newer, former)
        assert last(after, "first.yml") is None
        assert newer == last(after, "b.yml")


async def test_a_history_is_the_same_whatever_was_read_before(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    tips = [commit({f"{number % 3}.yml": str(number)}) for number in range(8)]
    mirrored.repository.git("branch", "old", tips[7])
    tips.append(commit({"1.yml": "rewritten"}, parent=tips[3]))
    tips.append(commit({"2.yml": None}))
    former = None
    for tip in (tips[1], tips[2], tips[7], tips[8], tips[9]):
        former = await mirrored.read(tip, former)
        fresh = await mirrored.read(tip, None, Histories(mirrored.mirror))
        names = [f"{number}.yml" for number in range(4)]

        assert [last(fresh, name) for name in names] == [last(former, name) for name in names]
        assert [each.origin for each in fresh.steps] == [each.origin for each in former.steps]


async def test_what_one_label_has_is_not_read_again_for_another(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    main = [commit({"a.yml": str(number)}) for number in range(5)]
    side = commit({"b.yml": "1"}, "side", parent=main[2])
    await mirrored.read(main[4])
    history = await mirrored.read(side)
    again = await mirrored.read(main[1])

    assert [(main[4], 1_000, 0), (side, 1_000, 1)] == mirrored.readings
    assert [side, *reversed(main[:3])] == [each.origin.commit for each in history.steps]
    assert [*reversed(main[:2])] == [each.origin.commit for each in again.steps]


async def test_a_commit_that_was_merged_into_a_known_one_is_read_by_itself(mirrored: Mirrored) -> None:
    repository = mirrored.repository
    base = repository.commit({"a.yml": "1"})
    side = repository.commit({"b.yml": "2"}, "side", parent=base)
    main = repository.commit({"a.yml": "2"})
    merge = repository.git("commit-tree", "-p", main, "-p", side, "-m", "m", f"{side}^{{tree}}").strip()
    repository.git("update-ref", "refs/heads/main", merge)
    await mirrored.read(merge)

    assert [side, base] == [each.origin.commit for each in (await mirrored.read(side)).steps]


async def test_a_known_commit_that_is_gone_from_the_mirror_is_no_obstacle(mirrored: Mirrored) -> None:
    tip = mirrored.repository.commit({"a.yml": "1"})
    mirrored.histories._tips["1" * 40] = None

    assert [tip] == [each.origin.commit for each in (await mirrored.read(tip)).steps]


async def test_a_commit_that_is_not_there_is_an_error(mirrored: Mirrored) -> None:
    mirrored.repository.commit({"a.yml": "1"})
    with pytest.raises(GitError):
        await mirrored.read("1" * 40)


async def test_commits_are_read_in_parts_when_they_change_much(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    tips = [commit({f"{part}-{number}.yml": "x" for number in range(40)}) for part in range(3)]
    small = Histories(mirrored.mirror, max_bytes=12_000)
    history = await mirrored.read(tips[2], None, small)

    assert [*reversed(tips)] == [each.origin.commit for each in history.steps]
    assert {1_000, 125, 15, 1} <= {count for _, count, _ in mirrored.readings}


async def test_a_commit_that_changes_too_much_ends_the_history(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    first = commit({f"{number}.yml": "x" for number in range(50)})
    second = commit({"a.yml": "1"})

    for histories in (Histories(mirrored.mirror, max_bytes=2_000), Histories(mirrored.mirror, max_changes=50)):
        assert [second] == [each.origin.commit for each in (await mirrored.read(second, None, histories)).steps]
    whole = await mirrored.read(second, None, Histories(mirrored.mirror, max_changes=51))
    assert [second, first] == [each.origin.commit for each in whole.steps]


async def test_what_is_behind_the_end_of_a_history_does_not_count_though_it_was_known(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    histories = Histories(mirrored.mirror, max_changes=50)
    first = commit({f"{number}.yml": "x" for number in range(50)})
    before = await mirrored.read(first, None, histories)
    assert first == last(before, "1.yml")
    after = await mirrored.read(commit({"a.yml": "1"}), before, histories)

    assert last(after, "1.yml") is None


async def test_commits_that_no_label_has_are_let_go_of(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    old = await mirrored.read([commit({"a.yml": str(number)}) for number in range(9)][-1])
    new = await mirrored.read(commit({"a.yml": "new"}, parent=None))
    histories = mirrored.histories
    histories.forget_all_but([old, new])
    assert 10 == len(histories._steps)

    histories.forget_all_but([new])
    assert {new.steps[0].origin.commit} == histories._steps.keys()


async def test_strange_paths_and_authors_are_read(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    tip = commit({"a b.yml": "1", ".hidden": "1", "ä.yml": "1"}, author="A\u202ed \x01 <a@b>")
    [step] = (await mirrored.read(tip)).steps

    assert {"a b.yml": None, "ä.yml": None} == step.before
    assert "Ad" == step.origin.author.strip()


# What files held before.


async def test_the_past_of_a_file_is_told_from_the_newest_on(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    first = commit({"a.yml": "1", "b.yml": "0"})
    second = commit({"a.yml": "2"})
    third = commit({"a.yml": None})
    tip = commit({"a.yml": "["})

    assert [Former(None, third), Former(b"2", second), Former(b"1", first), Former(None, None)] == await mirrored.past(
        tip, "a.yml"
    )
    assert [] == await mirrored.past(tip, "c.yml")


async def test_files_that_are_too_large_are_passed_over_and_a_link_to_nothing_counts_as_missing(
    mirrored: Mirrored,
) -> None:
    commit = mirrored.repository.commit
    first = commit({"a.yml": "1" * 1_024})
    commit({"a.yml": "2" * 1_025})
    link = commit({"a.yml": "b.yml"}, modes={"a.yml": "120000"})
    tip = commit({"a.yml": "["})
    formers = [Former(None, link), Former(b"1" * 1_024, first), Former(None, None)]

    assert formers == await mirrored.past(tip, "a.yml")


async def test_a_pointer_of_lfs_was_never_good(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    first = commit({"a.yml": "1"})
    commit({"a.yml": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"})
    tip = commit({"a.yml": "["})

    assert [Former(b"1", first), Former(None, None)] == await mirrored.past(tip, "a.yml")


# Links.

LINK = {"link.yml": "120000"}
WAYS = {"link.yml": Way(("link.yml", "other", "a.yml"))}


async def test_a_broken_link_falls_back_to_what_its_file_held(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    commit({"link.yml": "old"})
    first = commit({"link.yml": "other", "other": "a.yml", "a.yml": "1"}, modes={**LINK, "other": "120000"})
    second = commit({"a.yml": "2", "b.yml": "x"})
    tip = commit({"a.yml": "["})
    start = await mirrored.past(first, "link.yml")

    # Before it was a link, it was a file of its own.
    assert [Former(b"2", second), Former(b"1", first), *start] == await mirrored.past(tip, "link.yml", WAYS)
    assert [b"old", None] == [each.content for each in start]


async def test_a_broken_link_falls_back_to_the_file_that_it_led_to_then(mirrored: Mirrored) -> None:
    """Another link in its way led elsewhere."""
    commit = mirrored.repository.commit
    links = {**LINK, "other": "120000"}
    commit({"a.yml": "0"})
    commit({"link.yml": "other", "other": "b.yml", "b.yml": "x", "a.yml": "1"}, modes=links)
    before = commit({"a.yml": "2"})
    turned = commit({"other": "a.yml"}, modes={"other": "120000"})
    broken = commit({"a.yml": "["})
    tip = commit({"a.yml": "[["})
    formers = await mirrored.past(tip, "link.yml", WAYS)

    assert [b"[", b"2", b"x", None] == [each.content for each in formers]
    assert [broken, turned, before] == [each.revision for each in formers[:3]]


SAME = {"current": "120000", "orders.yml": "120000", "pay.yml": "120000"}
TURNED = {
    "orders.yml": Way(("orders.yml", "current", "v2/orders.yml")),
    "pay.yml": Way(("pay.yml", "v2/orders.yml")),
}


@pytest.mark.parametrize("path", ["orders.yml", "pay.yml"])
async def test_a_link_that_is_moved_to_a_broken_file_falls_back_to_where_it_led(mirrored: Mirrored, path: str) -> None:
    commit = mirrored.repository.commit
    texts = {"current": "v1", "orders.yml": "current/orders.yml", "pay.yml": "v1/orders.yml"}
    first = commit({"v1/orders.yml": "0", **texts}, modes=SAME)
    second = commit({"v1/orders.yml": "1", "v2/orders.yml": "["})
    tip = commit({"current": "v2", "pay.yml": "v2/orders.yml"}, modes=SAME)
    formers = [Former(b"1", second), Former(b"0", first), Former(None, None)]

    assert formers == await mirrored.past(tip, path, TURNED)


async def test_a_link_that_becomes_a_broken_file_falls_back_to_where_it_led(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    first = commit({"link.yml": "a.yml", "a.yml": "1"}, modes=LINK)
    commit({"link.yml": "["})
    second = commit({"a.yml": "2", "link.yml": "a.yml"}, modes=LINK)
    tip = commit({"link.yml": "[["})
    formers = await mirrored.past(tip, "link.yml")

    # What it leads to is read at each commit anew.
    assert [b"2", b"["] == [each.content for each in formers[:2]]
    assert [second, Former(b"1", first), Former(None, None)] == [formers[0].revision, *formers[2:]]


async def test_a_link_to_a_file_that_replaces_a_link_falls_back_through_that_one(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    first = commit({"link.yml": "other", "other": "a.yml", "a.yml": "1"}, modes={**LINK, "other": "120000"})
    tip = commit({"other": "["})
    ways = {"link.yml": Way(("link.yml", "other"))}

    assert [Former(b"1", first), Former(None, None)] == await mirrored.past(tip, "link.yml", ways)


async def test_a_linked_directory_that_becomes_a_directory_is_gone_through_as_it_was(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    links = {**LINK, "now": "120000"}
    first = commit({"link.yml": "now/x/a.yml", "now": "old", "old/x/a.yml": "1"}, modes=links)
    tip = commit({"now": None, "now/x/a.yml": "["})
    ways = {"link.yml": Way(("link.yml", "now/x/a.yml"))}

    assert [Former(b"1", first), Former(None, None)] == await mirrored.past(tip, "link.yml", ways)


@pytest.mark.parametrize(
    "target", ["nowhere.yml", "../a.yml", ".git/a.yml", "/a.yml", "link.yml", "d", "x/" * 509 + "x.yml"]
)
async def test_a_moved_link_that_led_nowhere_counts_as_missing(mirrored: Mirrored, target: str) -> None:
    commit = mirrored.repository.commit
    first = commit({"link.yml": target, "d/a.yml": "1"}, modes=LINK)
    tip = commit({"link.yml": "a.yml", "a.yml": "["}, modes=LINK)
    ways = {"link.yml": Way(("link.yml", "a.yml"))}

    assert [Former(None, first), Former(None, None)] == await mirrored.past(tip, "link.yml", ways)


@pytest.mark.parametrize(("length", "content"), [(1_024, b"1"), (1_025, None)])
async def test_a_target_of_a_former_link_is_as_long_as_it_may_be_now(
    mirrored: Mirrored, length: int, content: bytes | None
) -> None:
    mirrored.settings = attrs.evolve(mirrored.settings, file_bytes=2_048)
    commit = mirrored.repository.commit
    first = commit({"link.yml": "x" * (length - 11) + "/../d/a.yml", "d/a.yml": "1"}, modes=LINK)
    tip = commit({"link.yml": "b.yml", "b.yml": "["}, modes=LINK)

    formers = await mirrored.past(tip, "link.yml", {"link.yml": Way(("link.yml", "b.yml"))})
    assert Former(content, first) == formers[0]


async def test_what_a_moved_link_led_to_is_passed_over_if_it_is_of_no_use(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    sub = commit({"link.yml": "0"})
    commit({"link.yml": sub}, modes={"link.yml": "160000"})
    commit(
        {"link.yml": "a.yml", "a.yml": "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"}, modes=LINK
    )
    commit({"link.yml": "b.yml", "b.yml": "2" * 1_025}, modes=LINK)
    tip = commit({"link.yml": "c.yml", "c.yml": "["}, modes=LINK)
    ways = {"link.yml": Way(("link.yml", "c.yml"))}

    assert [Former(b"0", sub), Former(None, None)] == await mirrored.past(tip, "link.yml", ways)


async def test_other_changes_on_the_way_of_a_link_cost_no_listing(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = mirrored.repository.commit
    commit({"link.yml": "d/a.yml", "d/a.yml": "1", "e": "d", "b.yml": "x"}, modes={**LINK, "e": "120000"})
    commit({"d/a.yml": "2", "d/b.yml": "x"})
    tip = commit({"d/a.yml": "[", "e": "f", "b.yml": None}, modes={"e": "120000"})
    monkeypatch.delattr(Mirror, "listing")
    ways = {"link.yml": Way(("link.yml", "d/a.yml"))}

    assert [b"2", b"1", None] == [each.content for each in await mirrored.past(tip, "link.yml", ways)]


@pytest.mark.parametrize(("moves", "found"), [(32, 34), (33, 32)])
async def test_a_link_is_followed_through_at_most_32_moves(mirrored: Mirrored, moves: int, found: int) -> None:
    commit = mirrored.repository.commit
    commit({"link.yml": "0"})
    for number in range(moves + 1):
        tip = commit({"link.yml": f"{number}.yml", f"{number}.yml": f"[{number}"}, modes=LINK)
    ways = {"link.yml": Way(("link.yml", f"{moves}.yml"))}
    formers = await mirrored.past(tip, "link.yml", ways)

    # Beyond that nobody knows: it doesn't count as missing.
    assert found == len(formers)
    assert f"[{moves - 1}".encode() == formers[0].content


@pytest.mark.parametrize(("files", "contents"), [(3, [b"1", None]), (2, [])])
async def test_a_former_commit_of_too_many_files_ends_the_past(
    mirrored: Mirrored, files: int, contents: list[bytes | None]
) -> None:
    commit = mirrored.repository.commit
    commit({"link.yml": "a.yml", "a.yml": "1", "c.yml": "x"}, modes=LINK)
    tip = commit({"link.yml": "["})
    mirrored.settings = attrs.evolve(mirrored.settings, files=files)

    assert contents == [each.content for each in await mirrored.past(tip, "link.yml")]


async def test_a_former_commit_whose_paths_take_too_many_bytes_ends_the_past(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    commit({"link.yml": "a.yml", **{f"{'x' * 200}{number}.yml": "x" for number in range(5)}}, modes=LINK)
    tip = commit({"link.yml": "["})
    mirrored.settings = attrs.evolve(mirrored.settings, files=2)

    assert [] == await mirrored.past(tip, "link.yml")


async def test_a_link_is_changed_by_what_changes_anything_on_its_way(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    texts = {"link.yml": "other", "other": "a.yml", "a.yml": "1", "lost.yml": "gone.yml", "gone.yml": "1", "b.yml": "1"}
    first = commit(texts, modes={**LINK, "other": "120000", "lost.yml": "120000"})
    second = commit({"a.yml": "2"})
    third = commit({"gone.yml": None})
    tip = commit({"b.yml": "2"})
    edits = (await mirrored.read(tip)).edits
    ways = {**WAYS, "lost.yml": Way(("lost.yml", "gone.yml"), DANGLING), "new.yml": Way(("new.yml", "x"))}
    through = edits_through(edits, ways)

    def changed(path: str) -> str | None:
        origin = through.last([path])
        return origin.commit if origin else None

    assert [second, third, first, tip] == [changed(path) for path in ("link.yml", "lost.yml", "other", "b.yml")]
    assert changed("new.yml") is None
    assert (edits.newest, edits.depth) == (through.newest, through.depth)
    assert edits_through(edits, {}) is edits


async def test_a_past_that_is_gone_from_the_mirror_is_an_error(mirrored: Mirrored) -> None:
    commit = mirrored.repository.commit
    commit({"a.yml": "1"})
    history = await mirrored.read(commit({"a.yml": "["}))
    steps = [attrs.evolve(step, before={"a.yml": "1" * 40}) for step in history.steps]
    past = GitPast(mirrored.mirror, mirrored.settings, attrs.evolve(history, steps=steps), {})

    with pytest.raises(GitError):
        [former async for former in past.contents("a.yml")]


def test_git_decides_alone_what_takes_the_place_of_a_broken_file() -> None:
    assert GitPast.is_authoritative


async def test_git_is_not_asked_for_a_step_that_is_known(mirrored: Mirrored) -> None:
    """The history is the same."""
    commit = mirrored.repository.commit
    before = await mirrored.read(commit({"a.yml": "1", "b.yml": "1"}))
    tip = commit({"a.yml": "2"})
    printed = await mirrored.read(tip, None, Histories(mirrored.mirror))
    own = Step(printed.steps[0].parent, printed.steps[0].origin, dict(printed.steps[0].before))
    mirrored.readings.clear()
    history = await mirrored.histories.read(tip, before, own)

    assert [] == mirrored.readings
    assert own is history.steps[0]
    assert [step.origin for step in printed.steps] == [step.origin for step in history.steps]
    assert tip == last(history, "a.yml")
    assert before.steps[0].origin.commit == last(history, "b.yml")


async def test_git_is_asked_for_the_parents_of_a_step_that_is_known(mirrored: Mirrored) -> None:
    commits = [mirrored.repository.commit({"a.yml": str(number)}) for number in range(3)]
    printed = await mirrored.read(commits[-1])
    mirrored.readings.clear()
    history = await mirrored.read(commits[-1], None, Histories(mirrored.mirror))
    again = await Histories(mirrored.mirror).read(commits[-1], None, printed.steps[0])

    assert [(commits[-1], EDIT_COMMITS, 0), (commits[-2], EDIT_COMMITS - 1, 0)] == mirrored.readings
    assert [step.origin for step in history.steps] == [step.origin for step in again.steps]


async def test_a_step_that_was_read_before_stays(mirrored: Mirrored) -> None:
    tip = mirrored.repository.commit({"a.yml": "1"})
    before = await mirrored.read(tip)
    history = await mirrored.histories.read(tip, before, Step(None, before.steps[0].origin, {}))

    assert before.steps[0] is history.steps[0]


# The way back to an older commit.


def step_of(commit: str, parent: str | None, **before: str | None) -> Step:
    return Step(parent, Origin(commit, "Ada", ""), before)


STEPS = [
    step_of("d", "c", x="x3", new=None),
    step_of("c", "b", link=""),
    step_of("b", "a", x="x1", gone="g1"),
    step_of("a", None, x=None, gone=None),
]


@pytest.mark.parametrize(
    ("newer", "older", "changes"),
    [
        ("d", "c", {"x": "x3", "new": None}),
        ("d", "b", None),
        ("c", "b", None),
        ("b", "a", {"x": "x1", "gone": "g1"}),
        ("a", "b", None),
        ("d", "other", None),
        ("other", "a", None),
        ("c", "c", None),
    ],
)
def test_the_steps_between_two_commits_say_what_the_older_one_held(
    newer: str, older: str, changes: dict[str, str | None] | None
) -> None:
    """What wasn't a regular file is left to git."""
    assert changes == History(STEPS, Edits(0, {})).changes(newer, older)


def test_the_oldest_of_several_changes_of_a_path_counts() -> None:
    steps = [step_of("c", "b", x="x2", y=None), step_of("b", "a", x="x1"), step_of("a", None)]

    assert {"x": "x1", "y": None} == History(steps, Edits(0, {})).changes("c", "a")


# Trailers.


def with_trailer(value: str) -> str:
    return f"change\n\nVortexd-Rollout: {value}\n"


async def test_commits_have_the_values_of_their_trailers(mirrored: Mirrored) -> None:
    message = "change\n\ntext: 1\n\nSigned-off-by: A <a@example.org>\nvortexd-rollout: 5,\n 25\nVortexd-Rollout:\n"
    first = mirrored.write("change\n\nVortexd-Rollout: 9\n\nThis isn't the last paragraph.\n")
    second = mirrored.write(message, first)
    third = mirrored.write(with_trailer("10,100"), second)
    history = await mirrored.read(third)

    assert {third: ("10,100",), second: ("5, 25", "")} == history.trailers
    assert [(third, EDIT_COMMITS, 0)] == mirrored.readings
    assert [] == mirrored.merges


async def test_a_history_without_merges_costs_one_reading(mirrored: Mirrored) -> None:
    history = await mirrored.read(mirrored.write("b", mirrored.write("a")))

    assert {} == history.trailers
    assert [] == mirrored.merges
    assert [False, False] == [step.is_merge for step in history.steps]


async def test_a_merge_brings_the_trailers_of_its_branch(mirrored: Mirrored) -> None:
    base = mirrored.write("base")
    side = mirrored.write(with_trailer("5,100"), base, path="b.yml", branch="side")
    main = mirrored.write("main", base)
    before = await mirrored.read(main)
    merge = mirrored.write("merge", main, side)
    after = mirrored.write("after", merge)
    history = await mirrored.read(after, before)

    assert {} == before.trailers
    assert {side: ("5,100",)} == history.trailers
    assert [{}, {side: ("5,100",)}, {}, {}] == [step.trailers for step in history.steps]
    assert [(merge, main, 1_000)] == mirrored.merges


async def test_the_branch_may_be_a_label_that_was_read_before(mirrored: Mirrored) -> None:
    base = mirrored.write("base")
    side = mirrored.write(with_trailer("5,100"), base, path="b.yml", branch="side")
    await mirrored.read(side)
    main = mirrored.write("main", base)
    before = await mirrored.read(main)
    history = await mirrored.read(mirrored.write("merge", main, side), before)

    assert {side: ("5,100",)} == history.trailers


async def test_a_merge_whose_own_step_is_known_brings_them_too(mirrored: Mirrored) -> None:
    base = mirrored.write("base")
    side = mirrored.write(with_trailer("5,100"), base, path="b.yml", branch="side")
    main = mirrored.write("main", base)
    before = await mirrored.read(main)
    merge = mirrored.write("merge", main, side)
    printed = (await mirrored.read(merge, None, Histories(mirrored.mirror))).steps[0]
    own = Step(printed.parent, printed.origin, printed.before, is_merge=True)
    mirrored.readings.clear()
    mirrored.merges.clear()
    history = await mirrored.histories.read(merge, before, own)
    again = await mirrored.histories.read(merge, history, own)

    assert {side: ("5,100",)} == history.trailers == again.trailers
    assert [] == mirrored.readings
    assert [(merge, main, 1_000)] == mirrored.merges
    assert history.steps[0] is again.steps[0]


async def test_merges_that_are_read_together_cost_one_reading(mirrored: Mirrored) -> None:
    base = mirrored.write("base")
    sides = [mirrored.write(with_trailer(each), base, path="b.yml", branch=f"s{each}") for each in "12"]
    first = mirrored.write("merge", base, sides[0])
    between = mirrored.write(with_trailer("3"), first)
    second = mirrored.write("merge", between, sides[1])
    history = await mirrored.read(mirrored.write("tip", second))

    assert [[], [sides[1]], [between], [sides[0]], []] == [[*step.trailers] for step in history.steps]
    assert [(second, base, 1_000)] == mirrored.merges


async def test_trailers_that_take_too_many_bytes_are_read_of_fewer_commits(mirrored: Mirrored) -> None:
    base = mirrored.write("base")
    side = mirrored.write(with_trailer("5"), base, path="b.yml", branch="side")
    newer = mirrored.write(with_trailer("6" * 2_000), side, path="b.yml", branch="side")
    merge = mirrored.write("merge", base, newer)
    tip = await mirrored.read(merge, None, Histories(mirrored.mirror, max_bytes=1_000))

    assert {} == tip.trailers
    assert [(merge, base, count) for count in (1_000, 125, 15, 1)] == mirrored.merges


async def test_a_merge_that_has_no_known_branch_is_no_obstacle(mirrored: Mirrored) -> None:
    """A branch without a commit in common is read from its beginning."""
    base = mirrored.write("base")
    other = mirrored.write(with_trailer("5"), path="b.yml", branch="other")
    history = await mirrored.read(mirrored.write("merge", base, other))

    assert {other: ("5",)} == history.trailers
