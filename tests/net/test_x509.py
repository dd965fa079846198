"""The names in certificates of clients."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.certificates import make
from vortexd.net.client_certificate import ClientCertificate, NameKind
from vortexd.net.x509 import read_authorities, read_certificate


def read(path: Path, authorities: frozenset[str] = frozenset()) -> ClientCertificate:
    made = x509.load_pem_x509_certificate(path.read_bytes())
    return read_certificate(made.public_bytes(serialization.Encoding.DER), authorities)


def test_its_names_are_uris_then_dns_names_then_the_common_name(tmp_path: Path) -> None:
    certificate, _ = make(tmp_path, "orders.example", uri="spiffe://example/orders")
    found = read(certificate, frozenset({"ca"}))

    assert (
        (NameKind.URI, "spiffe://example/orders"),
        (NameKind.DNS, "orders.example"),
        (NameKind.COMMON_NAME, "orders.example"),
    ) == found.names
    assert frozenset({"ca"}) == found.authorities


def test_it_ends_when_the_certificate_does(tmp_path: Path) -> None:
    certificate, _ = make(tmp_path)
    made = x509.load_pem_x509_certificate(certificate.read_bytes())

    assert made.not_valid_after_utc.timestamp() == read(certificate).expires_at


def test_authorities_are_known_by_their_fingerprints(tmp_path: Path) -> None:
    one, _ = make(tmp_path, "one")
    other, _ = make(tmp_path, "other")
    both = read_authorities(one.read_bytes() + other.read_bytes())

    assert 2 == len(both)
    assert both > read_authorities(one.read_bytes())
    with pytest.raises(ValueError, match="PEM"):
        read_authorities(b"nonsense")
