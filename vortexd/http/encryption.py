"""`/encrypt`, `/decrypt` and `/key`: use the keys of [encryption], for people who write configuration.

The endpoints turn texts into ciphertexts. For tokens with `admin` they also turn ciphertexts into texts. The server never
logs either. Errors have the same form as in Spring. vortexd-api(7) lists the differences.
"""

from collections.abc import Callable
from typing import ClassVar

import orjson
import trio

from ..aio import threads
from ..auth import Forbidden, Right
from ..core import names
from ..core.errors import RemoteError
from ..encryption import prefixes
from ..encryption.contract import Keys, NoSuchKey, Undecryptable
from ..encryption.files import Keyring
from .endpoint import Endpoint, Request, Response
from .forms import media_type_of, received, unwrapped
from .operation import APPLICATION, ERRORS, KEY_PROFILES, TEXT_TYPE, media, ok, operation
from .schemas import TEXT, Operations, Schema, an_object, ref
from .spring.environment import V1

_PLAIN = "text/plain;charset=UTF-8"
# The processor limits this work, so more threads would only make each of them slower.
_AT_A_TIME = 2


def encryption_endpoints(keyring: Keyring) -> list[Endpoint]:
    """Make the endpoints of encryption.

    Args:
        keyring: Holds the keys in force.
    """
    limiter = trio.CapacityLimiter(_AT_A_TIME)
    return [EncryptStatus(keyring), Encrypt(keyring, limiter), Decrypt(keyring, limiter), PublicKey(keyring)]


_SCHEMAS: dict[str, Schema] = {
    "CipherError": an_object(
        description=TEXT, status={"enum": ["NO_KEY", "NOT_FOUND", "INVALID", "BAD_REQUEST", "FORBIDDEN"]}
    ),
    "CipherStatus": an_object(status={"enum": ["OK"]}),
}


_EITHER = {"anyOf": [ref("Error"), ref("CipherError")]}
_REFUSED = {str(status): {"description": ERRORS[status], "content": media({V1: _EITHER})} for status in (400, 403, 404)}


def _described(name: str, summary: str, response: str, *errors: int, method: str = "post") -> Operations:
    """Describe `/<name>` and `/<name>/{application}/{profiles}` for the OpenAPI document."""
    found: Operations = {}
    for below, suffix, parameters in (("", "", []), ("/{application}/{profiles}", "For", [APPLICATION, KEY_PROFILES])):
        one = operation(name + suffix, summary, {}, parameters, errors)
        one["responses"] |= ok(response, {TEXT_TYPE: {"type": "string"}}) | _REFUSED
        if method == "post":
            body = {"type": "string", "minLength": 1}
            one["requestBody"] = {"required": True, "content": media({TEXT_TYPE: body})}
        found[f"/{name}{below}"] = {method: one}
    return found


_STATUS = operation("encryptStatus", "Whether a key is set.", ok("a key is set", {V1: ref("CipherStatus")}))
_STATUS["responses"] |= _REFUSED


class EncryptStatus(Endpoint):
    """`GET /encrypt/status`: whether a key is set."""

    route: ClassVar = "/encrypt/status"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    operations: ClassVar = {"/encrypt/status": {"get": _STATUS}}
    schemas: ClassVar = _SCHEMAS

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        return Response(body=b'{"status":"OK"}') if self._keyring.current.keys else _no_key()


class PublicKey(Endpoint):
    """`GET /key`: the public key, as OpenSSH writes it."""

    route: ClassVar = "/key[/{application}/{profiles}]"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    paths: ClassVar = ("/key", "/key/")
    operations: ClassVar = _described("key", "The public key, as OpenSSH writes it.", "the key", method="get")

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        _check_path(request)
        keys = self._keyring.current.keys
        # The default key comes from no other file, so this may run in the event loop.
        public_key = keys.find({}).public_key if keys else None
        if public_key is None:
            return _failure(404, "NOT_FOUND", "No public key available")
        return Response(body=public_key.encode(), content_type=_PLAIN)


class Encrypt(Endpoint):
    """`POST /encrypt`: encrypts a text, for any valid token."""

    route: ClassVar = "/encrypt[/{application}/{profiles}]"
    methods: ClassVar = ("POST",)
    is_public: ClassVar = False
    paths: ClassVar = ("/encrypt", "/encrypt/")
    operations: ClassVar = _described("encrypt", "Encrypt a text.", "the ciphertext", 413, 415)

    def __init__(self, keyring: Keyring, limiter: trio.CapacityLimiter) -> None:
        self._keyring = keyring
        self._limiter = limiter

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        _check_path(request)
        media_type = media_type_of(request.headers.get("Content-Type"))
        text = unwrapped(received(request.body, media_type), media_type)
        keys = self._keyring.current.keys
        if keys is None:
            return _no_key()
        try:
            return await _worked(self._limiter, _encrypted, keys, text)
        except NoSuchKey:
            return _no_key()


class Decrypt(Endpoint):
    """`POST /decrypt`: decrypts a ciphertext. It can reveal the secrets of every application, so it needs `admin`."""

    route: ClassVar = "/decrypt[/{application}/{profiles}]"
    methods: ClassVar = ("POST",)
    is_public: ClassVar = False
    paths: ClassVar = ("/decrypt", "/decrypt/")
    right: ClassVar = Right.ADMIN
    operations: ClassVar = _described("decrypt", "Decrypt a ciphertext; needs the right `admin`.", "the text", 413, 415)

    def __init__(self, keyring: Keyring, limiter: trio.CapacityLimiter) -> None:
        self._keyring = keyring
        self._limiter = limiter

    def forbidden(self, error: Forbidden) -> Response:
        """Make the error in Spring's form (see `Endpoint`)."""
        return _failure(error.status, "FORBIDDEN", error.reason)

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        _check_path(request)
        media_type = media_type_of(request.headers.get("Content-Type"))
        text = received(request.body, media_type)
        cipher = unwrapped(prefixes.strip(text), media_type, is_cipher=True)
        keys = self._keyring.current.keys
        if keys is None:
            return _no_key()
        try:
            return await _worked(self._limiter, _decrypted, keys, text, cipher)
        except NoSuchKey:
            return _failure(400, "BAD_REQUEST", "Server-side decryption is not supported")
        except Undecryptable as error:
            return _failure(400, "INVALID", error.reason)


async def _worked(limiter: trio.CapacityLimiter, work: Callable[..., str], *arguments: object) -> Response:
    text = await threads.run_sync(work, *arguments, abandon_on_cancel=True, limiter=limiter)
    return Response(body=text.encode(), content_type=_PLAIN)


def _encrypted(keys: Keys, text: str) -> str:
    found = prefixes.selectors(text)
    return prefixes.prefixed(found, keys.find(found).encrypt(prefixes.strip(text)))


def _decrypted(keys: Keys, text: str, cipher: str) -> str:
    return keys.find(prefixes.selectors(text)).decrypt(cipher)


def _check_path(request: Request) -> None:
    """Refuse each path except the endpoint's own path and `/{application}/{profiles}` below it."""
    _, *rest = (names.decode_segment(segment) for segment in request.segments)
    if len(rest) not in (0, 2):
        raise RemoteError("there is nothing at this path", 404)
    for name, check in zip(rest, (names.application, names.profile), strict=False):
        check(name)


def _no_key() -> Response:
    return _failure(404, "NO_KEY", "No key was installed for encryption service")


def _failure(status: int, name: str, description: str) -> Response:
    return Response(status, orjson.dumps({"description": description, "status": name}))
