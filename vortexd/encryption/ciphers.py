"""Spring Security's text encryptors, compatible with `AesBytesEncryptor` and `RsaSecretEncryptor`. Pure.

An encryptor turns text into ciphertext with a key, and back. Whatever a ciphertext contains, the only possible error is
`Undecryptable`. Neither this error nor the `repr` of an encryptor shows the ciphertext or the key.
"""

import base64
import os

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .contract import Undecryptable

DEFAULT_SALT = "deadbeef"
_BLOCK_BYTES = 16
_ROUNDS = 1_024
_LENGTH_BYTES = 2


def derive_key(password: str, salt: str) -> bytes:
    """Derive an AES-256 key as Spring does.

    Raises:
        ValueError: The salt doesn't consist of hex digits.
    """
    kdf = PBKDF2HMAC(hashes.SHA1(), length=32, salt=bytes.fromhex(salt), iterations=_ROUNDS)
    return kdf.derive(password.encode())


class AesEncryptor:
    """`Encryptors.text`: hex(IV || AES-256-CBC), with a key that is derived once from a password."""

    public_key = None

    def __init__(self, password: str, salt: str = DEFAULT_SALT) -> None:
        self._key = derive_key(password, salt)

    def encrypt(self, text: str) -> str:
        return _seal_cbc(self._key, text.encode()).hex()

    def decrypt(self, ciphertext: str) -> str:
        try:
            sealed = bytes.fromhex(ciphertext)
        except ValueError:
            raise Undecryptable from None
        return _text(_open_cbc(self._key, sealed))


@attrs.frozen(slots=True, eq=False)
class RsaEncryptor:
    """`RsaSecretEncryptor`: base64(length of the RSA part, RSA(16 random bytes), AES ciphertext).

    The AES key is derived from the random bytes.

    Attributes:
        oaep: Whether to pad by OAEP with SHA-1 (Spring's `OAEP`) instead of PKCS #1 v1.5 (its `DEFAULT`).
        strong: Whether AES uses GCM instead of CBC.
        salt: The salt of the key derivation, as hex digits.
    """

    key: RSAPrivateKey = attrs.field(repr=False)
    oaep: bool = False
    strong: bool = False
    salt: str = attrs.field(default=DEFAULT_SALT, repr=False)

    def encrypt(self, text: str) -> str:
        random = os.urandom(_BLOCK_BYTES)
        wrapped = self.key.public_key().encrypt(random, self._padding)
        seal = _seal_gcm if self.strong else _seal_cbc
        sealed = seal(derive_key(random.hex(), self.salt), text.encode())
        return base64.b64encode(len(wrapped).to_bytes(_LENGTH_BYTES, "big") + wrapped + sealed).decode()

    def decrypt(self, ciphertext: str) -> str:
        try:
            whole = _base64(ciphertext)
            end = _LENGTH_BYTES + int.from_bytes(whole[:_LENGTH_BYTES], "big")
            random = self.key.decrypt(whole[_LENGTH_BYTES:end], self._padding)
        except ValueError:
            raise Undecryptable from None
        unseal = _open_gcm if self.strong else _open_cbc
        return _text(unseal(derive_key(random.hex(), self.salt), whole[end:]))

    @property
    def public_key(self) -> str:
        """The public key in OpenSSH's format, in which Spring publishes it."""
        encoded = self.key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return f"{encoded.decode()} application"

    @property
    def _padding(self) -> AsymmetricPadding:
        if self.oaep:
            return padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        return padding.PKCS1v15()


def _base64(text: str) -> bytes:
    # As in Java: `=` may only fill the last group of four characters, and it may be missing.
    if text.endswith("=") and len(text) % 4:
        raise ValueError("too much padding")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _seal_cbc(key: bytes, plain: bytes) -> bytes:
    iv = os.urandom(_BLOCK_BYTES)
    padder = PKCS7(8 * _BLOCK_BYTES).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return iv + encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def _open_cbc(key: bytes, sealed: bytes) -> bytes:
    try:
        decryptor = Cipher(algorithms.AES(key), modes.CBC(sealed[:_BLOCK_BYTES])).decryptor()
        padded = decryptor.update(sealed[_BLOCK_BYTES:]) + decryptor.finalize()
        unpadder = PKCS7(8 * _BLOCK_BYTES).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise Undecryptable from None


def _seal_gcm(key: bytes, plain: bytes) -> bytes:
    # Spring uses an IV of a whole block here, too. 12 bytes are usual.
    iv = os.urandom(_BLOCK_BYTES)
    return iv + AESGCM(key).encrypt(iv, plain, None)


def _open_gcm(key: bytes, sealed: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_BLOCK_BYTES], sealed[_BLOCK_BYTES:], None)
    except (InvalidTag, ValueError):
        raise Undecryptable from None


def _text(plain: bytes) -> str:
    # CBC has no tag. About one wrong key in 256 produces valid padding, and most of those fail here.
    try:
        return plain.decode()
    except UnicodeDecodeError:
        raise Undecryptable from None
