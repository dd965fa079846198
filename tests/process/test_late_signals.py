"""Signals that arrive before a task awaits them, or after it has ended."""

import signal
from collections.abc import Iterator

import pytest

from vortexd.process import early_signals
from vortexd.process.late_signals import LateSignals


@pytest.fixture(autouse=True)
def received() -> Iterator[list[int]]:
    """What came to the handlers of before."""
    found: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: found.append(number)) for number in numbers}
    yield found
    early_signals.take_reload()
    early_signals.end()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_before_they_are_awaited_they_do_what_they_did(received: list[int]) -> None:
    with LateSignals(signal.SIGTERM):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    assert [signal.SIGTERM, signal.SIGTERM] == received
    signal.raise_signal(signal.SIGTERM)
    assert 3 == len(received)


def test_what_was_ignored_before_is_ignored(received: list[int]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with LateSignals(signal.SIGTERM):
        signal.raise_signal(signal.SIGTERM)


def test_once_it_is_over_they_do_nothing_for_the_rest_of_the_process(received: list[int]) -> None:
    with LateSignals(signal.SIGTERM) as late:
        late.over()
        signal.raise_signal(signal.SIGTERM)

    signal.raise_signal(signal.SIGTERM)
    assert [] == received
    assert signal.SIG_IGN == signal.getsignal(signal.SIGTERM)


def test_a_reload_that_came_too_early_is_raised_again_when_it_is_awaited(received: list[int]) -> None:
    early_signals.begin()
    signal.raise_signal(signal.SIGHUP)
    with LateSignals(signal.SIGHUP) as late:
        # Before the part that awaits them has begun it is still too early.
        signal.raise_signal(signal.SIGHUP)
        signal.signal(signal.SIGHUP, lambda number, _: received.append(number))
        late.are_awaited()
        assert [signal.SIGHUP] == received
        late.are_awaited()
        assert [signal.SIGHUP] == received


def test_where_none_came_none_is_raised(received: list[int]) -> None:
    with LateSignals(signal.SIGHUP) as late:
        late.are_awaited()

    assert [] == received
