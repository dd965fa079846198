"""A key at commits: its document, and the paths that decide about it in each layer."""

from collections.abc import Mapping, Sequence

import attrs
import pytest
import trio

from vortexd.core.commits import Commit, PastFiles
from vortexd.core.model import Files, Key, Origin, Tree
from vortexd.pipeline.past_keys import PastKey, PastKeys
from vortexd.pipeline.state import State
from vortexd.resolve.tree import parse_tree
from vortexd.settings.formats import FormatSettings

from ..fakes import NoVersions
from ..wiring import served_state

SHOP = Key("shop", "dev", "main")
ONE, TWO = "git:/one/", "git:/two/"


class Repositories(NoVersions):
    """Has the files of some commits, as root and name."""

    def __init__(self, files: Mapping[tuple[str, str], Mapping[str, str]]) -> None:
        self.states = {place: {path: text.encode() for path, text in each.items()} for place, each in files.items()}
        self.ways: dict[str, Sequence[str]] = {}
        self.read: list[tuple[str, str, object]] = []

    def commits(self, root: str, commit: str) -> Sequence[Commit]:
        raise AssertionError("the caller knows the commits")

    async def subject(self, root: str, commit: str) -> str:
        raise AssertionError("nobody shows a subject")

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        self.read.append((root, commit, near and near.snapshot))
        await trio.lowlevel.checkpoint()
        found = self.states.get((root, commit))
        origin = Origin(commit, "Ada", "2026-01-01T00:00:00Z")
        return None if found is None else PastFiles(Files(found, origin=origin), self.ways, commit)

    def keys(self, *layers: Files, numbers: Sequence[int] = (0, 1), key: Key = SHOP) -> PastKeys:
        first, *others = layers
        parsed = parse_tree(Tree({"main": attrs.evolve(first, others=tuple(others))}), FormatSettings())
        served = served_state(State(parsed.labels, "main"))
        stack = list(parsed.labels["main"].layers)
        places = {(0, number): number for number in numbers if number < len(stack)}
        return PastKeys(self, served, key, [stack], places, trio.CapacityLimiter(1))


def body(past: PastKey) -> bytes | None:
    return None if past.document is None else past.document.body


TWO_LAYERS = Files({}, revision="now", root=ONE), Files({}, revision="now", root=TWO, group=1)
STATES = {
    (ONE, "a"): {"shop.yml": "a: 1"},
    (ONE, "b"): {"shop.yml": "a: 2"},
    (TWO, "x"): {"shop.yml": "x: 1"},
}


async def test_only_the_layers_that_differ_are_read_again() -> None:
    made = Repositories(STATES)
    keys = made.keys(*TWO_LAYERS)
    first = await keys.read({0: "b", 1: "x"}, None)
    second = await keys.read({0: "a"}, first)

    assert [b'{"a":2,"x":1}', b'{"a":1,"x":1}'] == [body(first), body(second)]
    assert [(ONE, "b", None), (TWO, "x", None), (ONE, "a", "b")] == made.read
    assert second.layers[1] is first.layers[1]


async def test_none_is_the_state_before_the_first_commit() -> None:
    made = Repositories(STATES)
    past = await made.keys(*TWO_LAYERS).read({0: None, 1: "x"}, None)

    assert (b'{"x":1}', [(TWO, "x", None)]) == (body(past), made.read)
    assert past.layers[0].is_usable


async def test_a_commit_that_can_not_be_served_has_no_document_and_every_path_may_decide() -> None:
    keys = Repositories(STATES).keys(*TWO_LAYERS)
    first = await keys.read({0: "a", 1: "x"}, None)
    past = await keys.read({0: "none"}, first)
    after = await keys.read({0: "b"}, past)

    assert (None, None, False) == (past.document, past.reads[0], past.layers[0].is_usable)
    assert past.layers[0].parsed is first.layers[0].parsed
    assert b'{"a":2,"x":1}' == body(after)


async def test_a_layer_without_commits_counts_as_it_is_now() -> None:
    now = Files({"shop.yml": b"d: 1"}, root="file:/d/", group=1)
    past = await Repositories(STATES).keys(TWO_LAYERS[0], now, numbers=[0]).read({0: "a"}, None)

    assert (b'{"a":1,"d":1}', [0]) == (body(past), [*past.layers])


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["shop.yml"], True),
        (["x.txt", "shop-dev.json"], True),
        (["application.properties"], True),
        (["x.txt", "cart.yml", "dir/shop.yml"], False),
        ([], False),
    ],
)
async def test_a_commit_may_differ_if_it_changes_a_path_that_decides(paths: Sequence[str], expected: bool) -> None:
    past = await Repositories(STATES).keys(*TWO_LAYERS).read({0: "a", 1: "x"}, None)
    commit = Commit(Origin("c", "Ada", ""), None, paths)

    assert [expected] * 3 == [past.may_differ(layers, commit) for layers in [(0,), (1,), (0, 1)]]


async def test_a_commit_in_several_layers_may_differ_if_it_decides_in_one_of_them() -> None:
    layers = Files({}, revision="now", root=ONE, locations=("", "sub/")), Files({}, revision="now", root=TWO, group=1)
    past = await Repositories(STATES).keys(*layers).read({0: "a", 1: "x"}, None)
    commit = Commit(Origin("c", "Ada", ""), None, ["sub/shop.yml"])

    assert [True, False, True, True] == [past.may_differ(each, commit) for each in [(0,), (1,), (0, 1), (1, 0)]]


async def test_the_directories_on_the_way_of_a_link_decide() -> None:
    made = Repositories(STATES)
    made.ways = {"shop.yml": ("shop.yml", "data/deep/real.yml"), "cart.yml": ("cart.yml", "far.yml")}
    past = await made.keys(TWO_LAYERS[0]).read({0: "a"}, None)
    reads = past.reads[0]

    assert reads is not None
    assert {"shop.yml", "data", "data/deep", "data/deep/real.yml"} <= reads
    assert "far.yml" not in reads


@pytest.mark.parametrize(("location", "is_known"), [("sub/", True), ("*/", False), ("{application}/", False)])
async def test_with_a_pattern_every_path_may_decide(location: str, is_known: bool) -> None:
    layer = Files({}, revision="now", root=ONE, locations=("", location))
    past = await Repositories(STATES).keys(layer).read({0: "a"}, None)

    assert is_known is (past.reads[0] is not None)
    assert b'{"a":1}' == body(past)


async def test_with_too_many_profiles_every_path_may_decide() -> None:
    many = "spring.profiles.group.dev: [" + ", ".join(f"p{number}" for number in range(200)) + "]"
    past = await Repositories({(ONE, "a"): {"shop.yml": many}}).keys(TWO_LAYERS[0]).read({0: "a"}, None)

    assert (None, None) == (past.document, past.reads[0])


async def test_a_broken_file_leaves_no_document_but_its_path_decides() -> None:
    past = await Repositories({(ONE, "a"): {"shop.yml": "a: ["}}).keys(TWO_LAYERS[0]).read({0: "a"}, None)
    reads = past.reads[0]

    assert past.document is None
    assert reads is not None
    assert "shop.yml" in reads


async def test_the_layers_at_a_place_are_those_that_were_read_and_all_others_as_they_are_now() -> None:
    made = Repositories(STATES)
    now = attrs.evolve(TWO_LAYERS[1], contents={"shop.yml": b"x: 9"})
    keys = made.keys(TWO_LAYERS[0], now, numbers=(0,))
    [stack] = keys.layers_of(await keys.read({0: "a"}, None))

    assert [{"shop.yml": b"a: 1"}, {"shop.yml": b"x: 9"}] == [each.files.contents for each in stack]
    assert [(), ()] == [each.others for each in stack]
