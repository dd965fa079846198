"""The time for which a key is pinned, and the configuration of a pinned key. Loaded only if there is a pin."""

import attrs

from .model import Config


@attrs.frozen(slots=True)
class Term:
    """The time for which a key is pinned, in seconds since the epoch.

    Attributes:
        until: None if the pin has no end.
    """

    since: float
    until: float | None = None


@attrs.frozen(slots=True, eq=False)
class PinnedConfig(Config):
    """The resolved configuration of a key that is pinned."""

    pinned: Term = attrs.field(kw_only=True)
