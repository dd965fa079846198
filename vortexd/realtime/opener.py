"""Decides whether a client may connect, and to which key: from the handshake to the `Client`.

The checks are in one order, which no client can observe to learn which keys exist: the handshake, the token, the names, the
right, the key, the limits. `open` does them all, and waits for the key if it must be read. `open_now` does the same without
waiting, for keys that are in use.
"""

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol

import structlog
import trio

from .. import __version__
from ..auth import Admission, Gate, Right
from ..core.broken_files import at_fault, broken_headers
from ..core.candidate import CandidateKey, plain
from ..core.errors import FormatError, RefusedLabel, RemoteError, ResolveError, UnknownLabel
from ..core.faults import Faults
from ..core.model import Config, Key
from ..fleet import CanaryInstance, Instance, MuteInstance
from ..net.head import Head
from ..net.proxies import Sender
from ..protocol import messages
from ..protocol.deflate import Deflate
from ..settings.realtime import RealtimeSettings
from . import client as clients
from .client import NOTHING_MORE, Client, Wanted
from .forms import Form, web_socket_form
from .handshake import Opening, Refusal, Target, UsualOpening, open_handshake, parse_target
from .quota import owner_of
from .recognition import Recognizer

log = structlog.get_logger()

_ROUTE = "/ws/{application}/{profile}"
_SERVER = f"vortexd/{__version__}"


class Keys(clients.Keys, Protocol):
    """The part of the pipeline that the server needs."""

    @property
    def default_label(self) -> str | None: ...
    async def read(self, key: Key) -> Config: ...
    def arriving(self, key: Key) -> AbstractAsyncContextManager[None]: ...
    def in_use(self, key: Key) -> Key | None: ...
    def postponed(self, key: Key) -> str | None: ...
    def hold(self, key: Key) -> None: ...
    def release(self, key: Key) -> None: ...
    def track(self, key: Key, instance: str | None, *, wants_candidate: bool = False) -> Key: ...
    def target(self, key: Key) -> str | None: ...


class Opener:
    """Opens connections; see the module.

    Args:
        gate: Checks tokens, Host and Origin.
        connections_per_token: The most connections with one token; 0 means no limit.
        now: Returns the time in seconds since the epoch.

    Attributes:
        is_draining: Whether new handshakes are refused.
    """

    def __init__(
        self,
        keys: Keys,
        settings: RealtimeSettings,
        gate: Gate,
        connections_per_token: int,
        now: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._gate = gate
        self._recognizer = Recognizer(gate)
        self._now = now
        self._by_token: Counter[str] = Counter()
        self._faults = Faults()
        self.is_draining = False
        self.replace(settings, connections_per_token)

    def replace(self, settings: RealtimeSettings, connections_per_token: int) -> None:
        """Apply new settings to new connections."""
        self._settings = settings
        self._connections_per_token = connections_per_token

    def count(self, admission: Admission) -> None:
        """Count a connection that has begun."""
        self._by_token[admission.identity] += 1

    def uncount(self, admission: Admission) -> None:
        """Remove a connection that has ended from the count."""
        self._by_token[admission.identity] -= 1
        if not self._by_token[admission.identity]:
            del self._by_token[admission.identity]

    @property
    def settings(self) -> RealtimeSettings:
        """The settings for new connections."""
        return self._settings

    async def open(self, head: bytes, target: str, connection_id: str, sender: Sender) -> tuple[Opening, Client]:
        """Parse a handshake, check its token and rights, and hold its key.

        Raises:
            Refusal: The handshake is refused. Its key isn't held then.
        """
        opening = open_handshake(head)
        try:
            # Check the token first. A client without access must not learn which keys exist.
            admission = self._gate.admit(opening.headers, target, sender)
        except RemoteError as error:
            raise Refusal(error.status, error.reason, error.headers) from None
        wanted = parse_target(target)
        key = await self.hold(admission, wanted, _ROUTE)
        return opening, self._client(opening, wanted, key, admission, connection_id, sender)

    async def hold(self, admission: Admission, wanted: Target, route: str) -> Key:
        """Check the rights and the limits of a client that was admitted, and hold its key.

        Args:
            route: The route of the request, for the log.

        Raises:
            Refusal: The client may not connect. Its key isn't held then.
        """
        key = self._key_of(wanted)
        try:
            admission.authorize(Right.SUBSCRIBE, key)
            # This parses in a thread, once for all clients that wait for the same key. `hold` then finds the result.
            key = (await self._keys.read(self._track_of(key, wanted))).key
            async with self._keys.arriving(key):
                # Check this after the awaits. Otherwise a drain or a reload would overlook clients that wait in them.
                admission.renew()
                admission.authorize(Right.SUBSCRIBE, key)
                if self.is_draining:
                    raise Refusal(503, "stopping", {"Retry-After": "1"})
                if self._has_too_many(admission):
                    raise Refusal(429, "too many connections with this token", {"Retry-After": "1"})
                self._keys.hold(key)
        except Refusal:
            raise
        except UnknownLabel as error:
            said = error.for_peer(lambda key: admission.may(Right.SUBSCRIBE, key))
            raise Refusal(said.status, said.reason) from None
        except RefusedLabel as error:
            refused = error.for_peer(lambda key: admission.may(Right.READ, key))
            raise Refusal(refused.status, refused.reason, refused.headers) from None
        except RemoteError as error:
            raise Refusal(error.status, error.reason, error.headers) from None
        except (FormatError, ResolveError) as error:
            if self._faults.is_new(str(error), str(key), trio.current_time()):
                log.warning("handshake not served", method="GET", route=route, key=str(key), reason=str(error))
            reason = "the configuration can't be read; the server's log names the file at fault"
            may_read = admission.may(Right.READ, key)
            raise Refusal(500, reason, broken_headers(at_fault(error, key)) if may_read else None) from None
        return key

    def release(self, key: Key) -> None:
        """Release a key that `hold` has held, because the client doesn't connect."""
        self._keys.release(key)

    def open_now(self, data: bytes, connection_id: str, sender: Sender, head: Head | None = None) -> Client | None:
        """Do what `open` does, without waiting. The key isn't held yet.

        Returns None if something must be waited for, if the handshake isn't a usual one, or if it must be refused. Then
        nothing has happened, and `open` must decide.

        Args:
            data: The bytes of the head, and nothing else.
            head: What they mean, if the caller has parsed them.
        """
        if self.is_draining:
            return None
        found = self._recognizer.recognize(data, sender, head)
        if found is None:
            return None
        opening, target, admission = found
        if self._has_too_many(admission):
            return None
        try:
            wanted = parse_target(target)
            # A key that is in use was matched against the patterns already, and its configuration is known.
            key = self._keys.in_use(self._track_of(self._key_of(wanted), wanted))
        except Refusal:
            return None
        if key is None or not admission.may(Right.SUBSCRIBE, key):
            return None
        return self._client(opening, wanted, key, admission, connection_id, sender)

    def _key_of(self, wanted: Target) -> Key:
        default_label = self._keys.default_label
        if default_label is None:
            raise Refusal(503, "starting", {"Retry-After": "1"})
        return Key(wanted.application, wanted.profile, wanted.label or default_label)

    def _track_of(self, key: Key, wanted: Target) -> Key:
        """Return the track of a key that a client is on: the key itself, or its candidate."""
        name = wanted.instance or None
        return self._keys.track(key, name, wants_candidate=name is None and wanted.wants_candidate)

    def _has_too_many(self, admission: Admission) -> bool:
        limit = self._connections_per_token
        return bool(limit and admission.identity) and self._by_token[admission.identity] >= limit

    def _client(
        self,
        opening: Opening | UsualOpening,
        wanted: Target,
        key: Key,
        admission: Admission,
        connection_id: str,
        sender: Sender,
    ) -> Client:
        settings = self._settings
        deflate = Deflate(settings.message_bytes) if settings.compression else None
        answer = opening.accept(connection_id, deflate)
        form = web_socket_form(deflate.window_bits if deflate else None)
        named = connection_id, sender.host
        return self.client(wanted, key, admission, *named, answer, form, has_hello=opening.is_versioned)

    def client(
        self,
        wanted: Target,
        key: Key,
        admission: Admission,
        connection_id: str,
        host: str,
        answer: bytes,
        form: Form,
        *,
        has_hello: bool,
        more: Wanted | None = None,
    ) -> Client:
        """Make the client of a connection that may begin.

        Args:
            host: The address of the client, or "" for a Unix socket.
            answer, form: As in `Client`.
            has_hello: Whether the client gets `hello`.
            more: As `Client.wanted`.
        """
        if self._faults:
            self._faults.works(str(key))
        settings = self._settings
        # The fleet knows only the plain key. The instances of one key share the object.
        main = (self._keys.in_use(plain(key)) or plain(key)) if isinstance(key, CandidateKey) else key
        made = Instance
        if not wanted.instance and wanted.wants_candidate:
            made = CanaryInstance
        elif wanted.instance and (form.events is not None or not admission.may(Right.REPORT, main)):
            made = MuteInstance
        instance = made(main, connection_id, sys.intern(host), wanted.instance, self._now())
        hello = None
        if has_hello:
            interval, timeout = settings.heartbeat_interval, settings.heartbeat_timeout
            hello = partial(messages.hello, connection_id, _SERVER, interval, timeout)
        owner = owner_of(admission, instance.host)
        return Client(
            *(key, wanted.last_version, admission, instance, answer, form, hello, owner, settings),
            generation=wanted.generation,
            is_sent_on=wanted.is_sent_on,
            wanted=more or NOTHING_MORE,
        )
