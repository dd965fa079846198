"""[auth] of vortexd.toml.

Authentication. Without tokens and keys everybody has access, and vortexd then listens on loopback addresses and Unix
sockets only.
"""

import attrs

from ..core.constraints import number, setting, whole


@attrs.frozen
class AuthSettings:
    """[auth]."""

    open: bool = setting(
        False,
        doc="Allow everybody to read, subscribe and report, from any address, without a token. Nobody then has "
        "the right `admin`.",
    )
    tokens: tuple[str, ...] = setting(
        (),
        doc="Token files, or directories in which each `*.toml` is a token file.",
    )
    jwt_secret: str = setting(
        "", doc='The file with the secret for JWTs that are signed with HS256, as bytes. "" means none.'
    )
    jwks: str = setting("", doc='The file with a JWK set, for JWTs that are signed with RS256 or EdDSA. "" means none.')
    jwt_audience: str = setting(
        "", doc='The value that `aud` of a JWT has to contain. "" refuses JWTs that have `aud`.'
    )
    jwt_issuer: str = setting("", doc='The value that `iss` of a JWT has to have. "" means any.')
    jwt_leeway: float = number(
        30.0, 0, 3_600, doc="Seconds by which the clocks of vortexd and of the issuer may differ."
    )
    origins: tuple[str, ...] = setting(
        (),
        doc="Origins of web pages that may connect and read event streams, such as `https://config.example.com`. "
        '"null" is the origin '
        'of pages in files (file://) and in sandboxed frames. Any page can open such a frame, so "null" '
        "lets every page connect. List it only if clients need a token.",
    )
    hosts: tuple[str, ...] = setting(
        (),
        doc="Further names of this server that may stand in Host headers. This machine's names and the "
        "addresses in `server.bind` are allowed in any case.",
    )
    failure_burst: int = whole(
        20,
        1,
        1_000_000,
        doc="The number of wrong tokens that one address may send before vortexd answers further ones with 429.",
    )
    failures_per_second: float = number(
        1.0, 0.001, 1_000_000, doc="The number of wrong tokens from one address that are forgiven per second."
    )
    failure_addresses: int = whole(
        10_000,
        1,
        10_000_000,
        doc="The number of addresses whose wrong tokens vortexd counts. Beyond it vortexd forgets the address "
        "whose last wrong token is the oldest.",
    )
    connections_per_token: int = whole(
        0,
        0,
        1_000_000,
        doc="The number of WebSockets and event streams with one token. Beyond it vortexd answers 429. 0 means no limit.",
    )

    @property
    def asks(self) -> bool:
        """Whether the server asks any client for a token."""
        return bool(self.tokens or self.jwt_secret or self.jwks)
