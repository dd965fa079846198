"""The keeper of pins: what is written before it takes effect, who is refused, ends by time, other workers, and a bad disk."""

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.audit.noted import NotedAudit
from vortexd.aio import threads
from vortexd.audit import Actor, Outcome
from vortexd.core.errors import RemoteError
from vortexd.core.model import Files, Key
from vortexd.pins.file import FILE, PinsFile
from vortexd.pins.keeper import AGAIN, CLOCK, MOST_WAITING, PATIENCE, START_PATIENCE, PinKeeper
from vortexd.pins.pin import MOST_PINS, Pin
from vortexd.process.peers import Answers, Peers
from vortexd.shelf.file import GivenUp, RecordsFile
from vortexd.shelf.shelf import DISK_PATIENCE

SHOP, OTHER = Key("shop", "dev", "main"), Key("other", "dev", "main")
ADA = Actor("ada", "token", "192.0.2.1")
LABELS = ((Files({"shop.yml": b"a: 1"}),),)
SERVER = Actor("vortexd")


class FakePublications:
    """Notes the pins that are put in force."""

    def __init__(self) -> None:
        self.pins: Sequence[Pin] = ()
        self.calls = 0
        self.busy: trio.Event | None = None

    async def pin_by(self, pins: Sequence[Pin]) -> None:
        await trio.lowlevel.checkpoint()
        if self.busy is not None:
            await self.busy.wait()
        self.pins = pins
        self.calls += 1

    @property
    def keys(self) -> list[Key]:
        return [each.key for each in self.pins]


class FakePeers(Peers):
    """Other workers: what is told to this one is told to all others."""

    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self.number = number
        self.others: list[FakePeers] = []
        self.told: list[str] = []
        self.are_lost = False

    async def ask(self, name: str, text: str = "") -> Answers:
        self.told.append(name)
        if self.are_lost:
            return Answers({}, len(self.others))
        return Answers({str(each.number): each._handlers[name](text) for each in self.others})


class Kept:
    """A keeper with its parts. The clock of people runs as trio's, from 1,000."""

    def __init__(self, directory: Path | None, peers: FakePeers | None = None, now: Callable[[], float] | None = None):
        self.publications, self.audit, self.peers = FakePublications(), NotedAudit(), peers or FakePeers()
        ids = iter(range(1_000))
        self.keeper = PinKeeper(
            self.publications,
            directory,
            self.audit,
            self.peers,
            now or (lambda: 1_000.0 + trio.current_time()),
            lambda: f"{self.peers.number}-{next(ids)}",
        )

    async def put(
        self, key: Key = SHOP, seconds: int | None = None, actor: Actor = ADA, reason: str = "incident 7"
    ) -> Pin:
        return await self.keeper.put(key, "0" * 16, "c1", LABELS, reason, seconds, actor)

    async def refused(self, function: Callable[..., Any], *arguments: Any) -> tuple[int, str]:
        with pytest.raises(RemoteError) as caught:
            await function(*arguments)
        return caught.value.status, caught.value.reason

    @property
    def acts(self) -> list[Any]:
        return [(act, actor.name, target, outcome) for act, actor, target, outcome, *_ in self.audit.noted]


@pytest.fixture(autouse=True)
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake clock doesn't wait for threads."""

    async def run_sync(function: Callable[..., Any], *_: Any, **__: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function()

    monkeypatch.setattr(threads, "run_sync", run_sync)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "pins"


@pytest.fixture
async def kept(directory: Path, nursery: trio.Nursery) -> Kept:
    found = Kept(directory)
    await found.keeper.load()
    nursery.start_soon(found.keeper.run)
    return found


async def restarted(directory: Path, **more: Any) -> Kept:
    found = Kept(directory, **more)
    await found.keeper.load()
    return found


# Putting and lifting.


async def test_a_pin_is_on_the_disk_and_in_force_when_put_returns(
    autojump_clock: MockClock, kept: Kept, directory: Path
) -> None:
    with capture_logs() as logs:
        pin = await kept.put(seconds=60)

    assert [pin] == [*kept.publications.pins] == [*kept.keeper.pins]
    assert (1_000.0, 1_060.0, "ada", "incident 7") == (pin.term.since, pin.term.until, pin.by, pin.reason)
    assert [pin.id] == [each.id for each in PinsFile(directory).read()]
    assert [("pin", "ada", str(SHOP), Outcome.DONE)] == kept.acts
    assert {"version": "0" * 16, "commit": "c1", "until": "1970-01-01T00:17:40Z"} == kept.audit.noted[0][5]
    assert ("incident 7", ADA) == (kept.audit.noted[0][4], kept.audit.noted[0][1])
    [event] = logs
    assert ("pin put", str(SHOP), "ada", "incident 7") == (event["event"], event["key"], event["by"], event["reason"])
    assert ["pins"] == kept.peers.told
    assert (1, 1_060.0) == kept.keeper.totals


async def test_a_pin_without_an_end_and_without_a_commit(autojump_clock: MockClock, kept: Kept) -> None:
    pin = await kept.keeper.put(SHOP, "0" * 16, None, LABELS, "why", None, ADA)
    assert None is pin.term.until
    assert {"version": "0" * 16, "until": "somebody lifts it"} == kept.audit.noted[0][5]
    assert (1, None) == kept.keeper.totals


async def test_the_second_person_is_refused_with_the_first_one_s_words(autojump_clock: MockClock, kept: Kept) -> None:
    await kept.put(seconds=60)
    status, reason = await kept.refused(kept.put, SHOP, None, Actor("bob"))

    assert 409 == status
    assert (
        "the key is pinned already, by ada since 1970-01-01T00:16:40Z until 1970-01-01T00:17:40Z: incident 7" == reason
    )
    assert (409, reason) == await kept.refused(kept.keeper.refuse_taken, SHOP, "why", Actor("bob"))
    assert [("pin", "ada", str(SHOP), Outcome.DONE), *[("pin", "bob", str(SHOP), Outcome.REFUSED)] * 2] == kept.acts
    # The person's reason is kept, and the server's words are a detail.
    assert ("why", {"problem": reason}) == kept.audit.noted[2][4:]
    assert ("incident 7", reason) == (kept.audit.noted[1][4], kept.audit.noted[1][5]["problem"])
    await kept.keeper.refuse_taken(OTHER, "why", ADA)
    await kept.put(OTHER)
    assert [SHOP, OTHER] == kept.publications.keys


async def test_two_people_at_once_get_one_pin(autojump_clock: MockClock, kept: Kept) -> None:
    statuses: list[int] = []

    async def put(actor: Actor) -> None:
        try:
            await kept.put(actor=actor)
            statuses.append(201)
        except RemoteError as error:
            statuses.append(error.status)

    async with trio.open_nursery() as people:
        for name in ("ada", "bob", "eve"):
            people.start_soon(put, Actor(name))
    assert [201, 409, 409] == sorted(statuses)
    assert 1 == len(kept.keeper.pins)


async def test_a_pin_without_an_end_is_refused_until_it_is_lifted(autojump_clock: MockClock, kept: Kept) -> None:
    await kept.put()
    assert (await kept.refused(kept.put))[1].endswith("until it is lifted: incident 7")


async def test_lifting_a_pin_frees_the_key_on_the_disk_too(
    autojump_clock: MockClock, kept: Kept, directory: Path
) -> None:
    await kept.put()
    await kept.put(OTHER)
    with capture_logs() as logs:
        await kept.keeper.lift(SHOP, "mended", ADA)

    assert [OTHER] == kept.publications.keys == [each.key for each in PinsFile(directory).read()]
    assert ("lift pin", ADA, str(SHOP), Outcome.DONE, "mended", {}) == kept.audit.noted[-1]
    assert [{"event": "pin lifted", "key": str(SHOP), "by": "ada", "reason": "mended", "log_level": "info"}] == logs
    await kept.put()
    assert 2 == len(kept.keeper.pins)


async def test_a_key_that_is_not_pinned_can_not_be_lifted(autojump_clock: MockClock, kept: Kept) -> None:
    await kept.put(OTHER)
    assert (404, "this key isn't pinned") == await kept.refused(kept.keeper.lift, SHOP, "", ADA)
    assert ("lift pin", "ada", str(SHOP), Outcome.REFUSED) == kept.acts[-1]
    assert [OTHER] == kept.publications.keys


async def test_there_are_at_most_a_hundred_pins(autojump_clock: MockClock, kept: Kept) -> None:
    for number in range(MOST_PINS):
        await kept.put(Key(f"a{number}", "dev", "main"), 60 if number == 0 else None)
    assert (409, "there are 100 pins already; lift one first") == await kept.refused(kept.put)
    await trio.sleep(60)
    await kept.put()


async def test_without_a_directory_for_state_no_key_can_be_pinned(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    kept = Kept(None)
    await kept.keeper.load()
    nursery.start_soon(kept.keeper.run)
    status, reason = await kept.refused(kept.put)
    assert 503 == status
    assert "server.state_directory" in reason
    assert (0, ("pin", "ada", str(SHOP), Outcome.FAILED)) == (kept.publications.calls, kept.acts[0])


async def test_known_pins_keep_their_objects(autojump_clock: MockClock, kept: Kept) -> None:
    pin = await kept.put()
    await kept.put(OTHER)
    assert pin is kept.publications.pins[0]


# Clients that go away, and publications that take long.


async def test_a_client_that_goes_away_leaves_its_change_whole(autojump_clock: MockClock, kept: Kept) -> None:
    kept.publications.busy = trio.Event()
    async with trio.open_nursery() as people:
        people.start_soon(kept.put)
        await wait_all_tasks_blocked()
        people.start_soon(kept.put, OTHER)
        await wait_all_tasks_blocked()
        people.cancel_scope.cancel()
    kept.publications.busy.set()
    await wait_all_tasks_blocked()

    # The first one had begun, and the second one hadn't.
    assert [SHOP] == kept.publications.keys
    assert [("pin", "ada", str(SHOP), Outcome.DONE)] == kept.acts


async def test_a_change_has_a_deadline(autojump_clock: MockClock, kept: Kept) -> None:
    kept.publications.busy = trio.Event()
    answers: list[tuple[int, str]] = []

    async def put(key: Key) -> None:
        answers.append(await kept.refused(kept.put, key))

    began = trio.current_time()
    async with trio.open_nursery() as people:
        people.start_soon(put, SHOP)
        await wait_all_tasks_blocked()
        people.start_soon(put, OTHER)
    assert PATIENCE == trio.current_time() - began
    assert [503, 503] == [status for status, _ in answers]
    texts = sorted(reason for _, reason in answers)
    assert texts[0].endswith("18 s; it may still be done; see the list of pins")
    assert texts[1].endswith("18 s; nothing has changed")
    kept.publications.busy.set()
    await wait_all_tasks_blocked()
    assert [SHOP] == kept.publications.keys


async def test_a_bounded_number_of_changes_waits(autojump_clock: MockClock, kept: Kept) -> None:
    kept.publications.busy = trio.Event()
    async with trio.open_nursery() as people:
        for number in range(MOST_WAITING + 1):
            people.start_soon(kept.put, Key(f"a{number}", "dev", "main"))
            await wait_all_tasks_blocked()
        assert (503, "too many changes of pins wait; try again") == await kept.refused(kept.put)
        kept.publications.busy.set()
    assert MOST_WAITING + 1 == len(kept.keeper.pins)


# Ends by time.


async def test_a_pin_ends_at_its_time(autojump_clock: MockClock, kept: Kept, directory: Path) -> None:
    await kept.put(seconds=90)
    await kept.put(OTHER)
    with capture_logs() as logs:
        await trio.sleep(89.9)
        assert [SHOP, OTHER] == kept.publications.keys
        await trio.sleep(0.2)

    assert [OTHER] == kept.publications.keys == [each.key for each in PinsFile(directory).read()]
    [event] = [each for each in logs if each["event"] == "pin ended"]
    assert (str(SHOP), "ada", "1970-01-01T00:16:40Z") == (event["key"], event["by"], event["since"])
    [act] = [each for each in kept.audit.noted if each[0] == "end pin"]
    assert (SERVER, str(SHOP), Outcome.DONE, "its time is over", {"version": "0" * 16}) == act[1:]
    assert (404, "this key isn't pinned") == await kept.refused(kept.keeper.lift, SHOP, "", ADA)
    await trio.sleep(1_000)
    assert 1 == len([each for each in kept.audit.noted if each[0] == "end pin"])


async def test_the_earliest_end_comes_first(autojump_clock: MockClock, kept: Kept) -> None:
    await kept.put(seconds=100)
    await kept.put(OTHER, seconds=10)
    assert (2, 1_010.0) == kept.keeper.totals
    await trio.sleep(10.1)
    assert [SHOP] == kept.publications.keys
    await trio.sleep(90)
    assert [] == kept.publications.keys


async def test_a_key_can_be_pinned_again_once_its_pin_has_ended(autojump_clock: MockClock, kept: Kept) -> None:
    await kept.put(seconds=1)
    await trio.sleep(1)
    second = await kept.put()
    assert [second.id] == [each.id for each in kept.publications.pins]
    assert ["pin", "end pin", "pin"] == [each[0] for each in kept.acts]


async def test_a_clock_that_is_set_forward_ends_a_pin_within_a_minute(
    directory: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    ahead = [0.0]
    kept = Kept(directory, now=lambda: ahead[0] + trio.current_time())
    nursery.start_soon(kept.keeper.run)
    await kept.put(seconds=10_000)
    ahead[0] = 10_000.0
    await trio.sleep(CLOCK + 0.1)
    assert [] == kept.publications.keys


async def test_without_pins_the_task_never_wakes(autojump_clock: MockClock, kept: Kept) -> None:
    assert float("inf") == kept.keeper._pause()
    await kept.put()
    assert float("inf") == kept.keeper._pause()
    await kept.put(OTHER, seconds=1_000)
    assert CLOCK == kept.keeper._pause()


# Starts.


async def test_the_pins_of_a_former_process_are_put_in_force_before_anything_else(
    autojump_clock: MockClock, kept: Kept, directory: Path
) -> None:
    pin = await kept.put(seconds=60)
    after = await restarted(directory)

    assert [pin.id] == [each.id for each in after.publications.pins]
    assert [pin.members] == [each.members for each in after.keeper.pins]
    assert [] == after.acts


async def test_a_pin_that_ended_while_nothing_ran_is_not_in_force_and_its_end_is_recorded(
    autojump_clock: MockClock, kept: Kept, directory: Path, nursery: trio.Nursery
) -> None:
    await kept.put(seconds=60)
    await kept.put(OTHER)
    later = lambda: 2_000.0  # noqa: E731
    after = await restarted(directory, now=later)
    assert [OTHER] == after.publications.keys == [each.key for each in after.keeper.pins]
    nursery.start_soon(after.keeper.run)
    await wait_all_tasks_blocked()
    assert [("end pin", "vortexd", str(SHOP), Outcome.DONE)] == after.acts
    assert [OTHER] == [each.key for each in PinsFile(directory).read()]


async def test_a_start_without_a_file_puts_nothing_in_force(autojump_clock: MockClock, directory: Path) -> None:
    assert 0 == (await restarted(directory)).publications.calls


async def test_a_file_that_can_not_be_read_is_one_warning_and_read_later(
    autojump_clock: MockClock, kept: Kept, directory: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.put()
    read, failures = RecordsFile.read, [OSError(errno.EIO, "I/O error")] * 2

    def failing(file: RecordsFile[Pin]) -> list[Pin]:
        if failures:
            raise failures.pop()
        return read(file)

    monkeypatch.setattr(RecordsFile, "read", failing)
    with capture_logs() as logs:
        after = await restarted(directory)
        assert 0 == after.publications.calls
        nursery.start_soon(after.keeper.run)
        await trio.sleep(AGAIN * 2 + 1)
    assert [SHOP] == after.publications.keys
    [event] = logs
    assert ("pins not read", "warning") == (event["event"], event["log_level"])
    assert "i/o error" in event["reason"]


async def test_a_disk_that_hangs_does_not_hold_up_the_start(
    autojump_clock: MockClock, kept: Kept, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.put()

    async def hanging(*_: Any, **__: Any) -> Any:
        await trio.sleep_forever()

    monkeypatch.setattr(threads, "run_sync", hanging)
    began = trio.current_time()
    with capture_logs() as logs:
        after = await restarted(directory)
    assert DISK_PATIENCE == trio.current_time() - began
    assert [f"the disk didn't answer within {DISK_PATIENCE:g} s"] == [each["reason"] for each in logs]
    assert [] == [*after.keeper.pins]


async def test_files_that_take_long_to_parse_do_not_hold_up_the_start_and_count_later(
    autojump_clock: MockClock, kept: Kept, directory: Path, nursery: trio.Nursery
) -> None:
    await kept.put()
    after = Kept(directory)
    after.publications.busy = trio.Event()
    began = trio.current_time()
    with capture_logs() as logs:
        await after.keeper.load()
    assert START_PATIENCE == trio.current_time() - began
    assert ["pins not read"] == [each["event"] for each in logs]
    after.publications.busy.set()
    nursery.start_soon(after.keeper.run)
    await trio.sleep(AGAIN + 1)
    assert [SHOP] == after.publications.keys


# A bad disk.


@pytest.mark.parametrize("act", ["put", "lift"])
async def test_a_full_disk_refuses_the_change_and_changes_nothing(
    autojump_clock: MockClock, kept: Kept, directory: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    await kept.put(OTHER)
    calls = kept.publications.calls
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        change = kept.put if act == "put" else partial(kept.keeper.lift, OTHER, "", ADA)
        status, reason = await kept.refused(change)
    await wait_all_tasks_blocked()

    assert (503, "the pins can't be read or written: no space left on device") == (status, reason)
    assert [OTHER] == kept.publications.keys == [each.key for each in PinsFile(directory).read()]
    assert calls == kept.publications.calls
    assert Outcome.FAILED is kept.acts[-1][3]
    assert ["pins"] == kept.peers.told
    await change()


def _full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_pin_ends_although_the_file_can_not_be_written_and_the_file_follows(
    autojump_clock: MockClock, kept: Kept, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.put(seconds=60)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        await trio.sleep(60.1)
        assert [] == kept.publications.keys == [each.key for each in kept.keeper.pins]
        await trio.sleep(300)
    assert [SHOP] == [each.key for each in PinsFile(directory).read()]
    assert 1 == len([act for act in kept.acts if act[0] == "end pin"])
    await trio.sleep(CLOCK * 2)
    assert ([], set()) == (PinsFile(directory).read(), kept.keeper._reported)
    assert 1 == len([act for act in kept.acts if act[0] == "end pin"])


async def test_a_disk_that_hangs_refuses_the_change_in_time(
    autojump_clock: MockClock, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hanging(*_: Any, **__: Any) -> Any:
        await trio.sleep_forever()

    monkeypatch.setattr(threads, "run_sync", hanging)
    began = trio.current_time()
    with capture_logs():
        status, reason = await kept.refused(kept.put)
    assert (503, f"the disk didn't answer within {DISK_PATIENCE:g} s") == (status, reason)
    assert DISK_PATIENCE == trio.current_time() - began


async def test_a_thread_that_comes_late_writes_nothing(
    autojump_clock: MockClock, kept: Kept, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions: list[Callable[[], Any]] = []

    async def hanging(function: Callable[[], Any], *_: Any, **__: Any) -> Any:
        functions.append(function)
        await trio.sleep_forever()

    with monkeypatch.context() as patch, capture_logs():
        patch.setattr(threads, "run_sync", hanging)
        await kept.refused(kept.put)
    with pytest.raises(GivenUp):
        functions[0]()
    assert not (directory / FILE).exists()


# Other workers.


async def workers(directory: Path, nursery: trio.Nursery, count: int = 2) -> list[Kept]:
    peers = [FakePeers(number) for number in range(count)]
    for each in peers:
        each.others = [other for other in peers if other is not each]
    found = [Kept(directory, each) for each in peers]
    for kept in found:
        await kept.keeper.load()
        nursery.start_soon(kept.keeper.run)
    return found


async def test_all_workers_apply_a_pin_and_one_records_it(
    directory: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    one, other = await workers(directory, nursery)
    pin = await one.put(seconds=60)
    await wait_all_tasks_blocked()

    assert [pin.id] == [each.id for each in other.publications.pins]
    assert [pin.members] == [each.members for each in other.keeper.pins]
    assert ([], 409) == (other.acts, (await other.refused(other.put))[0])
    await trio.sleep(60.1)
    assert [] == one.publications.keys == other.publications.keys
    ends = [act for kept in (one, other) for act in kept.acts if act[0] == "end pin"]
    assert [("end pin", "vortexd", str(SHOP), Outcome.DONE)] == ends


async def test_a_worker_lifts_what_another_has_put(
    directory: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    one, other = await workers(directory, nursery)
    await one.put()
    await other.keeper.lift(SHOP, "", ADA)
    await wait_all_tasks_blocked()
    assert [] == one.publications.keys == other.publications.keys


async def test_a_worker_that_has_not_heard_of_a_pin_refuses_the_key_and_is_told_again(
    autojump_clock: MockClock, directory: Path, nursery: trio.Nursery
) -> None:
    one, other = await workers(directory, nursery)
    one.peers.are_lost = True
    await one.put()
    assert ([], 409) == ([*other.keeper.pins], (await other.refused(other.put))[0])
    await one.put(OTHER)
    await wait_all_tasks_blocked()
    told = len(one.peers.told)
    await trio.sleep(AGAIN * 3 + 0.1)
    assert told + 3 == len(one.peers.told)
    one.peers.are_lost = False
    await trio.sleep(AGAIN + 0.1)
    assert [SHOP, OTHER] == other.publications.keys
    calls = other.publications.calls
    await trio.sleep(AGAIN * 5)
    assert (calls, told + 4) == (other.publications.calls, len(one.peers.told))


async def test_one_worker_reports_an_end_that_none_can_write(
    directory: Path, nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await workers(directory, nursery, 3)
    await found[1].put(seconds=60)
    monkeypatch.setattr(os, "fsync", _full)
    await trio.sleep(100)
    assert [1, 0, 0] == [len([act for act in each.acts if act[0] == "end pin"]) for each in found]
    assert [[], [], []] == [each.publications.keys for each in found]


async def test_a_disk_that_answers_too_late_is_read_again(
    autojump_clock: MockClock, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client can't know whether its pin is on the disk. If it is, it counts."""
    run_sync, is_first = threads.run_sync, [True]

    async def late(function: Callable[[], Any], *arguments: Any, **options: Any) -> Any:
        made = await run_sync(function, *arguments, **options)
        if is_first:
            is_first.clear()
            await trio.sleep_forever()
        return made

    monkeypatch.setattr(threads, "run_sync", late)
    assert 503 == (await kept.refused(kept.put))[0]
    await trio.sleep(AGAIN)
    assert [SHOP] == kept.publications.keys
