"""The audit log: who changed something at this server, when, from where, and what.

Acts arrive. Each becomes a structured log event, and an entry in a bounded file that all workers share. Entries leave, the
newest first. This package imports only aio, core and state.
"""

from .entry import Actor, Entry, Outcome
from .forbidden_acts import ForbiddenActs
from .log import Audit

__all__ = ["Actor", "Audit", "Entry", "ForbiddenActs", "Outcome"]
