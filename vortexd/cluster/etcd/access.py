"""Makes the engine on etcd that settings name: the members, TLS, and the user with the password.

The files are read in threads, because a file system may hang. Such a thread holds up neither the daemon's exit nor the
work of other parts: each reading has a deadline, and a thread that is late is left behind.
"""

import hashlib
import os
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import trio

from ...aio import threads
from ...core.errors import SourceError
from ...settings.etcd import EtcdAccess
from ...settings.secrets import expanded, read_secret
from ..connection import Endpoint
from ..engine import Denied, EngineError
from .engine import EtcdEngine
from .gateway import Gateway, Login

T = TypeVar("T")

# Seconds until the certificates must be read, and until the password must be.
OPENING, PASSWORD = 10.0, 2.0
# The bytes of each file that count for the fingerprint.
_COMPARED = 16_777_216
# The most threads of the process that hang in these files. A further reading waits for one of them, and is late, too.
AT_A_TIME = 4
_limiters: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("threads that read the files for etcd")


def open_etcd(access: EtcdAccess, environ: Mapping[str, str] = os.environ) -> EtcdEngine:
    """Make an engine. Nothing is connected yet. Blocks on the file system.

    Raises:
        EngineError: A file of the certificates can't be used.
    """
    endpoints = list(map(Endpoint.parse, access.endpoints))
    tls = client_context(access, environ) if any(each.is_secure for each in endpoints) else None
    return EtcdEngine(Gateway(endpoints, tls, _login(access, environ)))


async def in_thread(make: Callable[[], T]) -> T:
    """Make an engine or a context in a thread; see `open_etcd` and `client_context`.

    Raises:
        EngineError: A file of the certificates can't be used, or can't be read in time.
    """
    return await _read(make, OPENING, EngineError(f"the certificates can't be read within {OPENING:g} s"))


async def _read(function: Callable[[], T], seconds: float, late: EngineError) -> T:
    """Run a function that reads files in a thread. If it takes longer than so many seconds, raise an error."""
    try:
        limiter = _limiters.get()
    except LookupError:
        limiter = trio.CapacityLimiter(AT_A_TIME)
        _limiters.set(limiter)
    with trio.move_on_after(seconds):
        return await threads.run_sync(function, abandon_on_cancel=True, limiter=limiter)
    raise late


async def fingerprint(access: EtcdAccess) -> bytes:
    """Return a hash of the contents of all files that the settings name, or b"" if they name none.

    Raises:
        EngineError: The files can't be read in time.
    """
    if not any(getattr(access, name) for name in access.access_paths):
        return b""
    return await in_thread(partial(fingerprint_of, access))


def fingerprint_of(access: EtcdAccess, environ: Mapping[str, str] = os.environ) -> bytes:
    """Return a hash of the contents of all files that the settings name. Blocks on the file system.

    It also says which of them can't be read.
    """
    whole = hashlib.sha256()
    for name in access.access_paths:
        file = getattr(access, name)
        whole.update(_content_hash(file, environ) if file else bytes(32))
    return whole.digest()


def _content_hash(path: str, environ: Mapping[str, str]) -> bytes:
    try:
        # Without O_NONBLOCK, a pipe would wait for a writer.
        with open(os.open(expanded(path, environ), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            return hashlib.sha256(file.read(_COMPARED) or b"").digest()
    except (OSError, ValueError, SourceError):
        return b"\xff" * 32


def _login(access: EtcdAccess, environ: Mapping[str, str]) -> Login | None:
    if not access.user:
        return None

    async def password() -> str:
        late = Denied(f"{access.password_file} can't be read within {PASSWORD:g} s")
        try:
            return await _read(partial(read_secret, access.password_file, environ), PASSWORD, late)
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
