"""The client of vortexd without the server: `async with vortexd_client.watch(url, app, profile) as config:`.

It offers the names of `vortexd.client`, which is the same client, in the package `vortexd`. On asyncio use `vortexd_client.asyncio.watch`, and in
threads `vortexd_client.blocking.watch`. Both packages can be installed together; each has classes of its own.
"""

from typing import TYPE_CHECKING

from . import client
from .client import Change, Connected, Failed, LastKnownGood, Stale, State, WatchFailed

if TYPE_CHECKING:
    from .client import Config, Timeouts, watch

__all__ = [
    "Change",
    "Config",
    "Connected",
    "Failed",
    "LastKnownGood",
    "Stale",
    "State",
    "Timeouts",
    "WatchFailed",
    "watch",
]


def __getattr__(name: str) -> object:
    # Trio is imported when one of these is first used, as in `vortexd.client`.
    if name in ("Config", "Timeouts", "watch"):
        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
