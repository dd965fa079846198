"""The fleet of the other nodes: their counts as the store has them, and their instances as they answer.

Readings and events arrive, and questions about the fleet. A page for each other node leaves. A node that is away, or that
doesn't answer, has the counts of its last summary. The store ends a summary with its node's lease, so this module
remembers the last one for as long as the node's record exists. A node that starts later doesn't know it.
"""

from collections.abc import Callable, Collection, Iterable

import attrs
import cattrs
import orjson

from ..core.model import ClusterMember, Key
from ..fleet import CURRENT, LAST, UNKNOWN, KeyState, NodePages, NodeView, Page, Question, as_away, page_of
from . import summaries
from .engine import Entry, Event
from .keys import Keys
from .questions import Answers, Questions
from .records import DRAINING, SERVING, Unusable
from .roster import AWAY, Roster
from .store_state import StoreState
from .warnings import RecordWarnings

# The path of questions about the fleet.
FLEET_PATH = "/api/v1/cluster/fleet"
_NO_ADDRESS = "it advertises no address; set its cluster.advertise"
_REASONS = {AWAY: "it is away", DRAINING: "it drains"}
_NOT_READ = "it hasn't read the cluster's store yet, so it knows no other node"
# The end of the year 9999, which RFC 3339 can still express.
_LATEST = 253_402_300_799
# As in a summary.
_LARGEST = 2**53
_COUNTS = ("connected", "applied", "rejected", "gone", "unlisted", "away", "before_restart")
_BUSY_WORKER = "a worker of it hasn't answered"


@attrs.define(eq=False)
class _Summary:
    """The last summary of a node.

    Attributes:
        parts: The parts, by number.
        read_at: When this node first read the newest part, in seconds since the epoch.
    """

    parts: dict[int, Entry] = attrs.field(factory=dict)
    read_at: float = 0.0
    states: tuple[KeyState, ...] | None = None


class ClusterFleet:
    """The fleet of the other nodes.

    Args:
        node: The name of this node.
        now: Returns the seconds since the epoch.
    """

    def __init__(
        self,
        keys: Keys,
        node: str,
        roster: Roster,
        state: StoreState,
        questions: Questions,
        warnings: RecordWarnings,
        now: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._node = node
        self._roster = roster
        self._state = state
        self._questions = questions
        self._warnings = warnings
        self._now = now
        self._summaries: dict[str, _Summary] = {}
        self._is_read = False

    # From the store. The roster has taken the same reading or event before.

    def read(self, entries: Iterable[Entry]) -> None:
        """Take a reading of all entries of the cluster."""
        self._is_read = True
        before, self._summaries = self._summaries, {}
        for entry in entries:
            self._put(entry)
        for node, summary in before.items():
            now = self._summaries.get(node)
            if now is not None and now.parts == summary.parts:
                now.read_at = summary.read_at
            # The store has ended the summary of a node that is away.
            if now is None and self._is_away(node):
                self._summaries[node] = summary

    def take(self, events: Iterable[Event]) -> None:
        """Take the events of a watch."""
        for event in events:
            if event.entry is not None:
                self._put(event.entry)
                continue
            part = self._keys.part_of(event.key)
            summary = self._summaries.get(part[0]) if part is not None else None
            if part is not None and summary is not None and not self._is_away(part[0]):
                summary.parts.pop(part[1], None)
                summary.states = None
                self._warnings.usable(event.key)
        for node in [node for node in self._summaries if self._roster.entry(self._keys.member(node)) is None]:
            del self._summaries[node]

    def _put(self, entry: Entry) -> None:
        part = self._keys.part_of(entry.key)
        if part is None or part[0] == self._node:
            return
        summary = self._summaries.setdefault(part[0], _Summary())
        # Parts under another lease are those of a former process.
        summary.parts = {number: each for number, each in summary.parts.items() if each.lease == entry.lease}
        summary.parts[part[1]] = entry
        summary.read_at, summary.states = self._now(), None

    def _is_away(self, node: str) -> bool:
        member, alive = (self._roster.entry(key) for key in (self._keys.member(node), self._keys.alive(node)))
        return member is not None and alive is None

    # To those who ask.

    def keys(self) -> Collection[Key]:
        """Return the keys that other nodes have instances of, or had."""
        return {state.key for node in self._summaries for state in self._states(node) or ()}

    async def pages(self, question: Question) -> NodePages:
        """Ask all other nodes that can be reached. Takes at most `questions.DEADLINE` seconds."""
        if not self._is_read:
            return NodePages((NodeView(self._node, SERVING, reason=_NOT_READ, is_whole=False),), ())
        members = self._roster.members()
        reachable = {
            each.node: each.address
            for each in members
            # A node that drains accepts no connections any more.
            if each.address and each.state == SERVING and each.node != self._node
        }
        answers = await self._questions.ask(reachable, FLEET_PATH, question.to_json().encode())
        found = [self._page(each, answers, question) for each in members]
        return NodePages(tuple(view for view, _ in found), tuple(page for _, page in found if page is not None))

    def _page(self, member: ClusterMember, answers: Answers, question: Question) -> tuple[NodeView, Page | None]:
        if member.node == self._node:
            return NodeView(member.node, member.state), None
        reason = answers.reasons.get(member.node) or _REASONS.get(member.state, _NO_ADDRESS)
        if member.node in answers.bodies:
            record = f"the answer of {member.node}"
            try:
                page, silent = _parsed(answers.bodies[member.node], question)
            except Unusable as error:
                reason = "its answer can't be read"
                self._warnings.unusable(record, str(error))
            else:
                self._warnings.usable(record)
                busy = _BUSY_WORKER if silent else None
                return NodeView(member.node, member.state, reason=busy, is_whole=not silent), page
        states = self._states(member.node)
        if states is None:
            return NodeView(member.node, member.state, UNKNOWN, None, reason, is_whole=False), None
        # A node that is away may have died up to a lease before this node noticed it. Its last summary is older than that.
        as_of = self._summaries[member.node].read_at
        if member.state == AWAY:
            view = NodeView(member.node, member.state, LAST, as_of, reason, is_whole=False)
            return view, page_of(as_away(states), question)
        # A node without an address can only be counted from its summary, which is new while it and the store are up.
        if reason == _NO_ADDRESS and self._state.is_up:
            return NodeView(member.node, member.state, CURRENT, None, reason), page_of(states, question)
        return NodeView(member.node, member.state, LAST, as_of, reason, is_whole=False), page_of(states, question)

    def _states(self, node: str) -> tuple[KeyState, ...] | None:
        """Return the counts of a node, or None if no summary of it is known."""
        summary = self._summaries.get(node)
        if summary is None or not summary.parts:
            return None
        if summary.states is None:
            parts = sorted(summary.parts.values(), key=lambda entry: entry.modified)
            summary.states = summaries.whole(self._parsed(part) for part in parts)
        return summary.states

    def _parsed(self, part: Entry) -> tuple[KeyState, ...]:
        try:
            states = summaries.parse(part.value)
        except Unusable as error:
            self._warnings.unusable(part.key, str(error))
            return ()
        self._warnings.usable(part.key)
        return states


def _parsed(body: bytes, question: Question) -> tuple[Page, int]:
    """Read an answer. Keys that the question doesn't name are left out, because the asker may have no right to see them."""
    wanted = frozenset(question.keys)
    try:
        found = orjson.loads(body)
        page, silent = cattrs.structure(found["page"], Page), int(found["workers_silent"])
    except (ValueError, TypeError, KeyError, cattrs.BaseValidationError):
        raise Unusable("it isn't an answer about the fleet; another version may have made it") from None
    rows = [row for each in page.keys for row in each.instances]
    acks = [ack for row in rows for ack in (row.ack, row.before_restart) if ack is not None]
    if not all(0 <= time <= _LATEST for time in (*(row.since for row in rows), *(ack.at for ack in acks))):
        raise Unusable("it has a time that can't be shown")
    if not all(map(_is_possible, page.keys)):
        raise Unusable("it has a count that is too large, or its counts contradict each other")
    return attrs.evolve(page, keys=tuple(each for each in page.keys if each.key in wanted)), silent


def _is_possible(state: KeyState) -> bool:
    is_bounded = all(0 <= getattr(state, name) <= _LARGEST for name in _COUNTS)
    return is_bounded and state.silent >= 0 and state.unlisted <= state.connected
