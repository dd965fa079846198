"""`/api/v1/watch/{application}/{profile}`: the configuration of a key, as soon as it differs from what the client has.

If the client names the version that is served, its request waits until the document changes, as a blocking query of Consul
does. The response is that of the ordinary endpoint in each case. After each wake-up, the request is checked anew from its
token on.
"""

import re
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

import attrs
import structlog

from ..aio.late_import import LateImport
from ..core import names
from ..core.errors import RemoteError
from ..core.model import Config, Key
from .configuration import Configuration
from .endpoint import Endpoint, Request, Response, is_known
from .key_queries import WITHOUT_FILES
from .operation import APPLICATION, IF_NONE_MATCH, SOMETIMES, in_path, in_query, ok, operation
from .query import parse_query
from .schemas import LABELS, PROFILES, Operations, Schema, ref
from .spring.config_request import ConfigRequest, Form
from .spring.environment import V1, V2
from .tracks import CANARY, INSTANCE

if TYPE_CHECKING:
    from .watchers import Waiter, Watchers

log = structlog.get_logger()

_PATH = "/api/v1/watch/{application}/{profile}"
# The segments before the key: /api/v1/watch
_BEFORE = 3
_VERSION = "X-Vortex-Version"
# The seconds that a request waits by default and at most.
_WAIT, _LONGEST = 300, 600
# If the key changes so often while its request is registered, the client gets its present state.
_TRIES = 4
_DURATION = re.compile(r"([0-9]{1,9})([sm]?)")
_DURATION_SCHEMA: Schema = {"type": "string", "pattern": f"^({_DURATION.pattern})?$"}
_LABEL: Schema = {"type": "string", "pattern": f"^({LABELS['pattern'].strip('^$')})?$"}
_PARAMETERS = ("label", "version", "wait", INSTANCE, CANARY)
_OPERATIONS: Operations = {
    _PATH: {
        "get": operation(
            "watch",
            "The configuration, as soon as its document has another version than the client.",
            ok(
                "its property sources",
                {V1: ref("Environment"), V2: ref("EnvironmentWithOrigins")},
                _VERSION,
                *SOMETIMES,
                WITHOUT_FILES,
                has_tag=True,
            ),
            [
                APPLICATION,
                in_path("profile", PROFILES, "prod"),
                in_query("label", "if it is missing or empty, the default label of the source", _LABEL),
                in_query("version", "the version that the client has; it takes precedence over If-None-Match"),
                in_query("wait", "how long to wait, such as 30, 30s or 5m; at most 10m", _DURATION_SCHEMA),
                in_query(INSTANCE, "the name of the client, for roll-outs"),
                in_query(CANARY, "true asks for the candidate of a roll-out"),
                IF_NONE_MATCH,
            ],
            (406, 500, 503),
        )
    }
}


class Keys(Protocol):
    """The part of the pipeline that `Watch` needs."""

    async def read(self, key: Key) -> Config: ...
    def arriving(self, key: Key) -> AbstractAsyncContextManager[None]: ...


class LateWatchers:
    """The requests that wait. Their module is imported for the first one.

    Args:
        load: Imports and makes them.
    """

    def __init__(self, load: Callable[[], "Watchers"]) -> None:
        self._watchers = LateImport(load)
        self._is_draining = False

    def __len__(self) -> int:
        return len(self._watchers.loaded) if self._watchers.loaded is not None else 0

    async def get(self) -> "Watchers":
        """Return what lets requests wait.

        Raises:
            RemoteError: It can't be loaded now (503).
        """
        try:
            found = await self._watchers.get()
        except (ImportError, OSError) as error:
            # The process has no descriptor left, or the installation is being replaced.
            log.warning("protocol not loaded", protocol="long poll", reason=str(error))
            raise RemoteError("requests can't wait now", 503, {"Retry-After": "1"}) from None
        if self._is_draining:
            # The drain may have begun before the import ended.
            found.drain()
        return found

    def drain(self) -> None:
        """Answer all requests that wait, and let no request wait any more."""
        self._is_draining = True
        if self._watchers.loaded is not None:
            self._watchers.loaded.drain()

    def wake_all(self) -> None:
        """Check all requests that wait anew, because rights or settings have changed."""
        if self._watchers.loaded is not None:
            self._watchers.loaded.wake_all()

    def wake_keys(self, keys: Collection[Key]) -> None:
        """Check the requests for these keys anew, because their tracks may have changed."""
        if self._watchers.loaded is not None:
            self._watchers.loaded.wake_keys(keys)


@attrs.frozen(slots=True)
class _Wanted:
    """A parsed request.

    Attributes:
        version: The version that the client has, or "".
        tags: The entity tags that the client has, or None. They count only without a version.
        seconds: How long to wait; 0 if it must not wait.
    """

    config_request: ConfigRequest
    version: str
    tags: str | None
    seconds: int

    def is_current(self, response: Response) -> bool:
        """Whether the client has what a response of the ordinary endpoint holds."""
        if self.version:
            return self.version == response.headers[_VERSION]
        return is_known(self.tags, response.headers["ETag"])


class Watch(Endpoint):
    """Lets a request wait until its key's document changes. `?version=` is the version that the client has.

    Args:
        ordinary: The endpoint whose responses this one gives.
    """

    route: ClassVar = _PATH
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    paths: ClassVar = ("/api/v1/watch/",)
    operations: ClassVar = _OPERATIONS

    def __init__(self, ordinary: Configuration, keys: Keys, watchers: LateWatchers) -> None:
        self._ordinary, self._keys, self._watchers = ordinary, keys, watchers

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        wanted = _parse(request)
        # `_wait` has made it.
        waited = cast("Waiter | None", request.waited)
        for _ in range(_TRIES):
            response = (await self._ordinary.respond(wanted.config_request, request, None)).on(_PATH)
            if waited is not None and waited.version != response.headers[_VERSION]:
                return response
            if not wanted.is_current(response):
                return response
            if wanted.seconds == 0 or (waited is not None and waited.is_over):
                return Response(304, content_type=None, headers=response.headers, route=_PATH)
            waiter = await self._wait(request, wanted, response.headers[_VERSION], waited)
            if waiter is not None:
                return Response(route=_PATH, waiting=waiter)
        return response

    async def _wait(self, request: Request, wanted: _Wanted, version: str, waited: "Waiter | None") -> "Waiter | None":
        """Register the request. Returns None if another version or another track is right for it meanwhile.

        Raises:
            RemoteError: The request can't wait.
        """
        if not request.may_wait:
            raise RemoteError("a request that waits has no body, and at most 100 headers", 400)
        watchers = await self._watchers.get()
        key = self._ordinary.key_of(wanted.config_request, request)
        # This parses in a thread, once for all requests of the same key. `enter` then finds the result.
        await self._keys.read(key)
        async with self._keys.arriving(key):
            # No await from here on until the application waits. Each later change wakes the request.
            if self._ordinary.key_of(wanted.config_request, request) != key:
                return None
            return watchers.enter(request, key, version, wanted.seconds, waited)


def _parse(request: Request) -> _Wanted:
    """Parse a request.

    Raises:
        RemoteError: The path or the query isn't valid.
    """
    segments = request.segments[_BEFORE:]
    if len(segments) != 2 or not all(segments):
        raise RemoteError("there is nothing at this path", 404)
    application, profile = map(names.decode_segment, segments)
    given = parse_query(request.query, _PARAMETERS)
    label = names.labels(given["label"]) if given.get("label") else None
    seconds = _seconds(given.get("wait", ""))
    return _Wanted(
        ConfigRequest(Form.ENVIRONMENT, names.application(application), names.profile(profile), label),
        given.get("version", ""),
        request.headers.get("If-None-Match"),
        0 if request.method == "HEAD" else seconds,
    )


def _seconds(text: str) -> int:
    """Parse a duration: a whole number of seconds, also with `s`, or of minutes with `m`. "" is the default.

    Raises:
        RemoteError: It isn't one.
    """
    if not text:
        return _WAIT
    found = _DURATION.fullmatch(text)
    if found is None:
        raise RemoteError("wait is a number of seconds, such as 30 or 30s, or of minutes, such as 5m")
    return min(_LONGEST, int(found[1]) * (60 if found[2] == "m" else 1))
