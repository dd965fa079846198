"""Makes the engine on etcd that settings name: the members, TLS, and the user with the password."""

import os
import ssl
from collections.abc import Mapping

import trio

from ...core.errors import SourceError
from ...settings.etcd import EtcdAccess
from ...settings.secrets import expanded, read_secret
from ..connection import Endpoint
from ..engine import Denied, EngineError
from .engine import EtcdEngine
from .gateway import Gateway, Login


def open_etcd(access: EtcdAccess, environ: Mapping[str, str] = os.environ) -> EtcdEngine:
    """Make an engine. Nothing is connected yet. Blocks on the file system.

    Raises:
        EngineError: A file of the certificates can't be used.
    """
    endpoints = list(map(Endpoint.parse, access.endpoints))
    tls = client_context(access, environ) if any(each.is_secure for each in endpoints) else None
    return EtcdEngine(Gateway(endpoints, tls, _login(access, environ)))


def _login(access: EtcdAccess, environ: Mapping[str, str]) -> Login | None:
    if not access.user:
        return None

    async def password() -> str:
        try:
            return await trio.to_thread.run_sync(read_secret, access.password_file, environ)
        except SourceError as error:
            raise Denied(str(error)) from None

    return Login(access.user, password)


def client_context(access: EtcdAccess, environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Return the context for connections to https addresses. Blocks on the file system.

    Raises:
        EngineError: A file of the certificates can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=expanded(access.ca_file, environ) if access.ca_file else None)
        if access.certificate:
            key = expanded(access.key, environ) if access.key else None
            # With a key that has a password, OpenSSL would ask for it at the terminal.
            context.load_cert_chain(expanded(access.certificate, environ), key, _refuse)
    except SourceError as error:
        raise EngineError(str(error)) from None
    except (OSError, ValueError) as error:
        # ssl.SSLError is an OSError.
        files = ", ".join(each for each in (access.ca_file, access.certificate, access.key) if each)
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise EngineError(f"the certificates can't be used ({files}): {reason}") from None
    return context


def _refuse() -> str:
    raise ValueError("the key must not have a password")
