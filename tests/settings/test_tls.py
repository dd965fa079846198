"""[tls]: its defaults, versions, and the modes of client certificates."""

import pytest

from vortexd.settings.tls import TlsSettings

from .sections import problems, read, waiting


def test_by_default_there_is_no_tls_and_no_client_certificate() -> None:
    expected = TlsSettings(certificate="", key="", minimum_version="1.2", client_ca="", client_certificates="off")

    assert expected == read(TlsSettings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("minimum_version", value) for value in ("1.2", "1.3")),
        *(("client_certificates", value) for value in ("off", "optional", "required")),
    ],
)
def test_a_known_word_is_accepted(key: str, value: str) -> None:
    assert value == getattr(read(TlsSettings, f'{key} = "{value}"'), key)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("minimum_version", '"1.1"', 'must be "1.2" or "1.3"'),
        ("minimum_version", '""', 'must be "1.2" or "1.3"'),
        ("minimum_version", "1.3", 'must be "1.2" or "1.3", not a number with a fraction'),
        ("client_certificates", '"on"', 'must be "off" or "optional" or "required"'),
        ("client_certificates", '""', 'must be "off" or "optional" or "required"'),
        ("client_certificates", "true", 'must be "off" or "optional" or "required", not true or false'),
        ("client_ca", '"a\\u0000b"', "must be the path of a file, or empty"),
    ],
)
def test_another_value_is_refused_with_the_known_ones(key: str, value: str, expected: str) -> None:
    assert {key: expected} == problems(TlsSettings, f"{key} = {value}")


def test_a_reload_applies_every_key() -> None:
    assert set() == waiting(TlsSettings)
