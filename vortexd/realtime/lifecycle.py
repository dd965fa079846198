"""The states of an awake connection, as a table: an illegal transition raises. Pure.

    OPENING ─▶ SERVING ─▶ PARKING ─▶ PARKED      the parking lot has the socket
                  ▲          │         │
                  └──────────┴─────────┘         something came, or the lot takes nobody
    CLOSING ─▶ CLOSED                            every other state leads to CLOSING

The first reason to close counts.
"""

import enum

from ..protocol.close import CloseReason


class State(enum.Enum):
    """Where a connection is in its life."""

    OPENING = "its tasks have not begun"
    SERVING = "its tasks run"
    PARKING = "it is quiet, and its tasks are ending"
    PARKED = "its tasks have ended, and the socket is left open"
    CLOSING = "there is a reason to end it"
    CLOSED = "the socket is closed"


TRANSITIONS = {
    State.OPENING: {State.SERVING, State.CLOSING},
    State.SERVING: {State.PARKING, State.CLOSING},
    State.PARKING: {State.SERVING, State.PARKED, State.CLOSING},
    State.PARKED: {State.SERVING, State.CLOSING},
    State.CLOSING: {State.CLOSED},
    State.CLOSED: set[State](),
}


class IllegalTransition(RuntimeError):
    """A connection can't go from one of these states to the other: an error of ours."""


class Lifecycle:
    """The state of one connection, and the reason for its end once there is one."""

    __slots__ = ("_state", "reason")

    def __init__(self) -> None:
        self._state = State.OPENING
        self.reason: CloseReason | None = None

    @property
    def state(self) -> State:
        """Where the connection is."""
        return self._state

    @property
    def is_parking(self) -> bool:
        """Whether the tasks are ending because nothing is pending."""
        return self._state is State.PARKING

    def enter(self, state: State) -> None:
        """Go to a state; `close` goes to CLOSING.

        Raises:
            IllegalTransition: The table doesn't have it.
        """
        if state not in TRANSITIONS[self._state]:
            raise IllegalTransition(f"from {self._state.name} to {state.name}")
        self._state = state

    def park(self) -> None:
        """Let the tasks end, because nothing is pending; nothing happens if they are ending already."""
        if self._state is State.SERVING:
            self.enter(State.PARKING)

    def close(self, reason: CloseReason) -> None:
        """Go to CLOSING; the first reason counts."""
        if self.reason is None:
            self.enter(State.CLOSING)
            self.reason = reason
