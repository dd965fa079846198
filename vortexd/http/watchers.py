"""The requests that wait for a change of their key: at most so many, one subscription for each key, and wake-ups in turns.

Requests with the version that is served arrive, and deliveries of the broadcaster. Wake-ups leave. A request is registered
and its version is compared in one synchronous step, so no change is lost in between. Waking a request only lets the
application ask its endpoint again. So this module knows nothing of rights or documents.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from random import Random
from typing import Protocol

import attrs
import structlog
import trio

from ..core.candidate import plain
from ..core.errors import RemoteError
from ..core.model import Key
from ..net.slots import share_of
from ..pipeline.broadcast import Delivery, Subscriber
from ..pipeline.registry import Registry
from .endpoint import Request

log = structlog.get_logger()

# The requests that are woken in one round of the event loop. With the answers, this takes about two milliseconds.
_AT_ONCE = 8
# A wait lasts longer by a random part of it, at most one in so many, so that clients don't come back all at once.
_JITTER = 16
# Seconds after the expiry of a token until its requests are woken, because two clocks may differ by their resolution.
_SLACK = 0.01
# Clients that were waiting in a drain come back after at least and at most so many seconds.
_RETRY_SECONDS = 1, 3
# At least so many seconds lie between two warnings about the same limit.
_WARNING_INTERVAL = 60.0
# The outcome of a wait by the status of the response. All others have failed.
_OUTCOMES = {200: "changed", 304: "unchanged", 401: "refused", 403: "refused", 429: "limited", 503: "unavailable"}


class Keys(Protocol):
    """The part of the pipeline that brings keys into use."""

    def hold(self, key: Key) -> None: ...
    def release(self, key: Key) -> None: ...
    def version_of(self, key: Key) -> str | None: ...
    def in_use(self, key: Key) -> Key | None: ...


class Counters(Protocol):
    """The metrics of waits."""

    def waited(self, outcome: str) -> None: ...


@attrs.frozen
class Limits:
    """The limits of requests that wait.

    Attributes:
        total: The most requests.
        per_client: The most requests of one client.
    """

    total: int
    per_client: int


class Watched:
    """A key that requests wait for. It is the one subscriber of the key for all of them."""

    __slots__ = ("_watchers", "key", "waiters")

    def __init__(self, key: Key, watchers: "Watchers") -> None:
        self.key = key
        self.waiters: dict[Waiter, None] = {}
        self._watchers = watchers

    def __len__(self) -> int:
        return len(self.waiters)

    def deliver(self, delivery: Delivery) -> None:
        """Wake the requests that have another version. See `Subscriber`."""
        self._watchers.wake(each for each in self.waiters if each.version != delivery.new_version)


@attrs.define(slots=True, eq=False)
class Waiter:
    """A request that waits; see `waiting.Waiting`.

    Attributes:
        client: Identifies the client, for the limit.
        until: When the wait ends, by the event loop's clock.
        watched: The key that the request waits for.
        version: The version of the key that the client has.
        expires: When its token expires, by the event loop's clock.
        is_due: Whether the request is to be answered.
    """

    _watchers: "Watchers"
    client: str
    until: float
    watched: Watched
    version: str
    expires: float
    is_due: bool = False
    _scope: trio.CancelScope | None = None
    _is_woken: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the wait has reached its end, although nothing has changed."""
        return trio.current_time() >= self.until

    async def wait(self, wait_gone: Callable[[], Awaitable[None]]) -> bool:
        """See `Waiting`. The task waits for its client, so it needs no other task, and a wake-up cancels that."""
        if self.is_due:
            return True
        has_ended = False
        try:
            while not self._is_woken:
                with trio.CancelScope(deadline=math.inf if has_ended else min(self.until, self.expires)) as self._scope:
                    if has_ended:
                        # The token of thousands of requests expires for all of them at once. So each takes its turn.
                        self._watchers.wake((self,))
                    await wait_gone()
                    return False
                has_ended = True
            return True
        finally:
            self._scope = None
            if self._is_woken:
                self._is_woken = False
                self._watchers.runs()

    def wake(self) -> bool:
        """Let `wait` return. Returns whether its task runs because of that."""
        if self._scope is None or self._is_woken:
            return False
        self._is_woken = True
        self._scope.cancel()
        return True

    def leave(self, status: int | None) -> None:
        """See `Waiting`."""
        self._watchers.leave(self, "gone" if status is None else _OUTCOMES.get(status, "failed"))


class Watchers:
    """All requests of this process that wait.

    Args:
        registry: The subscribers by key. The broadcaster reads it.
        limits: Returns the limits in force.
        random: The source of jitter.
        epoch: Returns the seconds since the epoch, for the expiry of tokens.
    """

    def __init__(
        self,
        keys: Keys,
        registry: Registry[Subscriber],
        limits: Callable[[], Limits],
        counters: Counters,
        random: Random,
        epoch: Callable[[], float] = time.time,
    ) -> None:
        self._keys, self._registry, self._limits, self._counters = keys, registry, limits, counters
        self._random, self._epoch = random, epoch
        self._watched: dict[Key, Watched] = {}
        self._by_client: Counter[str] = Counter()
        self._count = 0
        # The requests to wake, and the number of those that were woken and whose tasks haven't run yet.
        self._due: deque[Waiter] = deque()
        self._running = 0
        self._is_draining = False
        # By setting: the refusals since the last warning, and its time.
        self._refused: Counter[str] = Counter()
        self._warned: dict[str, float] = {}

    def __len__(self) -> int:
        return self._count

    def enter(
        self, request: Request, key: Key, version: str, seconds: float, waited: Waiter | None = None
    ) -> Waiter | None:
        """Let a request wait until the version of a key isn't this one.

        Args:
            request: The request, for its owner and its limit.
            seconds: How long it may wait, without jitter.
            waited: If the request has waited already, its wait. It goes on then, with its first end.

        Returns:
            The wait, or None if the key has another version already. The caller must pass the wait to the application.

        Raises:
            RemoteError: Too many requests wait, or the server is stopping.
            UnknownLabel, FormatError, ResolveError: The key can't be resolved.
        """
        if self._is_draining:
            retry = str(self._random.randint(*_RETRY_SECONDS))
            raise RemoteError("stopping", 503, {"Retry-After": retry})
        client = _client(request)
        if waited is None:
            self._check(client)
        watched = self._watched.get(key) or self._begin(key)
        if self._keys.version_of(key) != version:
            self._end_unused(watched)
            return None
        expires = self._expires(request)
        if waited is None:
            until = trio.current_time() + seconds + self._random.uniform(0.0, seconds / _JITTER)
            waiter = Waiter(self, client, until, watched, version, expires)
            self._count += 1
            self._by_client[client] += 1
        else:
            waiter = waited
            self._remove(waiter, but=watched)
            waiter.watched, waiter.version, waiter.expires, waiter.is_due = watched, version, expires, False
        watched.waiters[waiter] = None
        return waiter

    def leave(self, waiter: Waiter, outcome: str) -> None:
        """End a wait."""
        waiter.is_due = True
        self._count -= 1
        self._by_client[waiter.client] -= 1
        if not self._by_client[waiter.client]:
            del self._by_client[waiter.client]
        self._remove(waiter)
        self._counters.waited(outcome)

    def wake(self, waiters: Iterable[Waiter]) -> None:
        """Let the application ask the endpoints of these requests again, a few in each round of the event loop."""
        for each in waiters:
            if not each.is_due:
                each.is_due = True
                self._due.append(each)
        self._wake_some()

    def wake_all(self) -> None:
        """Wake all requests, because rights or settings have changed."""
        self.wake(waiter for each in self._watched.values() for waiter in each.waiters)

    def wake_keys(self, keys: Collection[Key]) -> None:
        """Wake the requests for these keys and for their candidates, because another one may be right for them now."""
        wanted = frozenset(map(plain, keys))
        self.wake(waiter for each in self._watched.values() if plain(each.key) in wanted for waiter in each.waiters)

    def drain(self) -> None:
        """Let no request wait any more."""
        self._is_draining = True
        self.wake_all()

    def runs(self) -> None:
        """Note that the task of a request that was woken runs, so that the next one may be woken."""
        self._running -= 1
        self._wake_some()

    def _wake_some(self) -> None:
        while self._due and self._running < _AT_ONCE:
            # A request that has left, or that doesn't wait yet, needs no wake-up.
            self._running += self._due.popleft().wake()

    def _check(self, client: str) -> None:
        limits = self._limits()
        if self._by_client[client] >= limits.per_client:
            self._note_refusal("http.watches_per_client", limits.per_client)
            raise RemoteError("too many requests of this client wait", 429, {"Retry-After": "1"})
        if self._count >= limits.total:
            self._note_refusal("http.watches", limits.total)
            raise RemoteError("too many requests wait", 503, {"Retry-After": "1"})

    def _note_refusal(self, setting: str, limit: int) -> None:
        """Count a refusal. Refused clients come back each second, so the warnings about a limit are rare."""
        self._counters.waited("limited")
        self._refused[setting] += 1
        now = trio.current_time()
        if now - self._warned.get(setting, -math.inf) >= _WARNING_INTERVAL:
            log.warning("waits refused", setting=setting, limit=limit, refused=self._refused.pop(setting))
            self._warned[setting] = now

    def _expires(self, request: Request) -> float:
        expires_at = request.owner.principal.expires_at
        if expires_at is None:
            return math.inf
        return trio.current_time() + max(0.0, expires_at - self._epoch()) + _SLACK

    def _begin(self, key: Key) -> Watched:
        self._keys.hold(key)
        # All clients share the store's object.
        watched = self._watched[key] = Watched(self._keys.in_use(key) or key, self)
        self._registry.add(watched, watched.key)
        return watched

    def _remove(self, waiter: Waiter, but: Watched | None = None) -> None:
        del waiter.watched.waiters[waiter]
        if waiter.watched is not but:
            self._end_unused(waiter.watched)

    def _end_unused(self, watched: Watched) -> None:
        if not watched.waiters:
            del self._watched[watched.key]
            self._registry.discard(watched, watched.key)
            self._keys.release(watched.key)


def _client(request: Request) -> str:
    """Identify the client of a request: its kind, its name and its network. One IPv6 host may have all of a network."""
    principal = request.owner.principal
    return f"{principal.kind.value} {principal.name} {share_of(request.peer)}"
