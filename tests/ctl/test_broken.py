"""A watched configuration whose files are broken: a warning for each set of broken files."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from vortexd.ctl import broken as module
from vortexd.ctl.broken import INTERVAL, BrokenFiles
from vortexd.ctl.conditions import sentences
from vortexd.ctl.errors import CtlError
from vortexd.ctl.server import Answer, Refused

FIRST, SECOND = '"shop.yml";line=2;served=last_good', '"cart.yml";served=without'
OLD = (
    "vortexctl: warning: this configuration holds old content or lacks a file, because files on the server are broken: "
)
SOUND = "vortexctl: no file of this configuration is broken any more\n"


def answer(named: str) -> Answer:
    return Answer(304, {"x-vortex-broken": named} if named else {}, b"")


def asking(*outcomes: str | Exception) -> Callable[[], Answer]:
    """The server's answers, one after the other. Further requests never happen."""
    left: Iterator[str | Exception] = iter(outcomes)

    def ask() -> Answer:
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return answer(outcome)

    return ask


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_sync(function: Callable[[], Any], **options: Any) -> Any:
        assert {"abandon_on_cancel": True} == options
        return function()

    monkeypatch.setattr(module.threads, "run_sync", run_sync)  # type: ignore[attr-defined]  # a thread and a fake clock don't agree


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ([""], ""),
        ([FIRST], f"{OLD}{FIRST}\n"),
        ([FIRST, FIRST], f"{OLD}{FIRST}\n"),
        ([FIRST, SECOND], f"{OLD}{FIRST}\n{OLD}{SECOND}\n"),
        ([FIRST, "", "", FIRST], f"{OLD}{FIRST}\n{SOUND}{OLD}{FIRST}\n"),
        (["a\x1b[2J"], f"{OLD}a\\x1b[2J\n"),
    ],
)
def test_a_warning_follows_when_other_files_are_broken(
    named: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = BrokenFiles(asking())
    for each in named:
        files.note(answer(each))

    printed = capsys.readouterr()
    assert ("", told) == (printed.out, printed.err)


async def test_the_server_is_asked_every_five_seconds(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    files = BrokenFiles(asking("", FIRST, ""))
    told = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.run)
        await trio.sleep(1)
        for _ in range(3):
            told.append(capsys.readouterr().err)
            await trio.sleep(INTERVAL)
        told.append(capsys.readouterr().err)
        nursery.cancel_scope.cancel()

    assert 5.0 == INTERVAL
    assert ["", "", f"{OLD}{FIRST}\n", SOUND] == told


@pytest.mark.parametrize("error", [CtlError("gone", 3), Refused("no such label", 404, "no such label")])
async def test_an_error_is_tried_again(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    files = BrokenFiles(asking(error, FIRST))
    with trio.move_on_after(2 * INTERVAL + 1):
        await files.run()

    assert f"{OLD}{FIRST}\n" == capsys.readouterr().err


@pytest.mark.parametrize("status", [401, 403])
async def test_without_the_right_nothing_is_asked_any_more(autojump_clock: MockClock, status: int) -> None:
    with trio.fail_after(INTERVAL + 1):
        await BrokenFiles(asking(Refused("no", status, "no"))).run()


def test_a_pin_and_the_gate_have_a_warning_each_time_that_they_are_others(capsys: pytest.CaptureFixture[str]) -> None:
    files = BrokenFiles(asking())
    told = []
    gate, pin = {"x-vortex-held-back": '"main";state="c2"'}, {"vortexd-pinned": "true"}
    for headers in ({}, pin, pin, pin | gate, gate, gate | {"vortexd-pinned": "until=x"}, {}, {}):
        files.note(Answer(304, headers, b""))
        told.append(capsys.readouterr().err)

    held, pinned = (f"vortexctl: warning: {each}\n" for each in sentences(pin | gate))
    over = "vortexctl: this configuration is neither pinned nor held back any more\n"
    assert ["", pinned, "", held, "", pinned.replace("somebody lifts the pin", "x"), over, ""] == told
