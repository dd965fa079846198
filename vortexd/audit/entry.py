"""The entries of the audit log, and their form as JSON. Pure.

The invariant: an entry is one line of limited length, whatever a client sends. It never holds a value of a configuration;
whoever records an act sees to that.
"""

import enum
from collections.abc import Mapping
from typing import Any

import attrs
import orjson

from ..core.text import printable

# The most characters of a text, and the most details.
MOST_CHARACTERS = 500
MOST_DETAILS = 16


class Outcome(enum.Enum):
    """What became of an act. BEGUN: a later entry has the outcome, unless the server was killed."""

    BEGUN = "begun"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@attrs.frozen(slots=True)
class Actor:
    """Who acts.

    Attributes:
        name: The name of a token, of a certificate or of a JWT's subject; or a part of the system, such as "SIGHUP".
        kind: "token", "jwt", "certificate" or "anonymous"; or "system" if no client acts.
        peer: The address of the client, "unix", or "" if no client acts.
    """

    name: str
    kind: str = "system"
    peer: str = ""


@attrs.frozen(slots=True)
class Entry:
    """One act.

    Attributes:
        id: Identifies the entry.
        time: When the act ended, or began if that is the outcome, as RFC 3339, UTC.
        act: What was done, as a fixed short phrase such as "reload".
        target: What it was done to, or "".
        reason: Why it was done, or why it wasn't, or "".
        details: Further facts.
        worker: The number of the worker that did it.
    """

    id: str
    time: str
    actor: Actor
    act: str
    target: str = ""
    outcome: Outcome = Outcome.DONE
    reason: str = ""
    details: Mapping[str, str] = attrs.field(factory=dict)
    worker: int = 0

    @property
    def members(self) -> dict[str, Any]:
        """The entry as a JSON object."""
        return {
            "id": self.id,
            "time": self.time,
            "who": self.actor.name,
            "kind": self.actor.kind,
            "from": self.actor.peer,
            "act": self.act,
            "target": self.target,
            "outcome": self.outcome.value,
            "reason": self.reason,
            "details": dict(self.details),
            "worker": self.worker,
        }

    @property
    def line(self) -> bytes:
        """The entry as one line."""
        return orjson.dumps(self.members) + b"\n"


def bounded(entry: Entry) -> Entry:
    """Return an entry with all texts shortened, and without characters that could control a terminal."""
    actor = Actor(*map(_short, (entry.actor.name, entry.actor.kind, entry.actor.peer)))
    details = {_short(name): _short(text) for name, text in [*entry.details.items()][:MOST_DETAILS]}
    return attrs.evolve(
        entry,
        actor=actor,
        act=_short(entry.act),
        target=_short(entry.target),
        reason=_short(entry.reason),
        details=details,
    )


def _short(text: str) -> str:
    text = printable(text[: MOST_CHARACTERS + 1])
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def parse_entry(line: bytes | str) -> Entry | None:
    """Parse a line. Return None if it isn't an entry."""
    try:
        found = orjson.loads(line)
        texts = {name: found[name] for name in ("id", "time", "act", "target", "reason")}
        actor = [found[name] for name in ("who", "kind", "from")]
        details, worker = found["details"], found["worker"]
        outcome = Outcome(found["outcome"])
        is_right = all(isinstance(each, str) for each in (*texts.values(), *actor, *details, *details.values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if not is_right or not isinstance(worker, int):
        return None
    return Entry(actor=Actor(*actor), outcome=outcome, details=details, worker=worker, **texts)
