"""Reads objects of a mirror by id, from a `git cat-file` process that stays open: ids arrive, and bytes leave.

Measured with 2,000 files of 1 KB: this takes 22 ms, and libgit2 in the server's process takes 11 ms. A push changes few
files, so it matters more that only those are read. And a hostile repository is better parsed in a process that may
fail.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

import attrs
import trio

from .complaints import Fault
from .process import Git, GitError

_MAX_HEADER = 512


@attrs.frozen
class Object:
    """An object of git.

    Attributes:
        kind: "commit", "tree", "blob" or "tag".
        content: Its bytes; b"" if only its size was requested.
    """

    id: str
    kind: str
    size: int
    content: bytes = b""


class Objects:
    """Reads objects, one question at a time. Use it with `async with`. Processes start when they are needed.

    Args:
        timeout: The seconds that one answer may take.
    """

    def __init__(self, git: Git, timeout: float) -> None:
        self._headers = _Batch(git, "--batch-check", timeout)
        self._contents = _Batch(git, "--batch", timeout)

    async def __aenter__(self) -> "Objects":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.restart()

    async def restart(self) -> None:
        """End the processes; the next question starts new ones. Call this when the mirror was replaced."""
        await self._headers.end()
        await self._contents.end()

    async def sizes(self, ids: Sequence[str]) -> list[Object]:
        """Return the kinds and sizes of objects. Raises the same errors as `read`."""
        return await self._headers.ask(ids, has_content=False)

    async def read(self, names: Sequence[str]) -> list[Object]:
        """Return whole objects, in the order of their names, which are full ids. Check their `sizes` first.

        Raises:
            GitError: One of them doesn't exist, or the mirror can't be read.
        """
        return await self._contents.ask(names, has_content=True)


class _Batch:
    """One open `git cat-file` process.

    If a question is interrupted, the process ends, because the next question would read the old answer.
    """

    def __init__(self, git: Git, flag: str, timeout: float) -> None:
        self._git = git
        self._flag = flag
        self._timeout = timeout
        self._stack = AsyncExitStack()
        self._process: trio.Process | None = None
        self._data = bytearray()

    async def end(self) -> None:
        self._process = None
        self._data.clear()
        await self._stack.aclose()

    async def ask(self, names: Sequence[str], *, has_content: bool) -> list[Object]:
        if not names:
            return []
        try:
            with trio.move_on_after(self._timeout) as scope:
                found, failure = await self._ask(names, has_content)
        except BaseException:
            await self.end()
            raise
        if scope.cancelled_caught:
            await self.end()
            raise GitError(f"git cat-file took longer than {self._timeout:g} s", Fault.LATE)
        if failure is not None:
            await self.end()
            raise failure
        return found

    async def _ask(self, names: Sequence[str], has_content: bool) -> tuple[list[Object], GitError | None]:
        found: list[Object] = []
        if self._process is None:
            self._process = await self._stack.enter_async_context(self._git.kept_open("cat-file", self._flag))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, self._process, "".join(f"{name}\n" for name in names))
            try:
                found += [await self._answer(self._process, name, has_content) for name in names]
            except GitError as failure:
                nursery.cancel_scope.cancel()
                return found, failure
        return found, None

    async def _send(self, process: trio.Process, text: str) -> None:
        assert process.stdin is not None
        # The task that waits for the answer also sees the end of the process, and reports it.
        with suppress(trio.BrokenResourceError):
            await process.stdin.send_all(text.encode())

    async def _answer(self, process: trio.Process, name: str, has_content: bool) -> Object:
        while (end := self._data.find(b"\n", 0, _MAX_HEADER)) < 0:
            await self._receive(process)
        header = self._data[:end].decode("utf-8", "replace").split(" ")
        if len(header) != 3 or not header[2].isdigit():
            raise GitError(f"the mirror lacks the object {name}")
        id, kind, size = header[0], header[1], int(header[2])
        del self._data[: end + 1]
        if not has_content:
            return Object(id, kind, size)
        while len(self._data) <= size:
            await self._receive(process)
        content = bytes(self._data[:size])
        del self._data[: size + 1]
        return Object(id, kind, size, content)

    async def _receive(self, process: trio.Process) -> None:
        assert process.stdout is not None
        data = await process.stdout.receive_some(1_048_576)
        if not data:
            raise GitError("git cat-file has ended")
        self._data += data
