"""Reads the files that settings name, all together. Returns the authority, the TLS context and the keys, or every problem."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from ..core.errors import SettingsError
from ..encryption.files import Encryption, load_encryption
from ..net.tls import ServerContext, load_context
from ..settings.etcd import unusable_access
from ..settings.root import Settings
from ..settings.secrets import secret_problem
from ..settings.server import Address
from . import Authority, load_authority

# Replaces the authorities of client certificates if they can't be read. That error has been reported already, so
# entries that need them mustn't cause another.
_UNREAD = frozenset({""})


@attrs.frozen(eq=False)
class NamedFiles:
    """The contents of the files of [auth], [tls] and [encryption].

    Attributes:
        context: None if the port uses plain HTTP.
    """

    authority: Authority
    context: ServerContext | None
    encryption: Encryption


def load_named_files(settings: Settings, bound: Sequence[Address], environ: Mapping[str, str]) -> NamedFiles:
    """Read the files. Blocks on the file system.

    Args:
        settings: Their paths are absolute or begin with $CREDENTIALS_DIRECTORY.
        bound: The addresses that the server listens on. Without tokens, some of them are refused.

    Raises:
        SettingsError: The error lists every problem: which file it is, and what to do.
    """
    read = _Read(settings, bound, environ)
    if read.errors:
        raise _together(read.errors)
    assert read.authority is not None  # there was no error
    assert read.encryption is not None
    return NamedFiles(read.authority, read.context, read.encryption)


def check_named_files(
    settings: Settings, bound: Sequence[Address], environ: Mapping[str, str]
) -> Iterator[SettingsError]:
    """Yield every problem of the files that settings name.

    These are the files of `load_named_files`, and the files that the server reads only when it uses them.

    Blocks on the file system.

    Args:
        settings: As in `load_named_files`.
    """
    yield from _Read(settings, bound, environ).errors
    problems = list(_unusable(settings, environ))
    if problems:
        yield SettingsError(problems, "settings")


class _Read:
    """The files that could be read, and the problems of the others."""

    def __init__(self, settings: Settings, bound: Sequence[Address], environ: Mapping[str, str]) -> None:
        self.errors: list[SettingsError] = []
        self.context: ServerContext | None = None
        self.encryption: Encryption | None = None
        self.authority: Authority | None = None
        authorities: frozenset[str] = frozenset()
        try:
            self.context = load_context(settings.tls, environ)
            authorities = self.context.authorities if self.context is not None else authorities
        except SettingsError as error:
            self.errors.append(error)
            authorities = _UNREAD
        try:
            self.encryption = load_encryption(settings.encryption, Path(), environ)
        except SettingsError as error:
            self.errors.append(error)
        is_proxied = bool(settings.server.trusted_proxies)
        try:
            self.authority = load_authority(
                settings.auth, bound, Path(), environ, is_proxied=is_proxied, authorities=authorities
            )
        except SettingsError as error:
            self.errors.append(error)


def _together(errors: Sequence[SettingsError]) -> SettingsError:
    """Combine several errors into one."""
    if len(errors) == 1:
        return errors[0]
    return SettingsError([problem for error in errors for problem in error.problems], "settings")


def _unusable(settings: Settings, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the problems of the files that are read only when they are used, each with its key."""
    secret = settings.monitor.secret
    if secret and (problem := secret_problem(secret, environ)) is not None:
        yield "monitor.secret", problem
    yield from ((f"cluster.{name}", problem) for name, problem in unusable_access(settings.cluster, environ))
    for index, source in enumerate(settings.source):
        yield from ((f"source[{index}].{name}", problem) for name, problem in source.unusable_files(environ))
    if any(each.keeps_mirrors for each in settings.source):
        directory = settings.server.state_directory
        if directory and os.path.lexists(directory) and not os.path.isdir(directory):
            yield "server.state_directory", f"{directory} is not a directory; name the directory for the mirrors"
