"""Run a command with a configuration as its environment, and restart or signal it when the configuration changes.

This module reads the command line; `agent.child` does the work. The exit status is that of the command.
"""

import argparse
import os
import random
import signal
import sys
from pathlib import Path

import trio

from ..agent.child import Child, Plan
from ..agent.following import Origin, watch_of
from ..agent.item import Subject
from ..agent.loop import AgentError, Watch, reason_of
from ..agent.pacing import Pace
from ..agent.settings import SIGNALS
from ..core import names
from ..core.errors import InvalidName
from ..observe import logs
from ..settings.log import LogSettings
from .errors import CtlError
from .server import add_server_arguments, duration, server_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; see `cli.COMMANDS`."""
    parser.add_argument("--app", metavar="NAME", required=True, help="the application whose configuration to use")
    parser.add_argument(
        "--profile",
        metavar="NAME",
        default="default",
        help="its profile, or several separated by commas (default: default)",
    )
    parser.add_argument("--label", metavar="NAME", default="", help="its label (default: the server's)")
    add_server_arguments(parser)
    parser.add_argument(
        "--instance", metavar="NAME", help="the name under which the server lists CMD (default: host:pid)"
    )
    parser.add_argument(
        "--last-known-good",
        metavar="FILE",
        type=Path,
        help="keep the configuration in FILE, and start with it if no server can be reached",
    )
    parser.add_argument("--prefix", default="", help="put PREFIX in front of every variable's name")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--restart", action="store_true", help="restart CMD when the configuration changes (the default)")
    how.add_argument("--signal", metavar="NAME", type=_signal, help="send CMD a signal instead, such as HUP")
    for name, default, what in (
        ("start-timeout", "30s", "how long to wait for the first configuration"),
        ("stop-timeout", "10s", "the time from SIGTERM to SIGKILL"),
        ("settle", "3s", "how long CMD must run before a configuration counts as applied"),
        ("quiet-period", "1s", "act after so long without a change"),
        ("max-wait", "10s", "act at the latest so long after the first change"),
        ("splay", "0s", "wait up to so long in addition, by chance"),
    ):
        parser.add_argument(
            f"--{name}", type=duration, default=default, metavar="TIME", help=f"{what} (default: {default})"
        )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="the command and its arguments")


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise CtlError("the command is missing; put it after --", 2)
    if arguments.quiet_period > arguments.max_wait:
        raise CtlError("--max-wait must not be less than --quiet-period", 2)
    subject = _subject(arguments)
    pace = Pace(arguments.quiet_period, arguments.max_wait, arguments.splay)
    number = signal.Signals[f"SIG{arguments.signal}"] if arguments.signal else None
    plan = Plan(command, arguments.prefix, number, arguments.stop_timeout, arguments.settle, pace)
    server = server_of(arguments)
    kept = arguments.last_known_good
    watch = watch_of(
        Origin(
            (server.client_url,),
            lambda: server.token,
            arguments.instance,
            arguments.ca_file and str(arguments.ca_file),
            None if kept is None else lambda subject: kept,
        ),
        arguments.start_timeout,
    )
    logs.configure(LogSettings(), sys.stderr)
    problem = ""
    try:
        return trio.run(_run, plan, subject, watch)
    except* AgentError as group:
        problem = reason_of(group)
    raise CtlError(problem)


async def _run(plan: Plan, subject: Subject, watch: Watch) -> int:
    async with watch(subject) as watched:
        return await Child(plan, subject, os.environ, random.random).run(watched)


def _subject(arguments: argparse.Namespace) -> Subject:
    try:
        label = arguments.label and names.labels(arguments.label)
        return Subject(names.application(arguments.app), names.profile(arguments.profile), label)
    except InvalidName as error:
        raise CtlError(
            f"{error}; names are letters, digits, dots, hyphens and underscores; profiles and labels may hold + and @",
            2,
        ) from None


def _signal(text: str) -> str:
    name = text.upper().removeprefix("SIG")
    if name not in SIGNALS:
        raise argparse.ArgumentTypeError("it must be the name of a signal, such as HUP or USR1")
    return name
