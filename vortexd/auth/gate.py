"""The gate that every request passes, over HTTP and WebSockets alike: what is in force now, and the order of the checks.

In come the headers, the target and the sender of a request; out goes an `Admission`, which answers for as long as the connection lasts what
its owner may do. A reload puts a new authority in force in one step, and every admission is judged by that one from then on.
"""

import math
from collections.abc import Callable, Sequence

from ..core.errors import RemoteError
from ..core.model import Key, Names
from ..core.patterns import Pattern
from ..net.proxies import Sender
from ..settings.sections import Address, AuthSettings
from .authority import Authority
from .credentials import extract_credentials
from .failures import Failures
from .origin import check_host, check_origin, own_origin, parse_host, parse_origin, sole_header
from .principal import Forbidden, Principal, Right, Unauthorized


class TooManyFailures(RemoteError):
    """Wrong tokens from this address, one after the other.

    Args:
        retry_after: Seconds to wait.
    """

    status = 429

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            "too many wrong tokens from this address", headers={"Retry-After": str(math.ceil(retry_after))}
        )


class Gate:
    """See the module.

    Args:
        bound: The addresses listened on.
        epoch: The time in seconds since the epoch, which tokens expire by.
        monotonic: The time in seconds of a clock that never goes back.
        pages: The scheme of our addresses, where we serve pages of our own that may connect to us; else None.
    """

    def __init__(
        self,
        settings: AuthSettings,
        authority: Authority,
        bound: Sequence[Address],
        epoch: Callable[[], float],
        monotonic: Callable[[], float],
        pages: str | None = None,
    ) -> None:
        self._bound = bound
        self._epoch = epoch
        self._monotonic = monotonic
        self._failure_limits: tuple[int, float, int] | None = None
        self.replace(settings, authority, pages)

    def replace(self, settings: AuthSettings, authority: Authority, pages: str | None = None) -> None:
        """Put another authority in force; `Admission.renew` judges those who are in by it."""
        self.authority = authority
        self._pages = pages
        limits = (settings.failure_burst, settings.failures_per_second, settings.failure_addresses)
        if limits != self._failure_limits:
            # By other limits everybody begins anew.
            self._failure_limits, self._failures = limits, Failures(*limits)
        self._origins = frozenset(map(parse_origin, settings.origins))
        self._hosts = frozenset(map(parse_host, settings.hosts))

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked for a token."""
        return self.authority.is_open

    def check_headers(self, headers: Sequence[tuple[bytes, bytes]], sender: Sender) -> None:
        """Refuse requests for another host, and those of web pages that aren't listed.

        Args:
            sender: Says what a proxy was asked for; it is judged as well, and doesn't take the place of what we were asked for.

        Raises:
            RemoteError: 400 or 403.
        """
        host = sole_header(headers, b"host")
        # HTTP/1.1 without one was refused before; HTTP/1.0 may have none, and no browser speaks it.
        if host is not None:
            check_host(host, self._hosts, self._bound)
        if sender.authority is not None:
            host = sender.authority
            check_host(host, self._hosts, self._bound)
        origins = self._origins
        if host is not None and self._pages is not None:
            own = own_origin(host, sender.scheme or self._pages, self._hosts, self._bound, self.is_open)
            origins = origins | {own} if own is not None else origins
        # Whether there are credentials is for `admit` to ask.
        check_origin(sole_header(headers, b"origin"), origins, has_credentials=True, is_open=self.is_open)

    def admit(self, headers: Sequence[tuple[bytes, bytes]], target: str, sender: Sender) -> "Admission":
        """Find out who sent a request.

        Raises:
            RemoteError: 400, 401, 403 or 429.
        """
        self.check_headers(headers, sender)
        credentials = extract_credentials(headers, target)
        try:
            principal = self.authority.authenticate(credentials, self._epoch(), sender.certificate)
        except Unauthorized:
            # Who hasn't been asked yet hasn't failed.
            wait = 0.0 if credentials.is_empty else self._failures.record(sender.host, self._monotonic())
            if wait:
                raise TooManyFailures(wait) from None
            raise
        return Admission(self, principal)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._epoch()


class Admission:
    """Somebody who was let in, and what they may do now."""

    # One for each connection.
    __slots__ = ("_gate", "_principal")

    def __init__(self, gate: Gate, principal: Principal) -> None:
        self._gate = gate
        self._principal = principal

    @property
    def name(self) -> str:
        """For logs."""
        return self._principal.name

    @property
    def principal(self) -> Principal:
        """Who was let in; who proved the same is the same object for as long as the same authority is in force."""
        return self._principal

    @property
    def identity(self) -> str:
        """What counts as one owner, for limits per token; "" where nobody was asked."""
        return self._principal.identity

    @property
    def names(self) -> Names:
        """The applications and profiles that tokens, anybody's, name in full."""
        return self._gate.authority.names

    @property
    def is_expired(self) -> bool:
        """Whether the token has expired since."""
        return self._principal.is_expired(self._gate.now())

    def authorize(self, right: Right, where: Key | Pattern | None) -> None:
        """Let the owner do something, or raise.

        Raises:
            Unauthorized, Forbidden: As `Authority.authorize`.
        """
        self._gate.authority.authorize(self._principal, right, where, self._gate.now())

    def may(self, right: Right, where: Key | Pattern | None) -> bool:
        """Whether `authorize` lets it pass."""
        try:
            self.authorize(right, where)
        except (Unauthorized, Forbidden):
            return False
        return True

    def renew(self) -> None:
        """Judge the owner by the authority that is in force now.

        Raises:
            Unauthorized: It doesn't know the owner any more.
        """
        self._principal = self._gate.authority.renew(self._principal, self._gate.now())
