"""Finds the errors and warnings of a tree, by running the server's own stages over one state. Pure.

It takes a `Tree` and returns findings, each only once however many labels and keys it affects. Invariant: this module contains no rule of its
own. Files are parsed, resolved and decrypted by the code that serves them, so the server serves the whole of a tree without errors.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

import attrs

from ..core.errors import ResolveError
from ..core.model import Key, PropertySource, Tree
from ..core.text import printable
from ..encryption.decryptor import Decryptor
from ..encryption.values import PREFIX
from ..pipeline.state import State
from ..resolve.formats import Parse, extension, parse
from ..resolve.listing import DEFAULT_PROFILE, list_keys
from ..resolve.tree import ParsedTree, broken_files, parse_tree
from ..settings.formats import FormatSettings

# Returns what a gate finds about keys, given the state that they are resolved from.
Judges = Callable[[State, Sequence[Key]], "Sequence[Finding]"]
_SHARED = "application"
# The order of keys, without the cost of comparing objects.
_ORDER = attrgetter("application", "profile", "label")
_BEYOND_ASCII = re.compile(rb"[^\x00-\x7f]")
# Line ends, as `.properties` files have them.
_LINE_END = re.compile(rb"\r\n|\r|\n")


@attrs.frozen(order=True)
class Finding:
    """A problem in the tree.

    Attributes:
        file: Its path from the current directory; "" if it isn't a single file.
        line: The line, from 1; 0 if unknown.
        column: The column, from 1; 0 if unknown.
        reason: The problem, without any value.
        is_error: True if the server doesn't serve it. False if the server serves it with a warning.
    """

    file: str
    line: int
    column: int
    reason: str
    is_error: bool = True

    @property
    def place(self) -> str:
        """`file:line:column`, as far as they are known."""
        return ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])


@attrs.frozen
class Report:
    """All findings.

    Attributes:
        findings: Sorted by file and line.
        files: The number of configuration files.
        keys: The number of keys that were resolved.
    """

    findings: Sequence[Finding]
    files: int
    keys: int

    def count(self, *, is_error: bool) -> int:
        """Return the number of errors, or of warnings."""
        return sum(each.is_error is is_error for each in self.findings)


def look_through(
    tree: Tree,
    formats: FormatSettings,
    decryptor: Decryptor | None,
    overrides: PropertySource | None,
    where: Callable[[str], str],
    parse_file: Parse = parse,
    judge: Judges | None = None,
) -> Report:
    """Parse, resolve and decrypt a tree.

    Args:
        decryptor: Has the keys. None: don't examine encrypted values.
        overrides: See `State`.
        where: Makes a file's path relative to the current directory.
        parse_file: Parses one file, in this process or another.
        judge: Returns what the server's gate finds, or None if the server has no gate.
    """
    parsed = parse_tree(tree, formats, parse_file=parse_file)
    found = [*_broken(parsed), *_misread(parsed)]
    found += _undecryptable(parsed, decryptor) if decryptor is not None else ()
    keys = list_keys(parsed).keys | {Key(_SHARED, DEFAULT_PROFILE, label) for label in parsed.labels}
    found += _unresolvable(parsed, sorted(keys, key=_ORDER), decryptor, overrides)
    if judge is not None:
        state = State(parsed.labels, parsed.default_label, decryptor, overrides)
        found += judge(state, sorted(list_keys(parsed).keys, key=_ORDER))
    placed = {attrs.evolve(each, file=where(each.file) if each.file else "") for each in found}
    files = {path for label in parsed.labels.values() for path in label.paths}
    return Report(sorted(placed), len(files), len(keys))


def _broken(parsed: ParsedTree) -> Iterator[Finding]:
    for each in broken_files(parsed.labels).values():
        yield Finding(each.path, each.line or 0, each.column or 0, each.reason)


def _misread(parsed: ParsedTree) -> Iterator[Finding]:
    """Warn of `.properties` files in UTF-8. Spring and the server read ISO-8859-1, in which every byte is valid."""
    for files in parsed.labels.values():
        for layer in files.layers:
            for path in sorted(path for path in layer.documents if extension(path) == "properties"):
                content = layer.files.contents[path]
                if content.startswith(codecs.BOM_UTF8):
                    reason = "the file begins with a UTF-8 byte order mark, which is read as three characters"
                    yield Finding(path, 1, 1, f"{reason}; save it without the mark", is_error=False)
                    content = content.removeprefix(codecs.BOM_UTF8)
                if (line := _first_line_of_utf8(content)) is not None:
                    reason = (
                        "the line is in UTF-8, but the server reads ISO-8859-1: each such character becomes several"
                    )
                    yield Finding(path, line, 0, f"{reason}; write \\uXXXX for it, or use YAML", is_error=False)


def _first_line_of_utf8(content: bytes) -> int | None:
    """Return the line of the first non-ASCII character, from 1. None if there is none, or if the bytes aren't UTF-8."""
    match = _BEYOND_ASCII.search(content)
    if match is None:
        return None
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return len(_LINE_END.findall(content, 0, match.start())) + 1


def _unresolvable(
    parsed: ParsedTree, keys: Sequence[Key], decryptor: Decryptor | None, overrides: PropertySource | None
) -> Iterator[Finding]:
    # Broken files are reported already. Leave them out, so that this run also finds the problems behind them.
    sound = {label: attrs.evolve(files, broken={}) for label, files in parsed.labels.items()}
    state = State(sound, parsed.default_label, decryptor, overrides)
    for key in keys:
        try:
            state.check(key)
        except ResolveError as error:
            reason = error.reason if error.path else f"{error.reason} (for {key})"
            yield Finding(error.path or "", 0, 0, reason)


def _undecryptable(parsed: ParsedTree, decryptor: Decryptor) -> Iterator[Finding]:
    for files in parsed.labels.values():
        for path, documents in files.documents.items():
            for number, document in enumerate(documents):
                for key, value in document.values.items():
                    if isinstance(value, str) and value.startswith(PREFIX):
                        # Decrypt one value at a time, because a decryptor keeps only as many failures as a log needs.
                        decryptor.opened((PropertySource(f"{path}#{number}", {key: value}, {}),))
                        if decryptor.take_failures():
                            line, column = document.origins.get(key, (0, 0))
                            yield Finding(
                                path, line, column, f"no configured encryption key decrypts {key}", is_error=False
                            )


# The output formats.


def as_text(report: Report) -> Iterator[str]:
    """Yield a line for each finding, as compilers write it."""
    for each in report.findings:
        yield printable(": ".join(filter(None, (each.place, "" if each.is_error else "warning", each.reason))))


def as_json(report: Report) -> Iterator[str]:
    """Yield one JSON object."""

    def listed(is_error: bool) -> list[dict[str, object]]:
        return [_members(each) for each in report.findings if each.is_error is is_error]

    yield json.dumps({"files": report.files, "keys": report.keys, "errors": listed(True), "warnings": listed(False)})


def as_github(report: Report) -> Iterator[str]:
    """Yield workflow commands, which GitHub shows beside the lines of a change."""
    for each in report.findings:
        members = {"file": each.file, "line": each.line, "col": each.column}
        named = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in members.items() if value)
        kind = "error" if each.is_error else "warning"
        yield f"::{kind} {named}::{_escaped(each.reason)}"


def as_gitlab(report: Report) -> Iterator[str]:
    """Yield a Code Quality report, which GitLab shows beside the lines of a change."""
    yield json.dumps(
        [
            {
                "description": each.reason,
                "check_name": "vortexctl-check",
                "fingerprint": hashlib.sha256(f"{each.place}: {each.reason}".encode()).hexdigest()[:32],
                "severity": "critical" if each.is_error else "minor",
                "location": {"path": each.file or ".", "lines": {"begin": each.line or 1}},
            }
            for each in report.findings
        ]
    )


def _members(finding: Finding) -> dict[str, object]:
    return {
        "file": finding.file or None,
        "line": finding.line or None,
        "column": finding.column or None,
        "reason": finding.reason,
    }


def _escaped(text: str, more: str = "") -> str:
    """Escape a text for a workflow command."""
    return "".join(f"%{ord(each):02X}" if each in "%\r\n" + more else each for each in printable(text))


FORMS: Mapping[str, Callable[[Report], Iterator[str]]] = {
    "text": as_text,
    "json": as_json,
    "github": as_github,
    "gitlab": as_gitlab,
}
