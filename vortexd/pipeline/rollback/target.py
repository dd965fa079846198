"""Finds the commit that a roll-back goes back to, by the beginning of its id or by the version of a key.

The commits of a label arrive, the newest first. A `BranchState` leaves, which is that of the target. A commit is only read
if the one after it changes a path that decides about the key. The invariant: the number of commits that are read is
bounded.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import attrs
import trio

from ...aio import threads
from ...core.commits import Commit, PastFiles, named
from ...core.errors import RemoteError
from ...core.model import EDIT_COMMITS, Key
from .branch_states import BranchState, BranchStates

T = TypeVar("T")

# The most commits that are read and resolved in the search for a version.
MOST_READ = 200
_VERSION = re.compile(r"[0-9a-f]{16}")
_UNKNOWN = (
    f"; older commits aren't known, because the server reads the newest {EDIT_COMMITS:,} commits of a branch, "
    "and fewer if one of them changes too many files"
)
# The number of commits that are passed over before other tasks run.
_AT_ONCE = 100


class Commits(Protocol):
    """The part of the sources that reads commits."""

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        """Read the files of a commit. Return None if it can't be served.

        Raises:
            SourceError: It can't be read now.
        """
        ...


@attrs.frozen(eq=False)
class Reader:
    """Reads the states of a branch at commits.

    Attributes:
        root: The root of the branch's files.
        limiter: Limits the threads that parse and resolve.
    """

    commits: Commits
    root: str
    states: BranchStates
    limiter: trio.CapacityLimiter

    async def read(self, commit: str, near: BranchState | None, *, repairs: bool = False) -> BranchState | None:
        """Return the state at a commit, or None if the commit can't be served.

        Raises:
            SourceError: The commit can't be read now.
        """
        past = await self.commits.at(self.root, commit, None if near is None else near.past)
        if past is None:
            return None
        return await self.in_thread(partial(self.states.at, past, repairs=repairs))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run work in a thread. It is pure, so an abandoned thread does no harm."""
        return await threads.run_sync(work, abandon_on_cancel=True, limiter=self.limiter)


async def find(reader: Reader, head: BranchState, key: Key, steps: Sequence[Commit], to: str) -> BranchState:
    """Return the state at the target.

    Args:
        head: The state at the first of the commits.
        steps: The commits of the label, the newest first.
        to: A version of the key, or the beginning of the id of one of the commits.

    Raises:
        RemoteError: There is no such version or commit among them, or the commit can't be read.
        SourceError: A commit can't be read now.
    """
    if _VERSION.fullmatch(to) and not any(step.id.startswith(to) for step in steps):
        return await _with_version(reader, head, key, steps, to)
    commit = _named(steps, to).id
    found = head if commit == head.past.files.revision else await reader.read(commit, head)
    if found is None:
        raise RemoteError("the commit can't be served, so nothing can be restored from it", 409)
    return found


def _named(steps: Sequence[Commit], to: str) -> Commit:
    """Do as `named`. If older commits aren't known, the error says so."""
    try:
        return named(steps, to)
    except RemoteError as error:
        if any(step.id.startswith(to) for step in steps):
            raise
        raise RemoteError(f"{error.reason}{_end(steps)}", 404) from None


def _end(steps: Sequence[Commit]) -> str:
    """Return why older commits aren't known, for the end of an error. Return "" if the oldest one has no parent."""
    return "" if steps and steps[-1].parent is None else _UNKNOWN


async def _with_version(
    reader: Reader, head: BranchState, key: Key, steps: Sequence[Commit], version: str
) -> BranchState:
    """Return the newest state in which a key has a version."""

    def examined(state: BranchState) -> tuple[bool, frozenset[str] | None]:
        return state.is_at(key, version), state.deciding(key)

    near, read = head, 0
    is_found, deciding = await reader.in_thread(partial(examined, head))
    if is_found:
        return head
    for number, step in enumerate(steps):
        if number % _AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
        if step.parent is None:
            break
        if deciding is not None and deciding.isdisjoint(step.paths):
            # The commit before has the same document.
            continue
        if read >= MOST_READ:
            raise RemoteError(f"this version isn't among the newest {MOST_READ} changes; name a commit", 404)
        read += 1
        found = await reader.read(step.parent, near)
        if found is None:
            deciding = None
            continue
        near = found
        is_found, deciding = await reader.in_thread(partial(examined, found))
        if is_found:
            return found
    raise RemoteError(f"no commit that the server knows gives the key this version; name a commit{_end(steps)}", 404)
