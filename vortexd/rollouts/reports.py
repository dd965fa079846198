"""Says in the log and in the audit log what becomes of roll-outs.

The keeper names each event right after it was recorded. One event leaves for the log and, if it is an act or an end, one entry
for the audit log.
"""

from collections.abc import Mapping, Sequence

import structlog

from ..audit import Actor, Audit, Outcome
from ..core.errors import RemoteError
from ..core.model import Key
from ..core.text import rfc3339
from .changes import ABORT, PROMOTE, RESUME
from .counts import Counts
from .rollout import Rollout, Status

log = structlog.get_logger()

# The most reasons for failures that are remembered, so that the log has each of them once.
MOST_WARNED = 100
_SERVER = Actor("vortexd")


class Reports:
    """The events of roll-outs; see the module."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        # The reasons that the log names already.
        self._warned: set[str] = set()

    def begun(self, rollout: Rollout) -> None:
        """Report a roll-out that has been recorded."""
        log.info("roll-out begun", **_facts(rollout), steps=rollout.plan.steps, stable=rollout.stable)

    def unwritten(self, reason: str, keys: Sequence[Key]) -> None:
        """Report roll-outs that couldn't be recorded, once for each reason."""
        if reason in self._warned:
            return
        if len(self._warned) >= MOST_WARNED:
            self._warned.clear()
        self._warned.add(reason)
        log.warning(
            "roll-out not written",
            keys=[str(key) for key in keys[:10]],
            reason=reason,
            consequence="clients keep the version that they have, and no instance gets the new one",
        )

    def written(self) -> None:
        """Take note that all roll-outs are recorded, so that the next failure is reported whatever its reason is."""
        self._warned.clear()

    async def stepped(self, after: Rollout, counts: Counts) -> None:
        """Report a step, a halt or the end of a roll-out, given the counts that have led to it."""
        facts = _facts(after)
        if after.status is Status.HALTED:
            log.warning(
                "roll-out halted",
                **facts,
                reason=after.reason,
                consequence=f"all instances get version {after.stable} back",
                remedy="revert the commit, or resume, abort or promote the roll-out",
            )
            await self._audit.record(
                "rollout halt", _SERVER, str(after.key), Outcome.DONE, after.reason, **_details(after)
            )
        elif after.status is Status.DONE:
            log.info("roll-out done", **facts, applied=counts.applied, since=rfc3339(after.began, "seconds"))
            await self._audit.record("rollout end", _SERVER, str(after.key), Outcome.DONE, "", **_details(after))
        elif after.reach is not None:
            share = after.plan.steps[after.step]
            log.info("roll-out step begun", **facts, share=share, named=counts.named)

    async def ended(self, before: Mapping[Key, Rollout], now: Mapping[Key, Rollout]) -> None:
        """Report each roll-out that a revert has ended: the document of its key is the stable one again.

        Args:
            before, now: The former records and the present ones.
        """
        for key, old in before.items():
            new = now.get(key)
            if new is None or old.status is Status.DONE or new.status is not Status.DONE:
                continue
            if new.id != old.id and new.target == old.stable:
                reason = f"the document is that of version {old.stable} again"
                log.info("roll-out ended", **_facts(old), reason=reason)
                await self._audit.record("rollout end", _SERVER, str(key), Outcome.DONE, reason, **_details(old))

    async def acted(self, act: str, after: Rollout, reason: str, actor: Actor) -> None:
        """Report what a person has done."""
        facts = _facts(after)
        if act == RESUME:
            log.info("roll-out resumed", **facts, by=actor.name, reason=reason)
        elif act == ABORT:
            log.warning(
                "roll-out aborted",
                **facts,
                by=actor.name,
                reason=reason,
                consequence=f"all instances get version {after.stable} until the document changes again",
                remedy="revert the commit, because a server without this state serves the newest one",
            )
        elif act == PROMOTE:
            log.info("roll-out promoted", **facts, by=actor.name, reason=reason)
        await self._audit.record(f"rollout {act}", actor, str(after.key), Outcome.DONE, reason, **_details(after))

    async def refused(
        self, act: str, key: Key, target: str | None, reason: str, actor: Actor, error: RemoteError
    ) -> None:
        """Report what a person wanted, and why it wasn't done."""
        outcome = Outcome.FAILED if error.status >= 500 else Outcome.REFUSED
        details = {} if target is None else {"version": target}
        await self._audit.record(f"rollout {act}", actor, str(key), outcome, reason, **details, problem=error.reason)


def _facts(rollout: Rollout) -> dict[str, object]:
    """Return what each event of the log says about a roll-out."""
    return {
        "key": str(rollout.key),
        "version": rollout.target,
        "commit": rollout.commit,
        "author": rollout.author,
        "step": rollout.step + 1,
    }


def _details(rollout: Rollout) -> dict[str, str]:
    """Return what the audit log says about a roll-out."""
    details = {"version": rollout.target, "stable": rollout.stable, "step": str(rollout.step + 1)}
    return details | ({"commit": rollout.commit} if rollout.commit else {})
