"""Certificates that are made during the tests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make(
    directory: Path,
    name: str = "localhost",
    password: bytes | None = None,
    *,
    signer: tuple[Path, Path] | None = None,
    uri: str | None = None,
    days: float = 1,
) -> tuple[Path, Path]:
    """A certificate for a name, and its key. Returns their files.

    Args:
        signer: The certificate and key of who signs it; by default it signs itself, and is an authority.
        uri: One more name.
        days: How long it is good for.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    issuer, by = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), private
    if signer is not None:
        issuer = x509.load_pem_x509_certificate(signer[0].read_bytes()).subject
        loaded = serialization.load_pem_private_key(signer[1].read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        by = loaded
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.DNSName(name), *([x509.UniformResourceIdentifier(uri)] if uri else [])]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .sign(by, hashes.SHA256())
    )
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    key.chmod(0o600)
    return certificate, key
