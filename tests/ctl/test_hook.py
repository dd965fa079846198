"""The command that runs for each change: its input, its variables, and its end."""

import errno
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.client.said import KEY
from vortexd.client import Change
from vortexd.client.replica import version_of
from vortexd.core.model import Key
from vortexd.ctl.hook import run_hook, variables_of
from vortexd.ctl.server import TOKEN_VARIABLES

OLD, NEW = {"a": 1}, {"a": 2, "word": "ü"}
V_OLD, V_NEW = version_of(OLD), version_of(NEW)
CHANGE = Change(KEY, V_OLD, V_NEW, NEW, {"commit": "abc", "author": "A\x1bda"})
# Ignores SIGTERM, as does the process that it starts. Both keep the output open.
# When the input has ended, `run_hook` waits for the command, and its timeout has begun.
STUBBORN = "trap '' TERM; cat >/dev/null; sleep 100 & echo ready; wait"


class Output:
    """The end of a pipe that a command and its processes write to."""

    def __init__(self, read: trio.lowlevel.FdStream, write: int) -> None:
        self._read = read
        self.write = write

    async def next(self) -> bytes:
        """Return the next output; b"" if no process has the pipe open any more."""
        with trio.fail_after(30):
            return bytes(await self._read.receive_some())

    async def ends(self) -> None:
        """Wait until no process has the pipe open."""
        os.close(self.write)
        while await self.next():
            pass


@asynccontextmanager
async def pipe() -> AsyncIterator[Output]:
    read, write = os.pipe()
    async with trio.lowlevel.FdStream(read) as stream:
        yield Output(stream, write)


async def test_a_command_receives_the_document_and_the_variables() -> None:
    async with pipe() as output:
        command = 'cat; echo; echo "$VORTEX_APP $VORTEX_OLD_VERSION $VORTEX_VERSION"'
        assert None is await run_hook(command, CHANGE, 60.0, output.write)
        document, variables, end = (await output.next()).split(b"\n")
        await output.ends()

    assert (NEW, f"orders {V_OLD} {V_NEW}", b"") == (json.loads(document), variables.decode(), end)


async def test_a_command_does_not_receive_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TOKEN_VARIABLES:
        monkeypatch.setenv(name, "vt_secret")
    monkeypatch.setenv("KEPT", "kept")

    unset = " -a ".join(f'-z "${name}"' for name in TOKEN_VARIABLES)
    assert 2 == len(TOKEN_VARIABLES)
    assert None is await run_hook(f'test "$KEPT" = kept -a {unset}', CHANGE, 60.0, None)


async def test_the_variables_of_the_change_win_over_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VORTEX_APP", "other")

    assert None is await run_hook('test "$VORTEX_APP" = orders', CHANGE, 60.0, None)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("exit 0", None),
        ("exit 1", "the command ended with status 1"),
        ("exit 255", "the command ended with status 255"),
        ("kill -9 $$", "the command ended with status -9"),
        ("no-such-program 2>/dev/null", "the command ended with status 127"),
    ],
)
async def test_a_status_other_than_0_is_a_problem(command: str, problem: str | None) -> None:
    assert problem == await run_hook(command, CHANGE, 60.0, None)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.E2BIG, "Argument list too long"), "argument list too long"),
        (OSError("odd"), "error"),
    ],
)
async def test_a_command_that_can_not_start_is_a_problem(
    error: OSError, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trio.lowlevel, "open_process", fail)
    assert f"can't start the command: {text}" == await run_hook("true", CHANGE, 60.0, None)


async def test_a_command_need_not_read_what_it_is_given() -> None:
    large = Change(KEY, V_OLD, V_NEW, {"a": "x" * 1_000_000})

    assert None is await run_hook("exec true", large, 10.0, None)


async def test_a_command_that_reads_receives_a_large_document_whole() -> None:
    large = Change(KEY, V_OLD, V_NEW, {"a": "x" * 1_000_000})

    length = len(json.dumps(large.document))
    assert None is await run_hook(f'test "$(wc -c)" -eq {length}', large, 60.0, None)


async def test_the_end_of_a_key_is_an_empty_input_and_no_version() -> None:
    ended = Change(KEY, V_OLD, None, None)

    assert None is await run_hook('test -z "$(cat)" -a -z "$VORTEX_VERSION"', ended, 10.0, None)


async def test_an_empty_document_is_not_an_empty_input() -> None:
    empty = Change(KEY, V_OLD, version_of({}), {})

    assert None is await run_hook('test "$(cat)" = "{}"', empty, 10.0, None)


async def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(mock_clock: MockClock) -> None:
    problems: list[str | None] = []

    async def run() -> None:
        problems.append(await run_hook(STUBBORN, CHANGE, 0.5, output.write))

    async with pipe() as output, trio.open_nursery() as nursery:
        nursery.start_soon(run)
        assert b"ready\n" == await output.next()
        mock_clock.jump(0.499)
        await wait_all_tasks_blocked()
        assert [] == problems
        # The timeout has passed, so the command gets SIGTERM.
        mock_clock.jump(0.001)
        await wait_all_tasks_blocked()
        assert [] == problems
        mock_clock.jump(2.0)
        await output.ends()

    assert ["the command took longer than 0.5 s, and was killed"] == problems


async def test_a_cancelled_command_is_ended_with_all_that_it_started(mock_clock: MockClock) -> None:
    async with pipe() as output:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_hook, STUBBORN, CHANGE, 60.0, output.write)
            assert b"ready\n" == await output.next()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
                mock_clock.jump(2.0)
        await output.ends()


async def test_a_command_that_has_ended_is_sent_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda *signalled: sent.append(signalled))

    assert None is await run_hook("true", CHANGE, 60.0, None)
    assert [] == sent


async def test_a_command_has_a_process_group_of_its_own() -> None:
    # Signals for the group of vortexctl, such as SIGINT of a terminal, don't reach the command.
    async with pipe() as output:
        await run_hook("trap 'echo got' USR1; kill -USR1 0; echo $$", CHANGE, 60.0, output.write)
        got, pid, _ = (await output.next()).split(b"\n")
        await output.ends()

    assert b"got" == got
    assert os.getpid() != int(pid)


def test_the_variables_describe_the_change_and_are_printable() -> None:
    assert {
        "VORTEX_APP": "orders",
        "VORTEX_PROFILE": "dev",
        "VORTEX_LABEL": "main",
        "VORTEX_VERSION": V_NEW,
        "VORTEX_OLD_VERSION": V_OLD,
        "VORTEX_COMMIT": "abc",
        "VORTEX_AUTHOR": "A\\x1bda",
    } == variables_of(CHANGE)


def test_a_variable_without_a_value_is_empty() -> None:
    found = variables_of(Change(Key("a", "b", "c"), None, None, None, {}))

    assert {"VORTEX_APP": "a", "VORTEX_PROFILE": "b", "VORTEX_LABEL": "c"} == {n: v for n, v in found.items() if v}
    assert 7 == len(found)
    assert found == variables_of(Change(Key("a", "b", "c"), None, None, None))
