"""Parses the small files of a large tree in several processes, one for each processor, before `parse_tree` asks for them.

A `Tree` arrives, and a function that parses one file leaves. It has the results of the processes, and parses all other
files as before: large and costly files, and the files of a batch that a process didn't finish. The invariant: each file
has the same result, wherever it is parsed.

`work` runs in the processes. It takes the files of one batch, and yields their results at once.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs

from ..aio.isolated import Exceeded, Isolated, Unavailable
from ..core.errors import FormatError
from ..core.model import Tree
from ..pipeline.parsing import SMALL_BYTES, SMALL_NODES
from ..process.imports import uncollected
from ..resolve.activation import Demand
from ..resolve.formats import Document, Parse, parse
from ..resolve.nodes import TooManyValues
from ..resolve.tree import is_configuration
from ..settings.formats import FormatSettings

# The processes for a smaller tree take longer to start than they save.
MANY_BYTES = 2_097_152
MOST_PROCESSES = 8
# A batch takes some hundredths of a second, so the processes end at almost the same moment.
BATCH_BYTES = 131_072

_File: TypeAlias = tuple[str, bytes]
_Parsed: TypeAlias = tuple[Document, ...] | FormatError


def parsed_in_processes(
    tree: Tree, limits: FormatSettings, parse_file: Parse, processes: int | None = None, many_bytes: int = MANY_BYTES
) -> Parse:
    """Parse the small files of a tree in several processes, if there are many. Return a function that has the results.

    Args:
        parse_file: Parses the other files. The returned function calls it in the calling thread.
        processes: The number of processes, or None for one for each processor that this process may use.
        many_bytes: Fewer bytes in small files aren't many.
    """
    count = min(processes or len(os.sched_getaffinity(0)), MOST_PROCESSES)
    files = list(small_files(tree))
    if count < 2 or sum(len(content) for _, content in files) < many_bytes:
        return parse_file
    known = _Pool(limits, batches_of(files)).results(count)

    def parse_known(path: str, content: bytes, limits: FormatSettings) -> tuple[Document, ...]:
        found = known.get((path, content))
        if found is None:
            return parse_file(path, content, limits)
        if isinstance(found, FormatError):
            raise found
        return found

    return parse_known


def small_files(tree: Tree) -> Iterator[_File]:
    """Yield each small configuration file of a tree once, with its content."""
    found: dict[_File, None] = {}
    for label in tree.labels.values():
        for files in (label, *label.others):
            for path, content in files.contents.items():
                if len(content) <= SMALL_BYTES and is_configuration(path, files.locations):
                    found[path, content] = None
    return iter(found)


def batches_of(files: Iterable[_File]) -> Iterator[list[_File]]:
    """Yield the files in batches. Each batch but the last has at least `BATCH_BYTES`."""
    batch: list[_File] = []
    size = 0
    for file in files:
        batch.append(file)
        size += len(file[1])
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Pool:
    """Some processes, each with a thread that sends it one batch after the other."""

    def __init__(self, limits: FormatSettings, batches: Iterator[list[_File]]) -> None:
        self._limits = limits
        self._batches = batches
        self._lock = threading.Lock()
        self._results: dict[_File, _Parsed] = {}

    def results(self, count: int) -> dict[_File, _Parsed]:
        """Parse the batches in `count` processes. Return the results of all files that were parsed."""
        isolated = [Isolated(__name__, self._limits.memory_bytes, self._limits.cpu_seconds) for _ in range(count)]
        threads = [threading.Thread(target=self._parse, args=(each,), daemon=True) for each in isolated]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            # After Ctrl-C, threads are still waiting for the processes.
            for each in isolated:
                each.kill()
        return self._results

    def _parse(self, isolated: Isolated) -> None:
        with isolated:
            while batch := self._next():
                request = attrs.asdict(self._limits), [(path, len(content)) for path, content in batch]
                try:
                    for results in isolated.ask(request, b"".join(content for _, content in batch)):
                        self._note(batch, results)
                except Exceeded:
                    continue  # the files of this batch are parsed one by one later
                except Unavailable:
                    return

    def _next(self) -> list[_File] | None:
        with self._lock:
            return next(self._batches, None)

    def _note(self, batch: Sequence[_File], results: Sequence[Any]) -> None:
        for (path, content), result in zip(batch, results, strict=True):
            if result is not None:
                self._results[path, content] = _result(path, result)


def work(request: Any, content: bytes) -> Iterator[Any]:
    """Parse the files of a batch, and yield the list of their results."""
    limits, files = request
    settings = FormatSettings(**limits)
    results = []
    at = 0
    # Parsing leaves no circles of objects behind.
    with uncollected():
        for path, size in files:
            results.append(_plain(path, content[at : at + size], settings))
            at += size
    yield results


def _plain(path: str, content: bytes, limits: FormatSettings) -> Any:
    """Return the documents of a file or its error as plain values. Return None for a file that `Parser` parses apart."""
    try:
        documents = parse(path, content, attrs.evolve(limits, nodes=min(limits.nodes, SMALL_NODES)))
    except TooManyValues:
        return None
    except FormatError as error:
        return "broken", (error.reason, error.line, error.column)
    return "documents", [
        (each.values, each.origins, each.profiles and each.profiles.any_of, each.profile_keys, each.imports)
        for each in documents
    ]


def _result(path: str, plain: Any) -> _Parsed:
    kind, found = plain
    if kind == "broken":
        return FormatError(path, *found)
    return tuple(
        Document(values, origins, None if any_of is None else Demand(any_of), profile_keys, imports)
        for values, origins, any_of, profile_keys, imports in found
    )
