"""Decides where a file is parsed: a small file in the calling thread, a large or costly file in a separate process.

Paths and bytes arrive, and documents leave, as from `resolve.formats.parse`. The invariant: no file holds the
interpreter lock for long. None takes more memory than `formats.memory_bytes` or more time than `formats.cpu_seconds`. A
file that exceeds these limits is broken, and the error says why.

If no process can be started, the file is still parsed in the thread, within the other limits of `formats`. The same
happens if its processes die for a reason that isn't the file's fault. So the same file has the same result everywhere
and every time.
"""

from collections.abc import Callable

import attrs
import structlog

from ..aio.isolated import Died, Exceeded, Isolated, Unavailable
from ..core.errors import FormatError
from ..core.model import Tree
from ..resolve import apart, formats
from ..resolve.formats import Document
from ..resolve.nodes import TooManyValues
from ..resolve.tree import ParsedTree, parse_tree
from ..settings.formats import FormatSettings

log = structlog.get_logger()

# A file within both limits takes a few hundredths of a second. It holds the interpreter lock for only a few
# milliseconds at a time.
SMALL_BYTES = 262_144
SMALL_NODES = 10_000
# How many processes may die for one file.
_TRIES = 3
_CONSEQUENCE = "the file is parsed without a limit on its memory and time"


def _report(path: str, error: Died | Unavailable) -> None:
    if isinstance(error, Died):
        log.warning("parsing processes died", file=path, reason=f"parsing it {error}", consequence=_CONSEQUENCE)
    else:
        log.warning("no process can be started", file=path, reason=str(error), consequence=_CONSEQUENCE)


class Parser:
    """Parses files one after the other. It may own a process, so close it or use it as a context manager.

    Args:
        report: Called with a path, and the reason why the file is parsed without a separate process.
    """

    def __init__(self, report: Callable[[str, Died | Unavailable], None] = _report) -> None:
        self._report = report
        self._isolated: Isolated | None = None

    def __enter__(self) -> "Parser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        if self._isolated is not None:
            self._isolated.close()

    def parse(self, path: str, content: bytes, limits: FormatSettings) -> tuple[Document, ...]:
        """Parse a file like `resolve.formats.parse`. Blocks: call it in a thread, always with the same limits.

        Raises:
            FormatError: The file can't be used, or takes too much memory or time.
        """
        if len(content) <= SMALL_BYTES:
            try:
                return formats.parse(path, content, attrs.evolve(limits, nodes=min(limits.nodes, SMALL_NODES)))
            except TooManyValues:
                if limits.nodes <= SMALL_NODES:
                    raise
        if self._isolated is None:
            self._isolated = Isolated(apart.__name__, limits.memory_bytes, limits.cpu_seconds)
        try:
            return _parse_apart(self._isolated, path, content, limits)
        except (Died, Unavailable) as error:
            self._report(path, error)
        return formats.parse(path, content, limits)


def _parse_apart(isolated: Isolated, path: str, content: bytes, limits: FormatSettings) -> tuple[Document, ...]:
    """Parse a file in a separate process. If the process dies, try again in another.

    Raises:
        FormatError: The file can't be used, takes too much memory or time, or makes the process crash.
        Died: All processes that were tried died, and none of them crashed.
        Unavailable: No process can be started.
    """
    last: Died | Unavailable | None = None
    crash: Died | None = None
    for _ in range(_TRIES):
        try:
            return apart.documents_from(path, isolated.ask(apart.request_for(path, limits), content))
        except Died as error:
            last = error
            crash = error if error.is_crash else crash
        except Unavailable as error:
            last = error
            break
        except Exceeded as error:
            raise FormatError(path, f"parsing it {error}") from None
    if crash is not None:
        # In the thread the same crash might end the whole server.
        raise FormatError(path, f"parsing it {crash}") from None
    assert last is not None  # the loop has run
    raise last


def parse_file(path: str, content: bytes, limits: FormatSettings) -> tuple[Document, ...]:
    """Parse one file. See `Parser.parse`."""
    with Parser() as parser:
        return parser.parse(path, content, limits)


def parse_all(
    tree: Tree, limits: FormatSettings, before: ParsedTree | None = None, served: ParsedTree | None = None
) -> ParsedTree:
    """Parse a tree like `resolve.tree.parse_tree`, with large files in a separate process.

    Blocks: call it in a thread.
    """
    with Parser() as parser:
        return parse_tree(tree, limits, before, served, parser.parse)
