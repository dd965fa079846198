"""How the commands print: in colour where a person looks on, as aligned columns, and never what would steer a terminal.

The invariant: whatever a server or a file says goes through `printable` before it is printed as text; JSON is encoded anyway.
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
    """Colours, or none."""

    is_on: bool = False

    def __call__(self, text: str, colour: str) -> str:
        """A text in a colour, which ends with it."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.is_on and text else text


def add_colour_argument(parser: argparse.ArgumentParser) -> None:
    """The option of every command that knows colours."""
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto: on a terminal, unless $NO_COLOR is set",
    )


def paint_of(choice: str, is_terminal: bool, environ: Mapping[str, str] = os.environ) -> Paint:
    """What `--color` means here. NO_COLOR counts where it isn't empty (no-color.org), and what is asked for goes before it."""
    if choice == "auto":
        return Paint(is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb")
    return Paint(choice == "always")


def aligned(rows: Sequence[Sequence[str]], gap: str = "  ") -> Iterator[str]:
    """Rows as lines, with each column as wide as its widest cell; the cells are made printable."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield gap.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def shown(text: str) -> str:
    """A text of several lines as a terminal may have it: with its lines and tabs, and nothing else that steers."""
    return "".join(part if part in "\n\t" else printable(part) for part in _LINES.split(text))


def put(text: str) -> None:
    """Print a text that somebody else wrote: as it is into a file or a pipe, made printable on a terminal."""
    sys.stdout.write(shown(text) if sys.stdout.isatty() else text)
