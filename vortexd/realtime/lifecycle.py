"""The states of an awake connection, as a table: an illegal transition raises. Pure.

    OPENING ─▶ SERVING ─▶ PARKING ─▶ PARKED      the parking lot has the socket
                  ▲          │         │
                  └──────────┴─────────┘         something is pending, or the lot is closed
    CLOSING ─▶ CLOSED                            every other state leads to CLOSING

The first reason to close counts.
"""

import enum

from ..protocol.close import CloseReason


class State(enum.Enum):
    """The states of a connection."""

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
    """The table has no such transition. This is an error in vortexd."""


class Lifecycle:
    """The state of one connection, and the reason of its end; None as long as it hasn't ended."""

    __slots__ = ("_state", "reason")

    def __init__(self) -> None:
        self._state = State.OPENING
        self.reason: CloseReason | None = None

    @property
    def state(self) -> State:
        """The current state."""
        return self._state

    @property
    def is_parking(self) -> bool:
        """Whether the tasks are ending, so that the connection can be parked."""
        return self._state is State.PARKING

    def enter(self, state: State) -> None:
        """Change the state. For CLOSING, call `close`.

        Raises:
            IllegalTransition: The table has no such transition.
        """
        if state not in TRANSITIONS[self._state]:
            raise IllegalTransition(f"from {self._state.name} to {state.name}")
        self._state = state

    def park(self) -> None:
        """Begin to park, because nothing is pending. If the tasks are ending already, do nothing."""
        if self._state is State.SERVING:
            self.enter(State.PARKING)

    def close(self, reason: CloseReason) -> None:
        """Begin to close. If this is called several times, the first reason counts."""
        if self.reason is None:
            self.enter(State.CLOSING)
            self.reason = reason
