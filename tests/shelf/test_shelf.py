"""The file of pins behind deadlines: what is read, what is refused, and what is logged once."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from vortexd.aio import threads
from vortexd.core.errors import RemoteError
from vortexd.core.model import Files, Key
from vortexd.core.term import Term
from vortexd.pins.file import PINS, PinsFile
from vortexd.pins.pin import Pin
from vortexd.shelf.shelf import DISK_PATIENCE, Shelf

PIN = Pin(
    "x", Key("shop", "dev", "main"), "0" * 16, None, "why", "ada", Term(1.0, None), ((Files({"shop.yml": b"a: 1"}),),)
)


def added(pins: Sequence[Pin]) -> Sequence[Pin]:
    return [*pins, PIN]


async def refused(shelf: Shelf[Pin], change: Callable[[Sequence[Pin]], Sequence[Pin]] = added) -> tuple[int, str]:
    with pytest.raises(RemoteError) as caught:
        await shelf.write(change)
    return caught.value.status, caught.value.reason


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_sync(*_: Any, **__: Any) -> Any:
        await trio.sleep_forever()

    monkeypatch.setattr(threads, "run_sync", run_sync)


async def test_what_is_written_is_read_by_another_shelf(tmp_path: Path) -> None:
    written = await Shelf(PINS, tmp_path / "pins").write(added)
    read = await Shelf(PINS, tmp_path / "pins").read()

    assert [each.id for each in written] == [each.id for each in read or ()] == ["x"]


async def test_what_a_server_has_counts_at_once(tmp_path: Path) -> None:
    assert Shelf(PINS, tmp_path / "pins").is_known


async def test_without_a_file_there_are_no_pins(tmp_path: Path) -> None:
    shelf = Shelf(PINS, tmp_path / "pins")
    shelf.is_outdated = True

    assert await shelf.read() == []
    assert not shelf.is_outdated


async def test_without_a_state_directory_nothing_is_read_and_a_change_is_refused() -> None:
    shelf = Shelf(PINS, None)
    read, (status, reason) = await shelf.read(), await refused(shelf)

    assert read is None
    assert (status, "set server.state_directory" in reason) == (503, True)


async def test_a_change_that_refuses_changes_nothing(tmp_path: Path) -> None:
    shelf = Shelf(PINS, tmp_path / "pins")

    def refuse(_: Sequence[Pin]) -> Sequence[Pin]:
        raise RemoteError("taken", 409)

    found = await refused(shelf, refuse)

    assert found == (409, "taken")
    assert await shelf.read() == []


async def test_a_file_that_cant_be_read_is_one_warning_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("no directory")
    shelf = Shelf(PINS, tmp_path / "pins")
    with capture_logs() as logs:
        first, second = await shelf.read(), await shelf.read()
    is_outdated = shelf.is_outdated
    (tmp_path / "pins").unlink()
    third = await shelf.read()

    assert (first, second, third) == (None, None, [])
    assert is_outdated
    assert [each["event"] for each in logs] == ["pins not read"]


async def test_after_a_success_the_next_failure_is_logged_again(tmp_path: Path) -> None:
    shelf = Shelf(PINS, tmp_path / "pins")
    with capture_logs() as logs:
        shelf.warn_unread("one")
        await shelf.read()
        shelf.warn_unread("other")

    assert [each["reason"] for each in logs] == ["one", "other"]


async def test_a_full_disk_refuses_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, os.strerror(28))

    shelf = Shelf(PINS, tmp_path / "pins")
    monkeypatch.setattr(os, "fsync", full)
    status, reason = await refused(shelf)

    assert (status, reason) == (503, "the pins can't be read or written: no space left on device")
    # A disk that hangs may replace the file later, so the file is read again.
    assert shelf.is_outdated


async def test_a_disk_that_hangs_ends_in_time(hanging: None, autojump_clock: MockClock, tmp_path: Path) -> None:
    shelf = Shelf(PINS, tmp_path / "pins")
    began = trio.current_time()
    found = await refused(shelf)

    assert found == (503, f"the disk didn't answer within {DISK_PATIENCE:g} s")
    assert trio.current_time() - began == pytest.approx(DISK_PATIENCE)


async def test_a_change_that_is_given_up_never_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[threading.Event] = []

    class Slow(PinsFile):
        def change(self, change: Any, given_up: threading.Event) -> list[Pin]:
            seen.append(given_up)
            given_up.set()
            return super().change(change, given_up)

    shelf = Shelf(PINS, None, Slow(tmp_path / "pins"))
    status, reason = await refused(shelf)

    assert (status, reason) == (503, f"the disk didn't answer within {DISK_PATIENCE:g} s")
    assert PinsFile(tmp_path / "pins").read() == []
    assert len(seen) == 1
