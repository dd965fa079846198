"""The client library. `async with vortexd.client.watch(url, app, profile) as config:` keeps a configuration up to date.

    address.py                             server URLs and watched names; request target and headers of a handshake (pure)
    replica.py  client_state.py            the verified state of each key, kept between connections (pure)
    change.py  protocol.py  disconnect.py  one connection, message by message, and the meaning of its end (pure)
    backoff.py  server_rotation.py         which server to try next, and when (pure)
    view.py                                the application's view: a mapping, a state, changes (pure)
    last_known_good.py  cache_writer.py    the file that allows a start while every server is down
    streams.py  link.py  following.py      one connection after another, on Trio
    change_notifier.py  watching.py        `watch` for programs on Trio
    background.py                          a thread that runs Trio, for all other programs
    asyncio.py  blocking.py                `watch` for programs on asyncio, and for any thread

Importing this package doesn't import Trio, and neither do the pure modules. The first use of `watch` does.
"""

from typing import TYPE_CHECKING

from .change import Change
from .last_known_good import LastKnownGood
from .view import Connected, Failed, Stale, State, WatchFailed

if TYPE_CHECKING:
    from .link import Timeouts
    from .watching import Config, watch

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
    if name in ("Config", "Timeouts", "watch"):
        from . import watching

        return getattr(watching, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
