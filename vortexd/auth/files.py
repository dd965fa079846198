"""The files of [auth], read and put together: in come the settings, out goes a whole `Authority` or every problem at once.

Secrets that others can read aren't secret, and files that others can write are others' decisions: both are refused, with what to do about it (T06).
The only module here that touches the file system.
"""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import SettingsError
from ..settings import Address, AuthSettings
from ..systemd import CREDENTIALS, credential_path
from .authority import Authority
from .jwt import JwtKey, JwtVerifier, load_jwks, load_secret
from .origin import is_loopback, parse_host, parse_origin
from .principal import ALL_RIGHTS, Right
from .tokens import MAX_BYTES, Token, Tokens, load_tokens, repeated_tokens

T = TypeVar("T")
_OTHERS_READ_OR_WRITE = 0o077
_OTHERS_WRITE = 0o022


def load_authority(
    settings: AuthSettings, bound: Sequence[Address], base: Path, environ: Mapping[str, str]
) -> Authority:
    """Read what the settings name, and make the authority of it. Blocks on the file system.

    Nobody is asked for a token where none is configured: on loopback addresses and Unix sockets everybody may do everything then, and with `open` everybody
    everywhere may do all but ADMIN.

    Args:
        base: Where relative paths start.
        environ: For $CREDENTIALS_DIRECTORY.

    Raises:
        SettingsError: With every problem of every file; nothing has changed then.
    """
    reader = _Reader(base, environ)
    problems = [(f"auth.{path}", text) for path, text in _problems(settings, bound)]
    tokens = reader.tokens(settings.tokens)
    keys = reader.keys(settings)
    problems += reader.problems
    if problems:
        raise SettingsError(problems, "auth")
    if not settings.asks:
        return Authority(anonymous=ALL_RIGHTS if not settings.open else ALL_RIGHTS - {Right.ADMIN})
    verifier = JwtVerifier(keys, settings.jwt_audience or None, settings.jwt_issuer or None, settings.jwt_leeway)
    return Authority(Tokens(tokens), verifier if keys else None)


def check_exposure(settings: AuthSettings, bound: Sequence[Address]) -> None:
    """Refuse to be open to others by accident (T03).

    Raises:
        SettingsError: No tokens, not said to be open, and an address that others can reach.
    """
    problems = [(f"auth.{path}", text) for path, text in _exposure(settings, bound)]
    if problems:
        raise SettingsError(problems)


def _exposure(settings: AuthSettings, bound: Sequence[Address]) -> list[tuple[str, str]]:
    if settings.asks and settings.open:
        return [("open", "must not be true where there are tokens or keys: nobody would be asked for them")]
    if not settings.asks and not settings.open and not is_loopback(bound):
        text = (
            "must name a token file, for server.bind has an address that others can reach; or bind to 127.0.0.1, "
            "or say open = true to let everybody in"
        )
        return [("tokens", text)]
    return []


def _problems(settings: AuthSettings, bound: Sequence[Address]) -> list[tuple[str, str]]:
    problems = _exposure(settings, bound)
    for name, values, parse in (("origins", settings.origins, parse_origin), ("hosts", settings.hosts, parse_host)):
        for index, value in enumerate(values):
            try:
                parse(value)
            except ValueError as error:
                problems.append((f"{name}[{index}]", str(error)))
    return problems


class _Reader:
    """Reads the files, and collects what is wrong with them."""

    def __init__(self, base: Path, environ: Mapping[str, str]) -> None:
        self._base = base
        self._environ = environ
        credentials = environ.get(CREDENTIALS[1:])
        self._credentials = os.path.realpath(credentials) if credentials else None
        self.problems: list[tuple[str, str]] = []

    def tokens(self, paths: Sequence[str]) -> tuple[Token, ...]:
        files = [file for path in paths for file in self._files(path)]
        tokens = [
            token
            for file in files
            for token in self._load(
                file, _OTHERS_READ_OR_WRITE, lambda data, name: load_tokens(_text(data, name), name)
            )
            or ()
        ]
        for name in repeated_tokens(tokens):
            self.problems.append((f"token {name}", "is there twice, by name or by digest; each token has its own"))
        if paths and not tokens and not self.problems:
            self.problems.append(("auth.tokens", "must have at least one [[token]]; nobody could get in"))
        return tuple(tokens)

    def keys(self, settings: AuthSettings) -> tuple[JwtKey, ...]:
        keys: list[JwtKey] = []
        if settings.jwt_secret and (path := self._expanded(settings.jwt_secret)):
            secret = self._load(path, _OTHERS_READ_OR_WRITE, load_secret)
            keys += [secret] if secret is not None else []
        if settings.jwks and (path := self._expanded(settings.jwks)):
            # Public keys may be read by everybody; who writes them decides who gets in.
            keys += self._load(path, _OTHERS_WRITE, lambda data, name: load_jwks(_text(data, name), name)) or ()
        if len({key.kid for key in keys}) < len(keys):
            self.problems.append(("auth.jwks", "must have a kid for its key, since there is a jwt_secret beside it"))
        return tuple(keys)

    def _expanded(self, path: str) -> Path | None:
        try:
            return self._base / (credential_path(path, self._environ) or path)
        except LookupError as error:
            self.problems.append((path, error.args[0]))
            return None

    def _files(self, text: str) -> list[Path]:
        path = self._expanded(text)
        if path is None:
            return []
        try:
            if stat.S_ISDIR(os.stat(path).st_mode):
                return sorted(path / name for name in os.listdir(path) if name.endswith(".toml") and name[0] != ".")
        except (OSError, ValueError):
            # Said when it is opened.
            pass
        return [path]

    def _load(self, path: Path, forbidden: int, load: Callable[[bytes, str], T]) -> T | None:
        try:
            return load(self._read(path, forbidden), str(path))
        except SettingsError as error:
            self.problems += [(": ".join(filter(None, (error.origin, place))), text) for place, text in error.problems]
        except OSError as error:
            self.problems.append((str(path), f"can't be read: {error.strerror}"))
        except ValueError:
            self.problems.append((str(path), "isn't the path of a file"))
        return None

    def _read(self, path: Path, forbidden: int) -> bytes:
        # systemd keeps its credentials from others by itself, and Kubernetes makes links of its own within such a directory.
        is_credential = self._credentials is not None and Path(os.path.realpath(path)).is_relative_to(self._credentials)
        if not is_credential and path.is_symlink():
            raise SettingsError([("", "must not be a symbolic link; name the file itself")], str(path))
        # The link could be put there now: O_NOFOLLOW. A pipe would wait for somebody to write: O_NONBLOCK.
        follow = 0 if is_credential else os.O_NOFOLLOW
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | follow), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SettingsError([("", "must be a regular file")], str(path))
            if not is_credential:
                _check_access(status, forbidden, str(path))
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SettingsError([("", f"must be at most {MAX_BYTES} bytes long")], str(path))
        return data


def _check_access(status: os.stat_result, forbidden: int, path: str) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise SettingsError([("", "must belong to root or to the user that vortexd runs as; chown it")], path)
    if stat.S_IMODE(status.st_mode) & forbidden:
        mode = "600" if forbidden == _OTHERS_READ_OR_WRITE else "644"
        raise SettingsError([("", f"is open to other users; run chmod {mode} on it")], path)


def _text(data: bytes, origin: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeError:
        raise SettingsError([("", "isn't UTF-8")], origin) from None
