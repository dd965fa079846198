"""A server in the client's thread; a test in another thread tells it which messages to send."""

import contextlib
import queue
from functools import partial
from typing import Any

import trio
import trio.testing

from vortexd.client.address import Address

from .server import Peer


class Elsewhere:
    """One server, for one client at a time.

    Attributes:
        heard: The messages that clients have sent; None for each client that has left.
        refusal: The status with which to refuse all handshakes.
        explanation: If it is set, the response to each further connection, which ends then.
        is_away: Refuse every connection, as if no process listened.
    """

    def __init__(self) -> None:
        self.heard: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.refusal = 0
        self.explanation: bytes | None = None
        self.is_away = False
        self._first: tuple[str, ...] = ()
        self._steps: trio.MemorySendChannel[Any] | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    def greet(self, *texts: str) -> "Elsewhere":
        """Set the first messages of each connection."""
        self._first = texts
        return self

    def say(self, *texts: str) -> None:
        self._do(partial(_say, texts))

    def close(self, code: int) -> None:
        self._do(partial(_close, code))

    def crash(self) -> None:
        """Crash everything that runs in that thread."""
        self._do(_crash)

    async def connect(self, address: Address) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self._token = trio.lowlevel.current_trio_token()
        if self.is_away:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        if self.explanation is not None and self._steps is not None:
            trio.lowlevel.spawn_system_task(_explain, theirs, self.explanation)
            return ours
        self._steps, steps = trio.open_memory_channel[Any](100)
        trio.lowlevel.spawn_system_task(self._serve, Peer(theirs, address, 0.0), steps)
        return ours

    def _do(self, step: Any) -> None:
        assert self._token
        assert self._steps
        self._token.run_sync_soon(self._steps.send_nowait, step)

    async def _serve(self, peer: Peer, steps: trio.MemoryReceiveChannel[Any]) -> None:
        if self.refusal:
            await peer.refuse(self.refusal)
            return
        await peer.opened()
        await peer.say(*self._first)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear, peer)
            async for step in steps:
                await step(peer)

    async def _hear(self, peer: Peer) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while message := await peer.heard_or_left():
                self.heard.put(message)
        self.heard.put(None)


async def _say(texts: tuple[str, ...], peer: Peer) -> None:
    await peer.say(*texts)


async def _close(code: int, peer: Peer) -> None:
    await peer.say_close(code)


async def _crash(_: Peer) -> None:
    raise RuntimeError("a mistake of somebody")


async def _explain(stream: trio.abc.Stream, response: bytes) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.receive_some()
        await stream.send_all(response)
        await stream.aclose()
