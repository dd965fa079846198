"""The client: `async with vortexd.client.watch(url, app, profile) as config:` keeps a configuration up to date.

    address.py                             where a server is, and what is asked of it (pure)
    replica.py  client_state.py            the verified state of one key, and all that is known between connections (pure)
    change.py  protocol.py  disconnect.py  one conversation, message by message, and what its end means (pure)
    backoff.py  server_rotation.py         which server is next, and when (pure)
    view.py                                what the application sees: a mapping, a state, changes (pure)
    last_known_good.py  cache_writer.py    the file for a start while every server is away
    streams.py  link.py  following.py      the same over connections, one after the other, on Trio
    change_notifier.py  watching.py        `watch` for programs on Trio
    background.py                          a thread that runs Trio, for all others
    asyncio.py  blocking.py                `watch` for programs on asyncio, and for any thread

Trio is imported when `watch` is first asked for, and not by the pure modules.
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
