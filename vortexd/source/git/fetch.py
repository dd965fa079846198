"""The fetch from a remote into a mirror: all at once or, if git refuses an object of the remote, in parts.

A remote and the ids that were refused before arrive. The mirror gets new refs. The names of the refs that git refuses
leave, with the reasons. The invariant: a ref that leads to a refused object stays as it was, and doesn't block any
other ref. The search for such refs is limited in calls and in time, and continues at the next fetch. The result is kept
with the mirror, because an object never changes.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import attrs
import trio

from ...aio import threads
from .complaints import Fault
from .disk import packs_of, remove_halves, remove_packs
from .process import Git, GitError
from .refs import BRANCH, Advertised, Ref, encoded, parse_advertised, parse_refs

_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_FETCH = (
    *("fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"),
    "--no-auto-maintenance",
)
# This is enough to find one bad branch among a thousand, which takes twenty fetches.
_MOST_FETCHES = 64
# This file is in the mirror's directory, so it moves and disappears with the mirror.
_MEMORY = "vortexd-refused.json"
_DEFAULT_BRANCHES = ("refs/heads/main", "refs/heads/master")

# Refs to fetch together, grouped by id. If an id can't be fetched, none of its refs can.
_Part: TypeAlias = list[list[Ref]]


@attrs.define(eq=False)
class Fetch:
    """Fetches from one remote into one mirror. One task at a time.

    Attributes:
        git: Runs git for the mirror.
        refused: The ids that refs of the remote pointed to and that couldn't be fetched, with the reasons.
        names: The refs of the remote that point to such an id now, with the reasons.
        unreached: The number of refs of the remote that the last fetch had no time for.
        shallow: The error of the last fetch if the remote is a shallow clone, else "".
    """

    git: Git
    refused: dict[str, str] = attrs.field(factory=dict)
    names: Mapping[str, str] = attrs.field(factory=dict)
    unreached: int = 0
    shallow: str = ""
    _deadline: float = 0.0

    @property
    def problem(self) -> str:
        """The reason why refs other than those in `names` are out of date; "" if none is."""
        if self.unreached:
            reason = next(iter(self.refused.values()), "an object of the remote is refused")
            return (
                f"{self.unreached} branches and tags are still to be fetched one by one, "
                f"because git refuses some: {reason}"
            )
        return self.shallow

    async def remember(self) -> None:
        """Read the refusals that an earlier process has saved."""
        self.refused = await threads.run_sync(_load, Path(self.git.directory))

    async def run(self, timeout: float) -> None:
        """Bring the mirror up to date.

        Args:
            timeout: The seconds that the whole fetch may take.

        Raises:
            GitError: The remote can't be reached, or not in time. The mirror is unchanged or newer.
            SourceError: A secret can't be read.
        """
        self._deadline = trio.current_time() + timeout
        self.shallow = ""
        advertised = await self._ask() if self.refused or self.unreached else None
        if advertised is None or not self.unreached:
            try:
                await self._fetch_all()
                return
            except GitError as error:
                if error.fault is not Fault.OBJECT:
                    raise
            # The remote's refs may have moved during the fetch.
            advertised = await self._ask()
        await self._fetch_apart(advertised)

    async def _ask(self) -> Advertised:
        """Ask the remote for its refs, and forget the refusals of ids that it no longer has."""
        listed = await self.git.run(
            *("ls-remote", "--quiet", "--symref", "--end-of-options", self.git.remote.uri),
            timeout=self._left(),
            is_remote=True,
        )
        advertised = await threads.run_sync(parse_advertised, listed)
        ids = {ref.id for ref in advertised.refs.values()}
        if gone := self.refused.keys() - ids:
            for id in gone:
                del self.refused[id]
            await self._save()
        self._name(advertised)
        return advertised

    def _name(self, advertised: Advertised) -> None:
        self.names = {ref.name: self.refused[ref.id] for ref in advertised.refs.values() if ref.id in self.refused}

    async def _fetch_all(self) -> None:
        lines = [f"^{name}" for name in self.names]
        await self._fetch(["--prune", *(["--stdin"] if lines else [])], lines, _REFSPECS)

    async def _fetch_apart(self, advertised: Advertised) -> None:
        """Fetch the new refs in halves, and in halves of those, until the ids are found that can't be fetched."""
        await self._prune(advertised)
        parts = await self._parts(advertised)
        known = len(self.refused)
        for _ in range(_MOST_FETCHES):
            if not parts or not await self._fetch_part(parts):
                break
        self.unreached = sum(len(refs) for part in parts for refs in part)
        self._name(advertised)
        if len(self.refused) != known:
            await self._save()

    async def _fetch_part(self, parts: list[_Part]) -> bool:
        """Fetch the last part and remove it from the list.

        If it can't be fetched, replace it by its halves. Return whether there is time for more.
        """
        part = parts[-1]
        # Fetch by id. If a ref moves meanwhile, the result must not be taken for its former object.
        lines = [f"+{ref.id}:{ref.name}" for refs in part for ref in refs]
        try:
            await self._fetch(["--stdin"], lines)
        except GitError as error:
            if error.fault is Fault.LATE:
                return False
            if error.fault is not Fault.OBJECT:
                # The next fetch is a fetch of everything. It shows whether the mirror is at fault.
                self.unreached = 0
                raise GitError(str(error), error.fault if error.fault is Fault.FULL else Fault.REMOTE) from None
            if len(part) == 1:
                self.refused[part[0][0].id] = error.culprit
            else:
                middle = len(part) // 2
                parts[-1:] = [part[middle:], part[:middle]]
                return True
        parts.pop()
        return True

    async def _prune(self, advertised: Advertised) -> None:
        """Delete the refs that the remote no longer has, because one of them may conflict with a new ref."""
        gone = (await self._refs()).keys() - advertised.refs.keys()
        if gone:
            lines = "".join(f"delete {name}\n" for name in sorted(gone))
            await self.git.run("update-ref", "--stdin", input=encoded(lines), timeout=self._left())

    async def _parts(self, advertised: Advertised) -> list[_Part]:
        """Return the refs to fetch, in reverse order.

        The default branch comes first and alone, because it matters most. Then come all others.
        """
        own = await self._refs()
        by_id: dict[str, list[Ref]] = {}
        for name, ref in advertised.refs.items():
            if own.get(name) != ref and ref.id not in self.refused:
                by_id.setdefault(ref.id, []).append(ref)
        branches = (f"{BRANCH}{self.git.settings.default_label}", advertised.head, *_DEFAULT_BRANCHES)
        default = next((advertised.refs[each].id for each in branches if each in advertised.refs), "")
        first = by_id.pop(default, [])
        return [part for part in (list(by_id.values()), [first] if first else []) if part]

    async def _refs(self) -> dict[str, Ref]:
        listed = await self.git.run(
            *("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags"), timeout=self._left()
        )
        return await threads.run_sync(parse_refs, listed)

    async def _fetch(self, options: Sequence[str], lines: Sequence[str], refspecs: Sequence[str] = ()) -> None:
        directory = Path(self.git.directory)
        packs = await threads.run_sync(packs_of, directory)
        try:
            await self.git.run(
                *(*_FETCH, *options, "--end-of-options", self.git.remote.uri, *refspecs),
                input=encoded("".join(f"{line}\n" for line in lines)),
                timeout=self._left(),
                is_remote=True,
            )
        except GitError as error:
            if error.fault is Fault.OBJECT:
                # Refused objects would fill the disk, and git would treat them as checked at the next fetch.
                await threads.run_sync(remove_halves, directory)
                await threads.run_sync(remove_packs, directory, packs)
            if error.fault is not Fault.SHALLOW:
                raise
            # The refs with complete history have been fetched.
            self.shallow = str(error)

    async def _save(self) -> None:
        # If it can't be written, the same objects are found again after a restart.
        with suppress(OSError):
            await threads.run_sync(_save, Path(self.git.directory), dict(self.refused))

    def _left(self) -> float:
        """Return the seconds that are left. If none are left, the call is ended at once with the fault LATE."""
        return max(0.0, self._deadline - trio.current_time())


def _save(directory: Path, refused: Mapping[str, str]) -> None:
    path = directory / _MEMORY
    new = path.with_suffix(".new")
    new.write_text(json.dumps(refused))
    os.replace(new, path)


def _load(directory: Path) -> dict[str, str]:
    try:
        found = json.loads((directory / _MEMORY).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        return {}
    return found
