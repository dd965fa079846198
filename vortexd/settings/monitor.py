"""[monitor] of vortexd.toml. Webhooks, at `/monitor`."""

import attrs

from ..core.constraints import setting, whole


@attrs.frozen
class MonitorSettings:
    """[monitor]."""

    secret: str = setting(
        "",
        doc='The file with the secret for webhooks. A provider signs with the secret or sends it. "" means that '
        "there is none. Then the sender needs the right `admin`. See `[auth]` for the clients that have it "
        "without a token.",
        more='See "WEBHOOKS" in vortexd-api(7) for what each provider needs.',
    )
    body_bytes: int = whole(5_242_880, 1_024, doc="The size of a webhook's body. Beyond it vortexd answers 413.")
