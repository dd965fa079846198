"""The one place that says who somebody is and what they may do: for HTTP, handshakes, subscriptions, resyncs and deliveries alike. Pure.

An `Authority` is immutable. A reload makes a new one and puts it in the old one's place in one step, so no request is judged by half of each
(T05); who was let in by the old one is judged anew with `renew` (W16).
"""

from collections.abc import Iterator

from ..core.model import Key
from ..core.patterns import Pattern
from ..net.client_certificate import ClientCertificate
from .certificates import Certificates
from .credentials import MAX_TOKEN_LENGTH, Credentials
from .jwt import JwtVerifier
from .principal import Forbidden, Grant, Kind, Principal, Right, Unauthorized, names_of
from .tokens import Tokens


class Authority:
    """Who is let in, and what for.

    Args:
        jwt: Checks JWTs, or None: there are none.
        anonymous: What anybody may do, for every key. Where it isn't empty nobody is asked for a token, and what is sent as one is
            ignored, whatever it is.
        certificates: Who is known by a certificate.
    """

    def __init__(
        self,
        tokens: Tokens | None = None,
        jwt: JwtVerifier | None = None,
        anonymous: frozenset[Right] = frozenset(),
        certificates: Certificates | None = None,
    ) -> None:
        self._tokens = tokens or Tokens()
        self._jwt = jwt
        self._anonymous = Principal("anonymous", Kind.ANONYMOUS, (Grant(anonymous, (Pattern(),)),))
        self._certificates = certificates or Certificates()
        self.names = names_of([*self._tokens.grants, *self._certificates.grants])
        self.is_open = bool(anonymous)

    def authenticate(
        self, credentials: Credentials, now: float, certificate: ClientCertificate | None = None
    ) -> Principal:
        """Find out who sent this. Principals of tokens are shared: the same token is the same object.

        Args:
            certificate: The client's, as far as TLS has found it good. Where a token is sent that isn't a spare one, the token alone is judged.
            now: Seconds since the epoch.

        Raises:
            Unauthorized: Nobody we know; nothing else, whatever the credentials are.
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
        """Who somebody is by this authority, whom a former one has let in. What a token may do can have changed.

        Raises:
            Unauthorized: The token, the key or the certificate is gone, or it has expired.
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
        """Let somebody do something, or raise.

        A pattern is allowed where every key that it may ever match is allowed. The deliveries that follow are still asked for key by key,
        for a key can be refused for its file (see `_owners`).

        Args:
            where: None for the daemon itself, where only ADMIN holds.
            now: Seconds since the epoch.

        Raises:
            Unauthorized: The principal has expired since it was let in.
            Forbidden: It hasn't the right there.
        """
        if principal.is_expired(now):
            raise Unauthorized
        if where is None:
            is_allowed = right is Right.ADMIN and principal.has(right)
        elif isinstance(where, Pattern):
            is_allowed = principal.may(right, where)
        else:
            is_allowed = principal.may(right, where) and all(
                principal.may(right, key) for key in set(self._owners(where))
            )
        if not is_allowed:
            raise Forbidden

    def _owners(self, key: Key) -> Iterator[Key]:
        """The keys of other applications whose files this key would read (P14).

        Application `a` with profile `b-c` reads `a-b-c.yml`, and so do `a-b` with `c` and `a-b-c`. Where several could own a file, it is the longest
        application that some token names in full.
        """
        for application in key.applications:
            for profile in key.profiles:
                stem = f"{application}-{profile}"
                for end in range(len(stem), len(application), -1):
                    if stem[:end] in self.names.applications and stem[end : end + 1] in ("", "-"):
                        yield Key(stem[:end], stem[end + 1 :] or "default", key.label)
                        break
