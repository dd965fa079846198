"""The last good content of broken files: puts it in their place between parsing and resolving.

In comes a `ParsedTree` in which some files are broken, out comes one in which each of them has a fallback, if its source knows a former content that
can be used. A source knows that as `Files.past`; this stage tries its former contents, the newest first, until one parses.

The invariant: a failure to look something up never takes away what is served. The work is bounded in time, and what was tried isn't tried again.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing

import attrs
import structlog
import trio

from .cache import Cache
from .errors import FormatError, SourceError
from .model import Past
from .parsing import parse_file
from .resolve.formats import Document
from .resolve.tree import Fallback, ParsedFiles, ParsedTree
from .settings import FormatSettings

log = structlog.get_logger()

_Tried = tuple[Document, ...] | FormatError

# All lookups of one publication together. Beyond it the files that are left keep the fallback that they had.
_SECONDS = 20.0
# Former contents that were parsed, whether they could be used or not.
_TRIED = 1_024
_TRIED_BYTES = 33_554_432


class LastGood:
    """See the module.

    Args:
        in_thread: Runs a function in a thread; it ends with the task that waits for it.
    """

    def __init__(self, in_thread: "Callable[..., Awaitable[_Tried]]") -> None:
        self._in_thread = in_thread
        self._tried: Cache[tuple[str, bytes], _Tried] = Cache(_TRIED_BYTES, _TRIED)
        self._limits = FormatSettings()

    async def fill(self, parsed: ParsedTree, before: ParsedTree | None, limits: FormatSettings) -> ParsedTree:
        """Give each broken file of a tree the fallback that its source knows.

        Labels that are the same objects as in `before` are taken over as they are.

        Args:
            limits: The bounds of parsing.
        """
        if limits != self._limits:
            self._tried.clear()
            self._limits = limits
        labels: dict[str, ParsedFiles] = {}
        with trio.move_on_after(_SECONDS) as scope:
            for label, files in parsed.labels.items():
                if before is not None and before.labels.get(label) is files:
                    continue
                labels[label] = await self._filled(label, files)
        if scope.cancelled_caught:
            log.warning(
                "last good content not found in time",
                seconds=_SECONDS,
                consequence="broken files of the labels that are left keep the fallback that they had",
            )
        return attrs.evolve(parsed, labels={**parsed.labels, **labels})

    async def _filled(self, label: str, files: ParsedFiles) -> ParsedFiles:
        first, *others = [await self._filled_layer(label, layer) for layer in files.layers]
        if first is files and all(one is other for one, other in zip(others, files.others, strict=True)):
            return files
        return attrs.evolve(first, others=tuple(others))

    async def _filled_layer(self, label: str, layer: ParsedFiles) -> ParsedFiles:
        past = layer.files.past
        if past is None or not layer.broken:
            return layer
        paths = [path for path in layer.broken if past.is_authoritative or path not in layer.fallbacks]
        found: dict[str, Fallback | None] = {}
        try:
            for path in paths:
                found[path] = await self._fallback(past, path)
        except SourceError as error:
            log.warning(
                "last good content not read",
                label=label,
                source=layer.files.root,
                reason=str(error),
                consequence="broken files keep the fallback that they had",
            )
        return layer.with_fallbacks(found) if found else layer

    async def _fallback(self, past: Past, path: str) -> Fallback | None:
        async with aclosing(past.contents(path)) as contents:
            async for former in contents:
                if former.content is None:
                    return Fallback((), former)
                documents = await self._parsed(path, former.content)
                if documents is not None:
                    return Fallback(documents, former)
        return None

    async def _parsed(self, path: str, content: bytes) -> tuple[Document, ...] | None:
        known = self._tried.get((path, content))
        if known is None:
            known = await self._in_thread(_parse, path, content, self._limits)
            self._tried.put((path, content), known, len(content), is_known=True)
        return None if isinstance(known, FormatError) else known


def _parse(path: str, content: bytes, limits: FormatSettings) -> _Tried:
    try:
        return parse_file(path, content, limits)
    except FormatError as error:
        return error.with_traceback(None)
