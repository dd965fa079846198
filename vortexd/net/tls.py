"""TLS: the server's certificate and the authorities for client certificates. They are read from files, and again at each reload.

`load_context` takes the settings. It returns a `ServerContext`, or reports every problem at once. Open connections keep
their certificate. New connections use the certificate in force.
"""

import os
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import SettingsError
from ..settings.secure_files import OTHERS_READ_OR_WRITE, OTHERS_WRITE
from ..settings.systemd_credentials import credential_path
from ..settings.tls import TlsSettings

_MODES = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class ServerContext(ssl.SSLContext):
    """The server's TLS context.

    Attributes:
        authorities: The fingerprints of the authorities for client certificates. Empty if the server doesn't ask for those.
    """

    authorities: frozenset[str] = frozenset()


class Tls:
    """Holds the context in force, or None if the port speaks plain HTTP."""

    def __init__(self, context: ServerContext | None = None) -> None:
        self.context = context

    def replace(self, context: ServerContext | None) -> None:
        """Put another context in force for new connections."""
        self.context = context


def load_context(settings: TlsSettings, environ: Mapping[str, str]) -> ServerContext | None:
    """Read the certificate and the key. Blocks on the file system.

    Args:
        settings: Their paths are absolute or begin with $CREDENTIALS_DIRECTORY.

    Returns:
        None if no certificate is configured.

    Raises:
        SettingsError: The files can't be used. The error says for each file how to correct it.
    """
    asks = settings.client_certificates != "off"
    if not settings.certificate and not settings.key:
        if asks:
            raise SettingsError([("tls.client_certificates", "must be off without tls.certificate")], "tls")
        return None
    if not settings.certificate:
        raise SettingsError([("tls.certificate", "must name the certificate for tls.key")], "tls")
    problems: list[tuple[str, str]] = []
    certificate = _readable("certificate", settings.certificate, environ, problems)
    # One file may contain both.
    key = _readable("key", settings.key or settings.certificate, environ, problems, forbidden=OTHERS_READ_OR_WRITE)
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.minimum_version]
    context.set_alpn_protocols(["h2", "http/1.1"])
    # Renegotiation lets clients cause work for the server, and no client needs it.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A client uses a ticket once, to come back with. OpenSSL would make two, at a twentieth of a handshake's time each.
    context.num_tickets = 1
    if not problems:
        _present(context, settings, certificate, key, problems)
    if asks and not settings.client_ca:
        problems.append(("tls.client_ca", "must name the authorities that sign clients' certificates"))
    elif asks:
        _trust(context, settings, environ, problems)
        context.verify_mode = _MODES[settings.client_certificates]
    if problems:
        raise SettingsError(problems, "tls")
    return context


def _present(
    context: ServerContext, settings: TlsSettings, certificate: str, key: str, problems: list[tuple[str, str]]
) -> None:
    """Load the certificate that the server presents."""
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        reason = "the key doesn't belong to the certificate" if error.reason == "KEY_VALUES_MISMATCH" else _FORM
        problems.append(("tls.certificate", f"{settings.certificate}: {reason}"))
    except ValueError:
        text = "is encrypted; store it without a password, readable only by its owner"
        problems.append(("tls.key", f"{settings.key}: {text}"))


def _trust(
    context: ServerContext, settings: TlsSettings, environ: Mapping[str, str], problems: list[tuple[str, str]]
) -> None:
    """Load the authorities that verify client certificates."""
    before = len(problems)
    path = _readable("client_ca", settings.client_ca, environ, problems, forbidden=OTHERS_WRITE)
    if len(problems) > before:
        return
    from .x509 import read_authorities

    try:
        data = Path(path).read_bytes()
        context.authorities = read_authorities(data)
        context.load_verify_locations(cadata=data.decode("ascii"))
    except (OSError, ValueError):
        problems.append(("tls.client_ca", f"{path} must be PEM with a certificate for each authority"))


_FORM = "must be PEM: the certificate first, then the chain; the key may be in this file or in tls.key"


def _no_password() -> str:
    raise ValueError


def _readable(
    name: str, path: str, environ: Mapping[str, str], problems: list[tuple[str, str]], *, forbidden: int = 0
) -> str:
    """Return the location of a file after checking that it can be read, and its mode."""
    try:
        credential = credential_path(path, environ)
    except LookupError as error:
        problems.append((f"tls.{name}", error.args[0]))
        return path
    path = credential or path
    try:
        with Path(path).open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except (OSError, ValueError) as error:
        words = (getattr(error, "strerror", None) or "not a path").lower()
        problems.append((f"tls.{name}", f"{path} can't be read: {words}"))
        return path
    if credential is None and mode & forbidden:
        wanted = "600" if forbidden == OTHERS_READ_OR_WRITE else "644"
        problems.append((f"tls.{name}", f"{path} is open to other users; run chmod {wanted} on it"))
    return path
