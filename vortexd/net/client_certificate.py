"""A client's certificate: who it says the client is, once TLS has found that it was signed for us. Pure.

In comes the certificate as TLS has it, out go its names. Whether the chain is good is for TLS to say, and what a name may do for `auth`.
"""

import enum

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID, NameOID


class NameKind(enum.Enum):
    """Where in a certificate a name stands, in the order in which they are looked at; the value is the key of token files."""

    URI = "uri"
    DNS = "dns"
    COMMON_NAME = "common_name"


@attrs.frozen(slots=True)
class ClientCertificate:
    """What is known of a client by its certificate.

    Attributes:
        names: URIs and DNS names of the subject's alternative names, and the common name of the subject, where it has one.
        expires_at: Seconds since the epoch.
        authorities: The fingerprints of all the certificates that it was checked against.
    """

    names: tuple[tuple[NameKind, str], ...]
    expires_at: float
    authorities: frozenset[str] = attrs.field(default=frozenset(), repr=False)


def read_certificate(der: bytes, authorities: frozenset[str]) -> ClientCertificate:
    """The names in a certificate that TLS has checked. One whose names can't be read has none."""
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
    # Of several nobody knows which one the authority has meant.
    if len(common) == 1 and isinstance(common[0].value, str):
        names.append((NameKind.COMMON_NAME, common[0].value))
    return names


def read_authorities(pem: bytes) -> frozenset[str]:
    """The fingerprints of the certificates in a PEM file.

    Raises:
        ValueError: There are none, or they can't be read.
    """
    return frozenset(each.fingerprint(hashes.SHA256()).hex() for each in x509.load_pem_x509_certificates(pem))
