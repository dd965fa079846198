"""Reads the files of [auth]. It returns a whole `Authority`, or reports every problem at once.

`secure_files` checks who may own, read and write the files.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import SettingsError
from ..settings.auth import AuthSettings
from ..settings.secure_files import OTHERS_READ_OR_WRITE, OTHERS_WRITE, TrustedFiles, as_text
from ..settings.server import Address
from .authority import Authority
from .certificates import CertificateEntry, Certificates, load_certificates, repeated_certificates
from .origin import is_loopback, parse_host, parse_origin
from .principal import ALL_RIGHTS, Right
from .tokens import Token, Tokens, load_tokens, repeated_tokens

if TYPE_CHECKING:
    from .jwt import JwtVerifier


def load_authority(
    settings: AuthSettings,
    bound: Sequence[Address],
    base: Path,
    environ: Mapping[str, str],
    *,
    is_proxied: bool = False,
    authorities: frozenset[str] = frozenset(),
) -> Authority:
    """Read the files that the settings name, and make the authority. Blocks on the file system.

    If no token is configured, the server asks no client for a token. Then on loopback addresses and Unix sockets, every client
    has every right. With `open`, every client on any address has every right except ADMIN.

    Args:
        base: The directory for relative paths.
        environ: The environment, for $CREDENTIALS_DIRECTORY.
        is_proxied: Whether proxies forward to the server. If so, the clients of a proxy reach all of its addresses.
        authorities: The fingerprints of the certificates that verify client certificates. Empty if the server doesn't
            ask for client certificates.

    Raises:
        SettingsError: The error lists every problem of every file. Nothing has changed.
    """
    reader = _Reader(base, environ)
    problems = [(f"auth.{path}", text) for path, text in _problems(settings, bound, is_proxied)]
    tokens, certificates = reader.entries(settings.tokens)
    if certificates and not authorities:
        reader.problems.append(("auth.tokens", "must have no [[certificate]] unless tls.client_certificates is on"))
    verifier = reader.verifier(settings)
    problems += reader.problems
    if problems:
        raise SettingsError(problems, "auth")
    if not settings.asks:
        return Authority(anonymous=ALL_RIGHTS if not settings.open else ALL_RIGHTS - {Right.ADMIN})
    known = Certificates(certificates, authorities)
    return Authority(Tokens(tokens), verifier, certificates=known)


def read_tokens(paths: Sequence[str], base: Path, environ: Mapping[str, str]) -> tuple[Token, ...]:
    """Read token files and directories of token files together, as the server does.

    Raises:
        SettingsError: The error lists every problem of every file.
    """
    reader = _Reader(base, environ)
    tokens, _ = reader.entries(paths)
    if reader.problems:
        raise SettingsError(reader.problems, "tokens")
    return tokens


def check_exposure(settings: AuthSettings, bound: Sequence[Address]) -> None:
    """Refuse settings that would expose the server to other hosts by accident (T03).

    Raises:
        SettingsError: There are no tokens, `open` isn't set, and other hosts can reach an address.
    """
    problems = [(f"auth.{path}", text) for path, text in _exposure(settings, bound, is_proxied=False)]
    if problems:
        raise SettingsError(problems)


def _exposure(settings: AuthSettings, bound: Sequence[Address], is_proxied: bool) -> list[tuple[str, str]]:
    if settings.asks and settings.open:
        return [("open", "must not be true if there are tokens or keys, because no client would be asked for them")]
    if settings.asks or settings.open:
        return []
    if is_proxied:
        text = "must name a token file, because other hosts reach the server through server.trusted_proxies; or set open = true to admit everybody"
        return [("tokens", text)]
    if not is_loopback(bound):
        text = (
            "must name a token file, because other hosts can reach an address in server.bind; or bind to 127.0.0.1, "
            "or set open = true to admit everybody"
        )
        return [("tokens", text)]
    return []


def _problems(settings: AuthSettings, bound: Sequence[Address], is_proxied: bool) -> list[tuple[str, str]]:
    problems = _exposure(settings, bound, is_proxied)
    for name, values, parse in (("origins", settings.origins, parse_origin), ("hosts", settings.hosts, parse_host)):
        for index, value in enumerate(values):
            try:
                parse(value)
            except ValueError as error:
                problems.append((f"{name}[{index}]", str(error)))
    return problems


class _Reader(TrustedFiles):
    """Makes tokens and keys from the files."""

    def entries(self, paths: Sequence[str]) -> tuple[tuple[Token, ...], tuple[CertificateEntry, ...]]:
        tokens: list[Token] = []
        certificates: list[CertificateEntry] = []
        for file in (file for path in paths for file in self._files(path)):
            loaded = self.load(file, OTHERS_READ_OR_WRITE, _entries)
            tokens += loaded[0] if loaded else ()
            certificates += loaded[1] if loaded else ()
        for name in repeated_tokens(tokens):
            self.problems.append((f"token {name}", "occurs twice, by name or by digest; each token must have its own"))
        for name in repeated_certificates(certificates):
            self.problems.append((f"certificate {name}", "occurs twice, by name or by its uri, dns or common_name"))
        if paths and not tokens and not certificates and not self.problems:
            self.problems.append(
                ("auth.tokens", "must have at least one [[token]]; otherwise no client could authenticate")
            )
        return tuple(tokens), tuple(certificates)

    def verifier(self, settings: AuthSettings) -> "JwtVerifier | None":
        """Return the verifier of JWTs. Returns None if the settings name no key, or if there are problems."""
        if not settings.jwt_secret and not settings.jwks:
            return None
        # This loads the libraries PyJWT and cryptography. Most daemons have no such key.
        from .jwt import JwtKey, JwtVerifier, load_jwks, load_secret

        keys: list[JwtKey] = []
        if settings.jwt_secret and (path := self.expanded(settings.jwt_secret)):
            secret = self.load(path, OTHERS_READ_OR_WRITE, load_secret)
            keys += [secret] if secret is not None else []
        if settings.jwks and (path := self.expanded(settings.jwks)):
            # Any user may read public keys. But a writer of this file decides which clients are admitted.
            keys += self.load(path, OTHERS_WRITE, lambda data, name: load_jwks(as_text(data, name), name)) or ()
        if len({key.kid for key in keys}) < len(keys):
            self.problems.append(("auth.jwks", "must have a kid for its key, because there is also a jwt_secret"))
        if not keys:
            return None
        return JwtVerifier(keys, settings.jwt_audience or None, settings.jwt_issuer or None, settings.jwt_leeway)

    def _files(self, text: str) -> list[Path]:
        path = self.expanded(text)
        if path is None:
            return []
        try:
            if stat.S_ISDIR(os.stat(path).st_mode):
                return sorted(path / name for name in os.listdir(path) if name.endswith(".toml") and name[0] != ".")
        except (OSError, ValueError):
            # The error is reported when the file is opened.
            pass
        return [path]


def _entries(data: bytes, name: str) -> tuple[tuple[Token, ...], tuple[CertificateEntry, ...]]:
    text = as_text(data, name)
    tokens: tuple[Token, ...] = ()
    certificates: tuple[CertificateEntry, ...] = ()
    problems: dict[tuple[str, str], None] = {}
    try:
        tokens = load_tokens(text, name)
    except SettingsError as error:
        problems |= dict.fromkeys(error.problems)
    try:
        certificates = load_certificates(text, name)
    except SettingsError as error:
        # Both loaders report problems of the whole text.
        problems |= dict.fromkeys(error.problems)
    if problems:
        raise SettingsError([*problems], name)
    return tokens, certificates
