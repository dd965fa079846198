"""[console] of vortexd.toml. The page for people, at `/console`."""

import attrs

from ..core.constraints import setting


@attrs.frozen
class ConsoleSettings:
    """[console]."""

    enabled: bool = setting(
        True,
        doc="Serve the console, and allow its pages to open WebSockets and event streams. If a proxy in front has "
        "another name or its own TLS, add the origin that browsers see to `auth.origins`.",
        restart=True,
    )
