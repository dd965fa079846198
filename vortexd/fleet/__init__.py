"""Tracks the instances that use each configuration, and their reports about it. Pure.

The input is connections that begin and end, acknowledgements from applications, and the times at which a key's version
changes. The output is counts, pages of instances, which can be merged with the pages of other workers, and records of
instances for the next process. The invariant: a report costs the same, however many instances send reports. The settings
bound everything that is stored.
"""

from .instances import OTHER, ConnectedRow, Fleet, GoneRow, records_of
from .nodes import CURRENT, LAST, UNKNOWN, NodePages, NodeView, as_away, page_of
from .pages import NOBODY, STATES, Ack, Cursor, KeyState, Page, Question, Seen, end_of, merge
from .records import Record
from .roll import CanaryInstance, Instance, MuteInstance, make_ack

__all__ = [
    "CURRENT",
    "LAST",
    "NOBODY",
    "OTHER",
    "STATES",
    "UNKNOWN",
    "Ack",
    "CanaryInstance",
    "ConnectedRow",
    "Cursor",
    "Fleet",
    "GoneRow",
    "Instance",
    "KeyState",
    "MuteInstance",
    "NodePages",
    "NodeView",
    "Page",
    "Question",
    "Record",
    "Seen",
    "as_away",
    "end_of",
    "make_ack",
    "merge",
    "page_of",
    "records_of",
]
