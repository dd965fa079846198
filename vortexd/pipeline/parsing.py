"""Where a file is parsed: a small one in the thread that asks, a large or costly one in a process of its own.

In come paths and bytes, out go documents, as from `resolve.formats.parse`. The invariant: no file holds the interpreter up for long, takes more
memory than `formats.memory_bytes`, or more time than `formats.cpu_seconds`; one that would is broken, with that reason.

Without a process to spare a file is parsed in the thread all the same, by the bounds of `formats` alone. So it is when its processes die for no
fault of its own: what becomes of a file is the same everywhere and every time.
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

# Up to both of these a file takes a few hundredths of a second, of which the interpreter is never held for more than some milliseconds.
SMALL_BYTES = 262_144
SMALL_NODES = 10_000
# How many processes may die over one file.
_TRIES = 3
_CONSEQUENCE = "the file is parsed without a bound of its memory and time"


def _report(path: str, error: Died | Unavailable) -> None:
    if isinstance(error, Died):
        log.warning("parsing processes died", file=path, reason=f"parsing it {error}", consequence=_CONSEQUENCE)
    else:
        log.warning("no process can be started", file=path, reason=str(error), consequence=_CONSEQUENCE)


class Parser:
    """Parses files one after the other. Close it, or use it as a context: it may have a process.

    Args:
        report: Called with a path, and why it is parsed without a process of its own.
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
        """As `resolve.formats.parse`. Blocks: call it in a thread, always with the same limits.

        Raises:
            FormatError: It can't be used, or takes too much memory or time.
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
    """Parse a file in a process, and in another if that one dies.

    Raises:
        FormatError: It can't be used, takes too much memory or time, or makes the process crash.
        Died: One process after the other has died for another reason.
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
        # In the thread it might end the whole server.
        raise FormatError(path, f"parsing it {crash}") from None
    assert last is not None  # there was a try
    raise last


def parse_file(path: str, content: bytes, limits: FormatSettings) -> tuple[Document, ...]:
    """Parse one file. As `Parser.parse`."""
    with Parser() as parser:
        return parser.parse(path, content, limits)


def parse_all(
    tree: Tree, limits: FormatSettings, before: ParsedTree | None = None, served: ParsedTree | None = None
) -> ParsedTree:
    """As `resolve.tree.parse_tree`, with large files in a process of their own. Blocks: call it in a thread."""
    with Parser() as parser:
        return parse_tree(tree, limits, before, served, parser.parse)
