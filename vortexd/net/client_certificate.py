"""Reads the names in a client's certificate that TLS has verified. Pure.

TLS verifies the chain of certificates. `auth` decides what the holder of a name may do.
"""

import enum

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID, NameOID


class NameKind(enum.Enum):
    """The place of a name in a certificate, in the order of the search. The value is the key in token files."""

    URI = "uri"
    DNS = "dns"
    COMMON_NAME = "common_name"


@attrs.frozen(slots=True)
class ClientCertificate:
    """The facts about a client in its certificate.

    Attributes:
        names: The URIs and DNS names of the subject's alternative names, and the subject's common name, if it has one.
        expires_at: The time of expiry, in seconds since the epoch.
        authorities: The fingerprints of all authorities that the certificate was verified against.
    """

    names: tuple[tuple[NameKind, str], ...]
    expires_at: float
    authorities: frozenset[str] = attrs.field(default=frozenset(), repr=False)


def read_certificate(der: bytes, authorities: frozenset[str]) -> ClientCertificate:
    """Read the names in a certificate that TLS has verified. If its names can't be read, it has none."""
    certificate = x509.load_der_x509_certificate(der)
    try:
        names = tuple(_names(certificate))
    except ValueError:
        names = ()
    return ClientCertificate(names, certificate.not_valid_after_utc.timestamp(), authorities)


def _names(certificate: x509.Certificate) -> list[tuple[NameKind, str]]:
    names: list[tuple[NameKind, str]] = []
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        pass
    else:
        assert isinstance(found, x509.SubjectAlternativeName)
        names += [(NameKind.URI, uri) for uri in found.get_values_for_type(x509.UniformResourceIdentifier)]
        names += [(NameKind.DNS, name.lower()) for name in found.get_values_for_type(x509.DNSName)]
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    # If there are several common names, we don't know which of them the authority has verified.
    if len(common) == 1 and isinstance(common[0].value, str):
        names.append((NameKind.COMMON_NAME, common[0].value))
    return names


def read_authorities(pem: bytes) -> frozenset[str]:
    """Return the fingerprints of the certificates in a PEM file.

    Raises:
        ValueError: There are no certificates, or they can't be read.
    """
    return frozenset(each.fingerprint(hashes.SHA256()).hex() for each in x509.load_pem_x509_certificates(pem))
