"""`/monitor`: webhooks say that a repository has changed, so that its source fetches at once.

In come webhooks, out goes a hint to the sources. A hook is only a hint: the response names files as Spring's does, and no source relies on them.
Every verified request makes sources fetch, whether or not the server knows its event; `hook_interval` makes that cheap. The response waits a little for
that fetch, and then names the broken files.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import ClassVar, Protocol

import orjson
import structlog
import trio

from ..aio import threads
from ..auth import Right
from ..core.errors import RemoteError, SourceError
from ..core.model import BrokenFile
from ..process.peers import Peers
from ..settings.monitor import MonitorSettings
from ..settings.secrets import read_secret
from ..source.git.repositories import repository_of
from . import signatures, webhooks
from .broken import HEADER, broken_headers
from .endpoint import Endpoint, Headers, Request, Response
from .operation import TEXT_TYPE, media, ok, operation
from .schemas import TEXT, a_list, ref
from .spring.environment import V1
from .webhooks import Hook, Meaning

log = structlog.get_logger()

# Unknown events that are remembered, so that each is logged once. Clients choose their names, so the number is bounded.
MOST_UNKNOWN = 256
# Seconds that a response waits for the sources; senders wait ten seconds or more. And how many responses wait at a time.
LOOK_SECONDS = 2.0
_MOST_WAITING = 16
# Refs and repositories in one line of the log.
_MOST_LOGGED = 8


class Notified(Protocol):
    """The part of the sources that webhooks need."""

    def notified(self, addresses: Collection[str], refs: Collection[str]) -> int:
        """Have the sources fetch that are meant. Returns how many these are."""
        ...

    async def wait_looked(self, addresses: Collection[str], refs: Collection[str]) -> None:
        """Wait until these sources have fetched."""
        ...


_OPERATION = operation(
    "monitor",
    "A repository has changed: a webhook of any provider, verified by the secret; or right `admin`.",
    ok("the applications whose files were named", {V1: ref("Applications")}, HEADER),
    errors=(413, 500, 503),
)
# The server tells JSON and forms apart by their content, whatever the type says.
_OPERATION["requestBody"] = {
    "content": media({V1: {}, "application/x-www-form-urlencoded": {"type": "object"}, TEXT_TYPE: {"type": "string"}})
}


class Monitor(Endpoint):
    """`POST /monitor`, for senders that know the secret or have the right `admin`.

    Args:
        sources: They fetch.
        settings: [monitor], with the file of the secret.
        peers: Other workers. Each fetches for itself.
        broken: Returns the files that are broken now.
    """

    route: ClassVar = "/monitor"
    methods: ClassVar = ("POST",)
    # The signature is checked first; a request without a good one needs a token.
    is_public: ClassVar = True
    operations: ClassVar = {"/monitor": {"post": _OPERATION}}
    schemas: ClassVar = {"Applications": a_list(TEXT)}

    def __init__(
        self,
        sources: Notified,
        settings: MonitorSettings,
        peers: Peers | None = None,
        broken: Callable[[], Sequence[BrokenFile]] = tuple,
    ) -> None:
        self._broken = broken
        self._waiting = 0
        self._rests_until = -math.inf
        self._sources = sources
        self._settings = settings
        self._peers = peers or Peers()
        self._peers.answer("notified", self._hear)
        self._unknown: set[tuple[str, str]] = set()

    def replace(self, settings: MonitorSettings) -> None:
        """Put other settings in force, for requests to come."""
        self._settings = settings

    @property
    def body_bytes(self) -> int:
        """Larger than for other endpoints: providers list every commit."""
        return self._settings.body_bytes

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        await self._verify(request)
        hook, destinations = await threads.run_sync(_understood, request.headers, request.body)
        count = self._pass_on(hook)
        if count:
            await self._wait_looked(hook)
        # As Spring, except that a repository of no source yields an empty list.
        found = destinations if count or not hook.addresses else []
        return Response(body=orjson.dumps(found), headers=broken_headers(self._broken()))

    async def _wait_looked(self, hook: Hook) -> None:
        """Wait a little, so that the response can name a broken file to its author. In a storm of hooks, respond at once."""
        # A sender that calls again and again waits only once in a while.
        if self._waiting >= _MOST_WAITING or trio.current_time() < self._rests_until:
            return
        self._waiting += 1
        try:
            with trio.move_on_after(LOOK_SECONDS):
                await self._sources.wait_looked(hook.addresses, hook.refs)
        finally:
            self._waiting -= 1
            self._rests_until = trio.current_time() + LOOK_SECONDS

    # Permission to call.

    async def _verify(self, request: Request) -> None:
        """Accept a request that is signed with the secret, or whose token has the right `admin`.

        Raises:
            RemoteError: As `Gate.admit` and `Admission.authorize`; or 500 where the secret can't be read.
        """
        if await self._is_signed(request):
            return
        try:
            admission = request.admit()
            if self._settings.secret and not admission.identity:
                # If a secret is set, it is required even where no token is.
                raise RemoteError("a webhook must be signed with monitor.secret", 401)
            admission.authorize(Right.ADMIN, None)
        except RemoteError as error:
            # The log limits the warnings of one name.
            provider, kind = webhooks.sender(request.headers)
            log.warning(
                "webhook refused",
                provider=provider,
                kind=kind,
                status=error.status,
                reason=f"{self._doubt(request.headers)}; {error.reason}",
                consequence="nothing is fetched",
            )
            raise

    async def _is_signed(self, request: Request) -> bool:
        if not self._settings.secret:
            return False
        try:
            return await threads.run_sync(_is_signed, request.headers, request.body, self._settings.secret)
        except SourceError as error:
            log.error("webhook secret unreadable", reason=str(error))
            raise RemoteError("the secret can't be read; see the server's log", 500) from None

    def _doubt(self, headers: Headers) -> str:
        """Why the signature doesn't verify a request."""
        if not signatures.has_signature(headers):
            return "the request isn't signed"
        if not self._settings.secret:
            return "the request is signed, but monitor.secret isn't set"
        return "the signature isn't made with monitor.secret"

    # Consequences of a hook.

    def _pass_on(self, hook: Hook) -> int:
        """Do what a hook asks for, and log it. Returns how many sources fetch."""
        match hook.meaning:
            case Meaning.PING:
                log.info(
                    "webhook ping", provider=hook.provider, kind=hook.event, consequence="nothing is fetched for a ping"
                )
            case Meaning.UNCONFIRMED:
                log.warning(
                    "webhook to be confirmed",
                    provider=hook.provider,
                    topic=hook.topic,
                    confirmation=hook.confirmation,
                    consequence="the topic sends nothing until you confirm its subscription; vortexd follows no link",
                    remedy="aws sns confirm-subscription --topic-arn <topic> --token <confirmation>",
                )
            case Meaning.ENDED:
                log.warning(
                    "webhook subscription ended",
                    provider=hook.provider,
                    topic=hook.topic,
                    consequence="this topic makes no source fetch any more",
                    remedy="subscribe again, unless you ended the subscription",
                )
            case Meaning.CHANGE | Meaning.UNKNOWN:
                return self._make_fetch(hook)
        return 0

    def _make_fetch(self, hook: Hook) -> int:
        if hook.meaning is Meaning.UNKNOWN:
            self._report_unknown(hook)
        count = self._sources.notified(hook.addresses, hook.refs)
        self._peers.tell("notified", orjson.dumps([list(hook.addresses), list(hook.refs)]).decode())
        refs = list(hook.refs[:_MOST_LOGGED])
        if count:
            log.info(
                "webhook",
                provider=hook.provider,
                kind=hook.event,
                refs=refs,
                sources=count,
                consequence="these sources fetch, at most once per hook_interval",
            )
            return count
        is_filtered = hook.addresses or hook.refs
        log.info(
            "webhook for no source",
            provider=hook.provider,
            kind=hook.event,
            # Without the user and the password that an address may hold.
            repositories=list(dict.fromkeys(map(repository_of, hook.addresses)))[:_MOST_LOGGED],
            refs=refs,
            reason="no git source has this repository and serves these refs"
            if is_filtered
            else "there is no git source",
            consequence="nothing is fetched",
        )
        return 0

    def _report_unknown(self, hook: Hook) -> None:
        """Log an unknown event, once for each provider and event."""
        name = (hook.provider, hook.event)
        if name in self._unknown or len(self._unknown) >= MOST_UNKNOWN:
            return
        self._unknown.add(name)
        log.info(
            "webhook not recognised",
            provider=hook.provider,
            kind=hook.event,
            consequence="every git source fetches, for the server can't tell which are meant",
        )

    def _hear(self, text: str) -> str:
        addresses, refs = orjson.loads(text)
        return str(self._sources.notified(addresses, refs))


def _is_signed(headers: Headers, body: bytes, secret: str) -> bool:
    """Whether a request is signed with the secret in a file. Runs in a thread: a body may have megabytes.

    Raises:
        SourceError: As `read_secret`.
    """
    return signatures.is_signed(headers, body, read_secret(secret))


def _understood(headers: Headers, body: bytes) -> tuple[Hook, list[str]]:
    """The hook, and the list that Spring responds with. Runs in a thread, too."""
    hook = webhooks.recognise(headers, body)
    return hook, webhooks.destinations(hook.paths)
