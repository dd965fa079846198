"""[encryption] of vortexd.toml.

The key for values that begin with `{cipher}`, as Spring writes them. vortexd reads keys from files; this file never contains one.
"""

import re
from typing import Any

import attrs

from ..core.constraints import Rule, choice, path, setting


def _is_salt(value: object) -> bool:
    return re.fullmatch(r"(?:[0-9A-Fa-f]{2}){1,64}", str(value)) is not None


def _salt(**text: Any) -> str:
    rule = Rule("hex digits, two for each byte, of at most 64 bytes", _is_salt)
    return setting("deadbeef", rule, **text)


@attrs.frozen
class EncryptionSettings:
    """[encryption]."""

    enabled: bool = setting(
        True, doc="Decrypt the values. If this is false, vortexd serves ciphertext, and clients decrypt it themselves."
    )
    key_file: str = path(
        doc="The file with the encryption key. It contains a password on one line, from which vortexd derives "
        'an AES key, or an RSA private key as PEM. "" means none.',
        more="vortexd refuses the file if the group or other users have access to it, or if its path is a "
        "symbolic link. The same holds for the other files of this section.",
    )
    salt: str = _salt(doc="The salt for the password, as hex digits.")
    key_store: str = path(
        doc='A PKCS #12 key store with RSA keys, in place of `key_file`. "" means none.',
        more="To convert a Java key store (JKS), run keytool -importkeystore -srckeystore OLD -destkeystore NEW "
        "-deststoretype PKCS12.",
    )
    key_store_password_file: str = path(doc="The file with the password of the key store.")
    key_store_alias: str = setting(
        "",
        doc="The alias of the encryption key in the key store. It also decrypts values that name no other alias "
        'with `{key:alias}`. "" is enough if the store has one key only.',
    )
    rsa_algorithm: str = choice("default", "oaep", doc='"default" (PKCS #1 v1.5) or "oaep".')
    rsa_strong: bool = setting(False, doc="Use AES in GCM mode under RSA, instead of CBC.")
    rsa_salt: str = _salt(doc="The salt under RSA, as hex digits.")
    prefix_invalid_properties: bool = setting(
        True,
        doc="Serve a value that cannot be decrypted as the property `invalid.` followed by its own name, with "
        "the value `<n/a>`. False serves the ciphertext under its own name, without `{cipher}`.",
    )
    plain_text: bool = setting(
        False,
        doc="Decrypt values in plain files, too, if they are requested as text: YAML, JSON and properties. "
        "Values that cannot be decrypted stay as they are.",
    )
