"""How the commands print: with colours on a terminal, in aligned columns, and without characters that control a terminal.

Invariant: text from a server or a file passes through `printable` before it is printed as text. JSON escapes it anyway.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

import attrs

from ..core.text import printable

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_LINES = re.compile(r"([\n\t])")


@attrs.frozen
class Paint:
    """Adds colours to text, or leaves it as it is."""

    is_on: bool = False

    def __call__(self, text: str, colour: str) -> str:
        """Return a text in a colour that ends with the text."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.is_on and text else text


def add_colour_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option `--color`."""
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto: on a terminal, unless $NO_COLOR is set",
    )


def paint_of(choice: str, is_terminal: bool, environ: Mapping[str, str] = os.environ) -> Paint:
    """Interpret `--color`. NO_COLOR counts if it isn't empty (no-color.org); an explicit choice wins over it."""
    if choice == "auto":
        return Paint(is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb")
    return Paint(choice == "always")


def aligned(rows: Sequence[Sequence[str]], gap: str = "  ") -> Iterator[str]:
    """Yield rows as lines whose columns are as wide as their widest cell. Cells are made printable."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield gap.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def shown(text: str) -> str:
    """Make a text safe for a terminal. Newlines and tabs stay; other control characters are escaped."""
    return "".join(part if part in "\n\t" else printable(part) for part in _LINES.split(text))


def put(text: str) -> None:
    """Print a text from elsewhere: unchanged into a file or a pipe, made printable on a terminal."""
    sys.stdout.write(shown(text) if sys.stdout.isatty() else text)
