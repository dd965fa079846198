"""Rolls keys back: plans a commit, lets the source make and push it, and makes the sources fetch it.

A `Wanted` arrives. A `Plan` leaves, with the new commit if it is carried out. The invariants: a commit is only pushed on top
of the commit that the person has seen, and only if its own files, read from the mirror again, give the key the version of
the target. Before that, the gate must accept the documents that change. One roll-back at a time is carried out for each repository. All waits are bounded, and their sum is below the
default of `server.request_timeout`.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import attrs
import structlog
import trio

from ...core.commits import Commit
from ...core.errors import RemoteError, SourceError
from ...core.model import Key
from ...core.pushes import REMOTE_SAYS, Branch, NewCommit, PushError, PushFault
from ...resolve.tree import ParsedFiles
from ..served import ServedState
from ..store import Store
from .branch_states import BranchState, BranchStates
from .judgement import check_accepted, judged
from .plan import Plan, make_plan
from .target import Commits, Reader, find

if TYPE_CHECKING:
    from ...gate.gate import PublicationGate

log = structlog.get_logger()

# Seconds to plan, with the judgement of the gate, and to make the commit.
PLAN_SECONDS, COMMIT_SECONDS = 6.0, 3.0
# Seconds to wait for another roll-back of the same repository, and for a fetch that may bring the commit that the person has
# seen.
TURN_SECONDS, FETCH_SECONDS = 3.0, 2.0
# Seconds to wait until it is recorded that a push begins. The disk may hang.
RECORD_SECONDS = 0.5
TRAILER = "Vortexd-Rollback"
# The most keys that one worker names to another one.
MOST_UNLISTED = 10_000
_CONFLICTS = (PushFault.MOVED, PushFault.REJECTED)


Begun = Callable[[Plan, str], Awaitable[None]]


class Repositories(Commits, Protocol):
    """The part of the sources that has branches."""

    def branch(self, root: str, label: str) -> Branch | None:
        """Return the branch that serves a label, or None if the files with this root aren't those of a repository.

        Raises:
            RemoteError: The label isn't a branch.
            SourceError: The sources haven't been read yet.
        """
        ...

    def commits(self, root: str, commit: str) -> Sequence[Commit]:
        """Return a commit and those before it, the newest first, or nothing if they aren't known."""
        ...

    async def commit(self, root: str, new: NewCommit) -> str:
        """Make a commit. Raises PushError."""
        ...

    async def push(self, root: str, branch: str, head: str, commit: str) -> None:
        """Push a commit. Raises PushError."""
        ...

    async def wait_looked(self, addresses: Collection[str], refs: Collection[str]) -> None:
        """Wait until the sources with these addresses have fetched."""
        ...


class Files(Protocol):
    """The part of the reader that finds the files of a key."""

    async def files(self, key: Key) -> list[ParsedFiles]:
        """Return the layers that serve a key. Raises UnknownLabel."""
        ...


@attrs.frozen(slots=True)
class Wanted:
    """A roll-back that a person asks for.

    Attributes:
        to: A version of the key, or the beginning of the id of a commit.
        shared: Whether files of other applications may be restored, too.
        author: The person's name.
        reason: One line.
        expected: The newest commit of the branch, as the person has seen it in a plan.
        in_use: Keys that other workers' clients use. They may change, too.
    """

    key: Key
    to: str
    shared: bool = False
    author: str = ""
    reason: str = ""
    expected: str = ""
    in_use: Sequence[Key] = ()


@attrs.frozen(eq=False)
class _Draft:
    """A plan with the means to check it."""

    plan: Plan
    root: str
    head: BranchState
    reader: Reader


class RollBacks:
    """Rolls keys back; see the module.

    Args:
        store: The served state, and the keys in use.
        files: Finds the files of a key.
        repositories: The sources.
        refresh: Makes the sources of all workers and nodes fetch that have an address and serve a ref.
        is_pinned: Returns whether a key is pinned. Then it can't be rolled back, because clients wouldn't get the result.
        now: Returns the seconds since the epoch.
        gate: Returns the gate that judges before a push, or None if there is none.
    """

    def __init__(
        self,
        store: Store,
        files: Files,
        repositories: Repositories,
        refresh: Callable[[Collection[str], Collection[str]], object],
        is_pinned: Callable[[Key], bool] = lambda _: False,
        now: Callable[[], float] = time.time,
        gate: "Callable[[], PublicationGate | None]" = lambda: None,
    ) -> None:
        self._store = store
        self._files = files
        self._repositories = repositories
        self._refresh = refresh
        self._is_pinned = is_pinned
        self._now = now
        self._gate = gate
        # Planning is limited by the processor.
        self._planning = trio.CapacityLimiter(1)
        self._turns: dict[str, trio.Lock] = {}

    def unlisted(self, label: str) -> list[Key]:
        """Return the keys with a label that clients use here and that aren't listed, at most `MOST_UNLISTED`."""
        listed = self._store.served.listing.keys if self._store.served is not None else frozenset()
        found = (key for key in self._store if label in key.labels and key not in listed)
        return [*islice(found, MOST_UNLISTED)]

    async def plan(self, wanted: Wanted) -> Plan:
        """Plan a roll-back, and change nothing.

        Raises:
            RemoteError: It can't be carried out, apart from the questions whether the source may push and the gate accepts
                it.
        """
        return (await self._drafted(wanted)).plan

    async def carry_out(self, wanted: Wanted, begun: Begun) -> tuple[Plan, str]:
        """Make a commit and push it. Return the plan, and the commit. All workers and nodes begin to fetch it.

        If this is cancelled, the push may have arrived.

        Args:
            begun: Called with the plan and the commit before the push. If it takes too long, it is cancelled.

        Raises:
            RemoteError: It can't be carried out. Unless the error says that the outcome isn't known, nothing has changed.
        """
        branch, root = self._branch(wanted.key, await self._layers(wanted.key))
        if not branch.pushes:
            raise RemoteError(
                f"vortexd may not push to {branch.source}; set push of the source, or pin the key (vortexctl pin)", 403
            )
        async with self._turn(root):
            return await self._carried_out(wanted, begun)

    async def _carried_out(self, wanted: Wanted, begun: Begun) -> tuple[Plan, str]:
        began = time.perf_counter()
        draft = await self._expected_draft(wanted)
        plan, branch = draft.plan, draft.plan.branch
        if not plan.files:
            raise RemoteError("the newest commit already gives the key this document, so there is nothing to push", 409)
        check_accepted(plan.refused)
        planned = time.perf_counter()
        try:
            commit = await self._committed(wanted, draft)
            made = time.perf_counter()
            with trio.move_on_after(RECORD_SECONDS):
                await begun(plan, commit)
            try:
                await self._repositories.push(draft.root, branch.name, branch.head, commit)
            finally:
                # Even a failed push may have arrived, or has found that the branch has moved.
                self._refresh(*_hint(branch))
        except PushError as error:
            # A value of a log event has a limit, so the words of the remote have a member of their own.
            reason, _, words = str(error).partition(REMOTE_SAYS)
            log.warning(
                "roll-back not pushed",
                key=str(wanted.key),
                source=branch.source,
                branch=branch.name,
                reason=reason,
                **({"remote": words} if words else {}),
                consequence=_consequence(error.fault),
            )
            raise _refusal(error, branch) from error
        log.info(
            "rolled back",
            key=str(wanted.key),
            target=plan.target,
            commit=commit,
            branch=branch.name,
            files=[each.path for each in plan.files],
            others=plan.others_count,
            plan_seconds=round(planned - began, 3),
            commit_seconds=round(made - planned, 3),
            push_seconds=round(time.perf_counter() - made, 3),
        )
        return plan, commit

    async def _expected_draft(self, wanted: Wanted) -> _Draft:
        """Plan on the commit that the person has seen. If this worker doesn't know it yet, fetch once.

        Raises:
            RemoteError: The branch is at another commit.
        """
        branch, _ = self._branch(wanted.key, await self._layers(wanted.key))
        if branch.head != wanted.expected:
            self._refresh(*_hint(branch))
            with trio.move_on_after(FETCH_SECONDS):
                await self._repositories.wait_looked(*_hint(branch))
        branch, _ = self._branch(wanted.key, await self._layers(wanted.key))
        if branch.head == wanted.expected:
            draft = await self._drafted(wanted)
            branch = draft.plan.branch
        if branch.head != wanted.expected:
            raise RemoteError(f"the branch has moved to {branch.head}; look at the plan again", 409)
        return draft

    async def _committed(self, wanted: Wanted, draft: _Draft) -> str:
        """Make the commit as `_commit` does, in a limited time."""
        with trio.move_on_after(COMMIT_SECONDS):
            return await self._commit(wanted, draft)
        raise _late(f"the commit wasn't made within {COMMIT_SECONDS:g} s; nothing was pushed, so try again")

    async def _commit(self, wanted: Wanted, draft: _Draft) -> str:
        """Make the commit in the mirror, and check that its files give the key the version of the target.

        Raises:
            PushError: It can't be made.
            RemoteError: Its files give another version.
        """
        plan = draft.plan
        # The prefix shows that a person has written the text, which may look like a trailer.
        reason = f"Reason: {wanted.reason}"
        text = f"Roll back {wanted.key} to {plan.target[:12]}\n\n{reason}\n\n{TRAILER}: {plan.target}\n"
        new = NewCommit(plan.branch.head, plan.files, text, wanted.author, int(self._now()), plan.target)
        commit = await self._repositories.commit(draft.root, new)
        try:
            made = await draft.reader.read(commit, draft.head)
        except SourceError as error:
            raise PushError(str(error), PushFault.LOCAL) from None
        if made is None or not await draft.reader.in_thread(partial(made.is_at, plan.key, plan.new.version)):
            raise RemoteError("the files of the new commit don't give the key this document; nothing was pushed", 409)
        return commit

    # The plan.

    async def _drafted(self, wanted: Wanted) -> _Draft:
        """Plan a roll-back on the newest commit of the branch.

        Raises:
            RemoteError: It can't be planned, or not in time.
        """
        layers = await self._layers(wanted.key)
        deadline = time.monotonic() + PLAN_SECONDS
        with trio.move_on_after(PLAN_SECONDS):
            try:
                return await self._draft(wanted, layers, partial(_tick, deadline))
            except SourceError as error:
                log.warning("roll-back not planned", key=str(wanted.key), reason=str(error))
                raise _late("the repository can't be read now; see the server's log") from None
        raise _late(_TOO_LONG)

    async def _layers(self, key: Key) -> list[ParsedFiles]:
        """Return the layers of a key that may be rolled back. Raises RemoteError if it may not."""
        if len(key.labels) != 1:
            raise RemoteError("a roll-back needs one label", 400)
        if self._is_pinned(key):
            raise RemoteError("the key is pinned; lift the pin first (vortexctl unpin)", 409)
        return await self._files.files(key)

    def _branch(self, key: Key, layers: Sequence[ParsedFiles]) -> tuple[Branch, str]:
        """Return the branch of a key, and the root of its files."""
        for layer in layers:
            try:
                branch = self._repositories.branch(layer.files.root, key.label)
            except SourceError:
                # A reload has replaced the sources.
                raise _late("the sources are being read; try again") from None
            if branch is not None:
                return branch, layer.files.root
        raise RemoteError("no file of this key is in a git repository; pin the key instead (vortexctl pin)", 404)

    async def _draft(self, wanted: Wanted, layers: Sequence[ParsedFiles], tick: Callable[[], None]) -> _Draft:
        key = wanted.key
        branch, root = self._branch(key, layers)
        served = self._store.served
        assert served is not None  # its files were found
        reader = self._reader(served, branch, root)
        head = await reader.read(branch.head, None, repairs=True)
        if head is None:
            raise RemoteError("the newest commit can't be served; see /status", 409)
        steps = self._repositories.commits(root, branch.head)
        if not steps:
            # The newest commit isn't loaded. The commits of the served state are a part of the history.
            origins = (layer.files.origin for layer in layers if layer.files.root == root)
            served_commit = next((each.commit for each in origins if each is not None), "")
            steps = self._repositories.commits(root, served_commit)
        target = await find(reader, head, key, steps, wanted.to)
        states, in_use = reader.states, (*self._store, *wanted.in_use)
        make = partial(make_plan, states, branch, head, target, key, in_use, tick, shared=wanted.shared)
        plan = await reader.in_thread(make)
        gate = self._gate()
        if gate is not None and plan.after is not None:
            verdict = await judged(gate, served.state, plan.after, plan.changed, reader, tick)
            plan = plan if verdict.accepts else attrs.evolve(plan, refused=verdict)
        return _Draft(plan, root, head, reader)

    def _reader(self, served: ServedState, branch: Branch, root: str) -> Reader:
        # The gate may hold back a new label, which isn't served then.
        labels = [label for label in branch.labels if label in served.state.labels]
        return Reader(self._repositories, root, BranchStates(served, root, labels), self._planning)

    @asynccontextmanager
    async def _turn(self, root: str) -> AsyncIterator[None]:
        """Wait until no other roll-back of a repository is carried out.

        Raises:
            RemoteError: That takes too long.
        """
        # There are no more locks than roots of sources.
        lock = self._turns.setdefault(root, trio.Lock())
        with trio.move_on_after(TURN_SECONDS) as waiting:
            await lock.acquire()
        if waiting.cancelled_caught:
            raise _late("another roll-back of this repository goes on; try again")
        try:
            yield
        finally:
            lock.release()


_TOO_LONG = (
    f"the plan wasn't ready and judged within {PLAN_SECONDS:g} s; try again, or name a commit instead of a version"
)


def _hint(branch: Branch) -> tuple[list[str], list[str]]:
    """Return the addresses and refs of a branch, as a webhook would name them."""
    return [branch.source], [f"refs/heads/{branch.name}"]


def _tick(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise _late(_TOO_LONG)


def _consequence(fault: PushFault) -> str:
    if fault is PushFault.UNKNOWN:
        return "the server fetches now, so look at the history before you try again"
    return "nothing has changed"


def _refusal(error: PushError, branch: Branch) -> RemoteError:
    # A reason on this side may name files of the server, such as that of the password.
    reason = "see the server's log" if error.fault is PushFault.LOCAL else str(error)
    text = f"{error.fault.value} ({branch.source}): {reason}; {_consequence(error.fault)}"
    return RemoteError(text, 409) if error.fault in _CONFLICTS else _late(text)


def _late(reason: str) -> RemoteError:
    return RemoteError(reason, 503, {"Retry-After": "1"})
