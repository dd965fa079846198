"""Who uses a configuration, and what they say they did with it. Pure.

In come connections that begin and end, what their applications acknowledge, and the moments at which a key gets another version; out go counts, and pages
of instances that those of other workers can be merged with. The invariant: whatever is said costs the same, however many say it, and nothing that
is kept grows beyond the settings.
"""

from .instances import OTHER, Fleet, Instance, make_ack
from .pages import NOBODY, STATES, Ack, Cursor, KeyState, Page, Question, Seen, merge

__all__ = [
    "NOBODY",
    "OTHER",
    "STATES",
    "Ack",
    "Cursor",
    "Fleet",
    "Instance",
    "KeyState",
    "Page",
    "Question",
    "Seen",
    "make_ack",
    "merge",
]
