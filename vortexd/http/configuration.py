"""Spring's routes: the configuration of a key in all its forms, and plain files. Each form is encoded once.

The endpoint makes responses from the state that the pipeline serves. It checks rights before it reads anything. So a
client without the right can't learn from a response whether a key or a file exists.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

import attrs
import trio

from ..aio import threads
from ..auth import Admission, Right
from ..core.broken_files import broken_headers
from ..core.cache import Cache
from ..core.candidate import CandidateKey, plain
from ..core.errors import FormatError, RemoteError, ResolveError
from ..core.model import BrokenFile, Config, HeldBack, Key, Names
from ..core.patterns import Pattern
from ..encryption.decryptor import Decryptor
from ..gate.finding import Refusal, refused_headers
from ..pipeline.parsing import parse_file
from ..resolve.tree import ParsedFiles
from ..settings.formats import FormatSettings
from ..settings.http import HttpSettings
from .broken import unreadable
from .configuration_description import CONFIGURATION_SCHEMAS, configuration_operations
from .endpoint import Endpoint, Headers, Request, Response, is_known
from .key_queries import pinned_headers, without_files
from .spring import environment, resources
from .spring.config_request import ConfigRequest, Form, parse_path
from .spring.encoding import BYTES, TEXT, Encoded, Origin, Variant, encode, is_quick
from .spring.resources import Resource
from .status import Reports, stale_for
from .tracks import VARY, ChoosesTracks, track_of

if TYPE_CHECKING:
    from ..core.term import Term

# The limits of the cache. It keeps an encoded response as long as the server serves the state that it was made from.
_CACHE_BYTES = 33_554_432
_CACHE_ENTRIES = 4_096
_ENTRY_BYTES = 2_048
# Parsed requests are remembered: this many of each kind, if they have at most this many characters.
_REMEMBERED, _REMEMBERED_TEXT = 1_024, 512
_FEW_DIRECTORIES = 1_000
_FEW_NAMES = 1_000
_MADE_UP = 4
T = TypeVar("T")


class ReadsConfig(Protocol):
    """The part of the pipeline that HTTP endpoints need."""

    @property
    def default_label(self) -> str | None:
        """The label of a request that names none; None until the first complete state is served."""
        ...

    @property
    def state(self) -> object:
        """The state that is served now: another object after each publication."""
        ...

    async def read(self, key: Key) -> Config:
        """The current configuration of a key."""
        ...

    async def files(self, key: Key) -> list[ParsedFiles]:
        """The layers of files that serve a key now, the strongest first."""
        ...

    def fault_of(self, key: Key) -> FormatError | ResolveError | None:
        """The reason why a key is served from former content; None if it is served from its current files."""
        ...

    def broken_for(self, key: Key) -> Sequence[BrokenFile]:
        """The broken files that a key reads."""
        ...

    @property
    def refusals(self) -> Mapping[str, Refusal]:
        """The labels that the gate holds back."""
        ...

    def refusals_for(self, key: Key) -> Sequence[Refusal]:
        """The labels of the key that the gate holds back."""
        ...

    def term(self, key: Key) -> "Term | None":
        """The term of the pin that serves a key, or None if none does."""
        ...

    @property
    def broken(self) -> Mapping[tuple[str, str], BrokenFile]:
        """All broken files."""
        ...

    async def held_back(self) -> Sequence[HeldBack]:
        """All broken files, with the keys that they hold back."""
        ...

    @property
    def formats(self) -> FormatSettings:
        """The bounds of parsing."""
        ...

    @property
    def decryptor(self) -> Decryptor | None:
        """The decryptor of the state that is served now; None if nothing is decrypted."""
        ...

    def report_undecryptable(self) -> None:
        """Log the values that couldn't be decrypted since the last call."""
        ...

    def exists(self, key: Key) -> bool:
        """Whether a key has files of its own, or is in use."""
        ...

    def names_in(self, label: str) -> Names:
        """The applications and the profiles that have files of their own under a label."""
        ...


@attrs.define(slots=True, eq=False)
class _Answer:
    """An encoded body, and the responses that were made with it while no source was stale.

    Attributes:
        fresh: The response to a client that has another body, or None if it wasn't made yet.
        known: The response to a client that has this body, or None if it wasn't made yet.
    """

    encoded: Encoded
    fresh: Response | None = None
    known: Response | None = None


class Configuration(Endpoint):
    """`/{application}/{profiles}[/{label}]`, its forms with a suffix, and plain files, as Spring serves them.

    Args:
        reader: The pipeline.
        reports: Returns the states of the sources. While a source can't be read, a header says for how long.
        tracks: Knows the roll-outs; None if there are none.
    """

    route: ClassVar = Form.ENVIRONMENT.value
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    paths: ClassVar = ()
    operations: ClassVar = configuration_operations()
    schemas: ClassVar = CONFIGURATION_SCHEMAS

    def __init__(self, reader: ReadsConfig, reports: Reports = tuple, tracks: ChoosesTracks | None = None) -> None:
        self._reader = reader
        self._tracks = tracks
        self._reports = reports
        self._cache: Cache[Variant, _Answer] = Cache(_CACHE_BYTES, _CACHE_ENTRIES)
        # The state that all cached responses were made from.
        self._state: object = None
        self.replace(HttpSettings())
        self._flight = threads.SingleFlight()
        # The processor limits this work, so more threads wouldn't make it faster.
        self._threads = trio.CapacityLimiter(2)
        # Clients can invent any number of keys, and no two share a response. So the server reads only a few at a time.
        self._made_up = trio.CapacityLimiter(_MADE_UP)

    def replace(self, settings: HttpSettings) -> None:
        """Apply new settings to the requests from now on."""
        self._settings = settings
        self._cache.clear()

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        config_request = _parsed(request.path, request.query)
        if config_request is None:
            raise RemoteError("there is nothing at this path", 404)
        return await self.respond(config_request, request, request.headers.get("If-None-Match"))

    @property
    def _default_label(self) -> str:
        """The label of a request that names none.

        Raises:
            RemoteError: The server is starting.
        """
        default_label = self._reader.default_label
        if default_label is None:
            raise RemoteError("starting", 503, {"Retry-After": "1"})
        return default_label

    def key_of(self, config_request: ConfigRequest, request: Request, default_label: str | None = None) -> Key:
        """Return the key that is served to a request: its own one, or its candidate in a roll-out.

        Args:
            default_label: The label of a request that names none, if the caller has it already.

        Raises:
            RemoteError: The owner may not read the key, the server is starting, or the name of the instance isn't valid.
        """
        key = _key(config_request, default_label or self._default_label)
        request.owner.authorize(Right.READ, key)
        if self._tracks is None or self._tracks.target(key) is None:
            return key
        return track_of(self._tracks, key, request.query, request.headers)

    async def respond(self, config_request: ConfigRequest, request: Request, if_none_match: str | None) -> Response:
        """Make the response to a parsed request.

        Args:
            request: The request, for its owner and the choice of the media type and of the instance.
            if_none_match: The entity tags that the client has, or None.

        Raises:
            RemoteError, FormatError, ResolveError: As in `answer`.
        """
        default_label = self._default_label
        variant = _variant(config_request, request.headers)
        key = self.key_of(config_request, request, default_label)
        in_rollout = self._tracks is not None and self._tracks.target(plain(key)) is not None
        if isinstance(key, CandidateKey):
            variant = attrs.evolve(variant, is_candidate=True)
        try:
            if config_request.form is Form.FILE:
                answer = await self._file(variant, key, request.owner)
            else:
                answer = await self._configuration(variant, key)
        except (FormatError, ResolveError) as error:
            raise unreadable(self._reader.broken_for(key)) from error
        failure = answer.encoded.error
        if failure is not None:
            raise RemoteError(failure.reason, failure.status)
        more = {"Vary": f"{_VARY[config_request.form]}, {VARY}"} if in_rollout else {}
        return self._response(answer, variant, key, if_none_match, more)

    def _response(
        self, answer: _Answer, variant: Variant, key: Key, if_none_match: str | None, more: Mapping[str, str]
    ) -> Response:
        """Choose the response to a client. Its headers depend only on the answer, unless a source is stale.

        Args:
            more: The headers that only a key in a roll-out has.
        """
        is_fresh = not is_known(if_none_match, answer.encoded.etag)
        seconds = stale_for(self._reports)
        if seconds is not None:
            more = {**more, "X-Vortex-Stale": str(seconds)}
        if more:
            return self._made_response(answer.encoded, variant, key, more, is_fresh=is_fresh)
        found = answer.fresh if is_fresh else answer.known
        if found is None:
            found = self._made_response(answer.encoded, variant, key, {}, is_fresh=is_fresh)
            if is_fresh:
                answer.fresh = found
            else:
                answer.known = found
        return found

    def _made_response(
        self, encoded: Encoded, variant: Variant, key: Key, more: Mapping[str, str], *, is_fresh: bool
    ) -> Response:
        form = variant.config_request.form
        headers = {"ETag": encoded.etag, "Cache-Control": "no-cache, private", "Vary": _VARY[form]}
        if form is not Form.FILE:
            # A plain file is served in its current content.
            headers |= broken_headers(self._reader.broken_for(key)) | refused_headers(self._reader.refusals_for(key))
            headers |= pinned_headers(self._reader.term(key))
        if encoded.version is not None:
            headers["X-Vortex-Version"] = encoded.version
            headers |= without_files(key, self._reader.names_in)
        headers |= more
        if is_fresh:
            return Response(200, encoded.body, variant.media_type, headers, form.value)
        return Response(304, content_type=None, headers=headers, route=form.value)

    async def _configuration(self, variant: Variant, key: Key) -> _Answer:
        found = self._found(variant)
        if found is not None:
            return found
        if self._reader.exists(key):
            return await self._read(variant, key)
        async with self._made_up:
            return self._found(variant) or await self._read(variant, key)

    async def _read(self, variant: Variant, key: Key) -> _Answer:
        state = self._reader.state
        config = await self._reader.read(key)
        if not config.sources and not self._settings.accept_empty:
            raise RemoteError("there is no such configuration", 404)
        if self._settings.strict_errors and (fault := self._reader.fault_of(key)) is not None:
            raise fault
        return await self._made(state, variant, key, Origin(config))

    async def _file(self, variant: Variant, key: Key, owner: Admission) -> _Answer:
        config_request = variant.config_request
        state, resource, is_theirs = object(), None, False
        # Rights are checked against the names of one state. If the state changes meanwhile, check again.
        while self._reader.state is not state:
            state = self._reader.state
            resource = await self._resource(key, config_request.path)
            is_theirs = resource is not None and await self._may_read(owner, resource, key)
        # A missing file and a forbidden file get the same response (P17).
        if resource is None or not is_theirs:
            raise RemoteError("there is no such file", 404)
        if resource.content is None:
            cause = FormatError(resource.path, resource.layer.files.unreadable[resource.path])
            raise RemoteError("this file can't be read; see the server's log", 500) from cause
        found = self._found(variant)
        if found is not None:
            return found
        if variant.media_type == BYTES:
            return await self._made(state, variant, key, Origin(None, resource.content))
        decryptor = (
            self._reader.decryptor if resources.may_hold_ciphertext(config_request.path, resource.content) else None
        )
        if decryptor is not None and not decryptor.plain_text:
            decryptor = None
        # Decrypted values may hold placeholders.
        needs_config = config_request.resolves and (b"${" in resource.content or decryptor is not None)
        config = await self._reader.read(key) if needs_config else None
        return await self._made(state, variant, key, Origin(config, resource.content, decryptor))

    async def _resource(self, key: Key, path: str) -> Resource | None:
        layers = await self._reader.files(key)
        find = partial(resources.find, layers, key, path, self._settings.hidden_files)
        # With wildcards, all directories are searched.
        if sum(len(layer.directories) for layer in layers) > _FEW_DIRECTORIES:
            return await self._in_thread(find)
        return find()

    async def _may_read(self, owner: Admission, resource: Resource, key: Key) -> bool:
        if all(owner.may(Right.READ, Pattern(label=label)) for label in key.labels):
            return True
        names = [owner.names, *map(self._reader.names_in, key.labels)]
        needed = partial(resources.needed, resource, key, *names)
        # The first request after a publication sorts all names.
        is_long = sum(len(each.applications) for each in names) > _FEW_NAMES
        return all(owner.may(Right.READ, each) for each in (await self._in_thread(needed) if is_long else needed()))

    def _found(self, variant: Variant) -> _Answer | None:
        """Look up a response in the cache. If the state has changed, the cache is emptied first."""
        if self._reader.state is not self._state:
            self._cache.clear()
            self._state = self._reader.state
        return self._cache.get(variant)

    async def _made(self, state: object, variant: Variant, key: Key, origin: Origin) -> _Answer:
        """Encode a response once for all clients that request it. It is cached as long as the server serves its state."""
        parse = partial(parse_file, limits=self._reader.formats)
        if is_quick(variant.config_request, origin):
            encoded = encode(variant, origin, parse)
        else:
            encoded = await self._flight.shared(
                (state, variant), partial(self._in_thread, encode, variant, origin, parse)
            )
            self._reader.report_undecryptable()
        answer = _Answer(encoded)
        if self._reader.state is state:
            # If the body is the file itself, the state holds these bytes already. So they don't count for the cache.
            size = _ENTRY_BYTES + (0 if encoded.body is origin.file else len(encoded.body))
            self._cache.put(variant, answer, size, is_known=self._reader.exists(key))
        return answer

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await threads.run_sync(function, *arguments, abandon_on_cancel=True, limiter=self._threads)


_VARY = dict.fromkeys(Form, "Authorization") | {
    Form.ENVIRONMENT: "Accept, Authorization",
    Form.FILE: "Accept, Accept-Charset, Authorization",
}


_remembered_path = lru_cache(_REMEMBERED)(parse_path)
_remembered_key = lru_cache(_REMEMBERED)(ConfigRequest.key)


def _parsed(path: str, query: str) -> ConfigRequest | None:
    """Parse a request as `parse_path` does. A query isn't remembered, because it may hold a token."""
    if query or len(path) > _REMEMBERED_TEXT:
        return parse_path(path, query)
    return _remembered_path(path)


def _key(config_request: ConfigRequest, default_label: str) -> Key:
    """Return the key of a request. A path that is remembered has a short key."""
    if len(config_request.application) + len(config_request.profiles) > _REMEMBERED_TEXT:
        return config_request.key(default_label)
    return _remembered_key(config_request, default_label)


def _variant(config_request: ConfigRequest, headers: Headers) -> Variant:
    """Choose the media type of the response, as `_choice` does."""
    accept = headers.get("Accept")
    charset = headers.get("Accept-Charset") if config_request.form is Form.FILE else None
    if len(accept or "") + len(charset or "") > _REMEMBERED_TEXT:
        return _choice(config_request, accept, charset)
    return _remembered_choice(config_request, accept, charset)


def _choice(config_request: ConfigRequest, accept: str | None, charset: str | None) -> Variant:
    """Choose the media type of the response. If Spring ignores Accept for a form, vortexd ignores it too."""
    if config_request.form is Form.ENVIRONMENT:
        form = environment.media_type(accept)
        if form is None:
            raise RemoteError(f"configuration is available only as {environment.V1} or {environment.V2}", 406)
        return Variant(config_request, form)
    if config_request.form is not Form.FILE:
        return Variant(config_request, environment.V1 if config_request.form is Form.JSON else TEXT)
    if environment.wants_bytes(accept):
        return Variant(config_request, BYTES)
    return Variant(config_request, TEXT, resources.charset(charset))


_remembered_choice = lru_cache(_REMEMBERED)(_choice)
