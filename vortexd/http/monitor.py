"""`/monitor`: receives webhooks that a repository has changed, so that its source fetches at once.

A webhook is only a hint. The response names applications as Spring's does, but no source relies on them. Every verified
change makes sources fetch, even if the server doesn't know the event. `hook_interval` limits how often they fetch. The
response waits a short time for that fetch, and then names the broken files.
If the fetch has ended, it also names what the gate holds back.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import ClassVar, Protocol

import orjson
import structlog
import trio

from ..aio import threads
from ..auth import Right
from ..core.broken_files import HEADER, broken_headers
from ..core.errors import RemoteError, SourceError
from ..core.model import BrokenFile
from ..gate.finding import Refusal, refused_headers
from ..process.peers import Peers
from ..settings.monitor import MonitorSettings
from ..settings.secrets import read_secret
from ..source.git.repositories import repository_of
from . import signatures, webhooks
from .endpoint import Endpoint, Headers, Request, Response
from .operation import TEXT_TYPE, media, ok, operation
from .schemas import TEXT, a_list, ref
from .spring.environment import V1
from .webhooks import Hook, Meaning

log = structlog.get_logger()

# Unknown events are remembered, so that each is logged once. Clients choose their names, so the number is bounded.
MOST_UNKNOWN = 256
# The seconds that a response waits for the sources, and how many responses wait at a time. Senders wait at least 10 s.
LOOK_SECONDS = 2.0
_MOST_WAITING = 16
# The most refs and repositories in one line of the log.
_MOST_LOGGED = 8


class Notified(Protocol):
    """The part of the sources that webhooks need."""

    def notified(self, addresses: Collection[str], refs: Collection[str]) -> int:
        """Make the sources fetch that have these addresses and serve these refs. Returns the number of these sources."""
        ...

    async def wait_looked(self, addresses: Collection[str], refs: Collection[str]) -> None:
        """Wait until these sources have fetched."""
        ...


_OPERATION = operation(
    "monitor",
    "Receives a webhook that a repository has changed. It must be signed with the secret, or have a token with `admin`.",
    ok("the applications whose files were named", {V1: ref("Applications")}, HEADER),
    errors=(413, 500, 503),
)
# The server distinguishes JSON and forms by their content, and ignores the declared type.
_OPERATION["requestBody"] = {
    "content": media({V1: {}, "application/x-www-form-urlencoded": {"type": "object"}, TEXT_TYPE: {"type": "string"}})
}


class Monitor(Endpoint):
    """`POST /monitor`, for senders that know the secret or have a token with `admin`.

    Args:
        sources: The sources that fetch.
        settings: The section [monitor], with the file of the secret.
        peers: The other workers. Each worker fetches for itself.
        broken: Returns the files that are broken now.
        announce: Tells the other nodes of a cluster, which fetch for themselves. Its arguments are those of
            `Notified.notified`.
        refusals: Returns the labels that the gate holds back now.
    """

    route: ClassVar = "/monitor"
    methods: ClassVar = ("POST",)
    # The signature is checked first. A request without a valid signature needs a token.
    is_public: ClassVar = True
    operations: ClassVar = {"/monitor": {"post": _OPERATION}}
    schemas: ClassVar = {"Applications": a_list(TEXT)}

    def __init__(
        self,
        sources: Notified,
        settings: MonitorSettings,
        peers: Peers | None = None,
        broken: Callable[[], Sequence[BrokenFile]] = tuple,
        announce: Callable[[Collection[str], Collection[str]], None] | None = None,
        refusals: Callable[[], Sequence[Refusal]] = tuple,
    ) -> None:
        self._refusals = refusals
        self._announce = announce
        self._broken = broken
        self._waiting = 0
        self._rests_until = -math.inf
        self._sources = sources
        self._settings = settings
        self._peers = peers or Peers()
        self._peers.answer("notified", self._hear)
        self._unknown: set[tuple[str, str]] = set()

    def replace(self, settings: MonitorSettings) -> None:
        """Apply new settings to the requests from now on."""
        self._settings = settings

    @property
    def body_bytes(self) -> int:
        """The largest body in bytes. It is larger than for other endpoints, because providers list every commit."""
        return self._settings.body_bytes

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        await self._verify(request)
        hook, destinations = await threads.run_sync(_understood, request.headers, request.body)
        count = self._pass_on(hook)
        is_current = await self._wait_looked(hook) if count else True
        # The same list as Spring's. But if no source has the repository, the list is empty.
        found = destinations if count or not hook.addresses else []
        # The fetch may bring the corrected files. Before its end, a refusal of the former ones would mislead their author.
        headers = broken_headers(self._broken()) | refused_headers(self._refusals() if is_current else ())
        return Response(body=orjson.dumps(found), headers=headers)

    async def _wait_looked(self, hook: Hook) -> bool:
        """Wait a short time, so that the response can name a broken file to its author. Return whether the fetch has ended.

        If there are many webhooks, respond at once.
        """
        # After one response has waited, responses within the next LOOK_SECONDS don't wait.
        if self._waiting >= _MOST_WAITING or trio.current_time() < self._rests_until:
            return False
        self._waiting += 1
        try:
            with trio.move_on_after(LOOK_SECONDS) as waiting:
                await self._sources.wait_looked(hook.addresses, hook.refs)
            return not waiting.cancelled_caught
        finally:
            self._waiting -= 1
            self._rests_until = trio.current_time() + LOOK_SECONDS

    # Verification of a request.

    async def _verify(self, request: Request) -> None:
        """Accept a request that is signed with the secret, or whose token has the right `admin`.

        Raises:
            RemoteError: As `Gate.admit` and `Admission.authorize` raise it; or 500, if the secret can't be read.
        """
        if await self._is_signed(request):
            return
        try:
            admission = request.admit()
            if self._settings.secret and not admission.identity:
                # If a secret is set, it is required even if the server requires no token.
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
        """Explain why the signature doesn't verify a request."""
        if not signatures.has_signature(headers):
            return "the request isn't signed"
        if not self._settings.secret:
            return "the request is signed, but monitor.secret isn't set"
        return "the signature isn't made with monitor.secret"

    # Consequences of a webhook.

    def _pass_on(self, hook: Hook) -> int:
        """Act on a webhook, and log it. Returns the number of sources that fetch."""
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
                    consequence="no source fetches for this topic any more",
                    remedy="subscribe again, unless you ended the subscription",
                )
            case Meaning.CHANGE | Meaning.UNKNOWN:
                return self._make_fetch(hook)
        return 0

    def _make_fetch(self, hook: Hook) -> int:
        if hook.meaning is Meaning.UNKNOWN:
            self._report_unknown(hook)
        count = self.spread(hook.addresses, hook.refs)
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
            # Log no user and no password of an address.
            repositories=list(dict.fromkeys(map(repository_of, hook.addresses)))[:_MOST_LOGGED],
            refs=refs,
            reason="no git source has this repository and serves these refs"
            if is_filtered
            else "there is no git source",
            consequence="nothing is fetched",
        )
        return 0

    def spread(self, addresses: Collection[str], refs: Collection[str]) -> int:
        """Make the sources of all workers and nodes fetch at once. Returns the number of the sources of this worker.

        The arguments are those of `Notified.notified`.
        """
        count = self._sources.notified(addresses, refs)
        self._peers.tell("notified", orjson.dumps([list(addresses), list(refs)]).decode())
        if self._announce is not None:
            # Other nodes may have other sources, so this doesn't depend on this node's. An address may have a password.
            repositories = filter(None, map(repository_of, addresses))
            self._announce([f"https://{each}" for each in repositories], refs)
        return count

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
            consequence="every git source fetches, because the server doesn't know which repository has changed",
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
    """Parse a webhook. Returns it with the list that Spring responds with. This runs in a thread, too."""
    hook = webhooks.recognise(headers, body)
    return hook, webhooks.destinations(hook.paths)
