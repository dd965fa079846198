"""Decrypts the values of a property source, as Spring's `CipherEnvironmentEncryptor` does. Pure."""

from collections.abc import Callable

from ..core.model import PropertySource, Scalar
from .contract import Undecryptable

PREFIX = "{cipher}"
_NOT_AVAILABLE = "<n/a>"


def decrypted(
    source: PropertySource,
    decrypt: Callable[[str], str],
    *,
    prefix_invalid: bool = True,
    failed: Callable[[str, str], None] | None = None,
) -> PropertySource:
    """Decrypt each value that starts with `{cipher}`. A source without such values is returned unchanged.

    Args:
        decrypt: Decrypts the text after `{cipher}`, or raises `Undecryptable`.
        prefix_invalid: If a value can't be decrypted, it becomes `invalid.<key>: <n/a>`. If this is False, the text
            without `{cipher}` is kept.
        failed: Called with the key and the text of each value that can't be decrypted.

    Decrypted values come last, in order, and have no origin, because in V2 such a value is a bare string.
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
    return PropertySource(source.name, kept | opened, origins, source.values)
