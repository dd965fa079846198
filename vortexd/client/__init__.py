"""The client library. `async with vortexd.client.watch(url, app, profile) as config:` keeps a configuration up to date.

    address.py                             server URLs and watched names; request target and headers of a handshake (pure)
    replica.py  client_state.py            the verified state of each key, kept between connections (pure)
    change.py  protocol.py  disconnect.py  one connection, message by message, and the meaning of its end (pure)
    backoff.py  server_rotation.py         which server to try next, and when (pure)
    view.py                                the application's view: a mapping, a state, changes (pure)
    last_known_good.py  cache_writer.py    the file that allows a start while every server is down
    streams.py  link.py  following.py      one connection after another, on Trio
    change_notifier.py  watching.py        `watch` for programs on Trio
    paths.py                               `database.pool.size` and `servers[0].host` in a document (pure)
    fields.py  relaxed.py                  the fields of a model, and a document fitted to them (pure)
    problem.py  structuring.py  binding.py an object of a model, or all problems of the document (pure; cattrs, pydantic)
    origins.py  explaining.py              the file and line of each value, from the server (pure; Trio)
    bound.py                               an object that follows a view, and acknowledges each version
    pydantic_settings.py                   a source for pydantic-settings
    background.py                          a thread that runs Trio, for all other programs
    asyncio.py  blocking.py                `watch` for programs on asyncio, and for any thread

Importing this package doesn't import Trio, and neither do the pure modules. The first use of `watch` does. The modules of paths and models
are loaded when a program first uses them; libraries of models are imported only for their own classes.
"""

from typing import TYPE_CHECKING

from .change import Change
from .last_known_good import LastKnownGood
from .view import Connected, Failed, Stale, State, WatchFailed

if TYPE_CHECKING:
    from .bound import Bound
    from .link import Timeouts
    from .problem import BindError, Problem
    from .watching import Config, watch

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
    if name in ("BindError", "Problem"):
        from . import problem

        return getattr(problem, name)
    if name == "Bound":
        from .bound import Bound

        return Bound
    if name in ("Config", "Timeouts", "watch"):
        from . import watching

        return getattr(watching, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
