"""An echo server on vortexd's stack, for the Autobahn test suite: `python -m tests.autobahn.echo --port 9311`.

Listener, handshake, frames, compression, writer and closing are those of vortexd. Only the handling of messages differs: the server sends each
message back.
"""

import argparse
from random import Random

import attrs
import trio
from wsproto import WSConnection
from wsproto.events import BytesMessage, TextMessage

from tests.fakes import KEY, FakeLine, FakeMetrics, open_gate, timestamp
from vortexd.aio.fair_queue import FairQueue
from vortexd.fleet import Fleet, Instance
from vortexd.net.listener import Accepted, Listener
from vortexd.net.proxies import Sender
from vortexd.protocol.close import CloseReason
from vortexd.protocol.deflate import Deflate
from vortexd.protocol.frames import text_frame
from vortexd.realtime.chain import QuietChain, Reply
from vortexd.realtime.client import Client
from vortexd.realtime.connection import Connection
from vortexd.realtime.forms import web_socket_form
from vortexd.realtime.framing import Compressor
from vortexd.realtime.handshake import Refusal, open_handshake
from vortexd.realtime.quota import PatternQuota
from vortexd.realtime.reports import Reports
from vortexd.settings.fleet import FleetSettings
from vortexd.settings.realtime import RealtimeSettings
from vortexd.settings.server import ServerSettings

# The suite sends messages of 16 MiB, and what it sends at once is more than any client of ours says in an hour.
SETTINGS = attrs.evolve(
    RealtimeSettings(),
    message_bytes=33_554_432,
    message_fragments=1_000_000,
    messages_per_second=1_000_000,
    heartbeat_interval=3_600.0,
    queue_messages=100_000,
    close_timeout=1.0,
)


class Echo(Connection):
    """A connection that says back what it is told, and nothing else."""

    def __init__(self, stream: trio.abc.Stream, websocket: WSConnection, client: Client) -> None:
        line, metrics = FakeLine({KEY: {}}), FakeMetrics()
        reports = Reports(Fleet(FleetSettings(), line.version_of), metrics, lambda: 0.0)
        quota = PatternQuota(0, 0)
        super().__init__(
            stream, websocket, client, line, Compressor(), metrics, reports, quota, FairQueue(), timestamp, Random(1)
        )
        self._chain.resume(QuietChain(KEY, line.version_of(KEY)), (), line.version_of)
        self._bits = client.form.window_bits

    async def _take(self, message: str | bytes) -> None:
        event = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
        if isinstance(message, str):
            frame = text_frame(message.encode())
            data = frame.for_window(self._bits) if self._bits is not None else frame
        else:
            assert self._websocket is not None
            data = self._websocket.send(event)
        await self._writer.reply(Reply(data))


async def serve(port: int, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve until cancelled; what has started is the port."""
    listener = Listener(ServerSettings(bind=(f"127.0.0.1:{port}",)))

    async def websocket(accepted: Accepted) -> bool:
        async with accepted.stream:
            deflate = Deflate(SETTINGS.message_bytes)
            try:
                opening = open_handshake(accepted.head)
            except Refusal as refusal:
                await accepted.stream.send_all(refusal.to_bytes())
                return False
            await accepted.stream.send_all(opening.accept(accepted.connection_id, deflate))
            admission = open_gate().admit([(b"host", b"localhost")], "/ws/orders/dev", Sender("127.0.0.1"))
            instance = Instance(KEY, accepted.connection_id)
            client = Client(
                KEY, None, admission, instance, b"", web_socket_form(deflate.window_bits), settings=SETTINGS
            )
            assert isinstance(await Echo(accepted.stream, opening.websocket, client).run(), CloseReason)
        return False

    async def http(accepted: Accepted) -> None:
        await trio.aclose_forcefully(accepted.stream)

    (url,) = await listener.bind()
    task_status.started(int(url.rpartition(":")[2]))
    async with trio.open_nursery() as nursery:
        await listener.serve(nursery, websocket, http)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn.echo")
    parser.add_argument("--port", type=int, default=9311)
    trio.run(serve, parser.parse_args().port)
