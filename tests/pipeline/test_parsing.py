"""The place where files are parsed, and the handling of files that cost too much."""

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from structlog.testing import capture_logs

from vortexd.aio.isolated import Died, Exceeded, Isolated, Unavailable
from vortexd.core.errors import FormatError
from vortexd.core.model import Files, Tree
from vortexd.pipeline import parsing
from vortexd.pipeline.parsing import SMALL_BYTES, SMALL_NODES, Parser, parse_all, parse_file
from vortexd.resolve import apart
from vortexd.resolve.nodes import TooManyValues
from vortexd.settings.formats import FormatSettings

LIMITS = FormatSettings()


class Apart:
    """In place of `Isolated`: works here, and remembers what it was asked."""

    made: "list[Apart]"
    error: Exception | None
    # One for each request to come, before `error`.
    errors: list[Exception]

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.asked: list[str] = []
        self.is_closed = False
        Apart.made.append(self)

    def ask(self, request: Any, content: bytes) -> Iterator[Any]:
        self.asked.append(request[0])
        if Apart.errors:
            yield from list(apart.work(request, content))[:1]
            raise Apart.errors.pop(0)
        if Apart.error is not None:
            raise Apart.error
        yield from apart.work(request, content)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Apart]:
    Apart.made, Apart.error, Apart.errors = [], None, []
    monkeypatch.setattr(parsing, "Isolated", Apart)
    return Apart.made


def values_of(content: bytes, limits: FormatSettings = LIMITS, path: str = "a.yml") -> dict[str, object]:
    (document,) = parse_file(path, content, limits)
    return dict(document.values)


def padded(size: int) -> bytes:
    return b"a: 1\n".ljust(size, b"\n")


def many(values: int) -> bytes:
    """The document and its values are nodes."""
    return b"".join(b"k%d: 1\n" % number for number in range(values - 1))


def test_up_to_its_bounds_a_file_is_parsed_in_the_thread_that_asks(made: list[Apart]) -> None:
    assert {"a": 1} == values_of(padded(SMALL_BYTES))
    assert SMALL_NODES - 1 == len(values_of(many(SMALL_NODES)))
    assert [] == made


@pytest.mark.parametrize("content", [padded(SMALL_BYTES + 1), many(SMALL_NODES + 1)])
def test_beyond_them_it_is_parsed_in_a_process_within_the_bounds_in_force(made: list[Apart], content: bytes) -> None:
    limits = attrs.evolve(LIMITS, memory_bytes=70_000_000, cpu_seconds=3)
    values_of(content, limits)

    assert [("vortexd.resolve.apart", 70_000_000, 3)] == [each.arguments for each in made]
    assert ["a.yml"] == made[0].asked
    assert made[0].is_closed


def test_a_file_beyond_a_small_bound_of_values_needs_no_process(made: list[Apart]) -> None:
    with pytest.raises(TooManyValues, match="more than 10000 values"):
        values_of(many(SMALL_NODES + 1), attrs.evolve(LIMITS, nodes=SMALL_NODES))
    with pytest.raises(TooManyValues, match="more than 5 values"):
        values_of(many(6), attrs.evolve(LIMITS, nodes=5))
    assert [] == made


def test_a_small_file_that_is_broken_in_another_way_needs_none_either(made: list[Apart]) -> None:
    with pytest.raises(FormatError, match=r"^a.yml:2:1: not YAML"):
        values_of(b"a: [\n")
    assert [] == made


def test_a_file_that_takes_too_much_is_broken_with_that_reason(made: list[Apart]) -> None:
    Apart.error = Exceeded("takes more than 3 s of processor time")
    with pytest.raises(FormatError, match=r"^a.yml: parsing it takes more than 3 s of processor time$"):
        values_of(padded(SMALL_BYTES + 1))
    assert made[0].is_closed


def test_R17_without_a_process_it_is_parsed_all_the_same_and_that_is_told(made: list[Apart]) -> None:
    Apart.error = Unavailable("Resource temporarily unavailable")
    with capture_logs() as logs:
        assert {"a": 1} == values_of(padded(SMALL_BYTES + 1))

    assert [
        {
            "event": "no process can be started",
            "log_level": "warning",
            "file": "a.yml",
            "reason": "Resource temporarily unavailable",
            "consequence": "the file is parsed without a limit on its memory and time",
        }
    ] == logs


KILLED = "fails unexpectedly: its process was killed by signal 9"
CRASHED = "fails unexpectedly: its process was killed by signal 11"


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_file_whose_process_dies_is_parsed_by_another(made: list[Apart], deaths: int) -> None:
    Apart.errors = [Died(KILLED) for _ in range(deaths)]
    with capture_logs() as logs:
        assert {"a": 1} == values_of(padded(SMALL_BYTES + 1))

    assert [["a.yml"] * (deaths + 1)] == [each.asked for each in made]
    assert [] == logs


def test_a_file_whose_processes_all_die_is_parsed_here_and_that_is_told(made: list[Apart]) -> None:
    Apart.error = Died(KILLED)
    with capture_logs() as logs:
        assert {"a": 1} == values_of(padded(SMALL_BYTES + 1))

    assert [["a.yml"] * 3] == [each.asked for each in made]
    assert [
        {
            "event": "parsing processes died",
            "log_level": "warning",
            "file": "a.yml",
            "reason": f"parsing it {KILLED}",
            "consequence": "the file is parsed without a limit on its memory and time",
        }
    ] == logs


def test_a_file_that_takes_too_much_is_not_tried_again(made: list[Apart]) -> None:
    Apart.errors = [Died(KILLED), Exceeded("takes more than 3 s of processor time")]
    with pytest.raises(FormatError, match=r"^a.yml: parsing it takes more than 3 s of processor time$"):
        values_of(padded(SMALL_BYTES + 1))
    assert ["a.yml"] * 2 == made[0].asked


def test_a_process_that_crashes_once_is_an_accident_too(made: list[Apart]) -> None:
    Apart.errors = [Died(CRASHED, is_crash=True)]
    assert {"a": 1} == values_of(padded(SMALL_BYTES + 1))


@pytest.mark.parametrize(
    "after",
    [
        [Died(CRASHED, is_crash=True), Died(CRASHED, is_crash=True)],
        [Died(KILLED), Died(KILLED)],
        [Unavailable("Resource temporarily unavailable")],
    ],
)
def test_a_file_that_may_make_a_process_crash_is_never_parsed_here(made: list[Apart], after: list[Exception]) -> None:
    Apart.errors = [Died(CRASHED, is_crash=True), *after]
    with capture_logs() as logs, pytest.raises(FormatError, match=f"^a.yml: parsing it {CRASHED}$"):
        values_of(padded(SMALL_BYTES + 1))
    assert [] == logs


def test_R17_the_bounds_of_values_hold_without_a_process_too(made: list[Apart]) -> None:
    Apart.error = Unavailable("Resource temporarily unavailable")
    with pytest.raises(TooManyValues, match="more than 100000 values"):
        values_of(many(100_001))


def test_who_asks_may_be_told_in_another_way(made: list[Apart]) -> None:
    Apart.error = Unavailable("why")
    told: list[tuple[str, Died | Unavailable]] = []
    with Parser(lambda *report: told.append(report)) as parser, capture_logs() as logs:
        assert parser.parse("a.yml", padded(SMALL_BYTES + 1), LIMITS)

    assert [("a.yml", Apart.error)] == told
    assert [] == logs


def tree(**contents: bytes) -> Tree:
    return Tree({"main": Files({f"{name}.yml": content for name, content in contents.items()}, locations=("",))})


def test_the_files_of_a_tree_share_one_process_that_ends_with_them(made: list[Apart]) -> None:
    parsed = parse_all(tree(a=padded(SMALL_BYTES + 1), b=padded(SMALL_BYTES + 2), c=b"c: 1", d=b"["), LIMITS)

    assert {"a.yml", "b.yml", "c.yml"} == parsed.labels["main"].documents.keys()
    assert {"d.yml"} == parsed.labels["main"].broken.keys()
    assert [["a.yml", "b.yml"]] == [each.asked for each in made]
    assert made[0].is_closed


def test_what_is_known_of_a_tree_is_not_parsed_again(made: list[Apart]) -> None:
    before = parse_all(tree(a=padded(SMALL_BYTES + 1)), LIMITS)
    after = parse_all(tree(a=padded(SMALL_BYTES + 1), b=b"b: 1"), LIMITS, before)

    assert 1 == len(made)
    assert after.labels["main"].documents["a.yml"] is before.labels["main"].documents["a.yml"]


def test_a_process_that_fails_is_ended_all_the_same(made: list[Apart]) -> None:
    Apart.error = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        parse_all(tree(a=padded(SMALL_BYTES + 1)), LIMITS)
    assert made[0].is_closed


# With real processes.


def test_a_large_file_comes_back_from_its_process_as_it_is() -> None:
    content = b"".join(b"k%d: {a: [%d, x]}\n" % (number, number) for number in range(20_000))
    found = values_of(content)

    assert 40_000 == len(found)
    assert 19_999 == found["k19999.a[0]"]


def test_Y16_a_file_that_would_fill_the_memory_is_broken() -> None:
    # Allowed more values than the memory holds.
    limits = attrs.evolve(LIMITS, nodes=10_000_000, memory_bytes=67_108_864)
    content = b"".join(b"[k%d%s]\n" % (number, b".a" * 60) for number in range(3_000))
    with pytest.raises(FormatError, match=r"^a.toml: parsing it takes more than 67108864 bytes of memory$"):
        values_of(content, limits, "a.toml")


@pytest.mark.parametrize("kills", [1, 3])
def test_a_large_file_is_served_however_often_its_process_is_killed(
    monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    pids = []

    class Killed(Isolated):
        """Its processes are killed as soon as they are started."""

        def _started(self) -> "subprocess.Popen[bytes]":
            process = super()._started()
            pids.append(process.pid)
            if len(pids) <= kills:
                process.send_signal(signal.SIGKILL)
            return process

    monkeypatch.setattr(parsing, "Isolated", Killed)
    with capture_logs() as logs:
        parsed = parse_all(tree(a=padded(SMALL_BYTES + 1)), LIMITS)

    assert {} == parsed.labels["main"].broken
    assert {"a.yml"} == parsed.labels["main"].documents.keys()
    assert min(kills + 1, 3) == len(set(pids))
    assert ["parsing processes died"] * (kills == 3) == [each["event"] for each in logs]


def test_a_file_that_takes_too_much_processor_time_is_broken() -> None:
    content = b"".join(b"k%d: {a: [%d, x]}\n" % (number, number) for number in range(400_000))
    limits = attrs.evolve(LIMITS, nodes=10_000_000, cpu_seconds=1)
    with pytest.raises(FormatError, match=r"^a.yml: parsing it takes more than 1 s of processor time$"):
        values_of(content, limits)


def test_R17_a_machine_that_starts_no_process_serves_large_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", fail)
    with capture_logs() as logs:
        assert {"a": 1} == values_of(padded(SMALL_BYTES + 1))
    assert ["Resource temporarily unavailable"] == [each["reason"] for each in logs]
