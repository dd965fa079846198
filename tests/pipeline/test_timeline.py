"""Timelines: the order of commits of several layers, and cursors."""

import re
from collections.abc import Sequence

import pytest

from vortexd.core.commits import Commit
from vortexd.core.errors import RemoteError
from vortexd.core.model import Origin
from vortexd.pipeline.timeline import CURSOR, MOST_LAYERS, LayerCommits, Timeline, timeline_of

ONE, OTHER = "git:/one/", "git:/other/"


def id_of(name: str) -> str:
    return name.encode().hex().rjust(40, "0")


def commits(text: str, *, is_whole: bool = True) -> Sequence[Commit]:
    """Make commits of names with seconds, such as "c9 b5 a1", the newest first."""
    names = text.split()
    parents: list[str | None] = [*map(id_of, names[1:]), None if is_whole else id_of("unknown")]
    return [
        Commit(Origin(id_of(name), "Ada", f"2026-01-01T00:00:{int(name[1:]):02}Z"), parent, [f"{name}.yml"])
        for name, parent in zip(names, parents, strict=True)
    ]


def timeline(*layers: tuple[str, str], unknown: int | None = None) -> Timeline:
    """Make a timeline of layers with roots and commits. `unknown` is the layer whose oldest commits aren't known."""
    return timeline_of(
        [LayerCommits(root, commits(text, is_whole=number != unknown)) for number, (root, text) in enumerate(layers)]
    )


def names(found: Sequence[str | None]) -> list[str | None]:
    return [None if each is None else bytes.fromhex(each).decode().strip("\0") for each in found]


def steps(found: Timeline) -> list[tuple[str | None, tuple[int, ...]]]:
    return [(names([step.commit.id])[0], step.layers) for step in found.steps]


def test_the_steps_of_one_layer_are_its_commits() -> None:
    found = timeline((ONE, "c9 b5 a1"))

    assert [("c9", (0,)), ("b5", (0,)), ("a1", (0,))] == steps(found)
    assert found.is_complete
    assert [["c9"], ["b5"], ["a1"], [None]] == [names(found.commits_at(number)) for number in range(4)]


def test_commits_of_several_layers_are_ordered_by_time() -> None:
    found = timeline((ONE, "c9 b5 a1"), (OTHER, "y7 x3"))

    assert [("c9", (0,)), ("y7", (1,)), ("b5", (0,)), ("x3", (1,)), ("a1", (0,))] == steps(found)
    assert [["c9", "y7"], ["b5", "y7"], ["b5", "x3"], ["a1", "x3"], ["a1", None], [None, None]] == [
        names(found.commits_at(number)) for number in range(6)
    ]


def test_equal_times_are_ordered_as_the_layers_are() -> None:
    assert [("a5", (0,)), ("x5", (1,)), ("y5", (2,))] == steps(timeline((ONE, "a5"), (OTHER, "x5"), ("git:/z/", "y5")))


def test_each_layer_keeps_its_own_order_whatever_its_times_are() -> None:
    """A clock may be wrong: b1 is the parent of a9, and c8 that of b1."""
    found = timeline((ONE, "a9 b1 c8"), (OTHER, "x5 y4"))

    assert ["a9", "x5", "y4", "b1", "c8"] == [name for name, _ in steps(found)]


def test_a_commit_that_several_labels_have_is_one_step() -> None:
    found = timeline((ONE, "c9 b5 a1"), (ONE, "d7 b5 a1"))

    assert [("c9", (0,)), ("d7", (1,)), ("b5", (0, 1)), ("a1", (0, 1))] == steps(found)
    assert ["b5", "b5"] == names(found.commits_at(2))


def test_the_same_id_in_another_repository_is_a_step_of_its_own() -> None:
    assert [("a1", (0,)), ("a1", (1,))] == steps(timeline((ONE, "a1"), (OTHER, "a1")))


def test_each_commit_is_listed_once_where_it_is_newest() -> None:
    found = timeline((ONE, "a1"), (OTHER, "x3 a1"))

    assert ["x3", "a1"] == names([each.id for each in found.commits])
    assert 1 == found.number_of(id_of("a1"))


@pytest.mark.parametrize(
    ("unknown", "expected"), [(0, ["c9", "y7", "b5"]), (1, ["c9", "y7", "b5", "x3"]), (None, ["c9", "y7", "b5", "x3"])]
)
def test_a_timeline_ends_where_the_commits_of_one_layer_are_not_known(unknown: int | None, expected: list[str]) -> None:
    found = timeline((ONE, "c9 b5"), (OTHER, "y7 x3"), unknown=unknown)

    assert (expected, unknown is None) == ([name for name, _ in steps(found)], found.is_complete)


# Cursors.


def test_a_cursor_names_two_steps() -> None:
    found = timeline((ONE, "c9 b5 a1"), (OTHER, "y7 x3"))
    for since in range(5):
        for at in range(since, 5):
            assert (since, at) == found.places(found.cursor(since, at))
    assert f"{id_of('c9')}.{id_of('y7')}-{id_of('a1')}.0" == found.cursor(0, 4)
    assert (0, 0) == found.places("")


def test_the_cursor_of_one_layer_has_two_commits() -> None:
    assert f"{id_of('b5')}-{id_of('a1')}" == timeline((ONE, "c9 b5 a1")).cursor(1, 2)


def test_a_cursor_holds_after_a_push() -> None:
    before = timeline((ONE, "c9 b5 a1"), (OTHER, "y7 x3"))
    after = timeline((ONE, "d11 c9 b5 a1"), (OTHER, "z12 y7 x3"))

    assert (3, 4) == after.places(before.cursor(1, 2))


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "a1-b5",
        "-",
        f"{'0' * 40}",
        f"{'a' * 40}-{'a' * 40}-{'a' * 40}",
        f"{'a' * 41}-{'a' * 40}",
        f"{'A' * 40}-{'A' * 40}",
        f"{'a' * 40}.-{'a' * 40}.",
        f"{'a' * 40}-{'a' * 40}\n",
        "-".join([".".join(["a" * 40] * (MOST_LAYERS + 1))] * 2),
    ],
)
def test_what_is_no_cursor_is_400(cursor: str) -> None:
    with pytest.raises(RemoteError) as caught:
        timeline((ONE, "c9 b5 a1")).places(cursor)

    assert 400 == caught.value.status


def place(*found: str) -> str:
    return ".".join("0" if name == "0" else id_of(name) for name in found)


@pytest.mark.parametrize(
    "cursor",
    [
        f"{place('b5')}-{place('b5')}",  # too few layers
        f"{place('b5', 'y7', 'y7')}-{place('b5', 'y7', 'y7')}",  # too many
        f"{place('b5', 'zz')}-{place('b5', 'zz')}",  # no such commit
        f"{place('y7', 'b5')}-{place('y7', 'b5')}",  # commits of the other layer
        f"{place('b5', 'y7')}-{place('c9', 'y7')}",  # the second step is newer
        f"{place('c9', 'x3')}-{place('b5', 'x3')}",  # no step has these commits together
        f"{place('c9', 'y7')}-{place('c9', '0')}",
        f"{place('0', '0')}-{place('0', '0')}",  # nothing is older
    ],
)
def test_a_cursor_of_another_timeline_is_404(cursor: str) -> None:
    with pytest.raises(RemoteError) as caught:
        timeline((ONE, "c9 b5 a1"), (OTHER, "y7 x3")).places(cursor)

    assert 404 == caught.value.status
    assert "begin again" in caught.value.reason


def test_cursors_of_the_longest_ids_and_the_most_layers_are_valid() -> None:
    one = ".".join(["f" * 64] * MOST_LAYERS)
    assert re.fullmatch(CURSOR, f"{one}-{one}")
