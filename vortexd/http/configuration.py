"""Spring's configuration routes: from a path to the configuration of a key, and to its encoded form, made once.

In come requests, out go answers made of what the line serves. The invariant: what a request may have is asked before anything is
read, so nobody learns from an answer what exists.
"""

from collections import OrderedDict
from typing import ClassVar

from ..auth import Right
from ..errors import RemoteError
from ..model import Config, Key
from . import spring
from .exchange import Answer, Request
from .spring import ConfigReader
from .status import Reports, stale_for

# Encoded answers kept between publications.
_CACHE_BYTES = 33_554_432


class Configuration:
    """`/{application}/{profiles}[/{label}]`, as Spring has it.

    Args:
        reader: The line.
        reports: How the sources are; while one can't be read, answers say since when.
    """

    route: ClassVar = "/{application}/{profiles}"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False

    def __init__(self, reader: ConfigReader, reports: Reports = tuple) -> None:
        self._reader = reader
        self._reports = reports
        self._encoded = _Encoded()

    async def answer(self, request: Request) -> Answer:
        """See `exchange.Endpoint`."""
        wanted = spring.parse_path(request.path)
        if wanted is None:
            raise RemoteError("there is nothing here", 404)
        default_label = self._reader.default_label
        if default_label is None:
            raise RemoteError("starting", 503, {"Retry-After": "1"})
        form = spring.media_type(request.headers.get("Accept"))
        if form is None:
            raise RemoteError(f"configuration comes as {spring.V1} or {spring.V2}", 406)
        key = Key(wanted.application, wanted.profiles, wanted.label if wanted.label is not None else default_label)
        request.owner.authorize(Right.READ, key)
        config = await self._reader.read(key)
        body, etag = self._encoded.get(config, wanted, form)
        headers = {
            "ETag": etag,
            "X-Vortex-Version": config.version,
            "Cache-Control": "no-cache, private",
            "Vary": "Accept, Authorization",
        }
        if (seconds := stale_for(self._reports)) is not None:
            headers["X-Vortex-Stale"] = str(seconds)
        if spring.is_known(request.headers.get("If-None-Match"), etag):
            return Answer(304, content_type=None, headers=headers)
        return Answer(body=body, content_type=form, headers=headers)


class _Encoded:
    """Encoded configurations, bounded by size; an entry is good as long as its Config is the one served."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[spring.Wanted, str], tuple[Config, bytes, str]] = OrderedDict()
        self._bytes = 0

    def get(self, config: Config, wanted: spring.Wanted, form: str) -> tuple[bytes, str]:
        """The body and its ETag."""
        name = (wanted, form)
        entry = self._entries.get(name)
        if entry is not None and entry[0] is config:
            self._entries.move_to_end(name)
            return entry[1], entry[2]
        if entry is not None:
            self._bytes -= len(self._entries.pop(name)[1])
        body = spring.environment(config, wanted, form)
        etag = spring.etag_of(body)
        self._entries[name] = (config, body, etag)
        self._bytes += len(body)
        while self._bytes > _CACHE_BYTES and len(self._entries) > 1:
            self._bytes -= len(self._entries.popitem(last=False)[1][1])
        return body, etag
