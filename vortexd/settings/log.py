"""[log] of vortexd.toml. The log. vortexd writes one event a line to stderr."""

import attrs

from ..core.constraints import choice


@attrs.frozen
class LogSettings:
    """[log]."""

    format: str = choice(
        "auto",
        "json",
        "console",
        doc='"json" (one object a line), "console" (for people), or "auto": console on a terminal, else json.',
    )
    level: str = choice("info", "debug", "warning", "error", doc='"debug", "info", "warning" or "error".')
