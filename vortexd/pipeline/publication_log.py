"""Logs and counts broken files, keys that can't be resolved and sources without files, after each publication.

The served state before a publication and the state after it arrive. Log events leave for the differences between them.
"""

from collections.abc import Mapping
from typing import Protocol

import structlog

from ..core.model import BrokenFile, Key, Served
from ..encryption.decryptor import Decryptor
from .served import ServedState

log = structlog.get_logger()

# The consequence of a broken file for the keys that read it.
CONSEQUENCES = {
    Served.LAST_GOOD: "keys that read it are served with its last good content",
    Served.WITHOUT: "keys that read it are served without it, as before it appeared",
    Served.NOTHING: "keys that read it can't be served: no good content of it is known",
}


class Counters(Protocol):
    """Counts broken files."""

    def broken_files(self, count: int, unserved: int) -> None: ...


def report_broken(before: ServedState | None, now: ServedState, counters: Counters) -> None:
    """Log the files that have become broken, that are sound again or that have gone, and count the broken files."""
    former: Mapping[tuple[str, str], BrokenFile] = before.broken if before is not None else {}
    for name, each in now.broken.items():
        if former.get(name) != each:
            log.warning(
                "configuration file broken",
                label=each.label,
                file=each.path,
                line=each.line,
                reason=each.reason,
                consequence=CONSEQUENCES[each.served],
                **({"last_good": each.revision} if each.revision else {}),
            )
    for name in former.keys() - now.broken.keys():
        if now.has_file(former[name]):
            log.info("configuration file sound again", label=name[0], file=name[1])
        else:
            log.info("broken configuration file gone", label=name[0], file=name[1])
    counters.broken_files(len(now.broken), sum(each.served is Served.NOTHING for each in now.broken.values()))


def report_failures(before: ServedState | None, now: ServedState) -> None:
    """Log the keys that can't be resolved any more, or that fail for a new reason.

    Log the values that couldn't be decrypted, too.
    """
    former: Mapping[Key, str] = before.failures if before is not None else {}
    for key, reason in now.failures.items():
        if former.get(key) != reason:
            log.warning(
                "configuration not resolved",
                key=str(key),
                reason=reason,
                consequence="it keeps its last good state",
            )
    report_undecryptable(now.state.decryptor)


def report_pins(unusable: Mapping[Key, str]) -> None:
    """Log the pins whose files can't be used."""
    for key, reason in unusable.items():
        log.warning(
            "pin not usable",
            key=str(key),
            reason=reason,
            consequence="the key is served from its sources; the pin stays",
        )


def report_gone_pins(before: ServedState | None, now: ServedState) -> None:
    """Log the pinned keys that have ended, because one of their labels is gone."""
    for key in now.state.pinned:
        was_served = before is None or before.state.term(key) is not None
        # A source reads most labels only once a client asks for them.
        if before is not None and was_served and now.state.term(key) is None:
            log.warning(
                "pin not usable",
                key=str(key),
                reason="its label is gone",
                consequence="the key has ended; the pin stays, and counts again if the label comes back",
            )


def report_undecryptable(decryptor: Decryptor | None) -> None:
    """Log the values that couldn't be decrypted since the last call."""
    for source, key in decryptor.take_failures() if decryptor is not None else ():
        log.warning("value not decrypted", source=source, property=key, reason="no configured key decrypts it")


def report_empty(before: ServedState | None, now: ServedState) -> None:
    """Log the sources that have become empty."""
    for root in sorted(now.empty_sources - (before.empty_sources if before is not None else frozenset())):
        log.warning(
            "no configuration",
            source=root,
            reason="no file there is .yml, .yaml, .properties, .json or .toml",
            consequence="the source has no values for any application",
        )
