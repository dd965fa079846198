"""The command line of vortexctl: finds the command, and turns what goes wrong into one line and an exit status.

The statuses are stable: 0 it is as asked, 1 it isn't (messages lost, a difference, a timeout), 2 the command line is wrong, 3 the server
can't be reached or refuses, or the output can't be written; 130 after Ctrl-C, and 141 where nobody reads what is printed.
"""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from .. import __version__
from ..core.errors import SettingsError
from ..core.text import printable
from .completion import command_of
from .errors import CtlError

# Each is a module that has `add_arguments(parser)` and `run(arguments) -> int`, and says in its docstring's first line what it does.
COMMANDS = (
    "agent",
    "bench",
    "check",
    "completion",
    "diff",
    "exec",
    "explain",
    "fleet",
    "get",
    "token",
    "wait",
    "watch",
)

# Why a file or a device doesn't take what is printed.
_UNWRITABLE = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _complain(f"{message}; see {self.prog} --help")
        self.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run vortexctl and return its exit status."""
    _open_streams()
    try:
        given = _command_first(sys.argv[1:] if arguments is None else arguments)
        # The others take longer to import than most commands take to run.
        options = parser(given[:1] if given and given[0] in COMMANDS else COMMANDS).parse_args(given)
        status: int = options.run(options)
        sys.stdout.flush()
    except SettingsError as error:
        for place, problem in error.problems:
            _complain(": ".join(filter(None, (error.origin, place, problem))))
        return 2
    except CtlError as error:
        _complain(str(error))
        return error.status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read has read enough; the interpreter has nothing to complain of in the end. It isn't 0: who checks something must not
        # pass because somebody looked at its first line alone.
        _write_no_more()
        return 128 + signal.SIGPIPE
    except UnicodeEncodeError as error:
        _complain(f"what is to be printed can't be written in {error.encoding}; set PYTHONUTF8=1")
        return 2
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        _write_no_more()
        _complain(f"the output can't be written: {os.strerror(error.errno or 0).lower()}")
        return 3
    return status


def _command_first(given: Sequence[str]) -> list[str]:
    """The command line with the options that stand before the command moved behind it.

    A word is the command if all that stands before it are options of that command, with their values.

    Raises:
        CtlError: No command has these options.
    """
    if not given or not given[0].startswith("-"):
        return list(given)
    found = [(at, word, _not_an_option(given[:at], word)) for at, word in enumerate(given) if word in COMMANDS]
    for at, word, other in found:
        if other is None:
            return [word, *given[:at], *given[at + 1 :]]
    for _, word, other in found:
        if other:
            raise CtlError(f"{word} has no option {other}; see vortexctl {word} --help", 2)
    return list(given)


def _not_an_option(words: Sequence[str], command: str) -> str | None:
    """The first of some words that is no option of a command, nor the value of one: "" where a value is missing; None where there is none."""
    [whole] = command_of(parser([command])).commands
    takes = {name: bool(option.takes) for option in whole.options for name in option.names}
    at = 0
    while at < len(words):
        name, equals, _ = words[at].partition("=")
        if name not in takes:
            return name
        at += 2 if takes[name] and not equals else 1
    return None if at == len(words) else ""


def _open_streams() -> None:
    """Let nothing else become descriptor 1 or 2 where the caller has closed them. Whoever prints is told that it can't be written."""
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _write_no_more() -> None:
    """Drop what is still to be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The whole command line, or that of some commands."""
    whole = _Parser(
        prog="vortexctl",
        description="Ask a running vortexd.",
        epilog="Each command has a --help. Its options may stand before it, too: vortexctl --server URL get APP",
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"vortexctl {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for name in names:
        module = import_module(f".{name}", __package__)
        summary = (module.__doc__ or "").partition("\n")[0]
        one = commands.add_parser(
            name, help=summary[0].lower() + summary[1:].rstrip("."), description=summary, allow_abbrev=False
        )
        module.add_arguments(one)
        one.set_defaults(run=module.run)
    return whole


def _complain(text: str) -> None:
    print(f"vortexctl: error: {printable(text)}", file=sys.stderr)
