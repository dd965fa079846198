"""Spring's routes: from a path to the configuration of a key or to a plain file, and to its encoded form, made once.

In come requests, out go answers made of what the line serves. The invariant: what a request may have is asked before anything is
read, so nobody learns from an answer what exists.
"""

from typing import ClassVar, Protocol

import attrs
import trio

from .. import threads
from ..auth import Admission, Right
from ..cache import Cache
from ..errors import RemoteError
from ..model import Config, Key, Names
from ..patterns import Pattern
from ..resolve.tree import ParsedFiles
from ..settings import HttpSettings
from .exchange import Answer, Request, etag_of, is_known
from .spring import environment, resources, suffixes
from .spring.placeholders import Placeholders
from .spring.resources import Resource
from .spring.wanted import Form, Wanted, parse_path
from .status import Reports, stale_for

# Encoded answers, each kept as long as what it was made from is what is served.
_CACHE_BYTES = 33_554_432
_CACHE_ENTRIES = 4_096
_ENTRY_BYTES = 1_024
# Above this size, for which each value counts something, encoding takes more than a few milliseconds, and is done in a thread.
_SMALL, _SMALL_YAML = 65_536, 8_192
_VALUE_BYTES = 64
_TEXT = "text/plain;charset=UTF-8"
_BYTES = "application/octet-stream"


class ConfigReader(Protocol):
    """What the HTTP side asks of the line."""

    @property
    def default_label(self) -> str | None:
        """The label of a request that names none; None until the first complete state is served."""
        ...

    async def read(self, key: Key) -> Config:
        """The current configuration of a key."""
        ...

    async def files(self, key: Key) -> list[ParsedFiles]:
        """The layers of files that serve a key now, the strongest first."""
        ...

    def exists(self, key: Key) -> bool:
        """Whether a key has files of its own, or is in use."""
        ...

    def names_in(self, label: str) -> Names:
        """The applications and the profiles that have files of their own under a label."""
        ...


@attrs.frozen(slots=True)
class _Variant:
    """What is wanted, in all that makes its bytes different."""

    wanted: Wanted
    media_type: str
    charset: str = ""


# What a body is made from: by being the same object it is the same.
_Origin = tuple[bytes | None, Config | None]


@attrs.frozen(slots=True, eq=False)
class _Encoded:
    """A body, good as long as what it was made from is what is served; or why there is none."""

    origin: _Origin
    body: bytes = b""
    etag: str = ""
    error: RemoteError | None = None

    def is_of(self, origin: _Origin) -> bool:
        return self.origin[0] is origin[0] and self.origin[1] is origin[1]


class Configuration:
    """`/{application}/{profiles}[/{label}]`, its forms with a suffix, and the files beside it, as Spring has them.

    Args:
        reader: The line.
        reports: How the sources are; while one can't be read, answers say since when.
        settings: [http]; the defaults where there are none.
    """

    route: ClassVar = Form.ENVIRONMENT.value
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False

    def __init__(self, reader: ConfigReader, reports: Reports = tuple, settings: HttpSettings | None = None) -> None:
        self._reader = reader
        self._settings = settings or HttpSettings()
        self._reports = reports
        self._cache: Cache[_Variant, _Encoded] = Cache(_CACHE_BYTES, _CACHE_ENTRIES)
        self._flight = threads.SingleFlight()
        # The work is bound by the processor.
        self._threads = trio.CapacityLimiter(2)

    async def answer(self, request: Request) -> Answer:
        """See `exchange.Endpoint`."""
        wanted = parse_path(request.path, request.query)
        if wanted is None:
            raise RemoteError("there is nothing here", 404)
        default_label = self._reader.default_label
        if default_label is None:
            raise RemoteError("starting", 503, {"Retry-After": "1"})
        variant = _variant(wanted, request)
        key = wanted.key(default_label)
        request.owner.authorize(Right.READ, key)
        if wanted.form is Form.FILE:
            return self._answer(await self._file(variant, key, request.owner), None, variant, request)
        config = await self._reader.read(key)
        if not config.sources and not self._settings.accept_empty:
            raise RemoteError("there is no such configuration", 404)
        return self._answer(await self._encoded(key, variant, (None, config)), config.version, variant, request)

    def _answer(self, encoded: _Encoded, version: str | None, variant: _Variant, request: Request) -> Answer:
        form = variant.wanted.form
        headers = {"ETag": encoded.etag, "Cache-Control": "no-cache, private", "Vary": _VARY[form]}
        if version is not None:
            headers["X-Vortex-Version"] = version
        if (seconds := stale_for(self._reports)) is not None:
            headers["X-Vortex-Stale"] = str(seconds)
        if is_known(request.headers.get("If-None-Match"), encoded.etag):
            return Answer(304, content_type=None, headers=headers, route=form.value)
        return Answer(200, encoded.body, variant.media_type, headers, form.value)

    async def _file(self, variant: _Variant, key: Key, owner: Admission) -> _Encoded:
        wanted = variant.wanted
        resource = resources.find(await self._reader.files(key), key, wanted.path)
        # Not there and not allowed are one answer (P17).
        if resource is None or not self._may_read(owner, resource, key):
            raise RemoteError("there is no such file", 404)
        if resource.content is None:
            raise RemoteError("this file can't be read; see the server's log", 500)
        has_placeholders = variant.media_type == _TEXT and wanted.resolves and b"${" in resource.content
        config = await self._reader.read(key) if has_placeholders else None
        return await self._encoded(key, variant, (resource.content, config))

    def _may_read(self, owner: Admission, resource: Resource, key: Key) -> bool:
        if all(owner.may(Right.READ, Pattern(label=label)) for label in key.labels):
            return True
        known = [owner.names, *map(self._reader.names_in, key.labels)]
        names = Names(
            frozenset().union(*(each.applications for each in known)),
            frozenset().union(*(each.profiles for each in known)),
        )
        return all(owner.may(Right.READ, each) for each in resources.needed(resource, key, names))

    async def _encoded(self, key: Key, variant: _Variant, origin: _Origin) -> _Encoded:
        while True:
            found = self._cache.get(variant)
            if found is None or not found.is_of(origin):
                found = await self._made(key, variant, origin)
            if found is not None:
                if found.error is not None:
                    raise RemoteError(found.error.reason, found.error.status)
                return found

    async def _made(self, key: Key, variant: _Variant, origin: _Origin) -> _Encoded | None:
        """Encode; None where another task has just done it."""
        if _is_quick(variant.wanted, origin):
            return self._kept(key, variant, _encode(variant, origin))
        async with self._flight.first_of((variant, *map(id, origin))) as is_first:
            if not is_first:
                return None
            encoded = await threads.run_sync(_encode, variant, origin, abandon_on_cancel=True, limiter=self._threads)
            return self._kept(key, variant, encoded)

    def _kept(self, key: Key, variant: _Variant, encoded: _Encoded) -> _Encoded:
        # Bytes that the state holds anyway cost nothing here.
        size = _ENTRY_BYTES + (0 if encoded.body is encoded.origin[0] else len(encoded.body))
        self._cache.put(variant, encoded, size, is_known=self._reader.exists(key))
        return encoded


_VARY = dict.fromkeys(Form, "Authorization") | {
    Form.ENVIRONMENT: "Accept, Authorization",
    Form.FILE: "Accept, Accept-Charset, Authorization",
}


def _variant(wanted: Wanted, request: Request) -> _Variant:
    """In which media type the answer comes. Where Spring has one whatever is accepted, so do we."""
    accept = request.headers.get("Accept")
    if wanted.form is Form.ENVIRONMENT:
        form = environment.media_type(accept)
        if form is None:
            raise RemoteError(f"configuration comes as {environment.V1} or {environment.V2}", 406)
        return _Variant(wanted, form)
    if wanted.form is not Form.FILE:
        return _Variant(wanted, environment.V1 if wanted.form is Form.JSON else _TEXT)
    if environment.wants_bytes(accept):
        return _Variant(wanted, _BYTES)
    return _Variant(wanted, _TEXT, resources.charset(request.headers.get("Accept-Charset")))


def _is_quick(wanted: Wanted, origin: _Origin) -> bool:
    content, config = origin
    size = len(content or b"")
    if config is not None:
        # What placeholders stand for isn't known before.
        if wanted.form is not Form.ENVIRONMENT and wanted.resolves and b"${" in config.body:
            return False
        size += len(config.body) + sum(len(source.values) * _VALUE_BYTES for source in config.sources)
    return size <= (_SMALL_YAML if wanted.form is Form.YAML else _SMALL)


def _encode(variant: _Variant, origin: _Origin) -> _Encoded:
    """The long part, which may run in a thread: only what is immutable is touched."""
    try:
        body = _body(variant, *origin)
    except RemoteError as error:
        return _Encoded(origin, error=error.with_traceback(None))
    return _Encoded(origin, body, etag_of(body))


def _body(variant: _Variant, content: bytes | None, config: Config | None) -> bytes:
    wanted = variant.wanted
    placeholders = Placeholders(config.sources) if config is not None and wanted.resolves else None
    if content is not None:
        if variant.media_type == _BYTES:
            return content
        text = content.decode(variant.charset, "replace")
        return (placeholders.in_text(text) if placeholders else text).encode("utf-8", "replace")
    assert config is not None
    match wanted.form:
        case Form.PROPERTIES:
            return suffixes.to_properties(config.sources, placeholders, is_escaped=wanted.escapes)
        case Form.YAML:
            return suffixes.to_yaml(config.sources, placeholders)
        case Form.JSON:
            return suffixes.to_json(config.sources, placeholders)
        case _:
            return environment.environment(config, wanted, variant.media_type)
