"""Work in a separate process: its results, and every way in which the process can end."""

import errno
import marshal
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vortexd.aio import isolated
from vortexd.aio.isolated import HEADER, Died, Exceeded, Isolated, Unavailable

MEMORY = 67_108_864
WORK = "tests.aio.isolated_work"
CRASHES = (
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGSYS,
    signal.SIGTRAP,
)


@pytest.fixture
def process() -> Iterator[Isolated]:
    with Isolated(WORK, MEMORY, 1) as process:
        yield process


def asked(process: Isolated, request: Any, content: bytes = b"") -> list[Any]:
    return list(process.ask(request, content))


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    """Whether a process ends that was killed, or whose pipe was closed."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 5)[0])
    finally:
        os.close(descriptor)


def test_values_come_back_in_order_and_large_content_whole(process: Isolated) -> None:
    content = os.urandom(1_000) * 3_000

    assert [*range(1_000)] == asked(process, ["count", 1_000])
    assert [content] == asked(process, "echo", content)
    assert [b""] == asked(process, "echo")
    assert [] == asked(process, ["count", 0])


def test_requests_share_one_process_that_is_another_than_this(process: Isolated) -> None:
    (first,) = asked(process, "pid")

    assert [first] == asked(process, "pid")
    assert first != os.getpid()


def test_nothing_is_started_before_the_first_request() -> None:
    with Isolated(WORK, MEMORY, 1, ["/nowhere"]) as process:
        process.close()
    with pytest.raises(Unavailable, match="^No such file or directory$"):
        asked(process, "pid")


def test_closing_ends_the_process_and_it_can_be_used_again(process: Isolated) -> None:
    (first,) = asked(process, "pid")
    process.close()
    assert not is_running(first)

    (second,) = asked(process, "pid")
    assert first != second


def test_whoever_stops_reading_ends_the_process(process: Isolated) -> None:
    (first,) = asked(process, "pid")
    values = process.ask(["count", 1_000_000])
    assert 0 == next(values)
    values.close()  # type: ignore[attr-defined]  # a generator

    assert not is_running(first)
    assert [0, 1] == asked(process, ["count", 2])


def test_R20_memory_beyond_the_bound_is_the_end_of_the_request_and_of_nothing_else(process: Isolated) -> None:
    with pytest.raises(Exceeded, match=f"^takes more than {MEMORY} bytes of memory$"):
        asked(process, "fill")
    assert [0] == asked(process, ["count", 1])


def test_memory_that_a_request_or_a_value_takes_counts(process: Isolated) -> None:
    with pytest.raises(Exceeded, match=f"^takes more than {MEMORY} bytes of memory$"):
        asked(process, "echo", bytes(MEMORY))
    with pytest.raises(Exceeded, match=f"^takes more than {MEMORY} bytes of memory$"):
        asked(process, ["large", MEMORY // 2])


def test_threads_reserve_no_memory_that_would_count(process: Isolated) -> None:
    assert ["1"] == asked(process, "arenas")


def test_no_memory_is_written_to_a_disk_when_it_is_killed(process: Isolated) -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        ((_, _, core),) = asked(process, "limits")
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)

    assert 0 == core


def test_limits_are_those_that_were_asked_for_beside_what_the_interpreter_has(process: Isolated) -> None:
    ((space, _, _),) = asked(process, "limits")

    assert MEMORY < space < MEMORY + 1_073_741_824


def test_R20_processor_time_beyond_the_bound_ends_it() -> None:
    with Isolated(WORK, MEMORY, 1) as process, pytest.raises(Exceeded, match="^takes more than 1 s of processor time$"):
        asked(process, "spin")


def test_each_request_has_processor_time_of_its_own(process: Isolated) -> None:
    ((_, first, _),) = asked(process, "limits")
    assert ["burnt"] == asked(process, ["burn", 1.1])
    ((_, second, _),) = asked(process, "limits")

    assert 2 == first
    assert 3 == second


def test_a_process_that_does_nothing_is_ended_at_the_deadline(
    process: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pid,) = asked(process, "pid")
    monkeypatch.setattr(isolated, "_PATIENCE", 0.05)
    with pytest.raises(Died, match=r"^takes longer than 0.05 s$") as caught:
        asked(process, "sleep")

    assert not caught.value.is_crash

    assert not is_running(pid)


def test_a_process_that_takes_no_request_is_ended_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "_PATIENCE", 0.05)
    with Isolated("", 1, 1, ["sleep", "60"]) as process, pytest.raises(Died, match=r"^takes longer than 0.05 s$"):
        asked(process, "echo", bytes(1_000_000))


def test_a_deadline_by_the_clock_can_be_shorter_than_the_processor_limit() -> None:
    with (
        Isolated("", 1, 100, ["sleep", "60"], clock_seconds=0.05) as process,
        pytest.raises(Died, match=r"^takes longer than 0.05 s$"),
    ):
        asked(process, "echo", bytes(1_000_000))


def test_an_unexpected_error_is_told_by_its_place_and_without_its_text(process: Isolated) -> None:
    with pytest.raises(Exceeded, match=r"^fails unexpectedly: ValueError in isolated_work.py:\d+$"):
        asked(process, "fail")


@pytest.mark.parametrize(
    ("request_", "reason", "is_crash"),
    [
        (["signal", 9], "its process was killed by signal 9", False),
        (["signal", 15], "its process was killed by signal 15", False),
        *(([["signal", int(each)], f"its process was killed by signal {int(each)}", True]) for each in CRASHES),
        (["exit", 7], "its process has ended with status 7", False),
        (["exit", 11], "its process has ended with status 11", False),
        (["exit", 0], "its process has ended with status 0", False),
    ],
)
def test_a_process_that_ends_is_told_with_its_status_and_whether_it_crashed(
    process: Isolated, request_: Any, reason: str, is_crash: bool
) -> None:
    with pytest.raises(Died, match=f"^fails unexpectedly: {reason}$") as caught:
        asked(process, request_)
    assert is_crash == caught.value.is_crash


@pytest.mark.parametrize("request_", ["fill", "spin", "fail", ["signal", int(signal.SIGXCPU)], ["exit", 3]])
def test_the_end_at_a_bound_and_an_error_of_the_work_are_no_accident(process: Isolated, request_: Any) -> None:
    with pytest.raises(Exceeded) as caught:
        asked(process, request_)
    assert not isinstance(caught.value, Died)


def test_no_memory_to_tell_an_error_is_the_bound_of_memory(process: Isolated) -> None:
    with pytest.raises(Exceeded, match=f"^takes more than {MEMORY} bytes of memory$"):
        asked(process, "fail without memory to say so")


def test_processor_time_ends_a_second_before_the_hard_limit_of_the_user_which_would_not_say_why() -> None:
    program = (
        "import resource\n"
        "from vortexd.aio.isolated import Isolated\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (50, 50))\n"
        f"with Isolated({WORK!r}, {MEMORY}, 100) as process: print(next(process.ask('limits'))[1])\n"
    )
    assert b"49\n" == subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout


def test_a_process_that_ends_before_it_has_read_the_request_is_told_too() -> None:
    with Isolated("", 1, 1, ["false"]) as process, pytest.raises(Died, match="has ended with status 1"):
        asked(process, "echo", bytes(1_000_000))


def test_a_process_that_only_closes_its_pipe_is_told_and_killed(
    process: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "_GRACE", 0.05)
    (pid,) = asked(process, "pid")
    with pytest.raises(Died, match="^fails unexpectedly: its process has closed its pipe$"):
        asked(process, "hang up")

    assert not is_running(pid)


def test_another_thread_can_end_it_for_good(process: Isolated) -> None:
    values = process.ask("spin")
    assert "begun" == next(values)
    thread = threading.Thread(target=process.kill)
    thread.start()
    with pytest.raises(Died, match="its process was killed by signal 9"):
        next(values)
    thread.join()
    with pytest.raises(Unavailable, match="^this program is ending$"):
        asked(process, "pid")


def test_killing_without_a_process_does_nothing() -> None:
    Isolated(WORK, MEMORY, 1).kill()
    isolated.kill_all()


def test_a_ctrl_c_is_not_for_it(process: Isolated) -> None:
    assert ["alive"] == asked(process, ["signal", 2])


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_R17_a_machine_without_processes_is_told_as_such(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", fail)
    with Isolated(WORK, MEMORY, 1) as process, pytest.raises(Unavailable, match=f"^{os.strerror(number)}$"):
        asked(process, "pid")


def test_it_ends_while_it_works_when_nobody_is_there_any_more_to_read(process: Isolated) -> None:
    values = process.ask("spin")
    assert "begun" == next(values)
    inner = process._process
    assert inner is not None
    assert inner.stdin is not None
    inner.stdin.close()

    assert 0 == inner.wait(5)


def test_nothing_of_the_working_directory_is_run(
    process: Isolated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "marshal", "vortexd", "tests"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)

    assert [0] == asked(process, ["count", 1])


def test_a_process_that_does_not_look_at_its_pipe_is_killed_when_the_interpreter_exits() -> None:
    value = marshal.dumps(("value", 1))
    frame = "".join(f"\\{byte:03o}" for byte in HEADER.pack(len(value)) + value)
    command = ["sh", "-c", f"printf '{frame}'; exec sleep 60"]
    program = (
        "import threading\n"
        "from vortexd.aio.isolated import Isolated\n"
        f"process = Isolated('', 1, 60, {command!r})\n"
        "begun = threading.Event()\n"
        "def work():\n"
        "    for _ in process.ask(1): begun.set()\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "begun.wait()\n"
        "print(process._process.pid, flush=True)\n"
    )
    assert ends(int(subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout))


def test_it_does_not_outlive_an_interpreter_that_exits_while_it_works() -> None:
    program = (
        "import threading\n"
        "from vortexd.aio.isolated import Isolated\n"
        f"process = Isolated({WORK!r}, {MEMORY}, 60)\n"
        "begun = threading.Event()\n"
        "def spin():\n"
        "    for _ in process.ask('spin'): begun.set()\n"
        "print(*process.ask('pid'), flush=True)\n"
        "threading.Thread(target=spin, daemon=True).start()\n"
        "begun.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, timeout=30)
    pid = int(done.stdout)
    assert ends(pid)
