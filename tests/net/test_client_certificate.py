"""A client's certificate: its names in the order of the search, and nothing of the authorities in logs."""

from vortexd.net.client_certificate import ClientCertificate, NameKind


def test_the_kinds_of_names_are_those_of_token_files_in_the_order_of_the_search() -> None:
    assert ["uri", "dns", "common_name"] == [each.value for each in NameKind]


def test_the_fingerprints_of_authorities_are_not_shown() -> None:
    certificate = ClientCertificate(((NameKind.DNS, "a.example"),), 1.0, frozenset({"fingerprint-of-one"}))

    assert "fingerprint-of-one" not in repr(certificate)
    assert "a.example" in repr(certificate)


def test_a_certificate_was_verified_against_no_authority_unless_they_are_named() -> None:
    assert frozenset() == ClientCertificate((), 1.0).authorities
