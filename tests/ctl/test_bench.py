"""The benchmark: its figures against a server that loses messages, and a file that is always restored."""

import json
import resource
from pathlib import Path

import pytest

from vortexd.ctl import bench, cli
from vortexd.ctl.errors import CtlError
from vortexd.ctl.load import Reached

CONTENT = b"a: 1\nb: 2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "orders.yml"
    path.write_bytes(CONTENT)
    path.chmod(0o640)
    return path


def test_a_change_is_a_line_more_and_the_file_is_put_back(file: Path) -> None:
    with bench._changing(file) as save:
        save(1)
        save(2)
        changed = file.read_bytes()

    assert CONTENT + b"vortexctlbench: change-2-of-vortexctl\n" == changed
    assert (CONTENT, 0o640) == (file.read_bytes(), file.stat().st_mode & 0o777)
    assert [file] == list(file.parent.iterdir())


def test_the_file_is_put_back_however_it_ends(file: Path) -> None:
    with pytest.raises(KeyboardInterrupt), bench._changing(file) as save:
        save(1)
        raise KeyboardInterrupt

    assert CONTENT == file.read_bytes()


@pytest.mark.parametrize("name", ["orders.json", "orders", "missing.yml"])
def test_a_file_that_can_not_be_changed_is_refused_with_its_name(tmp_path: Path, name: str) -> None:
    if name != "missing.yml":
        (tmp_path / name).write_text("{}")

    with pytest.raises(CtlError, match=name.replace(".", r"\.")) as caught, bench._changing(tmp_path / name):
        pass
    assert 2 == caught.value.status


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["http://127.0.0.1/ws/a/b", "--file", "x.yml"], 2),
        (["ws://127.0.0.1:1/other", "--file", "x.yml"], 2),
        (["ws://127.0.0.1:1/ws/a/b"], 2),
        (["ws://127.0.0.1:1/ws/a/b", "--file", "FILE"], 3),
    ],
)
def test_what_can_not_be_measured_is_one_line(
    arguments: list[str], status: int, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(file) if each == "FILE" else each for each in arguments]

    assert status == cli.main(["bench", *given])
    assert 1 == len(capsys.readouterr().err.splitlines())
    assert CONTENT == file.read_bytes()


@pytest.mark.alone
def test_a_daemon_of_its_own_is_measured_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == cli.main(["bench", "--connections", "120", "--changes", "2", "--idle", "0.1", "--json"])
    figures = json.loads(capsys.readouterr().out)

    assert (120, 2, 0) == (figures["connections"], figures["changes"], figures["lost"])
    assert set(bench._ROWS) == set(figures)
    assert None not in figures.values()
    for name in ("save_to_last_ms", "first_to_last_ms", "floor_first_to_last_ms"):
        assert 0 < figures[name]["p25"] <= figures[name]["median"] <= figures[name]["p75"]
    assert figures["first_to_last_ms"]["median"] < figures["save_to_last_ms"]["median"]
    floor = figures["floor_first_to_last_ms"]["median"]
    assert abs(figures["first_to_last_over_floor"] - figures["first_to_last_ms"]["median"] / floor) < 1


class Playing:
    """Clients that are reached when a test says so."""

    def __init__(self, *reached: Reached) -> None:
        self.reached = list(reached)
        self.marks: list[bytes] = []

    def reach(self, text: bytes, timeout: float) -> Reached:
        self.marks.append(text)
        return self.reached.pop(0)


def test_each_change_is_followed_by_a_round_of_the_floor_and_counts_once() -> None:
    clients = Playing(Reached((11.0, 12.0, 10.5), 0), Reached((21.0, 24.0), 1), Reached((), 3))
    order: list[str] = []

    def save(number: int) -> float:
        order.append(f"save {number}")
        return 10.0 * number

    def floor(number: int) -> list[float]:
        order.append(f"floor {number}")
        return [5.0, 5.0 + number]

    rounds = bench._alternate(clients, save, floor, 3, lambda _: None)  # type: ignore[arg-type]

    assert [f"{name} {number}" for number in (1, 2, 3) for name in ("save", "floor")] == order
    assert [bench._mark(number) for number in (1, 2, 3)] == clients.marks
    assert ([2.0, 4.0], [1.5, 3.0], [1.0, 2.0, 3.0], 4) == (
        rounds.whole,
        rounds.spread,
        rounds.floor_spread,
        rounds.lost,
    )


def test_the_figures_are_medians_and_quartiles_in_milliseconds() -> None:
    assert {"median": 3.0, "p25": 2.0, "p75": 4.0} == bench._quartiles([0.001, 0.002, 0.003, 0.004, 0.005])
    assert {"median": 7.0, "p25": 7.0, "p75": 7.0} == bench._quartiles([0.007])
    assert None is bench._quartiles([])


def test_the_ratio_is_that_of_the_medians() -> None:
    assert 1.5 == bench._ratio([0.001, 0.003, 9.0], [0.002, 0.001, 0.05])
    assert None is bench._ratio([], [0.1])
    assert None is bench._ratio([0.1], [])
    assert None is bench._ratio([0.1], [0.0])


def test_the_time_of_a_save_is_taken_before_its_rename(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[object] = []
    replace = Path.replace

    def replaced(path: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(path, target)

    def now() -> float:
        steps.append("clock")
        return 7.0

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr("vortexd.ctl.bench.time.monotonic", now)
    with bench._changing(file) as save:
        assert 7.0 == save(1)
        assert ["clock", "rename"] == steps


@pytest.mark.parametrize(("limit", "is_refused"), [(2_256, False), (2_255, True), (resource.RLIM_INFINITY, False)])
def test_both_sides_of_the_comparison_need_descriptors(
    limit: int, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, limit))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    if is_refused:
        with pytest.raises(CtlError, match="1000 connections, and as many for the floor, need more than 2255"):
            bench._allow_descriptors(1_000)
    else:
        bench._allow_descriptors(1_000)
