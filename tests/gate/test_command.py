"""The operator's command: its input, its verdict, and its ends."""

import errno
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from vortexd.core.model import Config, Key
from vortexd.core.version import encode, version_of
from vortexd.gate.command import accepts, problem_of, program_of
from vortexd.gate.finding import Failure


def config(application: str, document: dict[str, object]) -> Config:
    body = encode(document)
    return Config(Key(application, "prod", "main"), version_of(body), body, ())


CONFIGS = [config("billing", {"port": 1}), config("shop", {"a": "ä\n"})]


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", program, *arguments]


async def test_the_command_reads_the_documents_as_json_a_line(tmp_path: Path) -> None:
    out = tmp_path / "seen"
    assert await accepts(python("import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(out)), CONFIGS, 30)

    assert [
        {
            "application": "billing",
            "profile": "prod",
            "label": "main",
            "version": CONFIGS[0].version,
            "document": {"port": 1},
        },
        {
            "application": "shop",
            "profile": "prod",
            "label": "main",
            "version": CONFIGS[1].version,
            "document": {"a": "ä\n"},
        },
    ] == [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize(("status", "is_accepted"), [(0, True), (1, False), (3, False)])
async def test_the_exit_status_is_the_verdict(status: int, is_accepted: bool) -> None:
    assert is_accepted == await accepts(["/bin/sh", "-c", f"exit {status}"], CONFIGS, 30)


async def test_a_command_may_accept_without_reading() -> None:
    many = [config("a", {"x": "y" * 100_000}) for _ in range(20)]
    assert await accepts(["true"], many, 30)
    assert not await accepts(["false"], many, 30)


async def test_what_the_command_writes_goes_nowhere_however_much_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    program = (
        "import sys; sys.stdout.write('hunter2' * 1_000_000); sys.stderr.write('hunter2' * 1_000_000); sys.exit(1)"
    )
    assert not await accepts(python(program), CONFIGS, 30)

    assert ("", "") == capfd.readouterr()


async def test_the_command_gets_no_other_variables(tmp_path: Path) -> None:
    out = tmp_path / "seen"
    environ = {"PATH": os.environ["PATH"], "HOME": "/h", "LANG": "C.UTF-8", "ETCD_PASSWORD": "hunter2"}
    program = "import os, sys, json; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    assert await accepts(python(program, str(out)), CONFIGS, 30, environ)

    found = json.loads(out.read_text())
    assert "ETCD_PASSWORD" not in found
    assert {"PATH": os.environ["PATH"], "HOME": "/h", "LANG": "C.UTF-8"}.items() <= found.items()


async def test_a_command_that_hangs_ends_with_all_that_it_started(tmp_path: Path) -> None:
    out = tmp_path / "pid"
    with pytest.raises(Failure, match=r"^can't judge: the command sh takes longer than 0.5 s$"):
        await accepts(["/bin/sh", "-c", f"sleep 60 & echo $! > {out}; wait"], CONFIGS, 0.5)

    await until(lambda: not is_running(int(out.read_text())))


@pytest.mark.parametrize("status", [0, 1])
async def test_what_the_command_left_running_ends_with_it(tmp_path: Path, status: int) -> None:
    out = tmp_path / "pid"
    script = f"cat >/dev/null; sleep 60 & echo $! > {out}; exit {status}"
    assert (status == 0) == await accepts(["/bin/sh", "-c", script], CONFIGS, 30)

    await until(lambda: not is_running(int(out.read_text())))


async def test_what_is_left_by_a_command_that_a_signal_ends_ends_with_it(tmp_path: Path) -> None:
    out = tmp_path / "pid"
    with pytest.raises(Failure, match=r"^can't judge: the command sh was ended by signal 15$"):
        await accepts(["/bin/sh", "-c", f"sleep 60 & echo $! > {out}; kill $$"], CONFIGS, 30)

    await until(lambda: not is_running(int(out.read_text())))


async def test_the_process_group_is_killed_before_its_number_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the number could be that of another process by then."""
    kill = os.killpg
    states: list[str] = []

    def killpg(group: int, number: int) -> None:
        states.append(Path(f"/proc/{group}/stat").read_text().rpartition(")")[2].split()[0])
        kill(group, number)

    monkeypatch.setattr(os, "killpg", killpg)
    assert await accepts(["true"], CONFIGS, 30)

    # The process that waits for the end of the server ends first, if it was started before the command ended.
    assert "Z" == states[-1]
    assert len(states) in (1, 2)


async def test_a_command_that_may_not_be_killed_has_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have set its user id."""

    def killpg(group: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", killpg)
    monkeypatch.setattr("vortexd.gate.command._WATCH", ("/nowhere/sh",))

    assert await accepts(["true"], CONFIGS, 30)
    assert not await accepts(["false"], CONFIGS, 30)


async def test_a_command_that_cannot_be_watched_has_not_judged_and_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pids: list[int] = []

    def pidfd_open(pid: int) -> int:
        pids.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    open_process = trio.lowlevel.open_process

    async def opened(*arguments: Any, **options: Any) -> trio.Process:
        process = await open_process(*arguments, **options)
        monkeypatch.setattr(os, "pidfd_open", pidfd_open)
        return process

    monkeypatch.setattr(trio.lowlevel, "open_process", opened)
    with pytest.raises(Failure, match=r"^can't judge: the command sleep can't be watched: too many open files$"):
        await accepts(["sleep", "60"], CONFIGS, 30)

    assert not is_running(pids[0])


async def test_no_descriptor_is_left() -> None:
    assert await accepts(["true"], CONFIGS, 30)
    before = sorted(os.listdir("/proc/self/fd"))
    for command, seconds in ((["true"], 30.0), (["false"], 30.0), (["sleep", "60"], 0.05)):
        with suppress(Failure):
            await accepts(command, CONFIGS, seconds)

    assert len(before) == len(os.listdir("/proc/self/fd"))


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not is_so():  # noqa: ASYNC110  # no event tells of another program's process
            await trio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def test_a_command_that_a_signal_ends_has_not_judged() -> None:
    with pytest.raises(Failure, match=r"^can't judge: the command sh was ended by signal 9$"):
        await accepts(["/bin/sh", "-c", "kill -9 $$"], CONFIGS, 30)


async def test_a_command_that_cannot_start_has_not_judged() -> None:
    with pytest.raises(Failure, match=r"^can't start the command judge: no such file or directory$"):
        await accepts(["/nowhere/judge", "hunter2"], CONFIGS, 30)


async def test_a_cancelled_command_ends(tmp_path: Path) -> None:
    out = tmp_path / "pid"
    async with trio.open_nursery() as nursery:

        async def judge() -> None:
            await accepts(["/bin/sh", "-c", f"echo $$ > {out}.new; mv {out}.new {out}; exec sleep 60"], CONFIGS, 60)

        nursery.start_soon(judge)
        with trio.fail_after(10):
            while not out.exists():  # noqa: ASYNC110  # as above
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()

    assert not is_running(int(out.read_text()))


def test_a_program_is_named_without_its_arguments() -> None:
    assert "judge" == program_of(["/usr/bin/judge", "--token", "hunter2"])


_SERVER = """
import sys, trio
from vortexd.core.model import Config, Key
from vortexd.gate.command import accepts

trio.run(accepts, sys.argv[1:], [Config(Key("a", "b", "c"), "v", b"{}", ())], 300)
"""


async def test_a_server_that_is_killed_leaves_no_command_and_none_of_its_children_behind(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 300 & echo $! >> {pids}; echo $$ >> {pids}; wait"
    server = await trio.lowlevel.open_process([sys.executable, "-c", _SERVER, "/bin/sh", "-c", script])
    await until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    found = [int(each) for each in pids.read_text().split()]
    # The command runs, and another process waits for the end of the server.
    await until(lambda: len(children_of(server.pid)) == 2)
    server.kill()
    await server.wait()

    await until(lambda: not any(map(is_running, found)))


async def test_nothing_is_left_behind_by_a_command_that_has_judged() -> None:
    assert await accepts(["true"], CONFIGS, 30)

    assert [] == [each for each in children_of(os.getpid()) if b"read -r line" in program_text(each)]


async def test_without_a_shell_the_command_judges_nevertheless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vortexd.gate.command._WATCH", ("/nowhere/sh",))

    assert await accepts(["true"], CONFIGS, 30)
    assert not await accepts(["false"], CONFIGS, 30)


def children_of(pid: int) -> list[int]:
    return [int(child) for each in Path(f"/proc/{pid}/task").glob("*/children") for child in each.read_text().split()]


def program_text(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_command_that_cannot_be_executed_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "judge").write_text("#!/bin/sh\n")
    (tmp_path / "judge").chmod(0o755)
    (tmp_path / "plain").write_text("")
    (tmp_path / "plain").chmod(0o644)
    environ = {"PATH": str(tmp_path)}

    assert [None, None] == [problem_of([name, "-x"], environ) for name in ("judge", str(tmp_path / "judge"))]
    for name in ("plain", "nothing"):
        assert f"there is no program {name} in PATH" == problem_of([name], environ)
    for path, why in (
        (tmp_path / "nothing", ": no such file or directory"),
        (tmp_path / "plain" / "x", ": not a directory"),
        (tmp_path, " is not a file"),
        (tmp_path / "plain", " can't be executed; set its mode to 755"),
    ):
        assert f"{path}{why}" == problem_of([str(path)], environ)
    # Arguments may hold secrets.
    assert "hunter2" not in str(problem_of(["nothing", "hunter2"], environ))
