"""Certificates of the server: the usable files, and the errors for unusable ones."""

import ssl
from pathlib import Path

import pytest

from tests.certificates import make
from vortexd.core.errors import SettingsError
from vortexd.net.tls import load_context
from vortexd.settings.tls import TlsSettings


def problem(settings: TlsSettings, environ: dict[str, str] | None = None) -> tuple[str, str]:
    with pytest.raises(SettingsError) as caught:
        load_context(settings, environ or {})
    (found,) = caught.value.problems
    return found


def test_without_a_certificate_there_is_no_tls() -> None:
    assert load_context(TlsSettings(), {}) is None


@pytest.mark.parametrize(("text", "version"), [("1.2", ssl.TLSVersion.TLSv1_2), ("1.3", ssl.TLSVersion.TLSv1_3)])
def test_the_oldest_version_is_the_one_set(tmp_path: Path, text: str, version: ssl.TLSVersion) -> None:
    certificate, key = make(tmp_path)
    context = load_context(TlsSettings(str(certificate), str(key), text), {})

    assert context is not None
    assert version == context.minimum_version


def test_a_client_gets_one_ticket_and_does_not_renegotiate(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    context = load_context(TlsSettings(str(certificate), str(key)), {})

    assert context is not None
    assert 1 == context.num_tickets
    assert ssl.OP_NO_RENEGOTIATION & context.options


def test_one_file_may_hold_both(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    both.chmod(0o600)

    assert load_context(TlsSettings(str(both)), {}) is not None


def test_credentials_of_systemd_are_found(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    key.chmod(0o440)
    names = (f"$CREDENTIALS_DIRECTORY/{certificate.name}", f"$CREDENTIALS_DIRECTORY/{key.name}")

    assert load_context(TlsSettings(*names), {"CREDENTIALS_DIRECTORY": str(tmp_path)}) is not None
    with pytest.raises(SettingsError, match="LoadCredential"):
        load_context(TlsSettings(*names), {})


def test_a_key_that_is_open_to_others_is_refused_with_what_to_do(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    key.chmod(0o644)
    where, text = problem(TlsSettings(str(certificate), str(key)))

    assert "tls.key" == where
    assert str(key) in text
    assert "chmod 600" in text


def test_what_can_not_be_used_says_why(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    _, other = make(tmp_path, "other")
    _, locked = make(tmp_path, "locked", b"secret")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")

    assert "doesn't belong to the certificate" in problem(TlsSettings(str(certificate), str(other)))[1]
    assert "without a password" in problem(TlsSettings(str(certificate), str(locked)))[1]
    assert "PEM" in problem(TlsSettings(str(nonsense), str(key)))[1]
    assert "tls.certificate" == problem(TlsSettings("", str(key)))[0]
    assert "no such file" in problem(TlsSettings(str(tmp_path / "missing"), str(key)))[1]


def mutual(tmp_path: Path, mode: str, client_ca: Path | str) -> TlsSettings:
    certificate, key = make(tmp_path)
    return TlsSettings(str(certificate), str(key), client_ca=str(client_ca), client_certificates=mode)


@pytest.mark.parametrize(("mode", "expected"), [("optional", ssl.CERT_OPTIONAL), ("required", ssl.CERT_REQUIRED)])
def test_clients_certificates_are_checked_against_the_authorities(
    tmp_path: Path, mode: str, expected: ssl.VerifyMode
) -> None:
    authority, _ = make(tmp_path, "authority")
    context = load_context(mutual(tmp_path, mode, authority), {})

    assert context is not None
    assert (expected, 1) == (context.verify_mode, len(context.authorities))
    off = load_context(mutual(tmp_path, "off", authority), {})
    assert off is not None
    assert (ssl.CERT_NONE, frozenset()) == (off.verify_mode, off.authorities)


def test_authorities_that_can_not_be_used_say_why(tmp_path: Path) -> None:
    authority, _ = make(tmp_path, "authority")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")

    assert "must name" in problem(mutual(tmp_path, "required", ""))[1]
    assert "no such file" in problem(mutual(tmp_path, "required", tmp_path / "missing"))[1]
    assert ("tls.client_ca", f"{nonsense} must be PEM with a certificate for each authority") == problem(
        mutual(tmp_path, "required", nonsense)
    )
    authority.chmod(0o666)
    assert "chmod 644" in problem(mutual(tmp_path, "required", authority))[1]
    assert "tls.client_certificates" == problem(TlsSettings(client_certificates="optional"))[0]
