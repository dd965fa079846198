"""Clients that are known by a certificate: [[certificate]] in token files, and who each one is. Pure.

In comes the text of a token file, out go the `CertificateEntry`s in it, or every problem at once. A certificate is known by one name, exactly as
it stands there; that it was signed for us TLS has found out before.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ..core.errors import SettingsError
from ..net.client_certificate import ClientCertificate, NameKind
from .principal import Grant, Kind, Principal, Unauthorized, grant_problems, make_grant
from .tokens import NAME, key_text, read_entries

_KINDS = {kind.value: kind for kind in NameKind}
_FIELDS = ("name", *_KINDS, "rights", "patterns")
_MAX_LENGTH = 1_024
_DNS = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")


@attrs.frozen(slots=True)
class CertificateEntry:
    """One certificate of a file: the name that it is known by, and what it may do."""

    name: str
    kind: NameKind
    value: str
    grant: Grant

    @property
    def identity(self) -> str:
        """What counts as one owner."""
        return f"{self.kind.value}:{self.value}"


class Certificates:
    """Who is known by a certificate; immutable.

    Args:
        authorities: The fingerprints of the certificates that clients' ones are checked against.
    """

    def __init__(self, entries: Sequence[CertificateEntry] = (), authorities: frozenset[str] = frozenset()) -> None:
        self._entries = {each.identity: each for each in entries}
        self._authorities = authorities
        self.grants = [each.grant for each in entries]

    def find(self, certificate: ClientCertificate) -> Principal:
        """Who this is, by the first of its names that is known: URIs, then DNS names, then the common name.

        Raises:
            Unauthorized: Nobody, or it was checked against an authority that isn't one any more.
        """
        identities = (f"{kind.value}:{value}" for kind, value in certificate.names)
        for identity in identities:
            principal = self._principal(identity, certificate.expires_at, certificate.authorities)
            if principal is not None:
                return principal
        raise Unauthorized

    def renewed(self, principal: Principal) -> Principal | None:
        """Who somebody is now, who was let in by a certificate before; None for nobody."""
        assert principal.expires_at is not None  # every certificate has an end
        return self._principal(principal.identity, principal.expires_at, principal.authorities)

    def _principal(self, identity: str, expires_at: float, authorities: frozenset[str]) -> Principal | None:
        entry = self._entries.get(identity)
        # By which of them it was signed isn't known: where one is withdrawn, all who came before it was come again.
        if entry is None or not authorities <= self._authorities:
            return None
        return Principal(entry.name, Kind.CERTIFICATE, (entry.grant,), expires_at, identity, authorities)


def load_certificates(text: str, origin: str) -> tuple[CertificateEntry, ...]:
    """Make entries of the text of a token file: TOML with one [[certificate]] for each.

    Args:
        origin: The file's name for messages.

    Raises:
        SettingsError: With every problem.
    """
    entries, problems = read_entries(text, origin, "certificate")
    problems += [
        (f"certificate[{index}].{path}".rstrip("."), told)
        for index, entry in enumerate(entries)
        for path, told in _problems(entry)
    ]
    if problems:
        raise SettingsError(problems, origin)
    return tuple(_entry(entry) for entry in entries)


def repeated_certificates(entries: Sequence[CertificateEntry]) -> Iterator[str]:
    """The names of entries that are there twice, or whose certificates another one has."""
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen or entry.identity in seen:
            yield entry.name
        seen |= {entry.name, entry.identity}


def _entry(entry: Mapping[str, Any]) -> CertificateEntry:
    (kind,) = (kind for key, kind in _KINDS.items() if key in entry)
    grant = make_grant(entry["rights"], entry.get("patterns", []))
    return CertificateEntry(entry["name"], kind, entry[kind.value], grant)


def _problems(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted(entry.keys() - set(_FIELDS)):
        yield key_text(name), f"unknown key; known are {', '.join(_FIELDS)}"
    if not isinstance(entry.get("name"), str) or not NAME.fullmatch(entry["name"]):
        yield "name", "must be 1 to 64 letters, digits, dots, hyphens, underscores or @, the first a letter or digit"
    named = [key for key in _KINDS if key in entry]
    if len(named) != 1:
        yield "", "must have one of uri, dns and common_name, exactly as it stands in the certificate"
    for key in named:
        if problem := _name_problem(key, entry[key]):
            yield key, problem
    yield from grant_problems(entry.get("rights"), entry.get("patterns", []))


def _name_problem(key: str, value: object) -> str | None:
    if not isinstance(value, str) or not value or len(value) > _MAX_LENGTH:
        return f"must be a text of 1 to {_MAX_LENGTH} characters"
    if key == NameKind.DNS.value and not _DNS.fullmatch(value):
        return "must be a DNS name in lower case, such as orders.example.com; nothing else matches it, * neither"
    if key == NameKind.URI.value and not _URI.fullmatch(value):
        return "must be a URI such as spiffe://example.com/orders"
    return None
