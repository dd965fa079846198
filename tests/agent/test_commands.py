"""Commands that check and reload; the tests run real, short ones."""

import os
import signal
import time
from pathlib import Path

import pytest
import trio

from vortexd.agent.commands import MAX_STDERR, Failure, run

from .fakes import comes_true, ends, has_ended, has_text


async def failure(*words: str, timeout: float = 20.0, shell: bool = False) -> Failure:
    with pytest.raises(Failure) as caught:
        await run("check", words, {}, timeout, shell=shell)
    return caught.value


async def test_a_command_that_ends_well_is_done() -> None:
    await run("check", ["true"], {}, 20.0, shell=False)


async def test_a_failure_has_the_status_and_the_end_of_stderr() -> None:
    found = await failure("/bin/sh", "-c", "echo out; echo one >&2; printf 'two\\033[31m' >&2; exit 3")

    assert ("check ended with status 3", "one\ntwo\\x1b[31m") == (found.reason, found.stderr)


async def test_only_the_end_of_stderr_is_kept() -> None:
    found = await failure("/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1")

    assert MAX_STDERR >= len(found.stderr)
    assert found.stderr.endswith("xend")


async def test_a_command_that_is_not_there_is_a_failure() -> None:
    assert "check can't start: no such file or directory" == (await failure("/nonexistent/check")).reason


async def test_no_shell_reads_the_words_unless_asked_to(tmp_path: Path) -> None:
    file = tmp_path / "made"
    await run("check", ["true", f"; touch {file}", f"$(touch {file})"], {}, 20.0, shell=False)
    assert not file.exists()
    await run("check", [f"true && touch '{file}'"], {}, 20.0, shell=True)

    assert file.exists()


async def test_variables_are_handed_on_and_our_token_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VORTEXD_TOKEN", "secret")

    await run("check", ['test "$A" = 1 && test -z "$VORTEXD_TOKEN" && test -n "$PATH"'], {"A": "1"}, 20.0, shell=True)


async def test_what_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    began = time.monotonic()
    found = await failure(
        f"trap '' TERM; sleep 600 & echo $! > '{file}'; echo waiting >&2; wait; sleep 600", timeout=0.5, shell=True
    )

    assert ("check took longer than 0.5 s", "waiting") == (found.reason, found.stderr)
    assert 10 > time.monotonic() - began
    pid = int(file.read_text())
    assert await ends(pid)


async def test_a_cancelled_command_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run("reload", [f"echo $$ > '{file}'; exec sleep 600"], {}, 600.0, shell=True))
        assert await comes_true(lambda: has_text(file))
        nursery.cancel_scope.cancel()

    pid = int(file.read_text())
    assert await ends(pid)


async def test_what_a_reload_leaves_in_the_background_is_neither_waited_for_nor_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    began = time.monotonic()
    await run("reload", [f"sleep 600 & echo $! > '{file}'"], {}, 20.0, shell=True)
    pid = int(file.read_text())

    assert 10 > time.monotonic() - began
    assert not has_ended(pid)
    os.kill(pid, signal.SIGKILL)
