"""Replaces broken files by their last good content, between parsing and resolving.

A `ParsedTree` arrives in which some files are broken. A `ParsedTree` leaves in which broken files have fallbacks. A
file has a fallback if its source knows an earlier content that can be used. A source offers its earlier contents as
`Files.past`. This stage tries them, the newest first, until one parses.

The invariant: a failed lookup never removes anything that is served, and is repeated later. `incomplete` names the
labels that must be filled again. The time is limited. The searches for files take turns, so that a file with a long
past doesn't delay another. A content that can't be used isn't read again.
"""

from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial

import attrs
import structlog
import trio

from ..core.cache import Cache
from ..core.errors import FormatError, SourceError
from ..core.model import Former
from ..resolve.formats import Document
from ..resolve.tree import Fallback, ParsedFiles, ParsedTree
from ..settings.formats import FormatSettings
from .parsing import parse_file

log = structlog.get_logger()

_Tried = tuple[Document, ...] | FormatError

# Seconds that all lookups of one publication may take together. The labels that aren't done by then are incomplete.
_SECONDS = 5.0
# Limits of the remembered contents: the number and bytes of parsed contents, and the number of contents that can't be
# used.
_TRIED = 1_024
_TRIED_BYTES = 33_554_432
_UNUSABLE = 65_536


@attrs.define(eq=False)
class _Search:
    """The search for the fallback of one broken file.

    Attributes:
        layer: The number of the file's layer in its label.
        source: The root of that layer.
        formers: The earlier contents that are still to be tried.
    """

    label: str
    layer: int
    source: str
    path: str
    formers: AsyncGenerator[Former, None]


class LastGood:
    """Finds the last good content of broken files; see the module.

    Args:
        in_thread: Runs a function in a thread. If the waiting task is cancelled, the thread is abandoned.

    Attributes:
        incomplete: The labels of the most recently filled tree for which a lookup failed or took too long.
    """

    def __init__(self, in_thread: "Callable[..., Awaitable[_Tried]]") -> None:
        self._in_thread = in_thread
        self._tried: Cache[tuple[str, bytes], tuple[Document, ...]] = Cache(_TRIED_BYTES, _TRIED)
        self._unusable: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._limits = FormatSettings()
        self.incomplete: frozenset[str] = frozenset()

    async def fill(
        self, parsed: ParsedTree, before: ParsedTree | None, limits: FormatSettings, *, again: bool = False
    ) -> ParsedTree:
        """Give each broken file of a tree the fallback that its source knows.

        If a label is the same object as in `before`, it is taken over unchanged.

        Args:
            limits: The limits of parsing.
            again: Search again for the fallbacks of incomplete labels, even if they are the same objects.
        """
        if limits != self._limits:
            self._tried.clear()
            self._unusable.clear()
            self._limits = limits
        same = {label for label, files in parsed.labels.items() if before and before.labels.get(label) is files}
        left = {label for label in same & self.incomplete if not again}
        wanted = [label for label in parsed.labels if label not in same or label in self.incomplete - left]
        begun = [each for label in wanted for each in self._searches(label, parsed.labels[label])]
        searches = deque(begun)
        found: dict[tuple[str, int], dict[str, Fallback | None]] = {}
        missing = {each.label for each in searches}
        with trio.move_on_after(_SECONDS) as scope:
            missing = await self._go(searches, found)
        if scope.cancelled_caught:
            missing = {each.label for each in searches}
            log.warning(
                "last good content not found in time",
                labels=sorted(missing)[:10],
                seconds=_SECONDS,
                consequence="the remaining broken files keep their old fallback; the server looks again later",
            )
        for each in begun:
            await each.formers.aclose()
        self.incomplete = frozenset(missing | left)
        labels = {label: _with(files, label, found) for label, files in parsed.labels.items()}
        return attrs.evolve(parsed, labels=labels)

    def _searches(self, label: str, files: ParsedFiles) -> "list[_Search]":
        return [
            _Search(label, number, layer.files.root, path, past.contents(path, partial(self._is_unusable, path)))
            for number, layer in enumerate(files.layers)
            if (past := layer.files.past) is not None
            for path in layer.broken
            if past.is_authoritative or path not in layer.fallbacks
        ]

    async def _go(
        self, searches: "deque[_Search]", found: dict[tuple[str, int], dict[str, Fallback | None]]
    ) -> set[str]:
        """Continue each search in turn, one content at a time. Return the labels of the searches that failed."""
        failed: set[str] = set()
        while searches:
            # A search stays in the queue while it waits. So the searches in the queue when time is up aren't done.
            search = searches[0]
            try:
                is_done, fallback = await self._step(search)
            except SourceError as error:
                failed.add(search.label)
                searches.popleft()
                log.warning(
                    "last good content not read",
                    label=search.label,
                    source=search.source,
                    file=search.path,
                    reason=str(error),
                    consequence="the file keeps its old fallback; the server looks again later",
                )
                continue
            searches.popleft()
            if is_done:
                found.setdefault((search.label, search.layer), {})[search.path] = fallback
            else:
                searches.append(search)
        return failed

    async def _step(self, search: _Search) -> tuple[bool, Fallback | None]:
        """Try the next earlier content of a file. Return whether the search is over, and the fallback that it found."""
        former = await anext(search.formers, None)
        if former is None:
            return True, None
        fallback: Fallback | None = None
        if former.content is None:
            fallback = Fallback((), former)
        elif (documents := await self._parsed(search.path, former, former.content)) is not None:
            fallback = Fallback(documents, former)
        return fallback is not None, fallback

    async def _parsed(self, path: str, former: Former, content: bytes) -> tuple[Document, ...] | None:
        known = self._tried.get((path, content))
        if known is not None:
            return known
        tried = await self._in_thread(_parse, path, content, self._limits)
        if not isinstance(tried, FormatError):
            self._tried.put((path, content), tried, len(content), is_known=True)
            return tried
        if former.id is not None:
            self._unusable[path, former.id] = None
            while len(self._unusable) > _UNUSABLE:
                self._unusable.popitem(last=False)
        return None

    def _is_unusable(self, path: str, id: str) -> bool:
        return (path, id) in self._unusable


def _with(files: ParsedFiles, label: str, found: dict[tuple[str, int], dict[str, Fallback | None]]) -> ParsedFiles:
    """Return the files of a label with the fallbacks that were found. If none was found, it is the same object."""
    if not any(name == label for name, _ in found):
        return files
    first, *others = (
        layer.with_fallbacks(found[label, number]) if (label, number) in found else layer
        for number, layer in enumerate(files.layers)
    )
    return attrs.evolve(first, others=tuple(others))


def _parse(path: str, content: bytes, limits: FormatSettings) -> _Tried:
    try:
        return parse_file(path, content, limits)
    except FormatError as error:
        return error.with_traceback(None)
