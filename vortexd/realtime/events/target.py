"""Parses the request for an event stream. Pure.

The query has the names of a WebSocket handshake. In addition, `pattern` may occur several times, and `last_event_id` stands
for the header `Last-Event-ID`, for clients that can't set it. If both are there, the header counts, because a browser
repeats its first query when it reconnects.
"""

from collections.abc import Sequence

import attrs

from ...core import names
from ...core.errors import InvalidName
from ...core.patterns import Pattern, parse_pattern
from ..handshake import MAX_VERSION_LENGTH, Refusal, Target, make_target, parse_query


@attrs.frozen(slots=True)
class EventsTarget:
    """The parsed path, query and header.

    Attributes:
        target: As of a WebSocket handshake. `last_version` is the id of the last event if the request has one. But if there is
            a cursor, this is the target without it; see `at`.
        patterns: The patterns to subscribe to, each once.
        cursor: The id of the last event if there are patterns, or None. It may be any text.
    """

    target: Target
    patterns: tuple[Pattern, ...]
    cursor: str | None


def parse_events_target(segments: Sequence[str], query: str, header: str | None, most: int) -> EventsTarget:
    """Parse a request.

    Args:
        segments: The parts of the path below the one of all event streams, not decoded.
        query: As the client sent it.
        header: The value of `Last-Event-ID`, or None.
        most: The most patterns.

    Raises:
        Refusal: The path isn't one of an event stream (404), or a name, a pattern or the query isn't valid (400).
    """
    if len(segments) != 2:
        raise Refusal(404, "event streams are at /api/v1/events/{application}/{profile}")
    try:
        application, profile = (names.decode_segment(each) for each in segments)
        texts, rest = _split(query)
        if len(texts) > most:
            raise Refusal(400, f"at most {most} patterns")
        patterns = tuple(dict.fromkeys(map(parse_pattern, texts)))
        parameters = parse_query(rest)
        last = header or parameters.get("last_event_id") or None
        # A stream can't acknowledge versions, so it counts as an instance only if it has a name.
        target = make_target(names.application(application), names.profile(profile), {"instance": "", **parameters})
    except InvalidName as error:
        raise Refusal(error.status, error.reason) from None
    if last is None:
        return EventsTarget(target, patterns, None)
    if patterns:
        return EventsTarget(target, patterns, last)
    # An id of another form is an unknown version.
    return EventsTarget(at(target, last if len(last) <= MAX_VERSION_LENGTH else None), patterns, None)


def at(target: Target, version: str | None) -> Target:
    """Return the target of a client that has this version of its main key, because the id of its last event says so.

    The generation in the query belongs to the version in the query. A browser repeats both when it reconnects, although it
    has a newer version then.
    """
    generation = target.generation if version == target.last_version else None
    return attrs.evolve(target, last_version=version, generation=generation)


def _split(query: str) -> tuple[list[str], str]:
    """Split a query into the different patterns and the rest."""
    patterns: dict[str, None] = {}
    rest = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if names.decode_segment(name) == "pattern":
            patterns[names.decode_segment(value)] = None
        else:
            rest.append(pair)
    return list(patterns), "&".join(rest)
