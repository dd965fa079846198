"""What an operator says about who is let in."""

import attrs


@attrs.frozen
class AuthSettings:
    """[auth]: who is let in. Without tokens and keys everybody is, and then only loopback addresses and Unix sockets are listened on.

    Attributes:
        open: Let everybody read, subscribe and report from anywhere, without tokens.
        tokens: Token files, or directories of which each `*.toml` is one. `$CREDENTIALS_DIRECTORY` at the beginning is systemd's.
            Relative paths start at the directory of vortexd.toml.
        jwt_secret: The file with the key of HS256, as bytes; "" for none.
        jwks: The file with a JWK set, for RS256 and EdDSA; "" for none.
        jwt_audience: What `aud` of a JWT must contain; "" refuses JWTs that have one.
        jwt_issuer: What `iss` of a JWT must be; "" for any.
        jwt_leeway: Seconds by which our clock and the issuer's may differ.
        origins: Origins of web pages that may connect, such as `https://config.example.com`; none by default.
        hosts: Names that we are called by in Host headers, beside this machine's own and the addresses listened on.
        failure_burst: Wrong tokens from one address before it is told to wait.
        failures_per_second: Wrong tokens per second from one address that are forgiven.
        failure_addresses: Addresses that are remembered for wrong tokens.
    """

    open: bool = False
    tokens: tuple[str, ...] = ()
    jwt_secret: str = ""
    jwks: str = ""
    jwt_audience: str = ""
    jwt_issuer: str = ""
    jwt_leeway: float = 30.0
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    failure_burst: int = 20
    failures_per_second: float = 1.0
    failure_addresses: int = 10_000

    @property
    def asks(self) -> bool:
        """Whether anybody is asked for a token."""
        return bool(self.tokens or self.jwt_secret or self.jwks)
