"""From what is wanted and what it is made from to bytes: the long part of an answer, which may run in a thread. Pure.

In come a `Variant` and an `Origin`, out goes a body with its validator, or why there is none. The invariant: the same two make the same bytes, so
what is made once is good for everybody who may have it.
"""

import attrs

from ...core.errors import RemoteError
from ...core.model import Config
from ...encryption.decryptor import Decryptor
from ..endpoint import etag_of
from . import environment, resources, suffixes
from .config_request import ConfigRequest, Form
from .placeholders import Placeholders

TEXT = "text/plain;charset=UTF-8"
BYTES = "application/octet-stream"
# Above this size, for which each value counts something, encoding takes more than a few milliseconds, and is done in a thread.
_SMALL, _SMALL_YAML = 65_536, 8_192
_VALUE_BYTES = 64


@attrs.frozen(slots=True)
class Variant:
    """What is wanted, in all that makes its bytes different."""

    config_request: ConfigRequest
    media_type: str
    charset: str = ""


@attrs.frozen(slots=True, eq=False)
class Origin:
    """What a body is made from.

    Attributes:
        config: Of a plain file None, unless it has placeholders.
        file: The bytes of a plain file.
        decryptor: What decrypts values in a plain file; None where none are.
    """

    config: Config | None
    file: bytes | None = None
    decryptor: Decryptor | None = None


@attrs.frozen(slots=True, eq=False)
class Encoded:
    """A body, or why there is none. It holds nothing of what it was made from but that.

    Attributes:
        version: As `Config.version`; None of a plain file.
    """

    body: bytes = b""
    etag: str = ""
    version: str | None = None
    error: RemoteError | None = None


def is_quick(config_request: ConfigRequest, origin: Origin) -> bool:
    """Whether encoding takes no more than the event loop may be held up for."""
    if origin.decryptor is not None:
        return False
    size = len(origin.file or b"")
    config = origin.config
    if config is not None:
        # What placeholders stand for isn't known before.
        if config_request.form is not Form.ENVIRONMENT and config_request.resolves and b"${" in config.body:
            return False
        size += len(config.body) + sum(len(source.values) * _VALUE_BYTES for source in config.sources)
    return size <= (_SMALL_YAML if config_request.form is Form.YAML else _SMALL)


def encode(variant: Variant, origin: Origin, parse_file: resources.ParseFile) -> Encoded:
    """The long part, which may run in a thread: only what is immutable is touched, and what threads may share.

    Args:
        parse_file: Parses a plain file in which values are to be decrypted.
    """
    config_request, config = variant.config_request, origin.config
    placeholders = Placeholders(config.sources) if config is not None and config_request.resolves else None
    try:
        if origin.file is not None:
            body = _file_body(variant, origin.file, placeholders, origin.decryptor, parse_file)
            return Encoded(body, etag_of(body))
        assert config is not None  # one of the two is what a body is made from
        body = _body(variant, config, placeholders)
        return Encoded(body, etag_of(body), config.version)
    except RemoteError as error:
        return Encoded(error=error.with_traceback(None))


def _file_body(
    variant: Variant,
    file: bytes,
    placeholders: Placeholders | None,
    decryptor: Decryptor | None,
    parse_file: resources.ParseFile,
) -> bytes:
    if variant.media_type == BYTES:
        return file
    path = variant.config_request.path
    text = file.decode(variant.charset, "replace")
    if decryptor is not None:
        text = decryptor.opened_text(path, text, resources.texts_in(path, file, parse_file))
    return (placeholders.in_text(text) if placeholders else text).encode("utf-8", "replace")


def _body(variant: Variant, config: Config, placeholders: Placeholders | None) -> bytes:
    config_request = variant.config_request
    match config_request.form:
        case Form.PROPERTIES:
            return suffixes.to_properties(config.sources, placeholders, is_escaped=config_request.escapes)
        case Form.YAML:
            return suffixes.to_yaml(config.sources, placeholders)
        case Form.JSON:
            return suffixes.to_json(config.sources, placeholders)
        case _:
            return environment.environment(config, config_request, variant.media_type)
