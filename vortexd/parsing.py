"""Where a file is parsed: a small one in the thread that asks, a large or costly one in a process of its own.

In come paths and bytes, out go documents, as from `resolve.formats.parse`. The invariant: no file holds the interpreter up for long, takes more
memory than `formats.memory_bytes`, or more time than `formats.cpu_seconds`; one that would is broken, with that reason.

Without a process to spare a file is parsed in the thread all the same, by the bounds of `formats` alone.
"""

from collections.abc import Callable

import attrs
import structlog

from .errors import FormatError
from .isolated import Exceeded, Isolated, Unavailable
from .model import Tree
from .resolve import apart, formats
from .resolve.formats import Document
from .resolve.nodes import TooManyValues
from .resolve.tree import ParsedTree, parse_tree
from .settings import FormatSettings

log = structlog.get_logger()

# Up to both of these a file takes a few hundredths of a second, of which the interpreter is never held for more than some milliseconds.
SMALL_BYTES = 262_144
SMALL_NODES = 10_000


def _report(path: str, reason: str) -> None:
    log.warning(
        "no process can be started",
        file=path,
        reason=reason,
        consequence="the file is parsed without a bound of its memory and time",
    )


class Parser:
    """Parses files one after the other. Close it, or use it as a context: it may have a process.

    Args:
        report: Called with a path, and why it is parsed without a process of its own.
    """

    def __init__(self, report: Callable[[str, str], None] = _report) -> None:
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
            return apart.documents_from(path, self._isolated.ask(apart.request_for(path, limits), content))
        except Exceeded as error:
            raise FormatError(path, f"parsing it {error}") from None
        except Unavailable as error:
            self._report(path, str(error))
        return formats.parse(path, content, limits)


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
