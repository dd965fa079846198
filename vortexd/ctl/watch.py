"""Watch a configuration, and print each change as it happens.

It follows one key, and the keys that patterns match. It prints lines for each change, and can run a command for each. It reconnects when a
connection ends. It ends when the server refuses it for good.
"""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
import trio

from ..client import Config, Failed, WatchFailed
from ..client.link import REFUSED
from ..core import names, patterns
from ..core.errors import InvalidName
from ..core.text import printable, rfc3339
from .broken import BrokenFiles
from .configuration import warn, warn_of_unknown
from .errors import CtlError
from .hook import run_hook
from .key import key_path
from .output import JsonLines, Lines, OutputFormat
from .printing import add_colour_argument, paint_of
from .server import TIMEOUT, Answer, Refused, Server, add_server_arguments, duration, server_of

_HOOK_TIMEOUT = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; see `cli.COMMANDS`."""
    parser.add_argument("app", metavar="APP", help="the application")
    parser.add_argument(
        "profile", metavar="PROFILE", nargs="*", help="its profiles; the last one wins (default: default)"
    )
    parser.add_argument("--label", metavar="LABEL", help="a branch, a tag or a label directory (default: the server's)")
    parser.add_argument(
        "--pattern",
        action="append",
        default=[],
        metavar="PATTERN",
        help="further keys to watch, as app:profile:label with globs",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--exec",
        metavar="CMD",
        help="run CMD in the shell for each change, with the document as input and $VORTEX_* variables",
    )
    parser.add_argument(
        "--exec-timeout",
        type=duration,
        default=_HOOK_TIMEOUT,
        metavar="TIME",
        help="how long CMD may run, such as 30s or 5m (default: 60s)",
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        default=TIMEOUT,
        metavar="TIME",
        help="how long to wait for the first state, such as 30s (default: 10s)",
    )
    add_colour_argument(parser)
    add_server_arguments(parser)


class _Refusals(logging.Handler):
    """Prints each refusal of the server, such as that of a pattern that the token doesn't allow."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == REFUSED:
            warn(record.getMessage())


def run(arguments: argparse.Namespace) -> int:
    """Watch until Ctrl-C, or until the server refuses for good (status 3)."""
    # This command prints the client's states itself. From the client's log, it prints only refusals.
    logging.getLogger("vortexd").addHandler(_Refusals())
    server = server_of(arguments)
    subject = _subject(arguments)
    path = key_path(subject["app"], subject["profile"], subject["label"])
    # "*" matches any version, so the answers carry no document.
    broken = BrokenFiles(partial(server.get, path, If_None_Match="*"))
    answer = _first_answer(server, path)
    if answer is not None:
        broken.note(answer)
    output: OutputFormat = JsonLines() if arguments.json else Lines(paint_of(arguments.color, sys.stdout.isatty()))
    hook = Hook(arguments.exec, arguments.exec_timeout, 2 if arguments.json else None) if arguments.exec else None
    ended: str | None = None
    status, is_read = 0, True
    try:
        ended = trio.run(partial(follow, server, subject, output, hook, timeout=arguments.timeout, broken=broken))
    except* KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except* BrokenPipeError:
        is_read = False
    if not is_read:
        raise BrokenPipeError
    if ended is not None:
        raise CtlError(f"{server.url} refused this client: {ended}")
    return status


@attrs.frozen
class Hook:
    """A command to run for each change.

    Attributes:
        stdout: See `hook.run_hook`.
    """

    command: str
    timeout: float
    stdout: int | None


def _subject(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the key and the patterns to watch, as arguments of the client.

    Raises:
        CtlError: A name or a pattern is invalid.
    """
    try:
        subject = {
            "app": names.application(arguments.app),
            "profile": names.profile(",".join(arguments.profile) or "default"),
            "label": names.labels(arguments.label) if arguments.label is not None else None,
        }
        for each in arguments.pattern:
            patterns.parse_pattern(each)
    except InvalidName as error:
        raise CtlError(f"{error}; see vortexctl watch --help", 2) from None
    return {**subject, "patterns": arguments.pattern}


def _first_answer(server: Server, path: str) -> Answer | None:
    """Ask the server once, to find errors at once that the client would retry forever.

    Return None if the token is valid only for WebSockets.

    Raises:
        CtlError: There is no server, it isn't a vortexd, or it requires another token or label.
    """
    try:
        answer = server.get(path, If_None_Match="*")
    except Refused as error:
        # The token may be valid only for WebSockets.
        if error.code != 403:
            raise
        return None
    if "x-vortex-version" not in answer.headers:
        raise CtlError(f"{server.url} doesn't answer as a vortexd does; see --server")
    warn_of_unknown(answer)
    return answer


async def follow(
    server: Server,
    subject: dict[str, Any],
    output: OutputFormat,
    hook: Hook | None,
    *,
    timeout: float,
    broken: BrokenFiles | None = None,
    **more: Any,
) -> str | None:
    """Print changes as they happen. Return the reason if the server refuses this client for good, else None.

    Args:
        timeout: Seconds to wait for the first state.
        broken: Warns while files of the configuration are broken. None: don't warn.
        more: Further arguments of `client.watch`.

    Raises:
        CtlError: There is no first state.
    """
    from ..client import watch

    # With an empty instance, the server doesn't count this client among those that must apply the configuration.
    options = {"token": server.token, "ssl_context": server.context, "instance": "", "start_timeout": timeout, **more}
    try:
        async with watch(server.client_url, **subject, **options) as config:
            _begin(config, output)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_print_states, config, output)
                if broken is not None:
                    nursery.start_soon(broken.run)
                async for change in config:
                    now = rfc3339(time.time())
                    _print(output.changed(change, now))
                    # While the command runs, further changes are combined, so the next run has the newest document.
                    if hook is not None and (
                        problem := await run_hook(hook.command, change, hook.timeout, hook.stdout)
                    ):
                        print(f"vortexctl: warning: {problem}", file=sys.stderr)
                nursery.cancel_scope.cancel()
    except WatchFailed as error:
        raise CtlError(f"{server.url}: {printable(str(error))}") from None
    return config.state.reason if isinstance(config.state, Failed) else None


def _begin(config: Config, output: OutputFormat) -> None:
    if config.key is not None and config.version is not None:
        _print(output.begun(config.key, config.document))
    for key, document in sorted(config.others.items()):
        _print(output.begun(key, document))


async def _print_states(config: Config, output: OutputFormat) -> None:
    shown = config.state
    async for state in config.states():
        if state != shown and not isinstance(state, Failed):
            _print(output.turned(state))
        shown = state


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()
