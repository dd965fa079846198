"""The files that settings name, read together: in come the settings, out go who is let in, the certificate and the keys, or what is wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from .auth import Authority, load_authority
from .encryption.files import Encryption, load_encryption
from .settings import Address, Settings
from .tls import ServerContext, load_context


@attrs.frozen(eq=False)
class NamedFiles:
    """What the files of [auth], [tls] and [encryption] hold.

    Attributes:
        context: None where the port speaks plain HTTP.
    """

    authority: Authority
    context: ServerContext | None
    encryption: Encryption


def load_named_files(settings: Settings, bound: Sequence[Address], environ: Mapping[str, str]) -> NamedFiles:
    """Read them. Blocks on the file system.

    Args:
        settings: With absolute paths, or such that begin with $CREDENTIALS_DIRECTORY.
        bound: The addresses listened on: without tokens, some are refused.

    Raises:
        SettingsError: One can't be used; says which file, and what to do.
    """
    context = load_context(settings.tls, environ)
    encryption = load_encryption(settings.encryption, Path(), environ)
    is_proxied = bool(settings.server.trusted_proxies)
    authority = load_authority(
        settings.auth,
        bound,
        Path(),
        environ,
        is_proxied=is_proxied,
        authorities=context.authorities if context is not None else frozenset(),
    )
    return NamedFiles(authority, context, encryption)
