"""The keeper of roll-outs: what is recorded before it is in force, who takes the steps, acts of people, and a bad disk."""

import math
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.audit.noted import NotedAudit
from tests.pins.test_keeper import FakePeers
from vortexd.aio import threads
from vortexd.audit import Actor, Outcome
from vortexd.core.errors import RemoteError
from vortexd.core.model import Files, Key
from vortexd.fleet import Ack, Seen
from vortexd.rollouts.changes import ABORT, PROMOTE, RESUME
from vortexd.rollouts.file import FILE, MOST_BYTES, ROLLOUTS
from vortexd.rollouts.keeper import (
    AGAIN,
    KEPT,
    MOST_REMEMBERED,
    MOST_WAITING,
    PATIENCE,
    SETTLING,
    SWEEP,
    TICK,
    RolloutKeeper,
)
from vortexd.rollouts.plan import Rules
from vortexd.rollouts.rollout import PLACES, Beginning, Labels, Plan, Rollout, Status
from vortexd.settings.rollout import RolloutSettings
from vortexd.shelf.kind import Change
from vortexd.shelf.shelf import Shelf

from .test_changes import BEGUN, KEY, LABELS, OTHER, OVER

ADA = Actor("ada", "token", "192.0.2.1")
TARGET_FILES: Labels = LABELS
STABLE, TARGET = BEGUN.stable, BEGUN.target


class FakePublications:
    def __init__(self) -> None:
        self.records: list[Sequence[Rollout]] = []
        self.files: dict[Key, tuple[str, Labels] | None] = {KEY: (TARGET, TARGET_FILES)}
        self.stable: dict[Key, tuple[str, Labels] | None] = {}
        self.busy: trio.Event | None = None

    async def roll_by(self, rollouts: Sequence[Rollout]) -> None:
        await trio.lowlevel.checkpoint()
        if self.busy is not None:
            await self.busy.wait()
        self.records.append(rollouts)

    def candidate_files(self, key: Key) -> tuple[str, Labels] | None:
        return self.files.get(key)

    def stable_files(self, key: Key) -> tuple[str, Labels] | None:
        return self.stable.get(key)


class FakeInstances:
    """Ten named instances, which acknowledge what a test wants."""

    def __init__(self) -> None:
        self.names = [f"web-{number}" for number in range(10)]
        self.acks: dict[str, Ack] = {}
        self.unanswered = 0
        self.asked = 0
        self.keys: list[Key] = []
        self.steady_for = math.inf

    def named(self) -> Collection[Key]:
        return self.keys

    async def of(self, key: Key) -> tuple[Sequence[Seen], int]:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        return [Seen(name, f"c-{name}", "silent", 0.0, self.acks.get(name)) for name in self.names], self.unanswered

    def say(self, status: str, at: float, names: Collection[str] | None = None, error: str | None = None) -> None:
        for name in self.names if names is None else names:
            self.acks[name] = Ack(TARGET, status, error, at)


class Kept:
    """A keeper with its parts. The clock of people runs as trio's, from 1,000."""

    def __init__(
        self,
        directory: Path | None,
        peers: FakePeers | None = None,
        *rules: RolloutSettings,
        drives: bool = True,
        settling: float = 0.0,
        skew: float = 0.0,
    ) -> None:
        self.publications, self.instances = FakePublications(), FakeInstances()
        self.audit, self.peers = NotedAudit(), peers or FakePeers()
        self.is_driving = drives
        self.rules = Rules(rules)
        ids = iter(range(1_000))
        self.keeper = RolloutKeeper(
            self.publications,
            Shelf(ROLLOUTS, directory),
            lambda: self.rules,
            self.instances,
            self.audit,
            self.peers,
            lambda: self.is_driving,
            self.now,
            lambda: f"{self.peers.number}-{next(ids)}",
            settling,
            skew,
        )

    def now(self) -> float:
        return 1_000.0 + trio.current_time()

    def say(self, status: str = "applied", names: Collection[str] | None = None, error: str | None = None) -> None:
        self.instances.say(status, self.now(), names, error)

    @property
    def status(self) -> Status:
        return self.record.status

    @property
    def record(self) -> Rollout:
        [rollout] = self.keeper.rollouts
        return rollout

    @property
    def acts(self) -> list[Any]:
        return [(act, actor.name, target, outcome) for act, actor, target, outcome, *_ in self.audit.noted]

    async def refused(self, act: str, key: Key = KEY, target: str | None = None) -> tuple[int, str]:
        with pytest.raises(RemoteError) as caught:
            await self.keeper.act(act, key, target, "why", ADA)
        return caught.value.status, caught.value.reason


@pytest.fixture(autouse=True)
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake clock doesn't wait for threads."""

    async def run_sync(function: Callable[..., Any], *_: Any, **__: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function()

    monkeypatch.setattr(threads, "run_sync", run_sync)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "rollouts"


@pytest.fixture
async def kept(directory: Path, nursery: trio.Nursery) -> Kept:
    return await started(directory, nursery)


async def started(directory: Path | None, nursery: trio.Nursery, *args: Any, **more: Any) -> Kept:
    found = Kept(directory, *args, **more)
    await found.keeper.load()
    nursery.start_soon(found.keeper.run)
    return found


async def settled(seconds: float = 2 * TICK) -> None:
    await trio.sleep(seconds)


def _make(directory: Path, mode: int) -> None:
    directory.mkdir(mode)


def _allow(directory: Path, mode: int) -> None:
    directory.chmod(mode)


def names(logs: Any) -> list[str]:
    return [each["event"] for each in logs]


# Beginnings.


async def test_a_change_is_on_the_disk_before_it_is_in_force(
    autojump_clock: MockClock, kept: Kept, directory: Path
) -> None:
    kept.is_driving = False
    kept.publications.busy = trio.Event()
    with capture_logs() as logs:
        kept.keeper.begun([BEGUN])
        await wait_all_tasks_blocked()
        on_disk = await Shelf(ROLLOUTS, directory).read()
        assert kept.publications.records == []
        kept.publications.busy.set()
        await settled()

    assert [each.id for each in on_disk or ()] == ["0-0"]
    [records] = kept.publications.records
    assert [(each.id, each.reach) for each in records] == [("0-0", None)]
    [event] = [each for each in logs if each["event"] == "roll-out begun"]
    facts = ("key", "version", "commit", "author", "steps", "stable")
    assert [event[name] for name in facts] == [str(KEY), TARGET, "c1", "ada", (1, 100), STABLE]
    assert kept.keeper.waiting == ()


async def test_the_other_workers_hear_of_it_and_read_the_same_record(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    first, second = FakePeers(0), FakePeers(1)
    first.others, second.others = [second], [first]
    one = await started(directory, nursery, first, drives=False)
    two = await started(directory, nursery, second, drives=False)
    one.keeper.begun([BEGUN])
    await settled(1)

    assert [each.id for each in two.keeper.rollouts] == ["0-0"]
    two.keeper.begun([BEGUN])
    await settled(1)
    assert [each.id for each in one.keeper.rollouts] == ["0-0"]


async def test_a_worker_that_does_not_answer_is_told_again(autojump_clock: MockClock, kept: Kept) -> None:
    kept.is_driving = False
    kept.peers.others, kept.peers.are_lost = [FakePeers(1)], True
    kept.keeper.begun([BEGUN])
    await settled()
    assert kept.peers.told == ["rollouts"]
    await settled(AGAIN + 1)

    assert kept.peers.told == ["rollouts"] * 2


async def test_without_a_disk_nobody_gets_the_new_version_and_it_is_tried_again(
    autojump_clock: MockClock, kept: Kept, directory: Path
) -> None:
    _make(directory, 0o755)
    with capture_logs() as logs:
        kept.keeper.begun([BEGUN])
        await settled(2 * AGAIN + 1)

    assert names(logs) == ["roll-out not written", "roll-outs not read"]
    assert (logs[0]["log_level"], logs[0]["keys"]) == ("warning", [str(KEY)])
    assert kept.keeper.rollouts == []
    assert "mode 700" in (kept.keeper.problem(KEY) or "")
    assert kept.keeper.problem(OTHER) is None
    assert [each.key for each in kept.keeper.waiting] == [KEY]
    status, reason = await kept.refused(PROMOTE)
    assert status == 503
    assert "isn't recorded yet" in reason
    _allow(directory, 0o700)
    await settled(AGAIN + 1)
    assert kept.record.target == TARGET
    assert kept.keeper.problem(KEY) is None


async def test_a_change_that_can_not_be_recorded_holds_no_other_key_back(autojump_clock: MockClock, kept: Kept) -> None:
    large = attrs.evolve(BEGUN, key=OTHER, labels=((Files({"a.yml": bytes(MOST_BYTES)}),),))
    with capture_logs() as logs:
        kept.keeper.begun([large, BEGUN])
        await settled(2 * AGAIN + 1)

    assert [each.key for each in kept.keeper.rollouts] == [KEY]
    assert [each.key for each in kept.keeper.waiting] == [OTHER]
    assert "takes at most" in (kept.keeper.problem(OTHER) or "")
    assert kept.keeper.problem(KEY) is None
    [warning] = [each for each in logs if each["event"] == "roll-out not written"]
    assert warning["keys"] == [str(OTHER)]
    kept.keeper.begun([attrs.evolve(large, target=large.stable)])
    await settled()
    assert kept.keeper.waiting == ()


async def test_a_change_without_room_is_recorded_once_another_one_ends(
    autojump_clock: MockClock, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shelf, "most", 1)
    kept.is_driving = False
    kept.keeper.begun([BEGUN, attrs.evolve(BEGUN, key=OTHER)])
    await settled(AGAIN + 1)
    assert ([each.key for each in kept.keeper.rollouts], kept.keeper.problem(OTHER)) == (
        [KEY],
        "there are 1 roll-outs already; end one first",
    )
    await kept.keeper.act(PROMOTE, KEY, None, "why", ADA)
    await settled(AGAIN + 1)

    assert ([each.key for each in kept.keeper.rollouts], kept.keeper.waiting) == ([OTHER], ())


async def test_a_change_that_comes_while_another_one_is_written_is_recorded_after_it(
    autojump_clock: MockClock, kept: Kept
) -> None:
    kept.is_driving = False
    kept.publications.busy = trio.Event()
    kept.keeper.begun([BEGUN])
    await wait_all_tasks_blocked()
    kept.keeper.begun([attrs.evolve(BEGUN, target="d" * 16)])
    kept.publications.busy.set()
    await settled()

    assert (kept.record.id, kept.record.target) == ("0-1", "d" * 16)
    assert kept.keeper.waiting == ()


# Steps.


async def test_a_roll_out_goes_step_by_step_to_its_end(autojump_clock: MockClock, kept: Kept, directory: Path) -> None:
    with capture_logs() as logs:
        kept.keeper.begun([BEGUN])
        await settled()
        first = kept.record
        reached = [name for name in kept.instances.names if first.has(name)]
        kept.say(names=reached)
        await settled()
        last = kept.record
        kept.say()
        await settled()

    assert (first.step, len(reached), first.status) == (0, 1, Status.RUNNING)
    assert (last.step, last.reach) == (1, PLACES - 1)
    done = kept.record
    assert (done.status, done.stable, done.reach, done.labels) == (Status.DONE, TARGET, None, TARGET_FILES)
    assert kept.publications.records[-1] == [done]
    steps = [(each["step"], each["share"], each["named"]) for each in logs if each["event"] == "roll-out step begun"]
    assert steps == [(1, 1, 10), (2, 100, 10)]
    assert names(logs)[-1] == "roll-out done"
    assert kept.acts == [("rollout end", "vortexd", str(KEY), Outcome.DONE)]
    assert [each.status for each in await Shelf(ROLLOUTS, directory).read() or ()] == [Status.DONE]


async def test_each_step_is_recorded_before_it_is_in_force(
    autojump_clock: MockClock, kept: Kept, directory: Path
) -> None:
    kept.is_driving = False
    kept.keeper.begun([BEGUN])
    await settled()
    kept.publications.busy = trio.Event()
    kept.is_driving = True
    kept.keeper.hear()
    await settled()
    on_disk = await Shelf(ROLLOUTS, directory).read()

    assert [each.reach is not None for each in on_disk or ()] == [True]
    assert all(each.reach is None for each in kept.publications.records[-1])
    kept.publications.busy.set()


async def test_one_rejection_halts_it_within_a_tick(autojump_clock: MockClock, kept: Kept) -> None:
    kept.keeper.begun([BEGUN])
    await settled()
    reached = [name for name in kept.instances.names if kept.record.has(name)]
    kept.say("rejected", reached, "no such pool")
    with capture_logs() as logs:
        await settled(TICK + 0.01)

    assert (kept.record.status, kept.record.reach) == (Status.HALTED, None)
    [event] = logs
    assert (event["event"], event["log_level"], event["key"]) == ("roll-out halted", "warning", str(KEY))
    assert "no such pool" in event["reason"]
    assert STABLE in event["consequence"]
    assert kept.acts == [("rollout halt", "vortexd", str(KEY), Outcome.DONE)]
    assert kept.keeper.totals == {"running": 0, "halted": 1, "aborted": 0}


@pytest.mark.parametrize(("behind", "rejected"), [(60.0, 10), (60.1, 0)])
async def test_a_rejection_at_a_node_whose_clock_is_behind_halts_it(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery, behind: float, rejected: int
) -> None:
    kept = await started(directory, nursery, skew=60.0)
    kept.keeper.begun([attrs.evolve(BEGUN, plan=Plan((100,)))])
    await settled()
    kept.instances.say("rejected", kept.record.began - behind)
    counts = await kept.keeper.counts(KEY)
    await settled()

    assert counts is not None
    assert counts.rejected == rejected
    assert (kept.status is Status.HALTED) is bool(rejected)


async def test_silence_halts_it_at_the_deadline(autojump_clock: MockClock, kept: Kept) -> None:
    kept.keeper.begun([attrs.evolve(BEGUN, plan=Plan((100,), 100, 30.0))])
    await settled()
    kept.say(names=kept.instances.names[1:])
    await settled(29)
    before = kept.status
    await settled(2)

    assert (before, kept.status) == (Status.RUNNING, Status.HALTED)
    assert "silent: web-0" in kept.record.reason


async def test_all_steps_that_are_due_are_one_write(autojump_clock: MockClock, kept: Kept) -> None:
    keys = [Key(f"a{number}", "p", "l") for number in range(3)]
    kept.publications.files = dict.fromkeys(keys, (TARGET, TARGET_FILES))
    kept.keeper.begun([attrs.evolve(BEGUN, key=key) for key in keys])
    with capture_logs() as logs:
        await settled()

    assert [len({each.reach is None for each in records}) for records in kept.publications.records] == [1, 1]
    steps = [each["key"] for each in logs if each["event"] == "roll-out step begun"]
    assert steps == [str(key) for key in keys]


async def test_a_halt_is_in_force_before_the_steps_of_other_roll_outs(autojump_clock: MockClock, kept: Kept) -> None:
    kept.keeper.begun([attrs.evolve(BEGUN, key=OTHER), attrs.evolve(BEGUN, plan=Plan((1, 100), 10))])
    kept.publications.files[OTHER] = TARGET, TARGET_FILES
    await settled(2.5 * TICK)
    of = kept.instances.of

    async def rejected_by_one(key: Key) -> tuple[Sequence[Seen], int]:
        kept.say("rejected" if key == KEY else "applied")
        return await of(key)

    kept.instances.of = rejected_by_one  # type: ignore[method-assign]
    before = len(kept.publications.records)
    await settled(TICK)

    first, second = kept.publications.records[before : before + 2]
    assert [(each.key, each.status, each.step) for each in first] == [
        (OTHER, Status.RUNNING, 0),
        (KEY, Status.HALTED, 0),
    ]
    assert [(each.key, each.status, each.step) for each in second] == [
        (OTHER, Status.RUNNING, 1),
        (KEY, Status.HALTED, 0),
    ]


async def test_a_step_that_does_not_fit_holds_no_other_one_back_and_is_logged_once(
    autojump_clock: MockClock, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [Key(f"a{number}", "p", "l") for number in range(3)]
    kept.is_driving = False
    kept.keeper.begun([attrs.evolve(BEGUN, key=key) for key in keys])
    await settled()
    write = Shelf.write

    async def limited(shelf: Shelf[Rollout], change: Change[Rollout]) -> Sequence[Rollout]:
        def checked(records: Sequence[Rollout]) -> Sequence[Rollout]:
            after = change(records)
            if any(each.key == keys[0] and each.reach is not None for each in after):
                raise RemoteError("too large", 413)
            return after

        return await write(shelf, checked)

    monkeypatch.setattr(Shelf, "write", limited)
    kept.is_driving = True
    with capture_logs() as logs:
        kept.keeper.begun([])
        await settled(5)

    assert {each.key for each in kept.keeper.rollouts if each.reach is not None} == {*keys[1:]}
    [warning] = [each for each in logs if each["event"] == "roll-out not written"]
    assert (warning["keys"], warning["reason"]) == ([str(keys[0])], "too large")


async def test_a_disk_that_fails_is_not_asked_for_each_roll_out(
    autojump_clock: MockClock, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [Key(f"a{number}", "p", "l") for number in range(3)]
    kept.is_driving = False
    kept.keeper.begun([attrs.evolve(BEGUN, key=key) for key in keys])
    await settled()
    asked = 0

    async def failing(*_: Any) -> Sequence[Rollout]:
        nonlocal asked
        asked += 1
        raise RemoteError("the disk is full", 503)

    monkeypatch.setattr(Shelf, "write", failing)
    kept.is_driving = True
    kept.keeper.begun([])
    await settled(0.5 * TICK)

    assert asked == 1


async def test_a_person_does_not_wait_until_all_roll_outs_are_counted(autojump_clock: MockClock, kept: Kept) -> None:
    keys = [Key(f"a{number:02}", "p", "l") for number in range(20)]
    kept.is_driving = False
    kept.keeper.begun([attrs.evolve(BEGUN, key=key) for key in keys])
    await settled()
    of = kept.instances.of

    async def slow(key: Key) -> tuple[Sequence[Seen], int]:
        await trio.sleep(1)
        return await of(key)

    kept.instances.of = slow  # type: ignore[method-assign]
    kept.is_driving = True
    kept.keeper.hear()
    await trio.sleep(0.5)
    began = trio.current_time()
    with capture_logs() as logs:
        await kept.keeper.act(ABORT, keys[0], None, "why", ADA)
        assert trio.current_time() - began < PATIENCE
        await kept.keeper.act(ABORT, keys[10], None, "why", ADA)
        await settled(30)

    assert {each.key for each in kept.keeper.rollouts if each.status is Status.ABORTED} == {keys[0], keys[10]}
    begun = [each["key"] for each in logs if each["event"] == "roll-out step begun"]
    assert begun == [str(key) for key in keys if key not in (keys[0], keys[10])]


async def test_a_step_that_another_worker_has_overtaken_is_not_reported(
    autojump_clock: MockClock, kept: Kept, directory: Path
) -> None:
    kept.is_driving = False
    await running(kept)
    kept.is_driving = True

    def overtaken(records: Sequence[Rollout]) -> Sequence[Rollout]:
        return [attrs.evolve(each, status=Status.ABORTED, reach=None, revision=each.revision + 1) for each in records]

    await Shelf(ROLLOUTS, directory).write(overtaken)
    with capture_logs() as logs:
        kept.keeper.begun([])
        await settled()

    assert kept.status is Status.ABORTED
    assert names(logs) == []
    assert kept.acts == []


@pytest.mark.parametrize("is_promoted", [True, False])
async def test_a_roll_out_ends_even_if_its_target_is_too_large_for_the_store_of_a_cluster(
    autojump_clock: MockClock, kept: Kept, monkeypatch: pytest.MonkeyPatch, is_promoted: bool
) -> None:
    monkeypatch.setattr(Shelf, "max_record_bytes", 20_000)
    kept.publications.files = {KEY: (TARGET, ((Files({"a.yml": bytes(20_000)}),),))}
    await running(kept)
    with capture_logs() as logs:
        if is_promoted:
            after = await kept.keeper.act(PROMOTE, KEY, None, "why", ADA)
            assert (after.status, after.stable, after.reason, after.by) == (Status.DONE, TARGET, "why", "ada")
        else:
            kept.say()
            await settled()
            kept.say()
            await settled()

    assert kept.publications.records[-1] == []
    assert names(logs)[-1] == ("roll-out promoted" if is_promoted else "roll-out done")
    assert kept.acts[-1][0] == ("rollout promote" if is_promoted else "rollout end")


async def test_only_one_process_takes_the_steps(autojump_clock: MockClock, kept: Kept) -> None:
    kept.is_driving = False
    kept.keeper.begun([BEGUN])
    await settled(60)

    assert (kept.record.reach, kept.instances.asked) == (None, 0)
    assert await kept.keeper.counts(KEY) is not None


async def test_a_worker_that_does_not_answer_holds_the_steps_up(autojump_clock: MockClock, kept: Kept) -> None:
    kept.instances.unanswered = 1
    kept.keeper.begun([BEGUN])
    await settled(60)

    assert kept.record.reach is None


async def test_the_end_waits_until_this_server_has_read_the_target(autojump_clock: MockClock, kept: Kept) -> None:
    kept.publications.files[KEY] = None
    kept.keeper.begun([attrs.evolve(BEGUN, plan=Plan((100,)))])
    await settled()
    kept.say()
    seen = []
    for version in (None, "d" * 16, TARGET):
        kept.publications.files[KEY] = (version, TARGET_FILES) if version else None
        await settled(5)
        seen.append(kept.status)

    assert seen == [Status.RUNNING, Status.RUNNING, Status.DONE]


async def test_no_step_begins_or_ends_while_instances_come_back_after_a_start(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    kept = await started(directory, nursery, settling=SETTLING)
    kept.keeper.begun([BEGUN])
    await settled(SETTLING - TICK)
    early = kept.record.reach
    await settled(2 * TICK)

    assert early is None
    assert kept.record.reach is not None


async def test_a_keeper_that_is_made_long_after_the_start_begins_at_once(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    kept = Kept(directory, settling=SETTLING)
    await trio.sleep(SETTLING)
    nursery.start_soon(kept.keeper.run, 0.0)
    kept.keeper.begun([BEGUN])
    await settled(2 * TICK)

    assert kept.record.reach is not None


async def test_a_step_whose_time_ended_during_a_restart_does_not_halt_before_instances_are_back(
    autojump_clock: MockClock, kept: Kept, directory: Path, nursery: trio.Nursery
) -> None:
    await running(kept)
    kept.is_driving = False
    await trio.sleep(kept.record.plan.within + 1)
    after = await started(directory, nursery, settling=SETTLING)
    await settled(SETTLING - 2 * TICK)
    early = after.status
    await settled(3 * TICK)

    assert (early, after.status) == (Status.RUNNING, Status.HALTED)


@pytest.mark.parametrize("drives", [True, False])
@pytest.mark.parametrize("is_halted", [True, False])
async def test_a_roll_out_whose_document_was_taken_back_is_reported_once(
    autojump_clock: MockClock, kept: Kept, *, is_halted: bool, drives: bool
) -> None:
    await running(kept)
    if is_halted:
        kept.say("rejected")
        await settled()
    kept.is_driving = drives
    with capture_logs() as logs:
        kept.keeper.begun([OVER])
        await settled(20)

    reason = f"the document is that of version {BEGUN.stable} again"
    ended = [(each["version"], each["reason"]) for each in logs if each["event"] == "roll-out ended"]
    assert ended == ([(TARGET, reason)] if drives else [])
    assert [each[0] for each in kept.audit.noted].count("rollout end") == drives


async def test_no_step_begins_while_instances_of_a_worker_or_node_that_did_not_answer_come_back(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    kept = await started(directory, nursery, settling=SETTLING)
    await settled(2 * SETTLING)
    kept.keeper.begun([BEGUN])
    kept.instances.unanswered = 1
    await settled()
    # It answers, and its instances aren't back yet.
    kept.instances.unanswered = 0
    await settled(SETTLING - 2 * TICK)
    early = kept.record.reach
    await settled(3 * TICK)

    assert early is None
    assert kept.record.reach is not None


@pytest.mark.parametrize(("steady_for", "begins"), [(0.0, False), (SETTLING - 0.1, False), (SETTLING, True)])
async def test_no_step_begins_soon_after_a_node_has_come_or_left(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery, steady_for: float, begins: bool
) -> None:
    kept = await started(directory, nursery, settling=SETTLING)
    await settled(2 * SETTLING)
    kept.instances.steady_for = steady_for
    kept.keeper.begun([BEGUN])
    await settled(2 * SETTLING)

    assert begins is (kept.record.reach is not None)


async def test_no_roll_out_ends_soon_after_a_node_has_come_or_left(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    kept = await started(directory, nursery, settling=SETTLING)
    await settled(SETTLING)
    kept.keeper.begun([attrs.evolve(BEGUN, plan=Plan((100,)))])
    await settled()
    kept.instances.steady_for = 0.0
    kept.say()
    await settled()
    early = kept.status
    kept.instances.steady_for = SETTLING
    await settled()

    assert (early, kept.status) == (Status.RUNNING, Status.DONE)


async def test_a_rejection_halts_it_even_right_after_a_node_has_come_or_left(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    kept = await started(directory, nursery, settling=SETTLING)
    await settled(SETTLING)
    kept.keeper.begun([BEGUN])
    await settled()
    kept.instances.steady_for, kept.instances.unanswered = 0.0, 1
    kept.say("rejected")
    await settled()

    assert kept.status is Status.HALTED


async def test_a_rejection_halts_it_even_right_after_a_start(
    autojump_clock: MockClock, kept: Kept, directory: Path, nursery: trio.Nursery
) -> None:
    await running(kept)
    kept.is_driving = False
    after = await started(directory, nursery, settling=SETTLING)
    after.say("rejected")
    await settled()

    assert after.status is Status.HALTED


async def test_nothing_is_asked_while_no_roll_out_runs(autojump_clock: MockClock, kept: Kept) -> None:
    kept.keeper.begun([OVER])
    await settled(600)

    assert kept.instances.asked == 0
    assert kept.status is Status.DONE


# Acts.


async def running(kept: Kept) -> Rollout:
    kept.keeper.begun([BEGUN])
    await settled()
    return kept.record


async def test_a_halted_roll_out_is_resumed(autojump_clock: MockClock, kept: Kept) -> None:
    await running(kept)
    kept.say("rejected")
    await settled()
    kept.instances.acks.clear()
    with capture_logs() as logs:
        after = await kept.keeper.act(RESUME, KEY, TARGET, "it was the network", ADA)
        await settled()

    assert after.status is Status.RUNNING
    assert kept.record.reach is not None
    assert names(logs)[0] == "roll-out resumed"
    assert kept.acts[-1] == ("rollout resume", "ada", str(KEY), Outcome.DONE)


async def test_an_abort_is_in_force_when_it_returns(autojump_clock: MockClock, kept: Kept) -> None:
    await running(kept)
    with capture_logs() as logs:
        after = await kept.keeper.act(ABORT, KEY, None, "incident 7", ADA)

    assert [each.status for each in kept.publications.records[-1]] == [Status.ABORTED]
    assert (after.by, after.reason) == ("ada", "incident 7")
    [event] = logs
    assert (event["event"], event["log_level"], event["by"], event["reason"]) == (
        "roll-out aborted",
        "warning",
        "ada",
        "incident 7",
    )
    assert "revert" in event["remedy"]


async def test_a_promotion_keeps_the_files_of_the_target(autojump_clock: MockClock, kept: Kept) -> None:
    await running(kept)
    with capture_logs() as logs:
        after = await kept.keeper.act(PROMOTE, KEY, TARGET, "looks good", ADA)

    assert (after.status, after.stable, after.labels) == (Status.DONE, TARGET, TARGET_FILES)
    assert names(logs) == ["roll-out promoted"]
    status, reason = await kept.refused(ABORT)
    assert (status, "done by ada" in reason) == (409, True)


async def test_a_promotion_needs_the_target_at_this_server(autojump_clock: MockClock, kept: Kept) -> None:
    await running(kept)
    kept.publications.files[KEY] = None
    status, reason = await kept.refused(PROMOTE)

    assert (status, TARGET in reason) == (503, True)
    assert kept.status is Status.RUNNING
    assert kept.acts[-1] == ("rollout promote", "ada", str(KEY), Outcome.FAILED)


async def test_what_is_refused_is_in_the_audit_log(autojump_clock: MockClock, kept: Kept) -> None:
    assert await kept.refused(ABORT) == (404, "this key has no roll-out")
    await running(kept)
    assert (await kept.refused(RESUME))[0] == 409
    assert (await kept.refused(ABORT, target="d" * 16))[0] == 409

    assert [(act, outcome) for act, _, _, outcome in kept.acts] == [
        ("rollout abort", Outcome.REFUSED),
        ("rollout resume", Outcome.REFUSED),
        ("rollout abort", Outcome.REFUSED),
    ]


async def test_only_so_many_acts_wait_and_none_waits_for_ever(autojump_clock: MockClock, kept: Kept) -> None:
    await running(kept)
    kept.publications.busy = trio.Event()
    found: list[tuple[int, str]] = []

    async def abort() -> None:
        found.append(await kept.refused(ABORT))

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(MOST_WAITING + 2):
            nursery.start_soon(abort)
            await wait_all_tasks_blocked()

    assert trio.current_time() - began == pytest.approx(PATIENCE)
    assert {status for status, _ in found} == {503}
    assert sum("too many" in reason for _, reason in found) == 1
    assert sum("may still be done" in reason for _, reason in found) == 1
    assert sum("nothing has changed" in reason for _, reason in found) == MOST_WAITING
    kept.publications.busy.set()
    await settled()
    assert kept.status is Status.ABORTED


# Restarts, and what a restart must know.


async def test_a_restart_continues_with_what_is_on_the_disk(
    autojump_clock: MockClock, kept: Kept, directory: Path
) -> None:
    record = await running(kept)
    after = Kept(directory, drives=False)
    await after.keeper.load()

    [records] = after.publications.records
    assert [(each.id, each.revision, each.reach) for each in records] == [(record.id, record.revision, record.reach)]


async def test_a_file_that_can_not_be_read_is_read_later(
    autojump_clock: MockClock, kept: Kept, directory: Path, nursery: trio.Nursery
) -> None:
    await running(kept)
    _allow(directory, 0o755)
    with capture_logs() as logs:
        after = await started(directory, nursery, drives=False)
        assert after.keeper.rollouts == []
        _allow(directory, 0o700)
        await settled(AGAIN + 1)

    assert "roll-outs not read" in names(logs)
    assert len(after.keeper.rollouts) == 1


async def test_the_versions_of_keys_with_a_rule_are_remembered(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    kept = await started(directory, nursery, None, RolloutSettings(("billing",)))
    kept.instances.keys = [KEY, OTHER]
    kept.publications.stable = {KEY: (STABLE, LABELS), OTHER: (STABLE, LABELS)}
    await settled(SWEEP + 1)

    assert [(each.key, each.status, each.stable) for each in kept.keeper.rollouts] == [(KEY, Status.DONE, STABLE)]


async def test_a_key_that_is_pinned_or_not_in_use_is_not_remembered(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    kept = await started(directory, nursery, None, RolloutSettings())
    kept.instances.keys = [KEY]
    await settled(SWEEP + 1)

    assert kept.keeper.rollouts == []


async def test_one_search_remembers_only_so_many_keys(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    kept = await started(directory, nursery, None, RolloutSettings())
    kept.instances.keys = [Key(f"a{number}", "p", "l") for number in range(MOST_REMEMBERED + 1)]
    kept.publications.stable = dict.fromkeys(kept.instances.keys, (STABLE, LABELS))
    kept.keeper.hear()
    await settled(SWEEP - 1)
    first = len(kept.keeper.rollouts)
    await settled(SWEEP)

    assert (first, len(kept.keeper.rollouts)) == (MOST_REMEMBERED, MOST_REMEMBERED + 1)


async def test_keys_without_room_or_with_large_files_are_not_remembered_and_nothing_is_written_for_them(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shelf, "most", 2)
    kept = await started(directory, nursery, None, RolloutSettings())
    large: Labels = ((Files({"a.yml": bytes(MOST_BYTES)}),),)
    kept.instances.keys = [KEY, *(Key(f"a{number}", "p", "l") for number in range(3))]
    kept.publications.stable = {**dict.fromkeys(kept.instances.keys, (STABLE, LABELS)), KEY: (STABLE, large)}
    with capture_logs() as logs:
        await settled(4 * SWEEP)

    assert [each.key.application for each in kept.keeper.rollouts] == ["a0", "a1"]
    assert len(kept.publications.records) == 1
    assert names(logs) == []


async def test_what_no_rule_names_is_forgotten_after_an_hour(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    kept = await started(directory, nursery, None, RolloutSettings(("orders",)))
    kept.keeper.begun([OVER, attrs.evolve(OVER, key=OTHER)])
    await settled(KEPT - SWEEP)
    assert len(kept.keeper.rollouts) == 2
    await settled(3 * SWEEP)

    assert [each.key for each in kept.keeper.rollouts] == [OTHER]


async def test_a_beginning_is_a_change_and_no_restart(autojump_clock: MockClock, kept: Kept) -> None:
    """The same change twice, as after the restart of a worker, is one roll-out."""
    record = await running(kept)
    kept.keeper.begun([BEGUN])
    await settled()

    assert kept.record.id == record.id


async def test_the_file_is_made_only_with_the_first_record(
    autojump_clock: MockClock, kept: Kept, directory: Path
) -> None:
    await settled(60)
    before = [*os.listdir(directory.parent)]
    await running(kept)

    assert (before, os.listdir(directory)) == ([], [FILE, "lock"])


def test_a_beginning_has_no_place_for_a_reach() -> None:
    assert "reach" not in attrs.fields_dict(Beginning)


async def test_a_roll_out_that_another_process_has_begun_is_not_replaced_by_a_version_that_is_remembered(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    kept = await started(directory, nursery, None, RolloutSettings())
    other = await started(directory, nursery, FakePeers(number=1), drives=False)
    other.keeper.begun([BEGUN])
    await wait_all_tasks_blocked()
    # The first process hasn't heard of it, and hasn't read the change.
    kept.instances.keys = [KEY]
    kept.publications.stable = {KEY: (STABLE, LABELS)}
    assert kept.keeper.rollouts == []
    await settled(SWEEP + 1)

    assert (kept.record.id, kept.record.target) == (other.record.id, TARGET)
