"""The files of [auth], read and put together: in come the settings, out goes a whole `Authority` or every problem at once.

Who may own, read and write them is for `trusted_files` to say. The only module here that touches the file system.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.errors import SettingsError
from ..settings.sections import Address, AuthSettings
from ..settings.secure_files import OTHERS_READ_OR_WRITE, OTHERS_WRITE, TrustedFiles, as_text
from .authority import Authority
from .certificates import CertificateEntry, Certificates, load_certificates, repeated_certificates
from .jwt import JwtKey, JwtVerifier, load_jwks, load_secret
from .origin import is_loopback, parse_host, parse_origin
from .principal import ALL_RIGHTS, Right
from .tokens import Token, Tokens, load_tokens, repeated_tokens


def load_authority(
    settings: AuthSettings,
    bound: Sequence[Address],
    base: Path,
    environ: Mapping[str, str],
    *,
    is_proxied: bool = False,
    authorities: frozenset[str] = frozenset(),
) -> Authority:
    """Read what the settings name, and make the authority of it. Blocks on the file system.

    Nobody is asked for a token where none is configured: on loopback addresses and Unix sockets everybody may do everything then, and with `open` everybody
    everywhere may do all but ADMIN.

    Args:
        base: Where relative paths start.
        environ: For $CREDENTIALS_DIRECTORY.
        is_proxied: There are proxies in front of us: whoever reaches them reaches all of our addresses.
        authorities: The fingerprints of what clients' certificates are checked against; none where they aren't asked for.

    Raises:
        SettingsError: With every problem of every file; nothing has changed then.
    """
    reader = _Reader(base, environ)
    problems = [(f"auth.{path}", text) for path, text in _problems(settings, bound, is_proxied)]
    tokens, certificates = reader.entries(settings.tokens)
    if certificates and not authorities:
        reader.problems.append(("auth.tokens", "must have no [[certificate]] unless tls.client_certificates is on"))
    keys = reader.keys(settings)
    problems += reader.problems
    if problems:
        raise SettingsError(problems, "auth")
    if not settings.asks:
        return Authority(anonymous=ALL_RIGHTS if not settings.open else ALL_RIGHTS - {Right.ADMIN})
    verifier = JwtVerifier(keys, settings.jwt_audience or None, settings.jwt_issuer or None, settings.jwt_leeway)
    known = Certificates(certificates, authorities)
    return Authority(Tokens(tokens), verifier if keys else None, certificates=known)


def read_tokens(paths: Sequence[str], base: Path, environ: Mapping[str, str]) -> tuple[Token, ...]:
    """Read token files and directories of them as the server does, together.

    Raises:
        SettingsError: With every problem of every file.
    """
    reader = _Reader(base, environ)
    tokens, _ = reader.entries(paths)
    if reader.problems:
        raise SettingsError(reader.problems, "tokens")
    return tokens


def check_exposure(settings: AuthSettings, bound: Sequence[Address]) -> None:
    """Refuse to be open to others by accident (T03).

    Raises:
        SettingsError: No tokens, not said to be open, and an address that others can reach.
    """
    problems = [(f"auth.{path}", text) for path, text in _exposure(settings, bound, is_proxied=False)]
    if problems:
        raise SettingsError(problems)


def _exposure(settings: AuthSettings, bound: Sequence[Address], is_proxied: bool) -> list[tuple[str, str]]:
    if settings.asks and settings.open:
        return [("open", "must not be true where there are tokens or keys: nobody would be asked for them")]
    if settings.asks or settings.open:
        return []
    if is_proxied:
        text = "must name a token file, for others reach us by server.trusted_proxies; or say open = true to let everybody in"
        return [("tokens", text)]
    if not is_loopback(bound):
        text = (
            "must name a token file, for server.bind has an address that others can reach; or bind to 127.0.0.1, "
            "or say open = true to let everybody in"
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
    """Makes tokens and keys of the files."""

    def entries(self, paths: Sequence[str]) -> tuple[tuple[Token, ...], tuple[CertificateEntry, ...]]:
        tokens: list[Token] = []
        certificates: list[CertificateEntry] = []
        for file in (file for path in paths for file in self._files(path)):
            loaded = self.load(file, OTHERS_READ_OR_WRITE, _entries)
            tokens += loaded[0] if loaded else ()
            certificates += loaded[1] if loaded else ()
        for name in repeated_tokens(tokens):
            self.problems.append((f"token {name}", "is there twice, by name or by digest; each token has its own"))
        for name in repeated_certificates(certificates):
            self.problems.append((f"certificate {name}", "is there twice, by name or by what it is known by"))
        if paths and not tokens and not certificates and not self.problems:
            self.problems.append(("auth.tokens", "must have at least one [[token]]; nobody could get in"))
        return tuple(tokens), tuple(certificates)

    def keys(self, settings: AuthSettings) -> tuple[JwtKey, ...]:
        keys: list[JwtKey] = []
        if settings.jwt_secret and (path := self.expanded(settings.jwt_secret)):
            secret = self.load(path, OTHERS_READ_OR_WRITE, load_secret)
            keys += [secret] if secret is not None else []
        if settings.jwks and (path := self.expanded(settings.jwks)):
            # Public keys may be read by everybody; who writes them decides who gets in.
            keys += self.load(path, OTHERS_WRITE, lambda data, name: load_jwks(as_text(data, name), name)) or ()
        if len({key.kid for key in keys}) < len(keys):
            self.problems.append(("auth.jwks", "must have a kid for its key, since there is a jwt_secret beside it"))
        return tuple(keys)

    def _files(self, text: str) -> list[Path]:
        path = self.expanded(text)
        if path is None:
            return []
        try:
            if stat.S_ISDIR(os.stat(path).st_mode):
                return sorted(path / name for name in os.listdir(path) if name.endswith(".toml") and name[0] != ".")
        except (OSError, ValueError):
            # Said when it is opened.
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
        # What is wrong with the text as a whole is wrong for both.
        problems |= dict.fromkeys(error.problems)
    if problems:
        raise SettingsError([*problems], name)
    return tokens, certificates
