import argparse
import subprocess
from pathlib import Path

import attrs
import pytest

from . import benchmark
from .base import Peer, Running, Unavailable
from .benchmark import PEERS, command, install, report, turn, visit
from .figures import Row, Sample
from .measures import Sizes


class Fake(Peer):
    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name = name
        self.error = error

    def install(self, cache: Path) -> str:
        assert cache.is_dir()
        if self.error:
            raise self.error
        return "1.0"

    def start(self, directory: Path, heartbeat: float) -> Running:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def no_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_note", lambda _: None)


def test_the_report_has_two_tables_with_a_row_for_each_server() -> None:
    lines = report([Row(each.name, "1") for each in PEERS], Sizes(), 5).splitlines()

    for each in PEERS:
        assert 2 == sum(line.startswith(f"| {each.name} |") for line in lines)


def test_readme_shows_the_tables_of_the_report_with_all_servers() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    section = readme.partition("<!-- peers -->")[2].partition("<!-- /peers -->")[0]
    expected = report([Row(each.name) for each in PEERS], Sizes(), 5)

    assert "`python -m tests.bench peers --rounds " in section
    assert titles(expected) == titles(section)


def titles(text: str) -> list[str]:
    """Return the first cell of each row of a table, and the whole row with the titles."""
    lines = [each for each in text.splitlines() if each.startswith("|")]
    return [each if each.startswith("| Server ") else each.split("|")[1].strip() for each in lines]


def test_the_servers_have_different_names() -> None:
    assert len(PEERS) == len({each.name for each in PEERS})


@pytest.mark.parametrize(("rounds", "text"), [(1, "medians of 1 round, "), (5, "medians of 5 rounds, ")])
def test_the_report_says_how_it_was_measured(rounds: int, text: str) -> None:
    assert text in report([], Sizes(), rounds)


@pytest.mark.parametrize(
    "error",
    [Unavailable("there is no go"), OSError("disk full"), ValueError("two archives"), subprocess.SubprocessError("cc")],
)
def test_a_server_that_cannot_be_installed_has_a_reason_and_the_others_a_version(
    error: Exception, tmp_path: Path
) -> None:
    versions, reasons = install([Fake("one", error), Fake("two")], tmp_path)

    assert {"two": "1.0"} == versions
    assert {"one": str(error)} == reasons


def test_another_server_is_the_first_in_each_round() -> None:
    a, b, c = Fake("a"), Fake("b"), Fake("c")

    assert [[a, b, c], [b, c, a], [c, a, b], [a, b, c]] == [list(turn([a, b, c], each)) for each in range(4)]
    assert [] == list(turn([], 1))


class Measuring:
    """Measures a server in 100 s, and fails at the given calls."""

    def __init__(self, *failing: int) -> None:
        self.now = 0.0
        self.names: list[str] = []
        self._failing = failing

    def __call__(self, peer: Peer) -> Sample:
        self.now += 100
        self.names.append(peer.name)
        if len(self.names) in self._failing:
            raise Unavailable(f"failure {len(self.names)}")
        return Sample(**dict.fromkeys(attrs.fields_dict(Sample), float(len(self.names))))

    def clock(self) -> float:
        return self.now


def visited(measuring: Measuring, rounds: int, reasons: dict[str, str]) -> tuple[dict[str, list[float]], int]:
    """Return a number for each sample, and the number of rounds."""
    samples, done = visit([Fake("a"), Fake("b")], measuring, rounds, reasons, measuring.clock)
    return {name: [each.back for each in found] for name, found in samples.items()}, done


def test_all_servers_are_measured_in_each_round() -> None:
    measuring = Measuring()

    assert ({"a": [1.0, 4.0], "b": [2.0, 3.0]}, 2) == visited(measuring, 2, {})
    assert ["a", "b", "b", "a"] == measuring.names


def test_a_server_that_fails_is_measured_once_more() -> None:
    reasons: dict[str, str] = {}

    assert ({"a": [2.0, 5.0], "b": [3.0, 4.0]}, 2) == visited(Measuring(1), 2, reasons)
    assert {} == reasons


def test_a_server_that_fails_twice_gets_the_reason_and_no_further_round() -> None:
    reasons: dict[str, str] = {}

    assert ({"a": [1.0, 5.0], "b": [2.0]}, 2) == visited(Measuring(3, 4), 2, reasons)
    assert {"b": "failure 4"} == reasons


def test_a_server_with_a_reason_is_not_measured() -> None:
    assert ({"b": [1.0]}, 1) == visited(Measuring(), 1, {"a": "there is no go"})


def test_no_round_begins_that_would_end_after_the_time() -> None:
    # Three rounds of 200 s take 600 s, and the fourth would end after 800 s.
    measuring = Measuring()

    assert 3 == visited(measuring, 9, {})[1]
    assert 6 == len(measuring.names)


def test_the_command_that_repeats_the_run_names_no_place() -> None:
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    line = ["--rounds", "3", "--quick", "--only", "C loop", "--only", "vortexd"]

    text = command(parser.parse_args([*line, "--cache", "/somewhere"]))

    assert "python -m tests.bench peers --rounds 3 --quick --only 'C loop' --only vortexd" == text


def test_the_command_is_short_without_options() -> None:
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)

    assert "python -m tests.bench peers --rounds 5" == command(parser.parse_args([]))
