"""The encrypted values of a property source, as Spring's `CipherEnvironmentEncryptor` serves them. Pure."""

from collections.abc import Callable

from ..core.model import PropertySource, Scalar
from .ciphers import Undecryptable

PREFIX = "{cipher}"
_NOT_AVAILABLE = "<n/a>"


def decrypted(
    source: PropertySource,
    decrypt: Callable[[str], str],
    *,
    prefix_invalid: bool = True,
    failed: Callable[[str, str], None] | None = None,
) -> PropertySource:
    """Decrypt each value that starts with `{cipher}`; a source without any is returned as it is.

    Args:
        decrypt: Called with what follows `{cipher}`; raises `Undecryptable`.
        prefix_invalid: What can't be decrypted becomes `invalid.<key>: <n/a>`, or else its text without `{cipher}`.
        failed: Told the key and the text of what can't be decrypted.

    What was encrypted comes last, in order, and has no origin any more: that of V2 is a bare string.
    """
    kept: dict[str, Scalar] = {}
    opened: dict[str, Scalar] = {}
    for key, value in source.values.items():
        if not isinstance(value, str) or not value.startswith(PREFIX):
            kept[key] = value
            continue
        text = value.removeprefix(PREFIX)
        try:
            opened[key] = decrypt(text)
        except Undecryptable:
            if failed is not None:
                failed(key, text)
            if prefix_invalid:
                opened[f"invalid.{key}"] = _NOT_AVAILABLE
            else:
                opened[key] = text
    if not opened:
        return source
    origins = {key: origin for key, origin in source.origins.items() if key in kept and key not in opened}
    return PropertySource(source.name, kept | opened, origins)
