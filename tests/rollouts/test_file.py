"""The file of roll-outs: what it holds, and what it does with other content. tests/pins/test_file.py has the file itself."""

from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from structlog.testing import capture_logs

from vortexd.core.model import Files, Key
from vortexd.rollouts.file import FILE, ROLLOUTS
from vortexd.rollouts.rollout import PLACES, Plan, Rollout, Status
from vortexd.shelf.file import RecordsFile, encode, parse
from vortexd.shelf.shelf import Shelf

from .test_rollout import ROLLOUT

FULL = attrs.evolve(
    ROLLOUT,
    commit="c" * 40,
    author="ada",
    plan=Plan((1, 50, 100), 90, 12.5),
    step=1,
    reach=PLACES - 1,
    status=Status.HALTED,
    reason="web-7 has rejected it",
    by="bob",
    began=1.5,
    counted=1.75,
    stepped=2.5,
    revision=7,
    labels=((Files({"billing.yml": b"a: 1"}, root="file:/c/"),),),
)


def members(rollout: Rollout) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(encode(ROLLOUTS, [rollout]))["roll_outs"][0]
    return found


def parsed(**more: Any) -> list[Rollout] | str:
    return parse(ROLLOUTS, orjson.dumps({"format": 1, "roll_outs": [members(FULL) | more]}))


def plain(rollout: Rollout) -> dict[str, Any]:
    return attrs.asdict(rollout, recurse=False) | {
        "labels": [[dict(layer.contents) for layer in layers] for layers in rollout.labels]
    }


@pytest.mark.parametrize("rollout", [FULL, attrs.evolve(FULL, reach=None, commit=None, author=None, by="", reason="")])
@pytest.mark.parametrize("status", Status)
def test_a_roll_out_comes_back_as_it_was(rollout: Rollout, status: Status) -> None:
    rollout = attrs.evolve(rollout, status=status)
    found = parse(ROLLOUTS, encode(ROLLOUTS, [rollout]))

    assert not isinstance(found, str)
    assert [plain(each) for each in found] == [plain(rollout)]


@pytest.mark.parametrize(
    "more",
    [
        {"id": 7},
        {"key": ["billing", "prod"]},
        {"key": ["bill ing", "prod", "main"]},
        {"stable": None},
        {"target": 7},
        {"commit": 7},
        {"steps": []},
        {"steps": [5, 50]},
        {"steps": [50, 5, 100]},
        {"steps": [5, 5, 100]},
        {"steps": [0, 100]},
        {"steps": [True, 100]},
        {"applied": 0},
        {"applied": 101},
        {"within": -1},
        {"step": 3},
        {"step": -1},
        {"reach": -1},
        {"reach": 1e20},
        {"reach": "5"},
        {"status": "running away"},
        {"began": "now"},
        {"counted": None},
        {"revision": -1},
        {"labels": []},
    ],
)
def test_other_content_is_refused_as_a_whole(more: dict[str, Any]) -> None:
    assert parsed() != "it isn't a file of roll-outs"
    assert parsed(**more) == "it isn't a file of roll-outs"


def test_a_member_that_is_missing_is_refused() -> None:
    for name in members(FULL):
        rest = {key: value for key, value in members(FULL).items() if key != name}
        assert parse(ROLLOUTS, orjson.dumps({"format": 1, "roll_outs": [rest]})) == "it isn't a file of roll-outs"


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 99, b"[]", encode(ROLLOUTS, [FULL])[:-9]])
def test_garbage_is_set_aside_with_one_warning(tmp_path: Path, content: bytes) -> None:
    directory = tmp_path / "rollouts"
    directory.mkdir(0o700)
    (directory / FILE).write_bytes(content)
    with capture_logs() as logs:
        found = [RecordsFile(ROLLOUTS, directory).read() for _ in range(2)]

    assert found == [[], []]
    assert [(each["event"], each["log_level"]) for each in logs] == [("roll-outs set aside", "warning")]
    assert (directory / f"{FILE}.unknown").read_bytes() == content


def test_a_file_of_another_format_is_set_aside(tmp_path: Path) -> None:
    assert parse(ROLLOUTS, b'{"format":2,"roll_outs":[]}') == "it has format 2, but this version only reads format 1"


async def test_another_revision_of_the_same_roll_out_replaces_it(tmp_path: Path) -> None:
    shelf = Shelf(ROLLOUTS, tmp_path / "rollouts")
    await shelf.write(lambda _: [FULL])
    await shelf.write(lambda before: [attrs.evolve(before[0], revision=8, step=2)])
    found = await Shelf(ROLLOUTS, tmp_path / "rollouts").read()

    assert [(each.revision, each.step) for each in found or ()] == [(8, 2)]


async def test_what_can_not_be_read_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "rollouts").mkdir(0o755)
    with capture_logs() as logs:
        assert await Shelf(ROLLOUTS, tmp_path / "rollouts").read() is None

    assert [each["event"] for each in logs] == ["roll-outs not read"]


def test_the_kind_names_keys_and_warns_by_events_of_its_own() -> None:
    with capture_logs() as logs:
        ROLLOUTS.warnings.not_copied("x")
        ROLLOUTS.warnings.not_shared(FULL, "x")
        ROLLOUTS.warnings.unusable("n", "x")

    assert [each["event"] for each in logs] == [
        "roll-outs not copied",
        "roll-out not shared",
        "cluster roll-out unusable",
    ]
    assert ROLLOUTS.key(FULL) == Key("billing", "prod", "main")
    assert ROLLOUTS.mark(FULL) == ("r1", 7)
    assert ROLLOUTS.order(FULL) == (1.5, "r1")
    assert ROLLOUTS.counts(FULL, 9e9)
