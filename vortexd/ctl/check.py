"""Check a directory or a repository of configuration as the server would, before it does.

In come a path and, where there is one, the server's vortexd.toml; out goes everything that it would refuse or warn of, at once, with file, line and
reason. For people, pipelines and the hooks of repositories.
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
from ..pipeline.parsing import Parser
from ..pipeline.state import overrides_of
from ..resolve.formats import EXTENSIONS
from ..settings.sections import EncryptionSettings, Settings
from ..settings.source import first_of
from ..source.files.settings import FilesSettings
from ..source.git.settings import GitSettings
from .errors import CtlError
from .findings import FORMS, Finding, Report, look_through
from .trees import Read, read_directory, read_ref, read_working_tree, repository_at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.COMMANDS`."""
    parser.add_argument("path", metavar="DIR|REPO", help="a directory, or a repository: its working tree, or --ref")
    parser.add_argument("--ref", metavar="REF", help="a branch, a tag or a commit, in place of the working tree")
    parser.add_argument("--label", metavar="LABEL", help="what {label} in search paths stands for; REF, or main")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="take search paths, limits and keys of vortexd.toml"
    )
    parser.add_argument(
        "--search-path", action="append", metavar="DIR", help="as search_paths of a git source; may come several times"
    )
    parser.add_argument("--label-directories", action="store_true", help="sub-directories are labels")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="see whether encrypted values can be decrypted by the key in FILE"
    )
    parser.add_argument("--format", choices=FORMS, default="text", help=f"{', '.join(FORMS)}; text")
    parser.add_argument("--strict", action="store_true", help="take warnings for errors")


def run(arguments: argparse.Namespace) -> int:
    """Check it. Returns 1 where the server would refuse something, or, with --strict, warn of it."""
    settings = read_settings(arguments.config, needs_source=False) if arguments.config else Settings()
    decryptor = _decryptor(arguments, settings.encryption)
    if not os.path.isdir(arguments.path):
        raise CtlError(
            f"there is no directory {arguments.path}; name the one that the files or the repository are in", 2
        )
    try:
        read = _read(arguments, settings)
    except SourceError as error:
        report = Report([Finding("", 0, 0, str(error))], 0, 0)
    else:
        with Parser(_warn) as parser:
            report = look_through(
                read.tree,
                settings.formats,
                decryptor,
                overrides_of(settings.overrides),
                lambda file: os.path.normpath(os.path.join(read.where, file)),
                parser.parse,
            )
        skipped = [
            Finding(os.path.normpath(os.path.join(read.where, name)), 0, 0, f"it isn't served: {why}", False)
            for name, why in read.skipped.items()
        ]
        empty = [] if report.files else [Finding(arguments.path, 0, 0, _nothing(arguments.ref), False)]
        report = attrs.evolve(report, findings=sorted([*report.findings, *skipped, *empty]))
    for line in FORMS[arguments.format](report):
        print(line)
    errors, warnings = report.count(is_error=True), report.count(is_error=False)
    print(f"vortexctl: {report.files} files, {report.keys} keys: {errors} errors, {warnings} warnings", file=sys.stderr)
    return int(errors > 0 or (arguments.strict and warnings > 0))


def _nothing(ref: str | None) -> str:
    kinds = ", ".join(f".{each}" for each in EXTENSIONS)
    return f"there is no configuration here{f' in {ref}' if ref else ''}: no file that the server reads ends in {kinds}"


def _warn(file: str, error: Died | Unavailable) -> None:
    reason = f"parsing it {error}" if isinstance(error, Died) else f"no process can be started: {error}"
    text = f"{file} is parsed without a bound of its memory and time: {reason}"
    print(f"vortexctl: warning: {printable(text)}", file=sys.stderr)


def _read(arguments: argparse.Namespace, settings: Settings) -> Read:
    path = arguments.path
    repository = repository_at(path)
    if arguments.ref is not None and repository is None:
        raise CtlError(f"{path} is no git repository, as --ref needs one; name its top directory", 2)
    if repository is None and not arguments.search_path:
        directory = first_of(settings.source, FilesSettings)
        if arguments.label_directories:
            directory = attrs.evolve(directory, label_directories=True)
        return read_directory(path, directory)
    if arguments.label_directories:
        raise CtlError("--label-directories is for a directory; of a repository, branches and tags are the labels", 2)
    git = first_of(settings.source, GitSettings)
    if arguments.search_path:
        git = attrs.evolve(git, search_paths=tuple(arguments.search_path))
    label = arguments.label or (arguments.ref or "main").removeprefix("refs/heads/").removeprefix("refs/tags/")
    if repository is not None and (arguments.ref is not None or repository == os.path.abspath(path)):
        return read_ref(repository, git, label, arguments.ref or "HEAD")
    return read_working_tree(path, git, label)


def _decryptor(arguments: argparse.Namespace, settings: EncryptionSettings) -> Decryptor | None:
    """By the key of the command line, or else of the settings; None where there is none.

    Raises:
        SettingsError: It can't be used.
    """
    if arguments.key_file:
        settings = attrs.evolve(settings, key_file=str(arguments.key_file), key_store="", enabled=True)
    if not (settings.key_file or settings.key_store):
        return None
    return load_encryption(settings, Path(), os.environ).decryptor
