"""The command line of vortexctl: finds the command, and turns each error into one line and an exit status.

The statuses are stable. 0: the result is as asked. 1: it isn't (messages lost, a difference, a timeout). 2: the command line is wrong.
3: the server can't be reached or refuses, or the output can't be written. 130: Ctrl-C. 141: the reader of the output has gone away.
"""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from .. import __version__
from ..core.errors import SettingsError
from ..core.text import printable
from .errors import CtlError

# Each is a module with `add_arguments(parser)` and `run(arguments) -> int`, and its help, which is the first line of its docstring.
# The help stands here, because `vortexctl --help` would otherwise import all commands, which takes half a second.
COMMANDS = {
    "agent": "Write files from templates and reload programs whenever a configuration changes.",
    "audit": "List the acts that have changed something at the server, with the actor, the time and the reason, the newest last.",
    "bench": "Measure vortexd under load: connections, changes and idle time, compared with the cost of the system calls alone.",
    "check": "Check a directory or a repository of configuration with the server's own rules, before the server reads it.",
    "cluster": "Remove a node that is away from its cluster.",
    "completion": "Print a script that completes the commands and options of vortexctl in a shell.",
    "diff": "Show the changes between two versions, labels, commits or times.",
    "exec": "Run a command with a configuration as its environment, and restart or signal it when the configuration changes.",
    "explain": "Explain a configuration: which layers hold a key, which layer wins, and where each value is written.",
    "fleet": "Show which instances have applied a configuration, rejected it, or are silent.",
    "gate": "Show the labels that the server's gate holds back, or let one held-back state through.",
    "get": "Print a configuration, or one key of it.",
    "history": "Show the commits that changed a configuration, the newest first.",
    "pin": "Pin a configuration: the server serves it unchanged, whatever its source says, until the pin ends.",
    "pins": "List the configurations that are pinned, until when, by whom and why.",
    "rollback": "Go back to a former version of a configuration by a new commit, which the server pushes.",
    "rollout": "Show the roll-outs of changes, and resume, abort or promote one.",
    "schema": "Draft a JSON Schema for the gate from what the server serves of an application.",
    "token": "Make tokens for the server, and read token files as the server does.",
    "unpin": "Lift the pin of a configuration, so that the server follows its source again.",
    "wait": "Wait until the instances of an application have applied its configuration.",
    "watch": "Watch a configuration, and print each change as it happens.",
}

# Errors of a file or device that can't take the output.
_UNWRITABLE = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _complain(f"{message}; see {self.prog} --help")
        self.exit(2)


class _CommandParser(_Parser):
    """The parser of one command. It imports the command when it first parses, unless `fill` was called before.

    Attributes:
        missing: The name of the module whose arguments are missing; "" if none are.
    """

    missing = ""

    def fill(self) -> None:
        """Import the command, and add its arguments. Further calls do nothing."""
        name, self.missing = self.missing, ""
        if name:
            module = import_module(f".{name}", __package__)
            module.add_arguments(self)
            self.set_defaults(run=module.run)

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        """See `argparse.ArgumentParser`."""
        self.fill()
        return super().parse_known_args(*arguments, **options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run vortexctl and return its exit status."""
    _open_streams()
    try:
        given = _command_first(sys.argv[1:] if arguments is None else arguments)
        # Import only this command. The import of all commands takes longer than most commands run.
        options = parser(is_filled=False).parse_args(given)
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
        # The reader has read enough. Silence the interpreter's own flush. The status isn't 0, so that a check doesn't pass only because
        # somebody looked at its first line.
        _write_no_more()
        return 128 + signal.SIGPIPE
    except UnicodeEncodeError as error:
        _complain(f"the output can't be encoded in {error.encoding}; set PYTHONUTF8=1")
        return 2
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        _write_no_more()
        _complain(f"can't write the output: {os.strerror(error.errno or 0).lower()}")
        return 3
    return status


def _command_first(given: Sequence[str]) -> list[str]:
    """Move options that stand before the command behind it.

    A word is the command if everything before it consists of options of that command and their values.

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
    """Return the first word that is neither an option of a command nor an option's value; "" if a value is missing; None if there is none."""
    from .completion import command_of

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
    """If the caller has closed descriptor 1 or 2, keep other files from taking it. Later output then fails with an error."""
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _write_no_more() -> None:
    """Discard the output that is still buffered."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser(names: Iterable[str] = COMMANDS, *, is_filled: bool = True) -> argparse.ArgumentParser:
    """Build the parser of the whole command line, or of some commands.

    Args:
        is_filled: Whether to import the commands now. Otherwise only the command that is parsed is imported.
    """
    whole = _Parser(
        prog="vortexctl",
        description="Query a running vortexd, and use its configuration.",
        epilog="Each command has a --help. Options may also stand before the command: vortexctl --server URL get APP",
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"vortexctl {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND", parser_class=_CommandParser)
    for name in names:
        summary = COMMANDS[name]
        one = commands.add_parser(
            name, help=summary[0].lower() + summary[1:].rstrip("."), description=summary, allow_abbrev=False
        )
        one.missing = name
        if is_filled:
            one.fill()
    return whole


def _complain(text: str) -> None:
    print(f"vortexctl: error: {printable(text)}", file=sys.stderr)
