"""The client of vortexd without the server: `async with vortexd_client.watch(url, app, profile) as config:`.

It offers the names of `vortexd.client`, which is the same client, in the package `vortexd`. On asyncio use `vortexd_client.asyncio.watch`, and in
threads `vortexd_client.blocking.watch`. Both packages can be installed together; each has classes of its own.
"""

from typing import TYPE_CHECKING

from . import client
from .client import Change, Connected, Failed, LastKnownGood, Stale, State, WatchFailed

if TYPE_CHECKING:
    from .client import BindError, Bound, Config, Problem, Timeouts, watch

__all__ = [
    "BindError",
    "Bound",
    "Change",
    "Config",
    "Connected",
    "Failed",
    "LastKnownGood",
    "Problem",
    "Stale",
    "State",
    "Timeouts",
    "WatchFailed",
    "watch",
]


def __getattr__(name: str) -> object:
    # These are loaded when one is first used, as in `vortexd.client`.
    if name in ("BindError", "Bound", "Config", "Problem", "Timeouts", "watch"):
        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
