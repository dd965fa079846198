"""The policy of roll-outs, and what loads the keeper."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.audit.noted import NotedAudit
from tests.pins.test_keeper import FakePeers
from tests.shelf.test_shared import Store
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.rollouts import late_keeper
from vortexd.rollouts.changes import ABORT
from vortexd.rollouts.file import FILE
from vortexd.rollouts.keeper import RolloutKeeper
from vortexd.rollouts.late_keeper import STATUSES, LateRolloutKeeper
from vortexd.rollouts.progress import CLOCK
from vortexd.rollouts.rollout import Plan, Status
from vortexd.settings.rollout import RolloutSettings

from .test_changes import BEGUN, KEY
from .test_keeper import ADA, FakeInstances, FakePublications

RULE = RolloutSettings(("billing",), (10, 100), 90, 60.0)


def late(directory: Path | None, *rules: RolloutSettings, **more: Any) -> LateRolloutKeeper:
    parts = FakeInstances(), NotedAudit(), FakePeers(), lambda: True, lambda: 0.0
    return LateRolloutKeeper(FakePublications(), directory, *parts, rules, **more)


@pytest.fixture
def without_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vortexd.rollouts.keeper", None)


async def test_without_a_rule_and_a_file_nothing_is_loaded(tmp_path: Path, without_keeper: None) -> None:
    found = late(tmp_path)
    await found.load()
    await found.wait_known()

    assert found.plan(KEY, []) is None
    assert (found.is_on, list(found.rollouts), list(found.waiting)) == (False, [], [])
    assert (found.problem(KEY), await found.counts(KEY)) == (None, None)
    assert found.totals == dict.fromkeys(STATUSES, 0)


def test_the_names_are_those_of_the_modules_that_are_loaded_late() -> None:
    assert late_keeper.FILE == FILE
    assert list(STATUSES) == [each.value for each in Status if each is not Status.DONE]


@pytest.mark.parametrize(("is_clustered", "skew"), [(False, 0.0), (True, CLOCK)])
async def test_only_the_clocks_of_a_cluster_may_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_clustered: bool, skew: float
) -> None:
    found: list[float] = []

    class Noted(RolloutKeeper):
        def __init__(self, *parts: Any, **more: Any) -> None:
            found.append(more["skew"])
            super().__init__(*parts, **more)

    monkeypatch.setattr("vortexd.rollouts.keeper.RolloutKeeper", Noted)
    await late(tmp_path, RULE, records=Store().node() if is_clustered else None).load()

    assert found == [skew]


def test_a_rule_gives_a_plan_for_its_keys(tmp_path: Path) -> None:
    found = late(tmp_path, RULE)

    assert found.is_on
    assert found.plan(KEY, []) == Plan((10, 100), 90, 60.0)
    assert found.plan(KEY, ["5,100"]) == Plan((5, 100), 90, 60.0)
    assert found.plan(Key("orders", "prod", "main"), []) is None
    assert found.plan(Key("orders", "prod", "main"), ["5,100"]) == Plan((5, 100))


def test_other_rules_count_after_a_reload(tmp_path: Path) -> None:
    found = late(tmp_path, RULE)
    found.plan(KEY, [])
    found.replace([RolloutSettings()])
    assert found.plan(KEY, []) == Plan()
    found.replace([])

    assert found.plan(KEY, []) is None
    assert not found.is_on


def test_a_trailer_that_can_not_be_read_is_reported_once(tmp_path: Path) -> None:
    found = late(tmp_path)
    with capture_logs() as logs:
        for _ in range(2):
            assert found.plan(KEY, ["fast"]) == Plan((5, 25, 100))
        found.plan(KEY, ["slow"])

    assert [(each["event"], each["log_level"]) for each in logs] == [("roll-out trailer unusable", "warning")] * 2
    assert "'fast'" in logs[0]["reason"]
    assert str(KEY) == logs[0]["key"]


def test_without_a_directory_for_state_a_trailer_is_ignored_and_the_log_says_so_once() -> None:
    found = late(None)
    with capture_logs() as logs:
        assert found.plan(KEY, ["5,100"]) is None
        assert found.plan(KEY, ["5,100"]) is None

    assert [each["event"] for each in logs] == ["roll-out trailer ignored"]
    assert "server.state_directory" in logs[0]["reason"]
    assert str(KEY) == logs[0]["key"]


async def test_without_a_directory_for_state_no_key_has_a_roll_out() -> None:
    with pytest.raises(RemoteError, match="no roll-out") as caught:
        await late(None).act(ABORT, KEY, None, "why", ADA)
    assert caught.value.status == 404


async def _until(condition: Callable[[], bool]) -> None:
    """Wait until the disk is done, which has a thread of its own."""
    for _ in range(400):
        if condition():
            return
        await trio.sleep(0.01)


async def test_a_beginning_makes_the_keeper_and_its_task_runs(tmp_path: Path, nursery: trio.Nursery) -> None:
    found = late(tmp_path / "rollouts")
    nursery.start_soon(found.run)
    await trio.testing.wait_all_tasks_blocked()
    found.begun([BEGUN])
    with trio.fail_after(5):
        await _until(lambda: bool(found.rollouts) and not found.waiting)

    assert [each.key for each in found.rollouts] == [KEY]
    assert found.totals["running"] == 1


async def test_a_file_of_an_earlier_process_is_read_without_a_rule(tmp_path: Path, nursery: trio.Nursery) -> None:
    first = late(tmp_path / "rollouts")
    nursery.start_soon(first.run)
    first.begun([BEGUN])
    with trio.fail_after(5):
        await _until(lambda: bool(first.rollouts))
    second = late(tmp_path / "rollouts")
    await second.load()

    assert [each.key for each in second.rollouts] == [KEY]


def test_another_worker_makes_the_keeper(tmp_path: Path) -> None:
    peers = FakePeers()
    LateRolloutKeeper(FakePublications(), tmp_path, FakeInstances(), NotedAudit(), peers, lambda: True, lambda: 0.0)

    assert peers._handlers["rollouts"]("") == ""


async def test_the_clock_is_not_needed(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Without a keeper, the task waits for one."""
    found = late(tmp_path)
    with trio.move_on_after(1_000):
        await found.run()

    assert found.rollouts == ()
