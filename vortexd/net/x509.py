"""Reads certificates: the names in a client's certificate, and the fingerprints of authorities. Pure.

Only servers that ask for client certificates import this module, because it loads the library cryptography.
"""

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID, NameOID

from .client_certificate import ClientCertificate, NameKind


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
