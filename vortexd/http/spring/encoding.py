"""Encodes a response body from a `Variant` and an `Origin`. This can take long, so it may run in a thread. Pure.

The result is a body with its entity tag, or an error. The same variant and origin always make the same bytes. So the server
can encode a body once for all clients that may read it.
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
# Above these sizes, encoding takes more than a few milliseconds, so it is done in a thread. The size of a configuration
# includes _VALUE_BYTES for each value.
_SMALL, _SMALL_YAML = 65_536, 8_192
_VALUE_BYTES = 64


@attrs.frozen(slots=True, cache_hash=True)
class Variant:
    """A request with its media type and charset: everything on the client's side that changes the bytes of a body."""

    config_request: ConfigRequest
    media_type: str
    charset: str = ""
    # Whether the content is that of the key's candidate.
    is_candidate: bool = False


@attrs.frozen(slots=True, eq=False)
class Origin:
    """The content that a body is made from.

    Attributes:
        config: The configuration. For a plain file, the configuration for its placeholders; None if it has none.
        file: The bytes of a plain file; None for a configuration.
        decryptor: Decrypts values in a plain file; None if nothing is to be decrypted.
    """

    config: Config | None
    file: bytes | None = None
    decryptor: Decryptor | None = None


@attrs.frozen(slots=True, eq=False)
class Encoded:
    """A body, or an error. It keeps no reference to the content that it was made from.

    Attributes:
        version: As `Config.version`; None for a plain file.
        error: The error, if the body can't be made; else None.
    """

    body: bytes = b""
    etag: str = ""
    version: str | None = None
    error: RemoteError | None = None


def is_quick(config_request: ConfigRequest, origin: Origin) -> bool:
    """Whether encoding is fast enough to run in the event loop."""
    if origin.decryptor is not None:
        return False
    size = len(origin.file or b"")
    config = origin.config
    if config is not None:
        # The size of the resolved placeholders isn't known yet.
        if config_request.form is not Form.ENVIRONMENT and config_request.resolves and b"${" in config.body:
            return False
        size += len(config.body) + sum(len(source.values) * _VALUE_BYTES for source in config.sources)
    return size <= (_SMALL_YAML if config_request.form is Form.YAML else _SMALL)


def encode(variant: Variant, origin: Origin, parse_file: resources.ParseFile) -> Encoded:
    """Encode a body. This may run in a thread, so it uses only objects that are immutable or that threads may share.

    Args:
        parse_file: Parses a plain file, to find the values to decrypt.
    """
    config_request, config = variant.config_request, origin.config
    placeholders = Placeholders(config.sources) if config is not None and config_request.resolves else None
    try:
        if origin.file is not None:
            body = _file_body(variant, origin.file, placeholders, origin.decryptor, parse_file)
            return Encoded(body, etag_of(body))
        assert config is not None  # an origin has a file or a configuration
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
