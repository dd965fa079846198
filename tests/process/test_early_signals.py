"""Signals that arrive before a task awaits them, in this process. tests/system/test_early_signals.py tests a real process."""

import os
import signal
from collections.abc import Iterator

import pytest

from vortexd.cli import commands
from vortexd.cli import main as cli
from vortexd.process import early_signals

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def received() -> Iterator[list[int]]:
    """What came to handlers that are neither Python's nor ours; they are put back in the end."""
    found: list[int] = []
    before = {number: signal.signal(number, lambda number, _: found.append(number)) for number in NUMBERS}
    yield found
    early_signals.take_reload()
    early_signals.end()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr(os, "_exit", found.append)
    return found


def test_SIGTERM_ends_with_0_and_SIGHUP_is_remembered_once(received: list[int], exits: list[int]) -> None:
    early_signals.begin()
    early_signals.begin()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)

    assert ([0], []) == (exits, received)
    assert [True, False] == [early_signals.take_reload(), early_signals.take_reload()]


def test_the_end_puts_back_what_was_there_and_raises_the_remembered_one(received: list[int], exits: list[int]) -> None:
    early_signals.begin()
    signal.raise_signal(signal.SIGHUP)
    early_signals.end()

    assert [signal.SIGHUP] == received
    signal.raise_signal(signal.SIGTERM)
    assert ([signal.SIGHUP, signal.SIGTERM], []) == (received, exits)
    early_signals.end()
    assert 2 == len(received)


def test_the_end_leaves_handlers_of_others_alone(received: list[int]) -> None:
    early_signals.begin()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    early_signals.end()

    assert signal.SIG_IGN == signal.getsignal(signal.SIGTERM)


def test_a_worker_ignores_what_is_its_supervisors(received: list[int]) -> None:
    early_signals.begin_worker()
    for number in NUMBERS:
        signal.raise_signal(number)

    assert [] == received
    assert early_signals.take_reload()


def test_the_command_line_handles_them_while_it_serves_alone(
    received: list[int], exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(*_: object) -> int:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        return 7

    monkeypatch.setattr(cli, "_run", serve)

    assert 7 == cli.main(["--source", "."])
    assert ([0], []) == (exits, received)
    assert not early_signals.take_reload()


@pytest.mark.parametrize("arguments", [["token"], ["--check", "--source", "."]])
def test_what_does_not_serve_is_ended_as_any_program_is(
    arguments: list[str], received: list[int], exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 7

    monkeypatch.setitem(commands.COMMANDS, "token", end)
    monkeypatch.setattr(cli, "_complain_of_all", end)
    cli.main(arguments)

    assert ([], [signal.SIGTERM]) == (exits, received)
