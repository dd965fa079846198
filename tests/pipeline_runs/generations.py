"""Validators for clients that move between the nodes of a cluster. They extend those of `history`.

A node that is behind a client waits, sends the client on at most once, and then serves its own state, marked as stale.
"""

from collections.abc import Collection, Iterator, Mapping

from .history import (
    ANSWERED,
    CLOSED,
    OPENED,
    SENT_ON,
    SNAPSHOT,
    STATES,
    VALIDATORS,
    Event,
    History,
    Validator,
    Violation,
    forward,
    is_ahead,
    split_generation,
    steps_back,
)

# Seconds that a node may wait for a newer state before it answers a client that is ahead of it.
WAIT = 2.0


def numbered(history: History) -> Iterator[Violation]:
    """Each generation has one content for each key, and a higher number of the same epoch never has an earlier publication."""
    first: dict[tuple[str, str, int], str | None] = {}
    for event in history.events:
        if event.kind not in STATES or event.generation is None:
            continue
        epoch, number = split_generation(event.generation)
        version = first.setdefault((event.key, epoch, number), event.new_version)
        if version != event.new_version:
            yield Violation("numbered", f"this generation is that of {version}", event)
    positions: dict[tuple[str, str], int] = {}
    for (key, epoch, number), version in sorted(first.items(), key=lambda item: item[0]):
        found = history.position(key, version, positions.get((key, epoch), 0))
        if found is not None:
            positions[key, epoch] = found
        elif history.position(key, version, 0) is not None:
            event = next(
                each
                for each in history.events
                if each.key == key and each.kind in STATES and each.generation == f"{epoch}.{number}"
            )
            yield Violation("numbered", "a lower number has a later publication", event)


def sent_on_once(history: History) -> Iterator[Violation]:
    """A client is sent on at most once until it has a state, only if it has claimed a generation, and not after a state."""
    for stream in history.streams():
        count, claimed, has_state = 0, None, False
        for event in stream:
            if event.kind == OPENED:
                claimed, has_state = event.generation, False
            elif event.kind in STATES:
                count, has_state = 0, True
            elif event.kind == SENT_ON:
                count += 1
                if count > 1:
                    yield Violation("sent_on_once", "the client was sent on already", event)
                if claimed is None:
                    yield Violation("sent_on_once", "the client has claimed no generation", event)
                if has_state:
                    yield Violation("sent_on_once", "the client has a state of this connection", event)


def stale(history: History) -> Iterator[Violation]:
    """A stale snapshot is the first state of a client that was sent on, and that claimed a higher generation of this epoch."""
    for stream in history.streams():
        claimed, is_first, was_sent_on = None, False, False
        for event in stream:
            if event.kind == OPENED:
                claimed, is_first = event.generation, True
            elif event.kind == SENT_ON:
                was_sent_on = True
            elif event.kind in STATES:
                if event.is_stale and not (event.kind == SNAPSHOT and is_first and was_sent_on):
                    yield Violation("stale", "no first snapshot of a client that was sent on", event)
                elif event.is_stale and not (claimed and event.generation and is_ahead(claimed, event.generation)):
                    yield Violation("stale", f"the client has claimed {claimed}", event)
                is_first = was_sent_on = False


def comparable(history: History) -> Iterator[Violation]:
    """As `forward`, but a client may go back if what it has and what it is sent have no generations of one epoch."""

    def is_unordered(held: str | None, event: Event) -> bool:
        return (
            held is None
            or event.generation is None
            or split_generation(held)[0] != split_generation(event.generation)[0]
        )

    for position, event in steps_back(history, is_unordered):
        yield Violation("comparable", f"the client had publication {position} already", event)


def prompt(
    seconds: float = WAIT, halted: Mapping[str, Collection[tuple[float, float]]] | None = None, slack: float = 1.0
) -> Validator:
    """A node that has accepted a handshake sends a state, or sends the client on, within a time.

    Args:
        halted: Maps a node to the times between which its process didn't run.
        slack: Seconds that a busy machine may add.
    """

    def validate(history: History) -> Iterator[Violation]:
        for connection in history.connections():
            begun = next((event for event in connection if event.kind == ANSWERED), None)
            first = next((event for event in connection if event.kind in (*STATES, SENT_ON, CLOSED)), None)
            if begun is None or first is None or first.t - begun.t <= seconds + slack:
                continue
            pauses = (halted or {}).get(begun.node, ())
            if not any(start < first.t and begun.t < end for start, end in pauses):
                yield Violation("prompt", f"it took {first.t - begun.t:.1f} s", first)

    validate.__name__ = "prompt"
    return validate


MOVING: tuple[Validator, ...] = (*VALIDATORS, numbered, sent_on_once, stale)
# For a history in which states were published while the store was away, or the store was restored from a backup.
WHILE_AWAY: tuple[Validator, ...] = (*(each for each in MOVING if each is not forward), comparable)
