"""`/monitor`: a repository has changed, so look at once.

In come webhooks, out goes a hint to the sources. The hook is only a hint: what it says of files is answered as Spring answers it, and believed by nobody.
"""

from collections.abc import Collection
from typing import ClassVar, Protocol

import orjson
import structlog

from .. import threads
from ..auth import Right
from ..errors import RemoteError, SourceError
from ..peers import Peers
from ..settings import MonitorSettings
from ..source.secrets import read_secret
from . import webhooks
from .exchange import Answer, Request

log = structlog.get_logger()


class Notified(Protocol):
    """What hooks are told to."""

    def notified(self, addresses: Collection[str], refs: Collection[str]) -> int:
        """Look at once, where a source is meant. Returns how many are."""
        ...


class Monitor:
    """`POST /monitor`: for who signs with the secret, and who has `admin`.

    Args:
        sources: Who looks.
        settings: Where the secret is.
        peers: Other workers, each of which looks for itself.
    """

    route: ClassVar = "/monitor"
    methods: ClassVar = ("POST",)
    # The signature is looked at first, and where there is none, whoever asks is asked.
    is_public: ClassVar = True

    def __init__(self, sources: Notified, settings: MonitorSettings, peers: Peers | None = None) -> None:
        self._sources = sources
        self._settings = settings
        self._peers = peers or Peers()
        self._peers.answer("notified", self._hear)

    def replace(self, settings: MonitorSettings) -> None:
        """Put other settings in force, for requests to come."""
        self._settings = settings

    @property
    def body_bytes(self) -> int:
        """Larger than what others may send: providers list every commit."""
        return self._settings.body_bytes

    async def answer(self, request: Request) -> Answer:
        """See `exchange.Endpoint`."""
        if not await self._is_signed(request):
            request.admit().authorize(Right.ADMIN, None)
        hook = webhooks.recognise(request.headers, request.body)
        if hook is None:
            return Answer(body=b"[]")
        count = self._sources.notified(hook.addresses, hook.refs)
        self._peers.tell("notified", orjson.dumps([list(hook.addresses), list(hook.refs)]).decode())
        log.info("webhook", provider=hook.provider, refs=list(hook.refs), sources=count)
        return Answer(body=orjson.dumps(webhooks.destinations(hook.paths) if count or not hook.addresses else []))

    def _hear(self, text: str) -> str:
        addresses, refs = orjson.loads(text)
        return str(self._sources.notified(addresses, refs))

    async def _is_signed(self, request: Request) -> bool:
        if not self._settings.secret:
            return False
        try:
            secret = await threads.run_sync(read_secret, self._settings.secret)
        except SourceError as error:
            log.error("webhook secret unreadable", reason=str(error))
            raise RemoteError("the secret can't be read; see the server's log", 500) from None
        return webhooks.is_signed(request.headers, request.body, secret)
