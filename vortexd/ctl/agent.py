"""Write files from templates and reload programs whenever a configuration changes.

This module reads agent.toml, starts the agent, and reports the results. The work itself is in `vortexd.agent`.
"""

import argparse
import os
import sys
from pathlib import Path

import trio

from ..agent import running
from ..agent.commands import Failure
from ..agent.following import Origin, kept_in, token_of, watch_of
from ..agent.item import Outcome
from ..agent.loop import failure_text
from ..agent.record import state_directory
from ..agent.settings import Settings
from ..agent.settings_file import load
from ..agent.trusted import read_trusted
from ..core.errors import SettingsError, StartError
from ..core.text import printable
from ..observe import logs
from ..settings.secure_files import OTHERS_WRITE
from .errors import CtlError
from .server import read_token

SYSTEM_FILE = "/etc/vortexd/agent.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; see `cli.COMMANDS`."""
    parser.add_argument(
        "--config", metavar="FILE", default=SYSTEM_FILE, help=f"the settings file (default: {SYSTEM_FILE})"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="apply every configuration once, and exit")
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="print the changes that --once would make, including values; change nothing",
    )
    how.add_argument("--check", action="store_true", help="only check the settings, and print every error")


def run(arguments: argparse.Namespace) -> int:
    """Run the agent. Return 1 if something was rejected; with --dry-run, if something would change."""
    try:
        settings = read_settings(arguments.config)
        if arguments.check:
            return 0
        logs.configure(settings.log, sys.stderr)
        directory = state_directory(settings.agent.state_directory, os.environ)
        server = settings.server
        # A dry run writes nothing, so it keeps no last known good configuration either.
        kept = kept_in(directory) if settings.agent.last_known_good and not arguments.dry_run else None
        given = None if server.token_file else read_token(None)
        token = token_of(server.token_file) if server.token_file else lambda: given
        ends = arguments.once or arguments.dry_run
        # With "", the server doesn't count a dry run among the instances that apply the configuration.
        instance = "" if arguments.dry_run else server.instance or None
        watch = watch_of(
            Origin(server.url, token, instance, server.ca_file or None, kept), server.start_timeout if ends else None
        )
        if arguments.dry_run:
            return _preview(trio.run(running.preview, settings, directory, watch))
        if arguments.once:
            return _report(trio.run(running.once, settings, directory, watch), settings)
        trio.run(running.run, settings, directory, watch, os.environ)
    except SettingsError as error:
        raise CtlError(str(error), 2) from None
    except StartError as error:
        raise CtlError(str(error), 1) from None
    return 0


def read_settings(file: str) -> Settings:
    """Read the settings from a file. They name commands to run and files to write, so no other user may be able to write them.

    Raises:
        SettingsError: All problems.
    """
    path = os.path.abspath(file)
    return load(read_trusted(path, OTHERS_WRITE), file, Path(path).parent)


def _report(results: running.Results[Outcome], settings: Settings) -> int:
    failures = [(name, outcome.failure) for name, outcome in results.items if outcome.failure is not None]
    for name, failure in failures:
        _complain(f"{name}: rejected: {failure_text(failure, settings.agent.report_stderr)}")
    for error in results.errors:
        _complain(error)
    return 3 if results.errors else int(bool(failures))


def _preview(results: running.Results[str | Failure]) -> int:
    status = 0
    for name, found in results.items:
        if isinstance(found, Failure):
            _complain(f"{name}: would be rejected: {found.reason}")
        else:
            _show(found)
        status = status or int(bool(found))
    for error in results.errors:
        _complain(error)
    return 3 if results.errors else status


def _show(diff: str) -> None:
    """Print a diff. On a terminal, make it printable, so that no character controls the terminal."""
    if sys.stdout.isatty():
        diff = "\n".join("\t".join(map(printable, line.split("\t"))) for line in diff.split("\n"))
    print(diff, end="")


def _complain(text: str) -> None:
    for line in text.splitlines():
        print(f"vortexctl: error: {printable(line)}", file=sys.stderr)
