"""The keeper is loaded with the first pin: of a client, of a former process, or of another worker."""

import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.audit.noted import NotedAudit
from vortexd.audit import Outcome
from vortexd.core.errors import RemoteError
from vortexd.pins.file import FILE
from vortexd.pins.late_keeper import FILE as NAME
from vortexd.pins.late_keeper import LatePinKeeper

from .test_keeper import ADA, LABELS, OTHER, SHOP, FakePeers, FakePublications, without_threads

__all__ = ["without_threads"]


class Late:
    """A keeper with its parts."""

    def __init__(self, directory: Path | None, peers: FakePeers | None = None) -> None:
        self.publications, self.audit, self.peers = FakePublications(), NotedAudit(), peers or FakePeers()
        self.keeper = LatePinKeeper(self.publications, directory, self.audit, self.peers, lambda: 1_000.0)

    async def put(self) -> None:
        await self.keeper.put(SHOP, "0" * 16, "c1", LABELS, "why", 60, ADA)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "pins"


def test_the_name_of_the_file_is_the_same_as_in_its_module() -> None:
    assert FILE == NAME


async def test_without_pins_nothing_is_loaded_and_nothing_is_done(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vortexd.pins.keeper", None)
    late = Late(directory)
    await late.keeper.load()
    nursery.start_soon(late.keeper.run)
    await trio.sleep(50_000)

    assert ((), (0, None), 0) == (late.keeper.pins, late.keeper.totals, late.publications.calls)
    await Late(None).keeper.load()


async def test_the_first_pin_is_put_and_lifted(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    late = Late(directory)
    await late.keeper.load()
    nursery.start_soon(late.keeper.run)
    await late.keeper.refuse_taken(SHOP, "why", ADA)
    await late.put()

    assert [SHOP] == [each.key for each in late.keeper.pins] == late.publications.keys
    assert (1, 1_060.0) == late.keeper.totals
    with pytest.raises(RemoteError, match="the key is pinned already"):
        await late.keeper.refuse_taken(SHOP, "why", ADA)
    await late.keeper.lift(SHOP, "mended", ADA)
    assert [] == late.publications.keys
    with pytest.raises(RemoteError, match="this key isn't pinned"):
        await late.keeper.lift(OTHER, "", ADA)
    assert [Outcome.DONE, Outcome.REFUSED, Outcome.DONE, Outcome.REFUSED] == [each[3] for each in late.audit.noted]


async def test_the_pins_of_a_former_process_are_there_before_the_task_runs(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    first = Late(directory)
    nursery.start_soon(first.keeper.run)
    await first.put()
    second = Late(directory)
    await second.keeper.load()
    assert [SHOP] == second.publications.keys


async def test_a_file_that_may_be_there_is_looked_at(autojump_clock: MockClock, tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("no directory")
    late = Late(tmp_path / "pins")
    await late.keeper.load()
    assert (0, None) == late.keeper.totals


async def test_a_worker_loads_the_keeper_when_another_one_has_put_a_pin(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    peers = [FakePeers(0), FakePeers(1)]
    peers[0].others, peers[1].others = peers[1:], peers[:1]
    one, other = (Late(directory, each) for each in peers)
    for late in (one, other):
        await late.keeper.load()
        nursery.start_soon(late.keeper.run)
    await one.put()
    await wait_all_tasks_blocked()
    assert [SHOP] == other.publications.keys
