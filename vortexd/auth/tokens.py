"""Random tokens: a file holds their digests, and maps each to a principal. Pure except `new_token`.

`load_tokens` takes the text of a token file. It returns its `Token`s, or reports every problem at once. No error text
contains a token or a digest.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from ..core.errors import SettingsError
from .principal import Grant, Kind, Principal, Unauthorized, grant_problems, make_grant

MAX_BYTES = 1_048_576
_RANDOM_BYTES = 32
_TOKEN = re.compile(r"vt_[A-Za-z0-9_-]{43}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KINDS = ("token", "certificate")
_FIELDS = ("name", "sha256", "rights", "patterns", "expires")


@attrs.frozen(slots=True)
class Token:
    """One token of a file.

    Attributes:
        digest: SHA-256 of the token's text, including `vt_`, as hex digits in lower case. A fast hash is sufficient,
            because a token is 32 random bytes and can't be guessed. Slow hashes are for passwords that people choose.
    """

    digest: str = attrs.field(repr=False)
    principal: Principal


# If there is no such token, the digest is compared with this one, so that the work is the same.
_NO_TOKEN = Token("0" * 64, Principal("", Kind.TOKEN, ()))


class Tokens:
    """The tokens that are in force; immutable."""

    def __init__(self, tokens: Sequence[Token] = ()) -> None:
        self._tokens = {token.digest: token for token in tokens}

    def __len__(self) -> int:
        return len(self._tokens)

    def find(self, token: str) -> Principal:
        """Return the principal of a token.

        A token of the wrong form is refused, even if its digest is in the file. So a short or made-up secret never works.

        Raises:
            Unauthorized: The token isn't known. The work is the same as for a known token.
        """
        # The time of the look-up depends on the digest. But a client can't choose the digest of a token step by step.
        digest = digest_of(token)
        found = self._tokens.get(digest, _NO_TOKEN)
        is_equal = hmac.compare_digest(digest, found.digest)
        if not is_equal or found is _NO_TOKEN or not _TOKEN.fullmatch(token):
            raise Unauthorized
        return found.principal

    def holder(self, digest: str) -> Principal | None:
        """Return the principal of the token with this digest, if it is still in force, else None."""
        token = self._tokens.get(digest)
        return token.principal if token is not None else None

    @property
    def grants(self) -> list[Grant]:
        """The grants of all tokens."""
        return [grant for token in self._tokens.values() for grant in token.principal.grants]


def digest_of(token: str) -> str:
    """Return the digest for `sha256` in a token file."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> str:
    """Make a new random token. No copy of it is stored."""
    return "vt_" + base64.urlsafe_b64encode(secrets.token_bytes(_RANDOM_BYTES)).rstrip(b"=").decode("ascii")


def entry_of(
    name: str,
    token: str,
    rights: Sequence[str] = ("read", "subscribe", "report"),
    patterns: Sequence[str] = ("*",),
    expires: str | None = None,
) -> str:
    """Write the entry for a token file, with the token's digest instead of the token.

    Raises:
        SettingsError: The entry would be invalid.
    """
    lines = {"name": name, "sha256": digest_of(token), "rights": list(rights), "patterns": list(patterns)}
    if expires is not None:
        lines["expires"] = expires
    # TOML and JSON write lists and texts in the same way.
    entry = "[[token]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
    load_tokens(entry, "the new token")
    return entry


def load_tokens(text: str, origin: str) -> tuple[Token, ...]:
    """Make tokens from the text of a token file: TOML with one [[token]] for each.

    Args:
        origin: The file's name, for error texts.

    Raises:
        SettingsError: The error lists every problem.
    """
    entries, problems = read_entries(text, origin, "token")
    problems += [
        (f"token[{index}].{path}", problem) for index, entry in enumerate(entries) for path, problem in _problems(entry)
    ]
    problems += _repeated(entries)
    if problems:
        raise SettingsError(problems, origin)
    return tuple(_token(entry) for entry in entries)


def read_entries(text: str, origin: str, wanted: str) -> tuple[list[Mapping[str, Any]], list[tuple[str, str]]]:
    """Return the tables of one kind, "token" or "certificate", of a token file, and the problems of the whole file.

    Raises:
        SettingsError: The text isn't a token file.
    """
    if len(text) > MAX_BYTES:
        raise SettingsError([("", f"must be at most {MAX_BYTES} bytes long")], origin)
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise SettingsError([("", "isn't valid TOML: it is nested too deeply")], origin) from None
    except ValueError as error:
        raise SettingsError([("", f"isn't valid TOML: {_place_of(error)}")], origin) from None
    problems = [
        (key_text(name), "unknown key; a token file has [[token]], [[certificate]] and nothing else")
        for name in table.keys() - set(_KINDS)
    ]
    for kind in _KINDS:
        entries = table.get(kind, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            problems.append((kind, f"must be an array of tables, headed [[{kind}]]"))
            table[kind] = []
    return table.get(wanted, []), problems


def repeated_tokens(tokens: Sequence[Token]) -> Iterator[str]:
    """Yield the names of tokens whose name or digest occurs twice across several files."""
    seen: set[str] = set()
    for token in tokens:
        if token.principal.name in seen or token.digest in seen:
            yield token.principal.name
        seen |= {token.principal.name, token.digest}


def _token(entry: Mapping[str, Any]) -> Token:
    expires = _time_of(entry["expires"]) if "expires" in entry else None
    grant = make_grant(entry["rights"], entry.get("patterns", []))
    return Token(entry["sha256"], Principal(entry["name"], Kind.TOKEN, (grant,), expires, entry["sha256"]))


def _problems(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted(entry.keys() - set(_FIELDS)):
        yield key_text(name), f"unknown key; known are {', '.join(_FIELDS)}"
    if not _is(entry.get("name"), NAME):
        yield "name", "must be 1 to 64 letters, digits, dots, hyphens, underscores or @, the first a letter or digit"
    if _is(entry.get("sha256"), _TOKEN):
        yield (
            "sha256",
            "must not be the token itself; make a new token, because this one has been in a file, and enter its SHA-256 here",
        )
    elif not _is(entry.get("sha256"), _DIGEST):
        yield "sha256", "must be the SHA-256 of the token: 64 hex digits in lower case"
    yield from grant_problems(entry.get("rights"), entry.get("patterns", []))
    if "expires" in entry and _time_of(entry["expires"]) is None:
        yield "expires", "must be a time with its offset, such as 2027-01-01T00:00:00Z"


def _is(value: object, form: re.Pattern[str]) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _repeated(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for field in ("name", "sha256"):
        seen: set[str] = set()
        for index, entry in enumerate(entries):
            value = entry.get(field)
            if isinstance(value, str):
                if value in seen:
                    yield f"token[{index}].{field}", "occurs twice; each token must have its own"
                seen.add(value)


def _time_of(value: object) -> float | None:
    """Return a TOML time, or its text, in seconds since the epoch. None if it isn't a time or has no offset."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(time, datetime) and time.tzinfo is not None:
            return time.astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        pass
    return None


def key_text(name: str) -> str:
    """Return a key for an error text. Text that could be a misplaced secret isn't shown."""
    return name if re.fullmatch(r"[A-Za-z_-]{1,32}", name) else "?"


def _place_of(error: ValueError) -> str:
    """Return the place of a tomllib error without its reason, which may quote a token."""
    place = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
    return place[1] if place else "it can't be read"
