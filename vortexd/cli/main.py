"""The command line of the daemon. Only this module, `commands` and `terminal` print.

Arguments and vortexd.toml become settings, and settings become a running daemon. Each error becomes one line on stderr. The exit status is 2 if
the command line or the settings are wrong, and 1 if the daemon can't start or can't go on.
Trio and other modules are imported only when they are needed, so that --help and --check answer at once.
"""

import argparse
import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .. import __version__
from ..aio.native import load_native, name_of
from ..core.errors import SettingsError, StartError
from ..core.text import printable
from ..process import early_signals, imports
from ..settings.file import examine, load, override
from ..settings.root import Settings
from ..settings.server import parse_address
from ..settings.toml_schema import MAX_BYTES
from ..source.kinds import KINDS
from .terminal import Parser, complain, complain_of

if TYPE_CHECKING:
    from ..process.assignment import WorkerAssignment

E = TypeVar("E", bound=Exception)
SYSTEM_FILE = Path("/etc/vortexd/vortexd.toml")
# The commands that don't serve; see `commands`.
COMMANDS = ("token", "install-units", "uninstall-units")


def main(arguments: Sequence[str] | None = None, system_file: Path = SYSTEM_FILE) -> int:
    """Run vortexd and return its exit status.

    Args:
        arguments: The command line without the program's name. None: the process's own.
        system_file: The file to read without --config, if it exists.
    """
    early_signals.begin()
    try:
        return _main(sys.argv[1:] if arguments is None else list(arguments), system_file)
    finally:
        # Discard a reload that no daemon has handled; the process is ending.
        early_signals.take_reload()
        early_signals.end()


def _main(given: list[str], system_file: Path) -> int:
    if given and given[0] in COMMANDS:
        early_signals.end()
        from . import commands

        return commands.COMMANDS[given[0]](given[1:])
    options = _parser().parse_args(given)
    if options.print_config:
        early_signals.end()
        from ..settings.sample import render

        print(render(KINDS), end="")
        return 0
    if options.check:
        early_signals.end()
    file = options.config or (system_file if _is_there(system_file) else None)
    try:
        settings = _settings(file, options)
    except SettingsError:
        return _complain_of_all(file, options)
    if options.check:
        status = _complain_of_all(file, options)
        if status == 0:
            print(f"vortexd: {printable(str(file or 'the command line'))} is valid")
        return status
    welcome = _welcome if file is None and options.source is None else None
    if settings.server.workers > 1:
        return _supervise(settings, given, welcome, lambda: _settings_again(file, options))
    return _run(settings, lambda urls: welcome(urls) if welcome else None, lambda: _settings_again(file, options), file)


def work(arguments: Sequence[str], assignment: "WorkerAssignment") -> int:
    """Run as one of several workers, and return the exit status.

    Args:
        arguments: The supervisor's command line.
    """
    options = _parser().parse_args(arguments)
    file = options.config or (SYSTEM_FILE if _is_there(SYSTEM_FILE) else None)
    return _run(
        assignment.own(assignment.settings),
        lambda _: None,
        lambda: assignment.own(_settings_again(file, options)),
        file,
        assignment,
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="vortexd",
        description="Serve application configuration over HTTP, and push every change over WebSockets.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Without --config, vortexd reads {SYSTEM_FILE}. If that file doesn't exist, vortexd serves an example.\n"
        f"Commands that don't serve: {', '.join(COMMANDS)}; each has a --help.\nSee vortexd(8).",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="read the settings from FILE")
    parser.add_argument(
        "--source",
        metavar="DIR|REPO",
        help="serve a directory, a bare git repository or a repository's address instead of the sources in the settings",
    )
    parser.add_argument(
        "--bind",
        metavar="ADDR",
        action="append",
        default=[],
        help="listen on ADDR: host:port, [::1]:port or unix:/path; may be repeated",
    )
    parser.add_argument("--log-format", metavar="FORMAT", help="auto, json (one object a line) or console")
    parser.add_argument(
        "--check",
        action="store_true",
        help="only check the settings and the files that they name, and print every error",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print a settings file with every setting, its description and its default",
    )
    parser.add_argument(
        "--version", action="version", version=f"vortexd {__version__} (sockets: {name_of(load_native())})"
    )
    return parser


# Settings.


def _is_there(path: Path) -> bool:
    """Whether a path exists. If the path can't be examined, it counts as existing, so that the error is reported and not skipped."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def read_settings(file: Path, *, needs_source: bool) -> Settings:
    """Read the settings from a file.

    Raises:
        SettingsError: All problems.
    """
    return load(_text_of(file), str(file), file.absolute().parent, KINDS, needs_source=needs_source)


def _text_of(file: Path) -> str:
    if file.is_dir():
        raise SettingsError([("", "is a directory; --config takes a file, such as vortexd.toml in it")], str(file))
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SettingsError([("", f"can't be read: {_reason(error)}; name another with --config")], str(file)) from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError([("", f"isn't UTF-8 text (at line {line}); save it as UTF-8")], str(file)) from None


def _settings(file: Path | None, options: argparse.Namespace) -> Settings:
    """Return the file's settings, overridden by the command line, with a source that can be read.

    Raises:
        SettingsError: The settings can't be used. `_complain_of_all` prints all problems.
    """
    settings = Settings() if file is None else read_settings(file, needs_source=options.source is None)
    settings = _overridden(settings, options)
    problems = _source_problems(settings, file, options)
    if problems is not None:
        raise problems
    return settings


def _settings_again(file: Path | None, options: argparse.Namespace) -> Settings:
    """Return the settings for a reload, as `_settings` does.

    Raises:
        SettingsError: The settings can't be used. It holds every problem that --check prints, so that one more reload is enough.
    """
    try:
        return _settings(file, options)
    except SettingsError as error:
        problems = [problem for each in _errors(file, options) for problem in each.problems]
        raise SettingsError(problems or error.problems, error.origin) from None


def _overridden(settings: Settings, options: argparse.Namespace) -> Settings:
    settings = override(settings, KINDS, options.bind, _source(options.source), options.log_format)
    return settings if settings.source else override(settings, KINDS, source=str(example()))


def _source(given: str | None) -> str | None:
    """Interpret --source. Return the location from the first kind of source that recognizes it, or else an absolute path."""
    # An empty value stays empty and is refused later. Made absolute, it would become the current directory.
    if not given:
        return given
    found = (kind.location_of(given) for kind in KINDS.values())
    return next((location for location in found if location is not None), os.path.abspath(given))


def _source_problems(settings: Settings, file: Path | None, options: argparse.Namespace) -> SettingsError | None:
    """Return the problems that keep sources from being served now, or None."""
    named_by_file = file is not None and options.source is None
    problems = [
        (f"source[{index}].{key}" if named_by_file else "--source", problem)
        for index, each in enumerate(settings.source)
        for key, problem in each.unreadable()
    ]
    return SettingsError(problems, str(file) if named_by_file else "command line") if problems else None


def _complain_of_all(file: Path | None, options: argparse.Namespace) -> int:
    """Print every problem of the settings, of the command line and of the files that they name. Return the exit status."""
    errors = list(_errors(file, options))
    for error in errors:
        complain_of(error)
    return 2 if errors else 0


def _errors(file: Path | None, options: argparse.Namespace) -> Iterator[SettingsError]:
    from ..auth.credential_files import check_named_files

    settings, problems = Settings(), list[tuple[str, str]]()
    if file is not None:
        try:
            settings, problems = examine(
                _text_of(file), str(file), file.absolute().parent, KINDS, needs_source=options.source is None
            )
        except SettingsError as error:
            yield error
        else:
            if problems:
                yield SettingsError(problems, str(file))
    try:
        settings = _overridden(settings, options)
    except SettingsError as error:
        yield error
    if (problem := _source_problems(settings, file, options)) is not None:
        yield problem
    # Invalid addresses are reported already.
    bound = []
    for text in settings.server.bind:
        with contextlib.suppress(ValueError):
            bound.append(parse_address(text))
    for named in (*check_named_files(settings, bound, os.environ), *_gate_errors(settings)):
        # An invalid key counts as missing. Don't report the consequences of that again.
        rest = [each for each in named.problems if not any(_is_of(path, each[0]) for path, _ in problems)]
        if rest:
            yield SettingsError(rest, named.origin)


def _gate_errors(settings: Settings) -> Iterator[SettingsError]:
    """Yield the problems of the schemas that [[gate]] names, and of its commands."""
    from ..gate.opening import command_problems, load_rules

    try:
        load_rules(settings.gate)
    except SettingsError as error:
        yield error
    if unusable := command_problems(settings.gate):
        yield SettingsError(unusable)


def _is_of(path: str, key: str) -> bool:
    """Whether a path is a key, or a part of it."""
    return path == key or path.startswith((key + "[", key + "."))


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or "I/O error").lower() if isinstance(error, OSError) else "not a path"


def example() -> Path:
    """Return the directory of the example: beside the package in a checkout, inside the package in an installation."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent / "conf" / "example"
    return checkout if checkout.is_dir() else package / "example"


# Running.


def _check_files(settings: Settings) -> None:
    """Read the files that [auth], [tls], [encryption] and [[gate]] name, as the daemon would."""
    from ..auth.credential_files import load_named_files
    from ..gate.opening import load_rules

    load_named_files(settings, [parse_address(text) for text in settings.server.bind], os.environ)
    load_rules(settings.gate)


def _run(
    settings: Settings,
    started: Callable[[Sequence[str]], None],
    reload: Callable[[], Settings],
    file: Path | None,
    assignment: "WorkerAssignment | None" = None,
) -> int:
    def daemon() -> int:
        with imports.uncollected():
            from .. import daemon
            from ..observe import logs
            from ..settings.state_directory import memory_directory

        logs.configure(settings.log, sys.stderr)
        # All workers share one directory of remembered good content; only one worker writes to it.
        whole = settings if assignment is None else assignment.settings
        memory = memory_directory(whole, os.environ, has_file=file is not None)
        if assignment is None:
            daemon.run(settings, started, reload, file=file, memory=memory)
        else:
            daemon.run(settings, started, reload, assignment.listening, assignment.slot, file, memory)
        return 0

    return _guarded(daemon)


def _supervise(
    settings: Settings,
    arguments: Sequence[str],
    welcome: Callable[[Sequence[str]], None] | None,
    read: Callable[[], Settings],
) -> int:
    def supervisor() -> int:
        with imports.uncollected():
            from ..observe import logs
            from ..process import supervisor

        logs.configure(settings.log, sys.stderr)
        # Report errors in the files once, instead of once for each worker.
        _check_files(settings)
        imports.freeze()
        return supervisor.run(settings, arguments, lambda urls: welcome(urls) if welcome else None, read)

    return _guarded(supervisor)


def _guarded(serve: Callable[[], int]) -> int:
    """Serve, and turn errors into an exit status.

    `serve` imports the rest itself: imports take a moment, and Ctrl-C during them must not print a traceback. This uses except* because errors
    from nurseries arrive in groups.
    """
    status = 0
    try:
        status = serve()
    except* StartError as group:
        for error in _leaves(group):
            complain(str(error))
        status = 1
    except* SettingsError as group:
        for each in _leaves(group):
            status = complain_of(each)
    except* KeyboardInterrupt:
        status = 128 + signal.SIGINT
    return status


def _leaves(group: BaseExceptionGroup[E]) -> Iterator[E]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


def _welcome(urls: Sequence[str]) -> None:
    """Greet a new user with the served directory and the next commands to try. A closed stdout isn't an error."""
    directory = example()
    file = directory / "billing-prod.yml"
    url = next((url for url in urls if url.startswith("http")), urls[0])
    if url.startswith("unix:"):
        commands = [f"curl --unix-socket {shlex.quote(url.removeprefix('unix:'))} http://localhost/billing/prod"]
    else:
        commands = [f"curl {url}/billing/prod"]
    commands.append(f"{shlex.quote(_vortexctl())} watch billing prod --server {shlex.quote(url)}")
    lines = [
        f"vortexd {__version__} serves the example in {directory} at {url}",
        "",
        "Read a configuration, and watch one:",
        "",
        *(f"    {command}" for command in commands),
        "",
        f"Then edit {file} and see the change arrive.",
        "To serve your own files: vortexd --source DIR. Press Ctrl-C to stop.",
    ]
    with contextlib.suppress(OSError):
        print("\n".join(printable(line) for line in lines), flush=True)


def _vortexctl() -> str:
    """Return the path of the vortexctl beside this program, as short as possible from the current directory."""
    executable = Path(sys.executable).with_name("vortexctl")
    here = Path.cwd()
    if not executable.exists():
        return "vortexctl"
    return str(executable.relative_to(here) if executable.is_relative_to(here) else executable)
