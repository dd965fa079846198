"""Decides who a client is and what it may do, for HTTP, handshakes, subscriptions, resyncs and deliveries. Pure.

An `Authority` is immutable. A reload makes a new authority and replaces the old one in one step. So no request is judged
partly by each (T05). `renew` judges clients again that the old authority had admitted (W16).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.model import Key
from ..core.patterns import Pattern
from ..net.client_certificate import ClientCertificate
from .certificates import Certificates
from .credentials import MAX_TOKEN_LENGTH, Credentials
from .principal import Forbidden, Grant, Kind, Principal, Right, Unauthorized, names_of
from .tokens import Tokens

if TYPE_CHECKING:
    from .jwt import JwtVerifier

# The decisions to remember, and the longest key of them. Clients can invent any number of keys.
_DECISIONS, _DECIDED_TEXT = 4_096, 256


class Authority:
    """Authenticates and authorizes clients.

    Args:
        jwt: Verifies JWTs, or None if there are none.
        anonymous: The rights of every client, for every key. If this isn't empty, the server asks for no token and
            ignores any token that is sent.
        certificates: The clients that are identified by a certificate.
    """

    def __init__(
        self,
        tokens: Tokens | None = None,
        jwt: "JwtVerifier | None" = None,
        anonymous: frozenset[Right] = frozenset(),
        certificates: Certificates | None = None,
    ) -> None:
        self._tokens = tokens or Tokens()
        self._jwt = jwt
        self._anonymous = Principal("anonymous", Kind.ANONYMOUS, (Grant(anonymous, (Pattern(),)),))
        self._certificates = certificates or Certificates()
        self.names = names_of([*self._tokens.grants, *self._certificates.grants])
        self.is_open = bool(anonymous)
        # The principal keeps its number from being used again.
        self._decisions: dict[tuple[int, Right, Key], tuple[Principal, bool]] = {}

    def authenticate(
        self, credentials: Credentials, now: float, certificate: ClientCertificate | None = None
    ) -> Principal:
        """Identify the sender of a request. Principals of tokens are shared: the same token gives the same object.

        Args:
            certificate: The client's certificate, if TLS has verified it. If the client also sends a token, only the
                token counts, unless it is a spare token.
            now: Seconds since the epoch.

        Raises:
            Unauthorized: The credentials are invalid. No other error is raised, whatever the credentials are.
        """
        if self.is_open:
            return self._anonymous
        if certificate is not None and (credentials.is_empty or credentials.is_spare):
            return self._valid(self._certificates.find(certificate), now)
        token = credentials.token
        if token is None or credentials.is_malformed or len(token) > MAX_TOKEN_LENGTH:
            raise Unauthorized
        if self._jwt is not None and token.count(".") == 2:
            return self._jwt.verify(token, now)
        return self._valid(self._tokens.find(token), now)

    @staticmethod
    def _valid(principal: Principal, now: float) -> Principal:
        if principal.is_expired(now):
            raise Unauthorized
        return principal

    def renew(self, principal: Principal, now: float) -> Principal:
        """Judge a client again that a former authority has admitted. The rights of its token may have changed.

        Raises:
            Unauthorized: The token, the key or the certificate is gone, or has expired.
        """
        renewed: Principal | None = None
        if principal.kind is Kind.TOKEN:
            renewed = self._tokens.holder(principal.identity)
        elif principal.kind is Kind.JWT and self._jwt is not None and self._jwt.trusts(principal.identity):
            renewed = principal
        elif principal.kind is Kind.CERTIFICATE:
            renewed = self._certificates.renewed(principal)
        if self.is_open:
            renewed = self._anonymous
        if renewed is None or renewed.is_expired(now):
            raise Unauthorized
        return renewed

    def authorize(self, principal: Principal, right: Right, where: Key | Pattern | None, now: float) -> None:
        """Allow a client to do something, or raise.

        A pattern is allowed if every key that it may ever match is allowed. Each delivery is still authorized by key,
        because a key can be refused for its file (see `_owners`).

        Args:
            where: None for the daemon itself. Only ADMIN applies to it.
            now: Seconds since the epoch.

        Raises:
            Unauthorized: The principal has expired since it was admitted.
            Forbidden: The principal doesn't have the right there.
        """
        if principal.is_expired(now):
            raise Unauthorized
        if where is None:
            is_allowed = right is Right.ADMIN and principal.has(right)
        elif isinstance(where, Pattern):
            is_allowed = principal.may(right, where)
        else:
            is_allowed = self._allows(principal, right, where)
        if not is_allowed:
            raise Forbidden

    def _allows(self, principal: Principal, right: Right, key: Key) -> bool:
        """Return whether a principal has a right for a key, whether it has expired or not. Decisions are remembered.

        A JWT makes another principal for each request, so remembering its decisions would be of no use.
        """
        question = id(principal), right, key
        decision = self._decisions.get(question)
        if decision is not None and decision[0] is principal:
            return decision[1]
        is_allowed = principal.may(right, key) and all(principal.may(right, each) for each in set(self._owners(key)))
        if principal.kind is not Kind.JWT and len(str(key)) <= _DECIDED_TEXT:
            if len(self._decisions) >= _DECISIONS:
                self._decisions.clear()
            self._decisions[question] = principal, is_allowed
        return is_allowed

    def _owners(self, key: Key) -> Iterator[Key]:
        """Yield the keys of other applications whose files this key would read (P14).

        Application `a` with profile `b-c` reads `a-b-c.yml`. So do `a-b` with profile `c`, and `a-b-c`. If several
        applications could own a file, its owner is the longest application that some token names in full.
        """
        for application in key.applications:
            for profile in key.profiles:
                stem = f"{application}-{profile}"
                for end in range(len(stem), len(application), -1):
                    if stem[:end] in self.names.applications and stem[end : end + 1] in ("", "-"):
                        yield Key(stem[:end], stem[end + 1 :] or "default", key.label)
                        break
