"""Roll-outs for tests of HTTP, and a keeper that has them."""

from typing import Any

import attrs

from vortexd.audit import Actor
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.rollouts.counts import Counts
from vortexd.rollouts.rollout import Beginning, Plan, Rollout, Status

SHOP = Key("shop", "dev", "main")
OLD, NEW = "0" * 16, "1" * 16
COUNTS = Counts(
    named=8, places=(1,), reached=7, applied=2, rejected=1, gone=3, unanswered=5, silent=("a", "b"), refusal=None
)


def rollout(key: Key = SHOP, status: Status = Status.RUNNING, **more: Any) -> Rollout:
    plan = Plan((5, 25, 100), 90, 60.0)
    times = 1_000.0, 1_000.0, 1_060.0
    made = Rollout("r1", key, OLD, NEW, "c1", "ada", plan, 1, 7, status, "too slow", "bob", *times, 2, ())
    return attrs.evolve(made, **more)


def beginning(key: Key = SHOP) -> Beginning:
    return Beginning(key, OLD, NEW, None, None, Plan(), ())


class FakeKeeper:
    """Has the roll-outs that a test sets, and records the acts."""

    def __init__(self, *rollouts: Rollout) -> None:
        self.rollouts: list[Rollout] = list(rollouts)
        self.waiting: list[Beginning] = []
        self.counted: Counts | None = COUNTS
        self.asked: list[Key] = []
        self.acts: list[tuple[Any, ...]] = []
        self.error: RemoteError | None = None

    def problem(self, key: Key) -> str | None:
        return "the disk is full" if any(each.key == key for each in self.waiting) else None

    async def counts(self, key: Key) -> Counts | None:
        self.asked.append(key)
        return self.counted

    async def act(self, act: str, key: Key, target: str | None, reason: str, actor: Actor) -> Rollout:
        self.acts.append((act, key, target, reason, actor))
        if self.error is not None:
            raise self.error
        return self.rollouts[0]
