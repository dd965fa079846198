"""Run a command with a configuration as its environment, and start it anew or signal it when that changes.

In come the command and which configuration; what goes on is `agent.child`'s. The exit status is the command's.
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
from ..settings.sections import LogSettings
from .errors import CtlError
from .server import add_server_arguments, duration, server_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.COMMANDS`."""
    parser.add_argument("--app", metavar="NAME", required=True, help="the application whose configuration it is")
    parser.add_argument("--profile", metavar="NAME", default="default", help="its profile, or several; default")
    parser.add_argument("--label", metavar="NAME", default="", help="its label; else the server's default")
    add_server_arguments(parser)
    parser.add_argument("--instance", metavar="NAME", help="what the server calls us; host:pid")
    parser.add_argument(
        "--last-known-good",
        metavar="FILE",
        type=Path,
        help="keep the configuration there, and begin with it where no server can be reached",
    )
    parser.add_argument("--prefix", default="", help="what the names of all variables begin with")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--restart", action="store_true", help="start CMD anew when the configuration changes: the default"
    )
    how.add_argument("--signal", metavar="NAME", type=_signal, help="send CMD a signal in place of that, such as HUP")
    for name, default, what in (
        ("start-timeout", "30s", "for the first configuration"),
        ("stop-timeout", "10s", "from SIGTERM to SIGKILL"),
        ("settle", "3s", "CMD has to run before a configuration counts as taken"),
        ("quiet-period", "1s", "without a change before it is acted on"),
        ("max-wait", "10s", "at most, although changes go on"),
        ("splay", "0s", "more at most, by chance"),
    ):
        parser.add_argument(f"--{name}", type=duration, default=default, metavar="TIME", help=f"{what}; {default}")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="the command and its arguments")


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its status."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise CtlError("there is no command; put it behind --", 2)
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
