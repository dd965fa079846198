"""The composition root: builds the stages, puts the line together, owns the root nursery, the signals and the order of shutdown.

What runs: one source that publishes to the line, one listener that accepts, a task per connection. What ends it: SIGTERM or SIGINT
(the drain, then exit), or an error nobody expects (loudly).
"""

import signal
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

import structlog
import trio

from .broadcast import Broadcaster, Subscriber
from .http.app import create_app
from .http.hypercorn import Bridge
from .http.listener import Accepted, Listener
from .line import Line
from .metrics import Metrics
from .realtime.encoder import Encoder
from .realtime.server import WebSocketServer
from .registry import Registry
from .settings import Settings
from .source.files import FilesSource
from .store import Store

log = structlog.get_logger()

Started = Callable[[Sequence[str]], None]
# Of the drain, the part in which clients are told one after the other; the rest is for those who are slow to go.
_DRAIN_SPREAD = 0.6


def run(settings: Settings, started: Started, base: Path = Path()) -> None:
    """Serve until a signal ends it, and return once everybody has been let go.

    Args:
        started: Called with the bound addresses as URLs once the sockets are bound and the first complete state is served.
        base: Where relative paths of the settings start.

    Raises:
        StartError: The daemon can't start.
    """
    trio.run(serve, settings, started, base)


async def serve(settings: Settings, started: Started, base: Path) -> None:
    """Run the daemon; see `run`. Returns after a drain; a second signal cancels what is left at once."""
    metrics = Metrics()
    store = Store(settings.history)
    registry: Registry[Subscriber] = Registry()
    encoder = Encoder(timestamp)
    line = Line(settings.formats, store, Broadcaster(registry, encoder.change), encoder, metrics)
    source = FilesSource(settings.source[0], base)
    websockets = WebSocketServer(line, registry, settings.realtime, metrics, timestamp, Random())
    bridge = Bridge(create_app(line, metrics, settings.server, timestamp), settings.server)
    listener = Listener(settings.server)

    async def serve_websocket(accepted: Accepted) -> None:
        await websockets.serve(accepted.stream, accepted.head, accepted.target, accepted.connection_id)

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        urls = await listener.bind()
        async with trio.open_nursery() as root:
            root.start_soon(partial(source.run, line.publish), name=f"source {source.name}")
            root.start_soon(_announce, line, started, urls)
            ended = trio.Event()
            root.start_soon(_stop, signals, root.cancel_scope, ended)
            async with trio.open_nursery() as connections:
                root.start_soon(listener.serve, connections, serve_websocket, bridge.serve)
                await ended.wait()
                log.info("stopping", connections=len(websockets))
                connections.cancel_scope.deadline = trio.current_time() + settings.server.drain_timeout
                listener.stop_accepting()
                await bridge.drain()
                await websockets.drain(settings.server.drain_timeout * _DRAIN_SPREAD)
            root.cancel_scope.cancel()
    log.info("stopped")


async def _stop(signals: AsyncIterator[int], scope: trio.CancelScope, ended: trio.Event) -> None:
    """Let the first signal begin the drain, and a second one cancel what is left."""
    log.info("signal received", signal=signal.Signals(await anext(signals)).name)
    ended.set()
    log.warning("stopping at once", signal=signal.Signals(await anext(signals)).name)
    scope.cancel()


async def _announce(line: Line, started: Started, urls: Sequence[str]) -> None:
    await line.wait_ready()
    log.info("ready", addresses=list(urls))
    started(urls)


def timestamp() -> str:
    """The current time as RFC 3339, UTC, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
