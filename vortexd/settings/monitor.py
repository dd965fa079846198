"""[monitor] of vortexd.toml. Webhooks, at `/monitor`."""

import attrs

from ..core.constraints import setting, whole


@attrs.frozen
class MonitorSettings:
    """[monitor]."""

    secret: str = setting(
        "",
        doc='The file with the secret for webhooks. A provider signs with the secret or sends it. "" means that '
        "there is none, and that a webhook needs a token with the right `admin`. If the path begins with "
        "`$CREDENTIALS_DIRECTORY`, that is the directory of systemd's credentials. Relative paths start at "
        "the directory of vortexd.toml.",
        more='See "WEBHOOKS" in vortexd-api(7) for what each provider needs.',
    )
    body_bytes: int = whole(5_242_880, 1_024, doc="The size of a webhook's body.")
