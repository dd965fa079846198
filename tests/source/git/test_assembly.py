"""Trees from labels and their objects: shared trees, skipped labels and new trees."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from vortexd.core.errors import SourceError
from vortexd.core.model import Edits, Origin, Tree
from vortexd.source.git.assembly import TreeAssembly
from vortexd.source.git.commits import Step
from vortexd.source.git.history import History
from vortexd.source.git.links import Way
from vortexd.source.git.mirror import Mirror
from vortexd.source.git.notices import Notices
from vortexd.source.git.remotes import parse_remote
from vortexd.source.git.settings import GitSettings
from vortexd.source.git.snapshots import SUBMODULE, LabelError, Snapshot
from vortexd.source.status import SourceStatus

URI = "https://git.example/a.git"


class FakeSnapshots:
    """Snapshots by the id that leads to them, and what was asked for."""

    def __init__(self) -> None:
        self.broken: dict[str, SourceError] = {}
        self.parents: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}
        self.ways: dict[str, Way] = {}
        self.step: Step | None = None
        self.asked: list[tuple[str, str | None, list[str]]] = []
        self.kept: list[tuple[list[str], bool]] = []

    async def read(self, id: str, near: Snapshot | None, known: Iterable[Snapshot]) -> Snapshot:
        self.asked.append((id, near.origin.commit if near else None, [each.origin.commit for each in known]))
        if id in self.broken:
            raise self.broken[id]
        commit = id.removeprefix("tag of ")
        contents = {"a.yml": commit.encode()}
        return Snapshot(
            Origin(commit, "Ada", ""), f"tree {id}", {}, {}, self.ways, contents, self.unreadable, self.step
        )

    async def parent(self, id: str) -> str | None:
        if id in self.broken:
            raise self.broken[id]
        return self.parents.get(id)

    def forget_all_but(self, snapshots: Iterable[Snapshot], *, at_once: bool = False) -> None:
        self.kept.append(([each.origin.commit for each in snapshots], at_once))


class FakeHistories:
    """Histories, and with which former one each was read."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, History | None]] = []
        self.own: list[Step | None] = []
        self.kept: list[Collection[History]] = []
        self.steps: list[Step] = []

    async def read(self, commit: str, former: History | None = None, own: Step | None = None) -> History:
        self.asked.append((commit, former))
        self.own.append(own)
        return History(self.steps, Edits(0, {}))

    def forget_all_but(self, histories: Collection[History]) -> None:
        self.kept.append(histories)


class Assembling:
    """An assembly on fakes, each tree of which is published."""

    def __init__(self, path: Path, **settings: Any) -> None:
        values = GitSettings(uri=URI, **settings)
        self.snapshots, self.histories = FakeSnapshots(), FakeHistories()
        self.status = SourceStatus(URI, "git")
        self.assembly = TreeAssembly(
            URI,
            Mirror(path, parse_remote(URI), values),
            self.snapshots,  # type: ignore[arg-type]  # a fake
            self.histories,  # type: ignore[arg-type]  # a fake
            values,
            self.status,
            Notices(URI),
        )

    async def tree(self, default: str = "main", noticed: float = 1.0, /, **wanted: str) -> Tree | None:
        found = await self.assembly.assemble(wanted, default, noticed)
        if found is not None:
            self.assembly.has_published(found)
        return found

    async def new_tree(self, default: str = "main", noticed: float = 1.0, /, **wanted: str) -> Tree:
        found = await self.tree(default, noticed, **wanted)
        assert found is not None
        return found


@pytest.fixture
def assembling(tmp_path: Path) -> Assembling:
    return Assembling(tmp_path)


async def test_each_label_has_the_files_of_its_commit(assembling: Assembling) -> None:
    tree = await assembling.new_tree("dev", 7.0, main="1", dev="tag of 2")

    assert ("dev", 7.0, ["main", "dev"]) == (tree.default_label, tree.noticed, [*tree.labels])
    files = tree.labels["dev"]
    assert ({"a.yml": b"2"}, "2", f"{URI}/", ("",)) == (files.contents, files.revision, files.root, files.locations)
    assert Origin("2", "Ada", "") == files.origin
    assert files.past is not None
    assert tree is assembling.assembly.published


async def test_the_same_objects_make_no_new_tree(assembling: Assembling) -> None:
    await assembling.new_tree(main="1", dev="2")

    assert await assembling.tree(main="1", dev="2") is None
    assert 2 == len(assembling.snapshots.asked)


@pytest.mark.parametrize(
    ("default", "wanted"),
    [
        ("main", {"main": "2", "dev": "2"}),
        ("main", {"main": "1"}),
        ("main", {"main": "1", "dev": "2", "new": "2"}),
        ("dev", {"main": "1", "dev": "2"}),
    ],
)
async def test_another_object_label_or_default_makes_a_new_tree(
    assembling: Assembling, default: str, wanted: dict[str, str]
) -> None:
    await assembling.new_tree(main="1", dev="2")

    assert await assembling.tree(default, 1.0, **wanted) is not None


async def test_a_label_that_has_not_moved_is_the_same_object_again(assembling: Assembling) -> None:
    before = await assembling.new_tree(main="1", dev="2")
    after = await assembling.new_tree(main="1", dev="3")

    assert after.labels["main"] is before.labels["main"]
    assert b"3" == after.labels["dev"].contents["a.yml"]


async def test_a_tree_whose_publication_was_cancelled_is_made_again(assembling: Assembling) -> None:
    await assembling.new_tree(main="1")
    assert await assembling.assembly.assemble({"main": "2"}, "main", 1.0) is not None
    assert assembling.assembly.published is None

    tree = await assembling.new_tree(main="2")
    assert b"2" == tree.labels["main"].contents["a.yml"]


async def test_a_commit_is_read_by_its_difference_from_the_former_one_or_from_another_label(
    assembling: Assembling,
) -> None:
    await assembling.new_tree(main="1", dev="2")
    await assembling.new_tree(main="3", dev="2", new="4")

    assert [
        ("1", None, []),
        ("2", "1", ["1"]),
        ("3", "1", ["1", "2"]),
        ("4", "3", ["1", "2", "3", "2"]),
    ] == assembling.snapshots.asked
    assert [("1", False), ("2", False), ("3", True), ("4", False)] == [
        (commit, former is not None) for commit, former in assembling.histories.asked
    ]


async def test_what_no_label_needs_any_more_is_let_go_of(assembling: Assembling) -> None:
    await assembling.new_tree(main="1", dev="2")
    await assembling.new_tree(main="1")

    assert [(["1", "2"], False), (["1"], False)] == assembling.snapshots.kept
    assert [2, 1] == [len(each) for each in assembling.histories.kept]


# Labels that can't be read.


async def test_a_label_that_can_not_be_read_stays_as_it_was_and_that_is_logged_once(assembling: Assembling) -> None:
    await assembling.new_tree(main="1", dev="2")
    assembling.snapshots.broken = {"3": LabelError("too many files")}
    with capture_logs() as logs:
        tree = await assembling.new_tree(main="9", dev="3")
        assert await assembling.tree(main="9", dev="3") is None

    assert b"2" == tree.labels["dev"].contents["a.yml"]
    assert assembling.assembly.is_skipped("dev")
    assert not assembling.assembly.is_skipped("main")
    expected = {"source": URI, "label": "dev", "reason": "too many files", "consequence": "it stays as it was"}
    assert [{"event": "label skipped", "log_level": "warning", **expected}] == logs
    assert "label dev skipped: too many files" == assembling.status.report().last_error


async def test_a_label_that_was_never_read_is_left_out(assembling: Assembling) -> None:
    assembling.snapshots.broken = {"3": LabelError("too many files")}
    with capture_logs() as logs:
        tree = await assembling.new_tree(main="1", dev="3")

    assert ["main"] == [*tree.labels]
    assert ["it isn't served"] == [each["consequence"] for each in logs]


async def test_another_reason_is_logged_and_so_is_the_same_one_after_a_recovery(assembling: Assembling) -> None:
    reasons = ["one", "two", "", "two"]
    with capture_logs() as logs:
        for number, reason in enumerate(reasons):
            assembling.snapshots.broken = {str(number): LabelError(reason)} if reason else {}
            await assembling.tree(main=str(number))
            assert bool(reason) == assembling.assembly.is_skipped("main")

    assert ["one", "two", "two"] == [each["reason"] for each in logs]


async def test_a_mirror_that_can_not_be_read_leaves_everything_as_it_was(assembling: Assembling) -> None:
    before = await assembling.new_tree(main="1")
    assembling.snapshots.broken = {"2": SourceError("gone")}
    with pytest.raises(SourceError, match="gone"):
        await assembling.tree(main="2")

    assert before is assembling.assembly.published
    assert await assembling.tree(main="1") is None


# What the log says of a new tree.


async def test_links_and_submodules_in_the_way_are_logged_with_a_new_tree(tmp_path: Path) -> None:
    assembling = Assembling(tmp_path, search_paths=("team",))
    assembling.snapshots.ways = {"link": Way(("link",), "it leads nowhere")}
    assembling.snapshots.unreadable = {"team": SUBMODULE, "team/a.yml": "too large"}
    with capture_logs() as logs:
        tree = await assembling.new_tree(main="1")

    assert ("", "team/") == tree.labels["main"].locations
    assert [
        ("links not followed", ["link: it leads nowhere"], None),
        ("search path leads into a submodule", None, "team"),
    ] == [(each["event"], each.get("links"), each.get("submodule")) for each in logs]


async def test_without_search_paths_a_submodule_is_in_nobodys_way(assembling: Assembling) -> None:
    assembling.snapshots.unreadable = {"team": SUBMODULE}
    with capture_logs() as logs:
        await assembling.new_tree(main="1")

    assert [] == logs


# The commit before.


async def test_the_commit_before_is_read_by_its_difference_from_the_commit_and_not_kept(
    assembling: Assembling,
) -> None:
    await assembling.new_tree(main="1", dev="2")
    assembling.snapshots.parents = {"2": "0", "5": "4"}
    files = await assembling.assembly.before("2")
    await assembling.assembly.before("5")

    assert files is not None
    assert ({"a.yml": b"0"}, "0", Origin("0", "Ada", "")) == (files.contents, files.revision, files.origin)
    assert [("0", "2", []), ("4", "1", [])] == assembling.snapshots.asked[2:]
    assert [(["1", "2"], True)] * 2 == assembling.snapshots.kept[1:]
    assert ["main", "dev"] == [*assembling.assembly.loaded]


async def test_a_first_commit_has_none_before_it(assembling: Assembling) -> None:
    await assembling.new_tree(main="1")

    assert await assembling.assembly.before("1") is None
    assert 1 == len(assembling.snapshots.asked)
    assert (["1"], True) == assembling.snapshots.kept[-1]


async def test_without_a_label_the_commit_before_is_read_whole(assembling: Assembling) -> None:
    assembling.snapshots.parents = {"1": "0"}

    assert await assembling.assembly.before("1") is not None
    assert [("0", None, [])] == assembling.snapshots.asked


async def test_a_commit_before_that_can_not_be_read_is_none_and_logged(assembling: Assembling) -> None:
    await assembling.new_tree(main="1")
    assembling.snapshots.broken = {"1": SourceError("gone")}
    with capture_logs() as logs:
        assert await assembling.assembly.before("1") is None

    assert [{"event": "commit not read", "source": URI, "reason": "gone", "log_level": "info"}] == logs
    assert (["1"], True) == assembling.snapshots.kept[-1]


async def test_a_history_is_read_with_the_own_step_of_its_commit(assembling: Assembling) -> None:
    await assembling.new_tree(main="1")
    assembling.snapshots.step = step = Step("1", Origin("2", "Ada", ""), {})
    await assembling.new_tree(main="2")

    assert [None, step] == assembling.histories.own


async def test_a_label_has_the_trailers_of_its_history(assembling: Assembling) -> None:
    assembling.histories.steps = [Step(None, Origin("1", "Ada", ""), {}, trailers={"1": ("5,100",)})]
    tree = await assembling.new_tree(main="1")

    assert {"1": ("5,100",)} == tree.labels["main"].trailers
