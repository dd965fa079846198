"""[tls] of vortexd.toml. TLS for all TCP addresses. Without a certificate, vortexd speaks plain HTTP."""

import attrs

from ..core.constraints import choice, path, setting


@attrs.frozen
class TlsSettings:
    """[tls]."""

    certificate: str = setting(
        "",
        doc='A PEM file with the certificate and its chain. It may contain the private key, too. "" means no TLS.',
    )
    key: str = setting(
        "",
        doc='A PEM file with the private key, without a password. "" means that the key is in the file of '
        "`certificate`. vortexd refuses the file that contains the key if the group or other users have "
        "access to it.",
    )
    minimum_version: str = choice("1.2", "1.3", doc='The oldest version of TLS that clients may use: "1.2" or "1.3".')
    client_ca: str = path(
        doc='A PEM file with the certificates of the authorities that sign client certificates. "" means none. '
        "Everybody may read this file. vortexd refuses it if the group or other users can write it.",
        more="If you remove an authority, vortexd closes the connections that authenticated by a certificate; "
        "clients with a valid certificate reconnect.",
    )
    client_certificates: str = choice(
        "off",
        "optional",
        "required",
        doc='"off": vortexd asks clients for no certificate. "optional": a client may send a certificate; a '
        'client without one sends a token. "required": vortexd refuses clients without one. The rights of a '
        "certificate are in the files of `auth.tokens`, as `[[certificate]]`.",
        more='See "Client certificates" in vortexd.toml(5).',
    )
