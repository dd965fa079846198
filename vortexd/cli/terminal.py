"""Argument parsing and error output of the command line: each error is one line on stderr."""

import argparse
import sys
from typing import NoReturn

from ..core.errors import SettingsError
from ..core.text import printable


class Parser(argparse.ArgumentParser):
    """Prints an error of the command line as one line, like all other errors."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message}; see {self.prog} --help")
        self.exit(2)


def complain_of(error: SettingsError) -> int:
    """Print every problem, and return the exit status."""
    for key, problem in error.problems:
        complain(f"{error.origin}: {key + ': ' if key else ''}{problem}")
    return 2


def complain(text: str) -> None:
    """Print one error."""
    print(f"vortexd: error: {printable(text)}", file=sys.stderr)
