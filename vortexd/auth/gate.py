"""The gate that every request passes, over HTTP and WebSockets alike. It applies the checks in order, by the authority in force.

`Gate.admit` takes the headers, the target and the sender of a request. It returns an `Admission`, which judges the
client's actions as long as the connection lasts. A reload replaces the authority in one step. From then on, every
admission uses the new authority.
"""

import math
from collections.abc import Callable, Sequence

import attrs

from ..core.errors import RemoteError
from ..core.model import Key, Names
from ..core.patterns import Pattern
from ..net.proxies import Sender
from ..settings.auth import AuthSettings
from ..settings.server import Address
from .authority import Authority
from .credentials import Credentials, extract_credentials
from .failures import Failures
from .origin import check_host, check_origin, own_origin, parse_host, parse_origin, sole_header
from .principal import Forbidden, Principal, Right, Unauthorized


class TooManyFailures(RemoteError):
    """This address has sent too many wrong tokens in succession.

    Args:
        retry_after: Seconds to wait.
    """

    status = 429

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            "too many wrong tokens from this address", headers={"Retry-After": str(math.ceil(retry_after))}
        )


class Gate:
    """Admits requests by the authority in force.

    Args:
        bound: The addresses that the server listens on.
        epoch: Returns the seconds since the epoch, for the expiry of tokens.
        monotonic: Returns the seconds of a monotonic clock.
        pages: The scheme of our addresses, if we serve pages that may connect to us, else None.
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
        """Put another authority in force. `Admission.renew` judges connected clients by it."""
        self.authority = authority
        self._pages = pages
        # Only recognitions with this object are in force.
        self._generation = object()
        limits = (settings.failure_burst, settings.failures_per_second, settings.failure_addresses)
        if limits != self._failure_limits:
            # If the limits have changed, all counts begin anew.
            self._failure_limits, self._failures = limits, Failures(*limits)
        self._origins = frozenset(map(parse_origin, settings.origins))
        self._hosts = frozenset(map(parse_host, settings.hosts))

    @property
    def is_open(self) -> bool:
        """Whether the server asks no client for a token."""
        return self.authority.is_open

    def check_headers(self, headers: Sequence[tuple[bytes, bytes]], sender: Sender) -> None:
        """Refuse requests for another host, and requests of web pages that aren't listed.

        Args:
            sender: It may name the host that the client asked the proxy for. That host is checked in addition to ours.

        Raises:
            RemoteError: 400 or 403.
        """
        host = sole_header(headers, b"host")
        # HTTP/1.1 without Host was refused earlier. HTTP/1.0 may omit it, and no browser uses HTTP/1.0.
        if host is not None:
            check_host(host, self._hosts, self._bound)
        if sender.authority is not None:
            host = sender.authority
            check_host(host, self._hosts, self._bound)
        origin, origins = sole_header(headers, b"origin"), self._origins
        if origin is not None and host is not None and self._pages is not None:
            own = own_origin(host, sender.scheme or self._pages, self._hosts, self._bound, self.is_open)
            origins = origins | {own} if own is not None else origins
        # `admit` checks later whether there are credentials.
        check_origin(origin, origins, has_credentials=True, is_open=self.is_open)

    def lists_origin(self, origin: str | None) -> bool:
        """Return whether the settings list the origin of a page, so that the page may read responses."""
        if origin is None:
            return False
        try:
            return parse_origin(origin) in self._origins
        except ValueError:
            return False

    def admit(
        self, headers: Sequence[tuple[bytes, bytes]], target: str, sender: Sender, *, was_admitted: bool = False
    ) -> "Admission":
        """Identify the sender of a request.

        Args:
            was_admitted: Whether the same request was admitted before. A token that is no longer valid isn't a failure then.

        Raises:
            RemoteError: 400, 401, 403 or 429.
        """
        self.check_headers(headers, sender)
        credentials = extract_credentials(headers, target)
        try:
            return self._identify(credentials, sender)
        except Unauthorized:
            # A client that sent no credentials hasn't been asked yet, so this isn't a failure.
            is_failure = not credentials.is_empty and not was_admitted
            wait = self._failures.record(sender.host, self._monotonic()) if is_failure else 0.0
            if wait:
                raise TooManyFailures(wait) from None
            raise

    def recognize(self, headers: Sequence[tuple[bytes, bytes]], target: str, sender: Sender) -> "Admission | None":
        """Identify the sender of a request, as `admit` does. Returns None for a request that `admit` would refuse.

        A refusal isn't counted. So the caller must pass the request to `admit` then.
        """
        try:
            self.check_headers(headers, sender)
            return self._identify(extract_credentials(headers, target), sender)
        except RemoteError:
            return None

    def recognition(self, admission: "Admission") -> "Recognition":
        """Keep the result of `recognize`, for `recall`."""
        return Recognition(admission.principal, self._generation)

    def recall(self, recognition: "Recognition") -> "Admission | None":
        """Admit another request with the same headers and credentials as a recognized one, from a plain sender.

        Returns None if the settings or the authority were replaced, or if the token has expired.
        """
        if recognition.generation is not self._generation or recognition.principal.is_expired(self._epoch()):
            return None
        return Admission(self, recognition.principal)

    def _identify(self, credentials: Credentials, sender: Sender) -> "Admission":
        return Admission(self, self.authority.authenticate(credentials, self._epoch(), sender.certificate))

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return self._epoch()


@attrs.frozen(slots=True, eq=False)
class Recognition:
    """The principal of a request that was recognized.

    Attributes:
        generation: Identifies the authority and the settings that were in force.
    """

    principal: Principal
    generation: object


class Admission:
    """A client that was admitted, and its present rights."""

    # There is one object per connection.
    __slots__ = ("_gate", "_principal")

    def __init__(self, gate: Gate, principal: Principal) -> None:
        self._gate = gate
        self._principal = principal

    @property
    def name(self) -> str:
        """The client's name, for logs."""
        return self._principal.name

    @property
    def principal(self) -> Principal:
        """The client that was admitted. While an authority is in force, equal credentials give the same object."""
        return self._principal

    @property
    def identity(self) -> str:
        """Identifies the owner, for limits per token. "" if the client wasn't asked for a token."""
        return self._principal.identity

    @property
    def names(self) -> Names:
        """The applications and profiles that any token names in full."""
        return self._gate.authority.names

    @property
    def is_expired(self) -> bool:
        """Whether the token has expired in the meantime."""
        return self._principal.is_expired(self._gate.now())

    def authorize(self, right: Right, where: Key | Pattern | None) -> None:
        """Allow the client to do something, or raise.

        Raises:
            Unauthorized, Forbidden: As in `Authority.authorize`.
        """
        self._gate.authority.authorize(self._principal, right, where, self._gate.now())

    def may(self, right: Right, where: Key | Pattern | None) -> bool:
        """Return whether `authorize` allows it."""
        try:
            self.authorize(right, where)
        except (Unauthorized, Forbidden):
            return False
        return True

    def renew(self) -> None:
        """Judge the client by the authority that is in force now.

        Raises:
            Unauthorized: The authority doesn't know the client any more.
        """
        self._principal = self._gate.authority.renew(self._principal, self._gate.now())
