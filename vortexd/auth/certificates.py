"""Clients that are identified by a certificate: the [[certificate]] entries of token files. Pure.

`load_certificates` takes the text of a token file. It returns its `CertificateEntry`s, or reports every problem at once.
A certificate is identified by exactly one name in it. TLS has already verified its signature.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

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
    """One [[certificate]] entry of a file: the name that identifies the certificate, and its rights."""

    name: str
    kind: NameKind
    value: str
    grant: Grant

    @property
    def identity(self) -> str:
        """Identifies the owner, for limits."""
        return f"{self.kind.value}:{self.value}"


@attrs.define(slots=True, eq=False)
class _Known:
    """An entry, and its principals in use, by the time of expiry."""

    name: str
    grants: tuple[Grant, ...]
    identity: str
    shared: WeakValueDictionary[float, Principal] = attrs.field(factory=WeakValueDictionary)

    def principal(self, expires_at: float, authorities: frozenset[str]) -> Principal:
        found = self.shared.get(expires_at)
        # The authorities only differ if they were replaced meanwhile. Then the newest principal is shared.
        if found is None or found.authorities != authorities:
            found = Principal(self.name, Kind.CERTIFICATE, self.grants, expires_at, self.identity, authorities)
            self.shared[expires_at] = found
        return found


class Certificates:
    """Identifies clients by their certificates. Immutable.

    Clients whose certificates have the same name and expire at the same time share one principal, while any of them has it.
    Most of them are replicas with one certificate. So they take the memory, and the decisions, of a single client.

    Args:
        authorities: The fingerprints of the certificates that client certificates are verified against.
    """

    def __init__(self, entries: Sequence[CertificateEntry] = (), authorities: frozenset[str] = frozenset()) -> None:
        self._entries = {each.identity: _Known(each.name, (each.grant,), each.identity) for each in entries}
        self._authorities = authorities
        self.grants = [each.grant for each in entries]

    def find(self, certificate: ClientCertificate) -> Principal:
        """Return the principal of the first known name in a certificate: URIs, then DNS names, then the common name.

        Raises:
            Unauthorized: No name is known, or the certificate was verified against an authority that has been removed.
        """
        identities = (f"{kind.value}:{value}" for kind, value in certificate.names)
        for identity in identities:
            principal = self._principal(identity, certificate.expires_at, certificate.authorities)
            if principal is not None:
                return principal
        raise Unauthorized

    def renewed(self, principal: Principal) -> Principal | None:
        """Return the present principal of a client that was admitted by a certificate, or None."""
        assert principal.expires_at is not None  # every certificate has an expiry time
        return self._principal(principal.identity, principal.expires_at, principal.authorities)

    def _principal(self, identity: str, expires_at: float, authorities: frozenset[str]) -> Principal | None:
        entry = self._entries.get(identity)
        # We don't know which authority signed the certificate. If any authority was removed, clients that connected
        # before must connect again.
        if entry is None or not authorities <= self._authorities:
            return None
        return entry.principal(expires_at, authorities)


def load_certificates(text: str, origin: str) -> tuple[CertificateEntry, ...]:
    """Make entries from the text of a token file: TOML with one [[certificate]] for each.

    Args:
        origin: The file's name, for error texts.

    Raises:
        SettingsError: The error lists every problem.
    """
    entries, problems = read_entries(text, origin, "certificate")
    problems += [
        (f"certificate[{index}].{path}".rstrip("."), text)
        for index, entry in enumerate(entries)
        for path, text in _problems(entry)
    ]
    if problems:
        raise SettingsError(problems, origin)
    return tuple(_entry(entry) for entry in entries)


def repeated_certificates(entries: Sequence[CertificateEntry]) -> Iterator[str]:
    """Yield the names of entries whose name or certificate occurs twice."""
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
        yield "", "must have one of uri, dns and common_name, exactly as in the certificate"
    for key in named:
        if problem := _name_problem(key, entry[key]):
            yield key, problem
    yield from grant_problems(entry.get("rights"), entry.get("patterns", []))


def _name_problem(key: str, value: object) -> str | None:
    if not isinstance(value, str) or not value or len(value) > _MAX_LENGTH:
        return f"must be a text of 1 to {_MAX_LENGTH} characters"
    if key == NameKind.DNS.value and not _DNS.fullmatch(value):
        return "must be a DNS name in lower case, such as orders.example.com; it must equal the name in the certificate, and * is no wildcard"
    if key == NameKind.URI.value and not _URI.fullmatch(value):
        return "must be a URI such as spiffe://example.com/orders"
    return None
