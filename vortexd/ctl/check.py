"""Check a directory or a repository of configuration with the server's own rules, before the server reads it.

It takes a path and, optionally, the server's vortexd.toml. It prints everything that the server would refuse or warn of, with file, line
and reason. With vortexd.toml it also judges by the server's gate: every key that has files of its own, by the schemas of the tree itself. It is made for people, for pipelines and for git hooks.
"""

import argparse
import os
import sys
from pathlib import Path

import attrs

from ..aio.isolated import Died, Unavailable
from ..cli.main import read_settings
from ..core.errors import SourceError
from ..core.text import printable
from ..encryption.decryptor import Decryptor
from ..encryption.files import load_encryption
from ..gate.files import load_gate
from ..pipeline.parsing import Parser
from ..pipeline.state import overrides_of
from ..process.imports import uncollected
from ..resolve.formats import EXTENSIONS
from ..settings.encryption import EncryptionSettings
from ..settings.root import Settings
from ..settings.source import first_of
from ..source.files.settings import FilesSettings
from ..source.git.settings import GitSettings
from .batches import parsed_in_processes
from .errors import CtlError
from .findings import FORMS, Finding, Report, look_through
from .gatekeeper import Gatekeeper
from .trees import Read, read_directory, read_ref, read_working_tree, repository_at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; see `cli.COMMANDS`."""
    parser.add_argument(
        "path", metavar="DIR|REPO", help="a directory, or a repository (its working tree, or with --ref a commit)"
    )
    parser.add_argument("--ref", metavar="REF", help="a branch, a tag or a commit, instead of the working tree")
    parser.add_argument("--label", metavar="LABEL", help="the value of {label} in search paths (default: REF, or main)")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="use the search paths, limits, encryption keys and gates of vortexd.toml",
    )
    parser.add_argument(
        "--search-path", action="append", metavar="DIR", help="as in search_paths of a git source; may be repeated"
    )
    parser.add_argument("--label-directories", action="store_true", help="treat sub-directories as labels")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="check that the key in FILE decrypts the encrypted values"
    )
    parser.add_argument("--format", choices=FORMS, default="text", help=f"{', '.join(FORMS)} (default: text)")
    parser.add_argument("--strict", action="store_true", help="treat warnings as errors")


def run(arguments: argparse.Namespace) -> int:
    """Run the check. Return 1 if the server would refuse something or, with --strict, warn of something."""
    settings = read_settings(arguments.config, needs_source=False) if arguments.config else Settings()
    decryptor = _decryptor(arguments, settings.encryption)
    if not os.path.isdir(arguments.path):
        raise CtlError(
            f"there is no directory {arguments.path}; name the directory that holds the files or the repository", 2
        )
    # The documents of the tree stay until the end, and each collection would examine all of them again.
    with uncollected():
        report = _report(arguments, settings, decryptor)
    for line in FORMS[arguments.format](report):
        print(line)
    errors, warnings = report.count(is_error=True), report.count(is_error=False)
    print(f"vortexctl: {report.files} files, {report.keys} keys: {errors} errors, {warnings} warnings", file=sys.stderr)
    return int(errors > 0 or (arguments.strict and warnings > 0))


def _report(arguments: argparse.Namespace, settings: Settings, decryptor: Decryptor | None) -> Report:
    try:
        read = _read(arguments, settings)
    except SourceError as error:
        report = Report([Finding("", 0, 0, str(error))], 0, 0)
    else:
        gate = Gatekeeper(load_gate(settings.gate)) if settings.gate else None

        def where(file: str) -> str:
            return os.path.normpath(os.path.join(read.where, file))

        with Parser(_warn) as parser:
            report = look_through(
                read.tree,
                settings.formats,
                decryptor,
                overrides_of(settings.overrides),
                where,
                parsed_in_processes(read.tree, settings.formats, parser.parse),
                gate.findings if gate is not None else None,
            )
        skipped = [
            Finding(
                os.path.normpath(os.path.join(read.where, name)), 0, 0, f"the server doesn't serve it: {why}", False
            )
            for name, why in read.skipped.items()
        ]
        empty = [] if report.files else [Finding(arguments.path, 0, 0, _nothing(arguments.ref), False)]
        report = attrs.evolve(report, findings=sorted([*report.findings, *skipped, *empty]))
    return report


def _nothing(ref: str | None) -> str:
    kinds = ", ".join(f".{each}" for each in EXTENSIONS)
    return f"there is no configuration here{f' in {ref}' if ref else ''}: no file that the server reads ends in {kinds}"


def _warn(file: str, error: Died | Unavailable) -> None:
    reason = f"parsing it {error}" if isinstance(error, Died) else f"can't start a process: {error}"
    text = f"{file} is parsed without a limit on memory and time: {reason}"
    print(f"vortexctl: warning: {printable(text)}", file=sys.stderr)


def _read(arguments: argparse.Namespace, settings: Settings) -> Read:
    path = arguments.path
    repository = repository_at(path)
    if arguments.ref is not None and repository is None:
        raise CtlError(f"{path} isn't a git repository, which --ref requires; name its top directory", 2)
    if repository is None and not arguments.search_path:
        directory = first_of(settings.source, FilesSettings)
        if arguments.label_directories:
            directory = attrs.evolve(directory, label_directories=True)
        return read_directory(path, directory)
    if arguments.label_directories:
        raise CtlError(
            "--label-directories is only for directories; the labels of a repository are its branches and tags", 2
        )
    git = first_of(settings.source, GitSettings)
    if arguments.search_path:
        git = attrs.evolve(git, search_paths=tuple(arguments.search_path))
    label = arguments.label or (arguments.ref or "main").removeprefix("refs/heads/").removeprefix("refs/tags/")
    if repository is not None and (arguments.ref is not None or repository == os.path.abspath(path)):
        return read_ref(repository, git, label, arguments.ref or "HEAD")
    return read_working_tree(path, git, label)


def _decryptor(arguments: argparse.Namespace, settings: EncryptionSettings) -> Decryptor | None:
    """Make a decryptor with the key of the command line, or else of the settings. Return None if neither names a key.

    Raises:
        SettingsError: The key can't be used.
    """
    if arguments.key_file:
        settings = attrs.evolve(settings, key_file=str(arguments.key_file), key_store="", enabled=True)
    if not (settings.key_file or settings.key_store):
        return None
    return load_encryption(settings, Path(), os.environ).decryptor
