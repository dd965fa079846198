"""The names in a client's certificate that TLS has verified. Pure.

TLS verifies the chain of certificates. `auth` decides what the holder of a name may do.
"""

import enum

import attrs


class NameKind(enum.Enum):
    """The place of a name in a certificate, in the order of the search. The value is the key in token files."""

    URI = "uri"
    DNS = "dns"
    COMMON_NAME = "common_name"


@attrs.frozen(slots=True)
class ClientCertificate:
    """The facts about a client in its certificate.

    Attributes:
        names: The URIs and DNS names of the subject's alternative names, and the subject's common name, if it has one.
        expires_at: The time of expiry, in seconds since the epoch.
        authorities: The fingerprints of all authorities that the certificate was verified against.
    """

    names: tuple[tuple[NameKind, str], ...]
    expires_at: float
    authorities: frozenset[str] = attrs.field(default=frozenset(), repr=False)
