"""The process that `isolated` starts. These tests cover the cases that no test can produce with a real process."""

import marshal
import os
import resource
from typing import Any

import pytest

from vortexd.aio import isolated_main


@pytest.mark.parametrize(
    ("hard", "expected"),
    [(resource.RLIM_INFINITY, (500, resource.RLIM_INFINITY)), (100, (100, 100)), (1_000, (500, 1_000)), (0, (0, 0))],
)
def test_a_limit_is_never_above_that_of_the_user(
    monkeypatch: pytest.MonkeyPatch, hard: int, expected: tuple[int, int]
) -> None:
    made = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (7, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: made.append(limit))
    isolated_main._limit(resource.RLIMIT_AS, 500)

    assert [(resource.RLIMIT_AS, expected)] == made


@pytest.mark.parametrize(
    ("hard", "expected"),
    [(resource.RLIM_INFINITY, 500), (502, 500), (501, 500), (500, 499), (1, 0), (0, 0)],
)
def test_a_limit_can_be_kept_below_the_hard_one(monkeypatch: pytest.MonkeyPatch, hard: int, expected: int) -> None:
    made = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (7, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: made.append(limit))
    isolated_main._limit(resource.RLIMIT_CPU, 500, below=1)

    assert [(resource.RLIMIT_CPU, (expected, hard))] == made


def test_what_is_mapped_is_guessed_where_the_machine_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < isolated_main._address_space()

    def fail(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", fail)
    assert 268_435_456 == isolated_main._address_space()


def test_without_memory_for_an_answer_the_status_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bytes:
        raise MemoryError

    def end(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(marshal, "dumps", fail)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(SystemExit) as caught:
        isolated_main._send("value", 1)

    assert 3 == caught.value.code
