"""`/status`: how the sources are, for people and dashboards."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import orjson

from ..auth import Right
from ..model import SourceReport
from ..peers import Peers
from ..text import rfc3339
from .exchange import Answer, Request

Reports = Callable[[], Sequence[SourceReport]]


class Status:
    """`/status`, for who has `admin`: per source its revision, when it was last read, what is wrong and since when.

    Of several workers each reads for itself: `workers` has what the others say.
    """

    route: ClassVar = "/status"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False

    def __init__(self, reports: Reports, peers: Peers | None = None) -> None:
        self._reports = reports
        self._peers = peers or Peers()
        self._peers.answer("status", lambda _: orjson.dumps(self._members()).decode())

    async def answer(self, request: Request) -> Answer:
        """See `exchange.Endpoint`."""
        request.owner.authorize(Right.ADMIN, None)
        said = self._members()
        if self._peers.are_there:
            others = await self._peers.ask("status")
            said["worker"] = self._peers.number
            said["workers"] = {number: orjson.loads(text) for number, text in sorted(others.texts.items())}
            said["workers_silent"] = others.missing
        return Answer(body=orjson.dumps(said))

    def _members(self) -> dict[str, Any]:
        return {"sources": [_members(each) for each in self._reports()]}


def stale_for(reports: Reports) -> int | None:
    """For how many seconds the stalest source has not been read, or None while all can be."""
    return max((int(each.stale_for) for each in reports() if each.is_failing), default=None)


def _members(report: SourceReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "kind": report.kind,
        "revision": report.revision,
        "status": "STALE" if report.is_failing else "UP",
        "last_success": _time(report.last_success),
        "last_error": report.last_error,
        "last_error_at": _time(report.last_error_at),
        "stale_for": round(report.stale_for, 3),
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
