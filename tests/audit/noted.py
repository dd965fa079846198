"""An audit log that notes what it is asked to record."""

from typing import Any

from vortexd.audit import Actor, Audit, Entry, Outcome


class NotedAudit(Audit):
    """Notes acts, and writes and logs nothing."""

    def __init__(self) -> None:
        super().__init__(None, lambda: 0.0)
        self.noted: list[tuple[Any, ...]] = []
        self.flushed = 0

    async def record(
        self,
        act: str,
        actor: Actor,
        target: str = "",
        outcome: Outcome = Outcome.DONE,
        reason: str = "",
        **details: str,
    ) -> Entry:
        return self.note(act, actor, target, outcome, reason, **details)

    def note(
        self,
        act: str,
        actor: Actor,
        target: str = "",
        outcome: Outcome = Outcome.DONE,
        reason: str = "",
        **details: str,
    ) -> Entry:
        self.noted.append((act, actor, target, outcome, reason, details))
        return Entry("1", "", actor, act)

    async def flush(self) -> None:
        self.flushed += 1
