"""Records attempts of clients that lack the right. A client that repeats them can't fill the audit log.

Attempts arrive from the request handler. An entry leaves at once for the first attempt of a client at an act. After it, at
most one leaves each minute, at an attempt, with the number of attempts since the entry before.
"""

from collections.abc import Callable

import structlog

from .entry import Actor, Outcome
from .log import Audit

log = structlog.get_logger()

# Seconds between two entries of one client about one act.
PAUSE = 60.0
# The most clients and acts to remember. The one with the oldest entry is forgotten first.
MOST = 1_000
# The most entries in `PAUSE` seconds, of all clients together. Clients with JWTs may have any number of names.
MOST_ENTRIES = 100
REASON = "the token doesn't have the right"


class ForbiddenActs:
    """Records attempts without the right; see the module.

    Args:
        now: Returns seconds that only grow.
    """

    def __init__(self, audit: Audit, now: Callable[[], float]) -> None:
        self._audit = audit
        self._now = now
        # By kind and name of the client, and act: when the last entry was made, and the attempts since then.
        self._known: dict[tuple[str, str, str], tuple[float, int]] = {}
        self._began = now()
        self._entries = 0

    def note(self, act: str, actor: Actor, path: str) -> None:
        """Record an attempt, unless this client has an entry about this act since less than a minute. Doesn't wait.

        Args:
            path: The path of the request, without its query.
        """
        now = self._now()
        if now - self._began >= PAUSE:
            self._began, self._entries = now, 0
        known = actor.kind, actor.name, act
        before, count = self._known.get(known, (now - PAUSE, 0))
        if now - before < PAUSE or self._entries >= MOST_ENTRIES:
            if known in self._known:
                self._known[known] = before, count + 1
            return
        self._entries += 1
        # The newest entry stands at the end.
        self._known.pop(known, None)
        if len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        self._known[known] = now, 0
        attempts = str(count + 1)
        log.warning("act forbidden", act=act, who=actor.name, peer=actor.peer, path=path, attempts=attempts)
        self._audit.note(act, actor, path, Outcome.REFUSED, REASON, attempts=attempts)
