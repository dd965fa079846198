"""Objects of a mirror: answers of `git cat-file` become objects, and a process with an unread answer is not used again.

Memory streams stand in the place of the processes.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
from trio.testing import (
    MockClock,
    lockstep_stream_one_way_pair,
    memory_stream_one_way_pair,
    wait_all_tasks_blocked,
)

from vortexd.source.git.complaints import Fault
from vortexd.source.git.objects import Object, Objects
from vortexd.source.git.process import Git, GitError

A, B = "a" * 40, "b" * 40
Pair = tuple[trio.abc.SendStream, trio.abc.ReceiveStream]


class FakeProcess:
    """A process of git: `asked` gives what was written to it, and `says` takes its output."""

    def __init__(self, pair: Callable[[], Pair] = memory_stream_one_way_pair) -> None:
        self.stdin, self.asked = pair()
        self.says, self.stdout = pair()


class FakeGit:
    """Starts processes that have printed the given outputs in advance, one output each."""

    def __init__(self, *outputs: bytes) -> None:
        self.outputs = [*outputs]
        self.started: list[tuple[str, ...]] = []
        self.ended = 0
        self.processes: list[FakeProcess] = []
        self.pair: Callable[[], Pair] = memory_stream_one_way_pair

    @asynccontextmanager
    async def kept_open(self, *arguments: str) -> AsyncIterator[FakeProcess]:
        process = FakeProcess(self.pair)
        self.started.append(arguments)
        self.processes.append(process)
        if self.outputs:
            await process.says.send_all(self.outputs.pop(0))
        try:
            yield process
        finally:
            self.ended += 1

    @property
    def running(self) -> int:
        return len(self.started) - self.ended


def objects_of(git: FakeGit) -> Objects:
    return Objects(cast(Git, git), 5.0)


def whole(id: str, content: bytes, kind: str = "blob") -> bytes:
    return f"{id} {kind} {len(content)}\n".encode() + content + b"\n"


async def failure(git: FakeGit, *names: str) -> GitError:
    async with objects_of(git) as objects:
        with pytest.raises(GitError) as caught:
            await objects.read(names)
        assert 0 == git.running
    return caught.value


# Answers.


async def test_objects_have_the_order_of_their_names() -> None:
    git = FakeGit(whole(A, b"x\ny", "tree") + whole(B, b""))
    async with objects_of(git) as objects:
        found = await objects.read([A, B])

    assert [Object(A, "tree", 3, b"x\ny"), Object(B, "blob", 0, b"")] == found
    assert [("cat-file", "--batch")] == git.started
    assert f"{A}\n{B}\n".encode() == await git.processes[0].asked.receive_some()


async def test_sizes_have_no_content() -> None:
    git = FakeGit(f"{A} commit 123456\n{B} blob 0\n".encode())
    async with objects_of(git) as objects:
        found = await objects.sizes([A, B])

    assert [Object(A, "commit", 123456), Object(B, "blob", 0)] == found
    assert [("cat-file", "--batch-check")] == git.started


async def test_an_answer_may_come_in_pieces() -> None:
    git = FakeGit()
    found: list[Object] = []
    async with objects_of(git) as objects, trio.open_nursery() as nursery:

        async def read() -> None:
            found.extend(await objects.read([A]))

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        for byte in whole(A, b"content"):
            assert [] == found
            await git.processes[0].says.send_all(bytes([byte]))
            await wait_all_tasks_blocked()

    assert [Object(A, "blob", 7, b"content")] == found


async def test_a_process_stays_open_for_the_next_question() -> None:
    git = FakeGit(whole(A, b"1"))
    async with objects_of(git) as objects:
        first = await objects.read([A])
        await git.processes[0].says.send_all(whole(B, b"2"))
        second = await objects.read([B])
        assert 1 == git.running

    assert [b"1", b"2"] == [each.content for each in first + second]
    assert (1, 0) == (len(git.started), git.running)


async def test_sizes_and_contents_come_from_two_processes() -> None:
    git = FakeGit(f"{A} blob 1\n".encode(), whole(A, b"1"))
    async with objects_of(git) as objects:
        await objects.sizes([A])
        await objects.read([A])
        assert 2 == git.running

    assert 0 == git.running


async def test_a_question_without_names_starts_no_process() -> None:
    git = FakeGit()
    async with objects_of(git) as objects:
        assert [] == await objects.read([])
        assert [] == await objects.sizes([])

    assert [] == git.started


async def test_a_restart_ends_both_processes_and_the_next_question_starts_new_ones() -> None:
    git = FakeGit(f"{A} blob 1\n".encode(), whole(A, b"1") + b"old", whole(A, b"2"))
    async with objects_of(git) as objects:
        await objects.sizes([A])
        await objects.read([A])
        await objects.restart()
        assert 0 == git.running
        [found] = await objects.read([A])

    assert b"2" == found.content


async def test_names_are_written_while_answers_are_read() -> None:
    """A pipe holds little, so git answers the first names before it reads the last."""
    git = FakeGit()
    git.pair = lockstep_stream_one_way_pair
    found: list[Object] = []

    async def answer() -> None:
        process = git.processes[0]
        for name in (A, B):
            assert f"{name}\n".encode() == await process.asked.receive_some(41)
            await process.says.send_all(whole(name, b"x"))

    async with objects_of(git) as objects, trio.open_nursery() as nursery:

        async def read() -> None:
            found.extend(await objects.read([A, B]))

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        nursery.start_soon(answer)

    assert [A, B] == [each.id for each in found]


# Failures.


@pytest.mark.parametrize(
    "answer", [f"{A} missing\n", f"{A} ambiguous\n", f"{A} blob x\n", f"{A} blob -1\n", f"{A} blob 1 2\n", "\n"]
)
async def test_an_object_that_git_does_not_have_is_named(answer: str) -> None:
    error = await failure(FakeGit(answer.encode()), A)

    assert (f"the mirror lacks the object {A}", Fault.UNKNOWN) == (str(error), error.fault)


async def test_the_missing_object_is_named_and_not_the_first() -> None:
    assert f"the mirror lacks the object {B}" == str(await failure(FakeGit(whole(A, b"") + b"x missing\n"), A, B))


async def test_after_a_failure_a_new_process_answers_and_old_output_is_dropped() -> None:
    git = FakeGit(f"{A} missing\n".encode() + whole(B, b"old"), whole(A, b"new"))
    async with objects_of(git) as objects:
        with pytest.raises(GitError):
            await objects.read([A, B])
        [found] = await objects.read([A])

    assert b"new" == found.content
    assert (2, 0) == (len(git.started), git.running)


@pytest.mark.parametrize("output", [b"", A.encode(), f"{A} blob 3\n".encode(), f"{A} blob 3\nabc".encode()])
async def test_the_end_of_the_process_is_an_error(output: bytes) -> None:
    git = FakeGit()
    async with objects_of(git) as objects, trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(GitError, match="^git cat-file has ended$"):
                await objects.read([A])

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        if output:
            await git.processes[0].says.send_all(output)
        await git.processes[0].says.aclose()
        await wait_all_tasks_blocked()
        assert 0 == git.running


async def test_the_end_of_the_process_while_names_are_written_is_the_same_error() -> None:
    git = FakeGit()
    git.pair = lockstep_stream_one_way_pair
    async with objects_of(git) as objects, trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(GitError, match="^git cat-file has ended$"):
                await objects.read([A])

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        await git.processes[0].asked.aclose()
        await wait_all_tasks_blocked()
        await git.processes[0].says.aclose()


@pytest.mark.parametrize(("length", "is_read"), [(512, True), (513, False)])
async def test_a_line_about_an_object_has_at_most_512_bytes(
    length: int, is_read: bool, autojump_clock: MockClock
) -> None:
    name = "x" * (length - len(" blob 0\n"))
    git = FakeGit(whole(name, b""))
    if is_read:
        async with objects_of(git) as objects:
            assert [Object(name, "blob", 0, b"")] == await objects.read([A])
    else:
        assert Fault.LATE is (await failure(git, A)).fault


async def test_an_answer_that_takes_longer_than_the_timeout_is_an_error(autojump_clock: MockClock) -> None:
    git = FakeGit(whole(A, b""))
    began = trio.current_time()
    error = await failure(git, A, B)

    assert ("git cat-file took longer than 5 s", Fault.LATE) == (str(error), error.fault)
    assert 5 == trio.current_time() - began


async def test_each_question_has_the_whole_timeout(autojump_clock: MockClock) -> None:
    git = FakeGit()
    found: list[Object] = []
    async with objects_of(git) as objects, trio.open_nursery() as nursery:

        async def read() -> None:
            for _ in range(2):
                found.extend(await objects.read([A]))

        nursery.start_soon(read)
        for _ in range(2):
            await trio.sleep(4.9)
            await git.processes[0].says.send_all(whole(A, b"x"))

    assert (2, 1) == (len(found), len(git.started))


@pytest.mark.parametrize("output", [b"", f"{A} blob 3\nab".encode()])
async def test_a_question_that_is_cancelled_ends_the_process(output: bytes) -> None:
    git = FakeGit(output, whole(B, b"new"))
    async with objects_of(git) as objects:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(objects.read, [A])
            await wait_all_tasks_blocked()
            assert 1 == git.running
            nursery.cancel_scope.cancel()
        assert 0 == git.running
        [found] = await objects.read([B])

    assert Object(B, "blob", 3, b"new") == found
