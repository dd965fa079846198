"""Configurations at earlier commits: commits are read one after the other, cached within bounds, and parsed with the bounds in force."""

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from vortexd.core.model import Files, Key, Origin, PropertySource, Tree
from vortexd.pipeline import former_commits as module
from vortexd.pipeline.former_commits import FormerCommits
from vortexd.pipeline.state import State
from vortexd.resolve.tree import ParsedFiles, parse_tree
from vortexd.settings.formats import FormatSettings

from ..wiring import served_state

SHOP = Key("shop", "dev", "main")
FORMER = Files({"shop.yml": b"a: 0"}, revision="c1", origin=Origin("c1", "Ann", ""))


class Loading:
    """Gives the same files for each commit, and notes what is asked, and how many are read at a time."""

    def __init__(self, files: Files | None = FORMER) -> None:
        self.files = files
        self.asked: list[tuple[str, str]] = []
        self.most = self._now = 0
        self.gate: trio.Event | None = None

    async def __call__(self, root: str, commit: str) -> Files | None:
        self.asked.append((root, commit))
        self._now += 1
        self.most = max(self.most, self._now)
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        self._now -= 1
        return self.files


def former(
    load: Loading, formats: FormatSettings | None = None, overrides: PropertySource | None = None
) -> tuple[FormerCommits, ParsedFiles]:
    files = Files({"shop.yml": b"a: 1"}, root="git:/a", revision="c2")
    parsed = parse_tree(Tree({"main": files}), FormatSettings())
    served = served_state(State(parsed.labels, "main", overrides=overrides))
    served = attrs.evolve(served, formats=formats or FormatSettings())
    commits = FormerCommits(served, load, trio.CapacityLimiter(1), trio.CapacityLimiter(1))
    return commits, parsed.labels["main"]


async def test_a_key_is_resolved_by_the_files_of_the_commit_before_as_it_would_be_now() -> None:
    commits, layer = former(load := Loading(), overrides=PropertySource("o", {"b": 2}, {}))
    found = await commits.resolve(layer, SHOP, "c2")

    assert found is not None
    assert ({"a": 0, "b": 2}, "c1", SHOP) == (found.document, found.revision, found.key)
    assert [("git:/a", "c2")] == load.asked


async def test_a_commit_is_read_once_for_all_keys() -> None:
    commits, layer = former(load := Loading())
    for profile in ("dev", "prod"):
        assert await commits.resolve(layer, attrs.evolve(SHOP, profile=profile), "c2") is not None

    assert 1 == len(load.asked)


async def test_that_there_is_no_commit_before_is_remembered_too() -> None:
    commits, layer = former(load := Loading(None))

    assert [None, None] == [await commits.resolve(layer, SHOP, "c2") for _ in range(2)]
    assert 1 == len(load.asked)


@pytest.mark.parametrize(
    ("content", "formats"), [(b"a: [", FormatSettings()), (b"a: [1, 2, 3]", FormatSettings(nodes=2))]
)
async def test_files_that_are_broken_or_beyond_the_bounds_are_none(content: bytes, formats: FormatSettings) -> None:
    commits, layer = former(Loading(Files({"shop.yml": content})), formats)

    assert await commits.resolve(layer, SHOP, "c2") is None


async def test_the_oldest_commit_makes_room() -> None:
    commits, layer = former(load := Loading())
    names = [f"c{number}" for number in range(module._FORMER + 1)]
    for name in (*names, *names[1:]):
        await commits.resolve(layer, SHOP, name)
    assert names == [commit for _, commit in load.asked]
    await commits.resolve(layer, SHOP, names[0])

    assert [*names, names[0]] == [commit for _, commit in load.asked]


async def test_commits_are_read_one_after_the_other() -> None:
    commits, layer = former(load := Loading())
    load.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        for name in ("c1", "c2", "c3"):
            nursery.start_soon(commits.resolve, layer, SHOP, name)
        await wait_all_tasks_blocked()
        assert 1 == len(load.asked)
        load.gate.set()

    assert (3, 1) == (len(load.asked), load.most)
