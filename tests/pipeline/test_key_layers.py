"""The layers of a key: what is known of the past of each, and which of them have numbers."""

from collections.abc import Sequence

import pytest
import trio

from tests.fakes import NoVersions
from vortexd.core.commits import Commit, PastFiles
from vortexd.core.errors import RemoteError
from vortexd.core.model import Files, Key, Origin
from vortexd.pipeline.key_layers import Kind, KnownLayer, key_layers, no_history
from vortexd.pipeline.timeline import MOST_LAYERS
from vortexd.resolve.tree import ParsedFiles

SHOP = Key("shop", "dev", "main")


def commit(id: str, second: int = 0) -> Commit:
    return Commit(Origin(id, "", f"2026-01-01T00:00:{second:02}Z"), None, ())


class Sources(NoVersions):
    """Each repository has the commit that is served. Each directory with a d in its root has two versions."""

    def commits(self, root: str, commit_id: str) -> Sequence[Commit]:
        return [commit(commit_id)] if root != "git:/unknown/" else []

    async def versions(self, files: Files) -> Sequence[Commit]:
        return [commit("v2", 2), commit("v1", 1)] if "d" in files.root else []

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        raise AssertionError("nothing is read")

    async def subject(self, root: str, commit: str) -> str:
        raise AssertionError("nothing is read")


def layer(root: str, revision: str | None = None, origin: str | None = None) -> ParsedFiles:
    made = Files({}, root=root, revision=revision, origin=Origin(origin, "Ada", "") if origin else None)
    return ParsedFiles(made, {}, {})


async def test_each_layer_has_commits_or_versions_or_nothing() -> None:
    labels = [
        [layer("git:/a/", "c1"), layer("file:/x/"), layer("git:/unknown/", "c2")],
        [layer("file:/d/"), layer("git:/b/", None, "c3")],
    ]
    found = await key_layers(Sources(), labels, Key("shop", "dev", "main,fix"), trio.CapacityLimiter(1))

    assert [
        KnownLayer("git:/a/", "main", Kind.COMMITS, 1),
        KnownLayer("file:/x/", "main", Kind.NONE, 0),
        KnownLayer("git:/unknown/", "main", Kind.NONE, 0),
        KnownLayer("file:/d/", "fix", Kind.VERSIONS, 2),
        KnownLayer("git:/b/", "fix", Kind.COMMITS, 1),
    ] == found.known
    assert {(0, 0): 0, (1, 0): 1, (1, 1): 2} == found.numbers
    assert ["main", "fix", "fix"] == found.labels
    assert [Kind.COMMITS, Kind.VERSIONS, Kind.COMMITS] == found.kinds
    assert ["v2", "v1", "c1", "c3"] == [each.id for each in found.timeline.commits]


@pytest.mark.parametrize("labels", [[[]], [[layer("file:/x/"), layer("git:/unknown/", "c2")]]])
async def test_without_any_past_there_is_no_history(labels: list[list[ParsedFiles]]) -> None:
    with pytest.raises(RemoteError) as caught:
        await key_layers(Sources(), labels, SHOP, trio.CapacityLimiter(1))

    assert (404, no_history().reason) == (caught.value.status, caught.value.reason)
    assert "a settings file or a state directory" in caught.value.reason


@pytest.mark.parametrize(("count", "is_allowed"), [(MOST_LAYERS, True), (MOST_LAYERS + 1, False)])
async def test_only_layers_with_a_past_are_limited(count: int, is_allowed: bool) -> None:
    labels = [[*(layer(f"git:/{number}/", "c") for number in range(count)), *(layer("file:/x/") for _ in range(9))]]
    if is_allowed:
        assert count == len((await key_layers(Sources(), labels, SHOP, trio.CapacityLimiter(1))).numbers)
        return
    with pytest.raises(RemoteError, match="at most 8 repositories and labels, and this key has 9") as caught:
        await key_layers(Sources(), labels, SHOP, trio.CapacityLimiter(1))
    assert 404 == caught.value.status
