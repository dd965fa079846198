"""Kills the server and starts it again. Measures how long until all clients are in sync, and how many bytes that takes, with and without a change.

python -m tests.bench recover

The clients are vortexd.client.watch, all in one process, so their own work is part of the figures. "Back" is the time at which the new server says
that it is ready.
"""

import argparse
import logging
import signal
import tempfile
import time
from pathlib import Path

import trio

from vortexd.client import Config, Connected, Stale, watch
from vortexd.client.address import Address

from ..system.process import Server
from .push import write
from .report import percentiles


class Counting(trio.abc.Stream):
    """Wraps a stream, and counts the bytes in both directions over all such streams."""

    received = sent = opened = 0

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        Counting.opened += 1

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        Counting.received += len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)
        Counting.sent += len(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @classmethod
    def reset(cls) -> None:
        """Reset the counter."""
        cls.received = cls.sent = cls.opened = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=1_000)


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    # Each client logs that its connection is lost.
    logging.getLogger("vortexd.client").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        source.mkdir()
        write(source, 0)
        trio.run(_run, source, arguments.clients)


async def _run(source: Path, count: int) -> None:
    server = await _started(source, 0)
    try:
        async with trio.open_nursery() as clients:
            began, leave = time.monotonic(), trio.Event()
            configs = [await clients.start(_client, server.port, leave) for _ in range(count)]
            size = Counting.received / count
            print(
                f"{count} clients, one after the other, in {time.monotonic() - began:.1f} s, {size:.0f} B received by each"
            )
            server = await _recover("nothing changed", source, server, configs)
            server = await _recover("changed meanwhile", source, server, configs, change=1)
            began = time.monotonic()
            leave.set()
        print(f"they leave in {time.monotonic() - began:.1f} s")
    finally:
        server.stop(signal.SIGKILL)


async def _recover(name: str, source: Path, server: Server, configs: list[Config], change: int | None = None) -> Server:
    """Kill the server, perhaps change the configuration, start another one, and wait for all clients."""
    # After more than four seconds, a connection resets the back-off. In practice nearly all connections are that old.
    await trio.sleep(5)
    before = configs[0].version
    Counting.reset()
    synced: list[float] = []
    async with trio.open_nursery() as nursery:
        for config in configs:
            nursery.start_soon(_wait, config, synced)
        killed = time.monotonic()
        server.stop(signal.SIGKILL)
        if change is not None:
            await trio.to_thread.run_sync(write, source, change)
        server = await _started(source, server.port)
        back = time.monotonic()
    versions = {config.version for config in configs}
    assert len(versions) == 1
    assert (before in versions) == (change is None)
    print(f"{name}: server back after {back - killed:.2f} s")
    for since, start in (("the kill", killed), ("it was back", back)):
        median, p99, last = percentiles([each - start for each in synced])
        print(f"  in sync after {since}: median {median:.2f} s, p99 {p99:.2f} s, last {last:.2f} s")
    count = len(configs)
    print(f"  by each: {Counting.received / count:.0f} B received, {Counting.sent / count:.0f} B sent", end=", ")
    print(f"{Counting.opened / count:.2f} connections opened")
    return server


async def _wait(config: Config, synced: list[float]) -> None:
    was_away = False
    async for state in config.states():
        was_away = was_away or isinstance(state, Stale)
        if was_away and state == Connected():
            synced.append(time.monotonic())
            return


async def _client(port: int, leave: trio.Event, *, task_status: trio.TaskStatus[Config]) -> None:
    async with watch(f"ws://127.0.0.1:{port}", "billing", "prod", connect=_connect) as config:
        task_status.started(config)
        await leave.wait()


async def _connect(address: Address) -> trio.abc.Stream:
    assert address.port
    return Counting(await trio.open_tcp_stream(address.host, address.port))


async def _started(source: Path, port: int) -> Server:
    settings = f'[server]\nbind = ["127.0.0.1:{port}"]\n\n[[source]]\nkind = "files"\npath = "{source}"\n'
    return await trio.to_thread.run_sync(lambda: Server(source, settings=settings))
