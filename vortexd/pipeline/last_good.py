"""The last good content of broken files: puts it in their place between parsing and resolving.

In comes a `ParsedTree` in which some files are broken, out comes one in which each of them has a fallback, if its source knows a former content that
can be used. A source knows that as `Files.past`; this stage tries its former contents, the newest first, until one parses.

The invariant: a failure to look something up never takes away what is served, and is made good later: `incomplete` names the labels that are to be
filled again. The work is bounded in time. Files take turns, so that one with a long past doesn't keep another one waiting, and a content that can't be
used isn't read again.
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

# Seconds that all lookups of one publication may take together. The labels that aren't done then are incomplete.
_SECONDS = 5.0
# Former contents that were parsed and can be used, and those that can't.
_TRIED = 1_024
_TRIED_BYTES = 33_554_432
_UNUSABLE = 65_536


@attrs.define(eq=False)
class _Search:
    """The search for the fallback of one broken file.

    Attributes:
        layer: The place of the file's layer in its label.
        source: The root of that layer.
        formers: What is left to try.
    """

    label: str
    layer: int
    source: str
    path: str
    formers: AsyncGenerator[Former, None]


class LastGood:
    """See the module.

    Args:
        in_thread: Runs a function in a thread; it ends with the task that waits for it.

    Attributes:
        incomplete: The labels of the tree filled last for which a lookup failed or took too long.
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

        Labels that are the same objects as in `before` are taken over as they are.

        Args:
            limits: The bounds of parsing.
            again: Look once more for what labels lack that are incomplete, the same or not.
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
                consequence="broken files that are left keep the fallback that they had; it is looked for again",
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
        """Go on with each search in turn, a content at a time. Returns the labels of those that failed."""
        failed: set[str] = set()
        while searches:
            # It stays in its place while it waits: what is there when time is up isn't done.
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
                    consequence="the file keeps the fallback that it had; its last good content is looked for again",
                )
                continue
            searches.popleft()
            if is_done:
                found.setdefault((search.label, search.layer), {})[search.path] = fallback
            else:
                searches.append(search)
        return failed

    async def _step(self, search: _Search) -> tuple[bool, Fallback | None]:
        """Try the next former content of a file. Returns whether the search is over, and what it found."""
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
    """The files of a label with what was found; the same object where that is nothing."""
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
