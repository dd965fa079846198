"""A command with a configuration as its environment. The tests run real commands, which record what they received."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from vortexd.agent.child import Child, Plan
from vortexd.agent.loop import AgentError
from vortexd.agent.pacing import Pace
from vortexd.client.replica import version_of

from .fakes import SUBJECT, FakeWatched, comes_true, ends, has_ended

# Records each start with its size and number, refuses a bad size, and keeps running.
SERVICE = 'echo "$SIZE $$" >> log; test "$SIZE" != bad || exit 5; trap "echo hup >> log" HUP; trap "exit 0" TERM; while :; do sleep 0.02; done'


class Run:
    """A running child, and its records."""

    def __init__(self, directory: Path, watched: FakeWatched) -> None:
        self.log = directory / "log"
        self.watched = watched
        self.statuses: list[int] = []
        self.ended = trio.Event()

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def sizes(self) -> list[str]:
        return [line.split()[0] for line in self.lines()]

    def pid(self, start: int) -> int:
        return int(self.lines()[start].split()[1])

    async def has(self, *sizes: str) -> bool:
        """Whether the records become exactly these."""
        assert await comes_true(lambda: len(self.lines()) >= len(sizes))
        return list(sizes) == self.sizes()

    async def is_told(self, count: int) -> list[tuple[str, str, str | None]]:
        """Return the first acknowledgements."""
        return await self.watched.acknowledged(count)


def plan(command: str, **settings: Any) -> Plan:
    return Plan(["/bin/sh", "-c", command], **{"settle": 0.2, "pace": Pace(0.0, 0.0), "stop_timeout": 5.0, **settings})


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def running(directory: Path, one: Plan, document: dict[str, Any]) -> AsyncIterator[Run]:
    """Run a child until the block ends, then kill it."""
    run = Run(directory, FakeWatched(document))

    async def live() -> None:
        run.statuses.append(await Child(one, SUBJECT, os.environ, lambda: 0.0).run(run.watched))
        run.ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(live)
        with trio.fail_after(60):
            yield run
        nursery.cancel_scope.cancel()


async def status_of(command: list[str], document: dict[str, Any], environment: dict[str, str] | None = None) -> int:
    one = Plan(command, settle=5.0, pace=Pace(0.0, 0.0))
    child = Child(one, SUBJECT, os.environ if environment is None else environment, lambda: 0.0)
    with trio.fail_after(60):
        return await child.run(FakeWatched(document))


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("exit $SIZE", 9)]
)
async def test_the_status_is_that_of_the_command(command: str, status: int) -> None:
    assert status == await status_of(["/bin/sh", "-c", command], {"size": 9})


async def test_a_command_that_cannot_be_started_has_the_status_of_a_shell(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert (127, 126) == (await status_of(["/nonexistent"], {}), await status_of([str(tmp_path / "file")], {}))


async def test_our_own_variables_win_and_our_token_is_not_handed_on() -> None:
    own = {"PATH": os.environ["PATH"], "SIZE": "1", "VORTEXD_TOKEN": "secret"}
    command = ["/bin/sh", "-c", 'test "$SIZE $OTHER $VORTEXD_TOKEN" = "1 3 "']

    assert 0 == await status_of(command, {"size": 2, "other": 3}, own)


async def test_keys_with_one_name_keep_it_from_starting() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await status_of(["true"], {"pool-size": 1, "poolsize": 2})

    assert caught.group_contains(AgentError, match="POOLSIZE stands for pool-size and poolsize", depth=1)


async def test_a_change_starts_it_anew_and_is_acknowledged(tmp_path: Path) -> None:
    async with running(tmp_path, plan(SERVICE), {"size": 1}) as run:
        assert await run.has("1")
        await run.is_told(1)
        newest = run.watched.change({"size": 2})

        assert await run.has("1", "2")
        assert [(version_of({"size": 1}), "applied", None), (newest, "applied", None)] == await run.is_told(2)
        assert has_ended(run.pid(0))
    assert has_ended(run.pid(1))


async def test_a_change_that_changes_no_variable_starts_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, plan(SERVICE), {"size": 1}) as run:
        await run.is_told(1)
        newest = run.watched.change({"size": "1"})

        assert (newest, "applied", None) == (await run.is_told(2))[1]
        assert ["1"] == run.sizes()


async def test_what_it_does_not_live_with_is_rejected_and_the_one_before_is_back(tmp_path: Path) -> None:
    async with running(tmp_path, plan(SERVICE), {"size": 1}) as run:
        await run.is_told(1)
        newest = run.watched.change({"size": "bad"})

        assert (newest, "rejected", "the command ended with status 5 within 0.2 s") == (await run.is_told(2))[1]
        assert await run.has("1", "bad", "1")
        assert not has_ended(run.pid(2))


async def test_a_collision_is_rejected_and_it_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, plan(SERVICE), {"size": 1}) as run:
        await run.is_told(1)
        run.watched.change({"si-ze": 2, "size": 3})

        assert "rejected" == (await run.is_told(2))[1][1]
        assert (["1"], False) == (run.sizes(), has_ended(run.pid(0)))


async def test_an_environment_that_is_too_large_is_rejected_and_it_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, plan(SERVICE), {"size": 1}) as run:
        await run.is_told(1)
        run.watched.change({"size": 2, "large": "x" * 1_000_000})

        assert "can't start the command: argument list too long" == (await run.is_told(2))[1][2]
        assert await run.has("1", "1")


async def test_a_signal_in_place_of_a_new_start(tmp_path: Path) -> None:
    async with running(tmp_path, plan(SERVICE, reload_signal=signal.SIGHUP), {"size": 1}) as run:
        await run.is_told(1)
        newest = run.watched.change({"size": 2})

        assert (newest, "applied", None) == (await run.is_told(2))[1]
        assert await comes_true(lambda: run.lines()[-1] == "hup")
        assert not has_ended(run.pid(0))


async def test_a_command_that_ends_by_the_signal_ends_everything(tmp_path: Path) -> None:
    async with running(
        tmp_path, plan("echo 1 $$ >> log; exec sleep 600", reload_signal=signal.SIGUSR1), {"size": 1}
    ) as run:
        await run.is_told(1)
        run.watched.change({"size": 2})

        assert "rejected" == (await run.is_told(2))[1][1]
        await run.ended.wait()
        assert [128 + signal.SIGUSR1] == run.statuses


async def test_what_ignores_the_end_is_killed_with_its_group(tmp_path: Path) -> None:
    command = "trap '' TERM; sleep 600 & echo $SIZE $! >> log; wait; sleep 600"
    async with running(tmp_path, plan(command, stop_timeout=0.2), {"size": 1}) as run:
        await run.is_told(1)
        run.watched.change({"size": 2})

        assert await run.has("1", "2")
        assert await ends(run.pid(0))


async def test_signals_are_handed_on_and_one_to_end_ends_it(tmp_path: Path) -> None:
    async with running(tmp_path, plan(SERVICE), {"size": 1}) as run:
        await run.is_told(1)
        os.kill(os.getpid(), signal.SIGHUP)
        assert await comes_true(lambda: run.lines()[-1] == "hup")
        os.kill(os.getpid(), signal.SIGTERM)

        await run.ended.wait()
        assert [0] == run.statuses


async def test_what_is_told_to_end_and_does_not_is_killed(tmp_path: Path) -> None:
    command = "trap '' TERM; echo $SIZE $$ >> log; while :; do sleep 0.02; done"
    async with running(tmp_path, plan(command, stop_timeout=0.2), {"size": 1}) as run:
        await run.is_told(1)
        os.kill(os.getpid(), signal.SIGTERM)

        await run.ended.wait()
        assert [137] == run.statuses


async def test_it_goes_on_when_the_configuration_is_not_followed_any_more(tmp_path: Path) -> None:
    async with running(tmp_path, plan(SERVICE), {"size": 1}) as run:
        await run.is_told(1)
        run.watched.end()
        os.kill(os.getpid(), signal.SIGHUP)

        assert await comes_true(lambda: run.lines()[-1] == "hup")
