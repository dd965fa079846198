"""Tokens: the file of their digests, and who each one is. Pure but for `new_token`.

In comes the text of a token file, out go the `Token`s in it, or every problem at once. Neither a token nor a digest gets into a message.
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
        digest: SHA-256 of the token's text, `vt_` included, as hex digits in lower case. A fast hash is enough, for there is nothing
            to guess: a token is 32 random bytes, where a slow hash is for what people make up.
    """

    digest: str = attrs.field(repr=False)
    principal: Principal


# Compared with where there is no such token, for the same work.
_NOBODY = Token("0" * 64, Principal("", Kind.TOKEN, ()))


class Tokens:
    """The tokens that are in force; immutable."""

    def __init__(self, tokens: Sequence[Token] = ()) -> None:
        self._tokens = {token.digest: token for token in tokens}

    def __len__(self) -> int:
        return len(self._tokens)

    def find(self, token: str) -> Principal:
        """Who this token is.

        A token of the wrong form is nobody, even where its digest is in the file: so no short or made-up secret gets in.

        Raises:
            Unauthorized: Nobody, after the same work as for somebody.
        """
        # The look-up may take longer or shorter by digest, but nobody can choose the digest of a token step by step.
        digest = digest_of(token)
        found = self._tokens.get(digest, _NOBODY)
        is_equal = hmac.compare_digest(digest, found.digest)
        if not is_equal or found is _NOBODY or not _TOKEN.fullmatch(token):
            raise Unauthorized
        return found.principal

    def holder(self, digest: str) -> Principal | None:
        """Who had the token with this digest, if it is still in force."""
        token = self._tokens.get(digest)
        return token.principal if token is not None else None

    @property
    def grants(self) -> list[Grant]:
        """What they may do, all together."""
        return [grant for token in self._tokens.values() for grant in token.principal.grants]


def digest_of(token: str) -> str:
    """What a token file has in `sha256`."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> str:
    """A new random token; it is nowhere but in the answer."""
    return "vt_" + base64.urlsafe_b64encode(secrets.token_bytes(_RANDOM_BYTES)).rstrip(b"=").decode("ascii")


def entry_of(
    name: str,
    token: str,
    rights: Sequence[str] = ("read", "subscribe", "report"),
    patterns: Sequence[str] = ("*",),
    expires: str | None = None,
) -> str:
    """The entry of a token for a token file, with its digest in its place.

    Raises:
        SettingsError: It would be none that can be used.
    """
    lines = {"name": name, "sha256": digest_of(token), "rights": list(rights), "patterns": list(patterns)}
    if expires is not None:
        lines["expires"] = expires
    # Of lists and texts TOML is written as JSON is.
    entry = "[[token]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
    load_tokens(entry, "the new token")
    return entry


def load_tokens(text: str, origin: str) -> tuple[Token, ...]:
    """Make tokens of the text of a token file: TOML with one [[token]] for each.

    Args:
        origin: The file's name for messages.

    Raises:
        SettingsError: With every problem.
    """
    entries, problems = read_entries(text, origin, "token")
    problems += [
        (f"token[{index}].{path}", told) for index, entry in enumerate(entries) for path, told in _problems(entry)
    ]
    problems += _repeated(entries)
    if problems:
        raise SettingsError(problems, origin)
    return tuple(_token(entry) for entry in entries)


def read_entries(text: str, origin: str, wanted: str) -> tuple[list[Mapping[str, Any]], list[tuple[str, str]]]:
    """The tables of one kind, "token" or "certificate", in the text of a token file, and what is wrong around all of them.

    Raises:
        SettingsError: It is no token file.
    """
    if len(text) > MAX_BYTES:
        raise SettingsError([("", f"must be at most {MAX_BYTES} bytes long")], origin)
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise SettingsError([("", "isn't TOML that can be read: it is nested too deeply")], origin) from None
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
    """The names of tokens that several files together have twice, or whose digest they have under another name."""
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
            "must not be the token itself; put its SHA-256 there, and make a new token, for this one has been in a file",
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
                    yield f"token[{index}].{field}", "is there twice; each token has its own"
                seen.add(value)


def _time_of(value: object) -> float | None:
    """Seconds since the epoch of a TOML time or its text; None where it isn't one, or has no offset."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(time, datetime) and time.tzinfo is not None:
            return time.astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        pass
    return None


def key_text(name: str) -> str:
    """A key for a message; text that could be a secret in the wrong place isn't shown."""
    return name if re.fullmatch(r"[A-Za-z_-]{1,32}", name) else "?"


def _place_of(error: ValueError) -> str:
    """Where tomllib gave up, without the reason: that can quote the text, and the text may be a token."""
    place = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
    return place[1] if place else "it can't be read"
