"""The daemon: how soon threads give up the interpreter lock, the garbage collector, and the order of the shutdown."""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from vortexd import daemon
from vortexd.aio.collector import Collector
from vortexd.auth.credential_files import load_named_files
from vortexd.cluster.node import Node
from vortexd.composition import Parts, Process, build
from vortexd.core.model import Key
from vortexd.daemon import Daemon
from vortexd.fleet import Fleet, Instance, Record
from vortexd.fleet.records import encode, parse
from vortexd.http.bridge import Bridge
from vortexd.http.fleet_arrivals import FleetArrivals
from vortexd.http.fleet_departures import FleetDepartures
from vortexd.http.watch import LateWatchers
from vortexd.net.inherited import Inherited
from vortexd.net.listener import Listener
from vortexd.pins.late_keeper import LatePinKeeper
from vortexd.pipeline.publisher import Publisher
from vortexd.process.late_signals import LateSignals
from vortexd.process.peers import Peers
from vortexd.process.systemd import Notifier
from vortexd.realtime.server import WebSocketServer
from vortexd.settings.cluster import ClusterSettings
from vortexd.settings.root import Settings
from vortexd.settings.server import ServerSettings
from vortexd.source.files.settings import FilesSettings
from vortexd.source.published.stand_in import StandIn
from vortexd.state.acknowledgements import Acknowledgements


@pytest.fixture(autouse=True)
def switch_interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def test_H02_threads_that_compute_hand_the_interpreter_on_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []
    monkeypatch.setattr(trio, "run", lambda *_: found.append(sys.getswitchinterval()))
    daemon.run(Settings(), lambda _: None)

    assert found[0] <= 0.001


@pytest.fixture
def signals() -> Iterator[tuple[signal.Signals, ...]]:
    """Those that a daemon takes over; they are this process's again at the end."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    former = [signal.getsignal(number) for number in numbers]
    yield numbers
    for number, handler in zip(numbers, former, strict=True):
        signal.signal(number, handler)


async def run_until_ready(
    directory: Path,
    signals: tuple[signal.Signals, ...],
    cluster: ClusterSettings | None = None,
    memory: Path | None = None,
) -> Parts:
    """Run a daemon until it is ready, and stop it. Returns its parts."""
    settings = Settings(
        server=ServerSettings(bind=("127.0.0.1:0",)),
        source=(FilesSettings(path=str(directory)),),
        cluster=cluster or ClusterSettings(),
    )
    files = load_named_files(settings, [], {})
    ready = trio.Event()
    process = Process(Inherited(), Notifier({}, os.getpid()), Peers(), memory=memory)
    with LateSignals(*signals) as late:
        async with trio.open_nursery() as nursery:
            parts = build(settings, files, lambda: settings, process)
            nursery.start_soon(Daemon(parts).run, lambda _: ready.set(), late)
            with trio.fail_after(20):
                await ready.wait()
                os.kill(os.getpid(), signal.SIGTERM)
    return parts


async def test_a_drain_closes_the_port_first_then_ends_requests_and_then_says_goodbye(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    done: list[str] = []
    for owner, name in ((Listener, "stop_accepting"), (Bridge, "drain"), (WebSocketServer, "drain")):
        monkeypatch.setattr(owner, name, noted(done, f"{owner.__name__}.{name}", getattr(owner, name)))
    monkeypatch.setattr(LateWatchers, "drain", lambda _: done.append("LateWatchers.drain"))
    await run_until_ready(tmp_path, signals)

    assert ["Listener.stop_accepting", "Bridge.drain", "LateWatchers.drain", "WebSocketServer.drain"] == done


async def test_a_node_of_a_cluster_runs_until_the_drain_is_over_and_says_when_it_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    done: list[str] = []

    async def run(_: Node) -> None:
        try:
            await trio.sleep_forever()
        finally:
            done.append("Node.run")

    async def ask(_: FleetDepartures) -> None:
        asking.append("FleetDepartures.run")

    asking: list[str] = []
    monkeypatch.setattr(Node, "run", run)
    monkeypatch.setattr(FleetDepartures, "run", ask)
    for owner, name in ((Node, "drain"), (WebSocketServer, "drain"), (Listener, "stop_accepting")):
        monkeypatch.setattr(owner, name, noted(done, f"{owner.__name__}.{name}", getattr(owner, name)))
    await run_until_ready(tmp_path, signals, ClusterSettings(name="shop", endpoints=("http://127.0.0.1:9",)))

    assert ["Node.drain", "Listener.stop_accepting", "WebSocketServer.drain", "Node.run"] == done
    assert ["FleetDepartures.run"] == asking


async def test_the_stand_in_of_a_node_that_publishes_publishes_at_this_node_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    publishing: list[object] = []

    async def run(_: object, publish: object) -> None:
        publishing.append(publish)

    async def watch(_: Node) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(StandIn, "run", run)
    monkeypatch.setattr(Node, "run", watch)
    settings = ClusterSettings(name="shop", endpoints=("http://127.0.0.1:9",), publish=True)
    parts = await run_until_ready(tmp_path, signals, settings)

    assert [parts.publish_here] == publishing
    assert parts.publish != parts.publish_here


@pytest.mark.parametrize("is_member", [False, True])
async def test_a_node_publishes_once_the_pins_of_its_cluster_are_known_and_another_server_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signals: tuple[signal.Signals, ...], is_member: bool
) -> None:
    done: list[str] = []

    async def watch(_: Node) -> None:
        await trio.sleep_forever()

    async def wait_known(_: LatePinKeeper) -> None:
        done.append("pins known")

    monkeypatch.setattr(Node, "run", watch)
    monkeypatch.setattr(LatePinKeeper, "wait_known", wait_known)
    monkeypatch.setattr(Publisher, "publish", noted(done, "publish", Publisher.publish))
    cluster = ClusterSettings(name="shop", endpoints=("http://127.0.0.1:9",)) if is_member else ClusterSettings()
    await run_until_ready(tmp_path, signals, cluster)

    assert (["pins known"] if is_member else []) + ["publish"] == done


async def test_acknowledgements_are_read_before_the_server_is_ready_and_written_when_all_connections_have_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    done: list[str] = []
    for owner, name in (
        (Fleet, "restore"),
        (Notifier, "ready"),
        (Listener, "wait_settled"),
        (Acknowledgements, "close"),
        (Acknowledgements, "_write"),
    ):
        monkeypatch.setattr(owner, name, noted(done, f"{owner.__name__}.{name}", getattr(owner, name)))
    (tmp_path / "state" / "fleet").mkdir(parents=True, mode=0o700)
    record = Record(Key("a", "b", "c"), "one", "id", None, time.time())
    (tmp_path / "state" / "fleet" / "worker-0.json").write_bytes(encode([record])[0])
    (tmp_path / "config").mkdir()
    parts = await run_until_ready(tmp_path / "config", signals, memory=tmp_path / "state" / "remembered")

    expected = ["Fleet.restore", "Notifier.ready", "Listener.wait_settled"]
    assert [*expected, "Acknowledgements.close", "Acknowledgements._write"] == done
    assert [Key("a", "b", "c")] == [*parts.stages.fleet.keys()]


async def test_a_second_signal_does_not_keep_acknowledgements_from_being_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    async def again(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.sleep_forever()

    async def run(parts: FleetArrivals) -> None:
        parts._fleet.join(Instance(Key("a", "b", "c"), "id", name="one"), time.time())
        await trio.sleep_forever()

    monkeypatch.setattr(WebSocketServer, "drain", again)
    monkeypatch.setattr(FleetArrivals, "run", run)
    (tmp_path / "config").mkdir()
    await run_until_ready(tmp_path / "config", signals, memory=tmp_path / "state" / "remembered")

    [record] = parse((tmp_path / "state" / "fleet" / "worker-0.json").read_bytes())
    assert "one" == record.name


def test_what_instances_have_acknowledged_and_the_audit_log_are_never_served(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Process] = []

    def process(*arguments: Any) -> Process:
        found.append(Process(*arguments))
        return found[-1]

    monkeypatch.setattr(daemon, "Process", process)
    monkeypatch.setattr(trio, "run", lambda _: None)
    for memory in (Path("/s/remembered"), None):
        daemon.run(Settings(), lambda _: None, memory=memory)

    state = ["remembered", "fleet", "audit", "accepted", "pins", "rollouts", "events"]
    assert [[f"/s/{each}" for each in state], []] == [each.own for each in found]
    assert [Path("/s/audit"), None] == [each.audit for each in found]
    assert [Path("/s/accepted"), None] == [each.accepted for each in found]
    assert [Path("/s/events"), None] == [each.events for each in found]


async def test_the_delay_of_the_loop_is_measured_without_a_task_that_wakes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    made: list[object] = []
    waits: list[float] = []

    class Measurement(trio.abc.Instrument):
        def __init__(self, late: object) -> None:
            made.append(late)

        def before_io_wait(self, timeout: float) -> None:
            waits.append(timeout)

    monkeypatch.setattr(daemon, "LoopLag", Measurement)
    parts = await run_until_ready(tmp_path, signals)

    assert [parts.metrics.loop_late] == made
    assert waits


async def test_the_collector_examines_frozen_objects_at_intervals_while_the_daemon_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    run: list[Collector] = []

    async def running(collector: Collector) -> None:
        run.append(collector)
        await trio.sleep_forever()

    monkeypatch.setattr(Collector, "run", running)
    parts = await run_until_ready(tmp_path, signals)

    assert [parts.stages.collector] == run


def noted(done: list[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        done.append(name)
        return function(*arguments)

    return call


def test_L09_the_collector_passes_over_what_lives_as_long_as_the_daemon(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[int] = []

    async def run(*_: object) -> None:
        found.append(gc.get_freeze_count())

    monkeypatch.setattr(Daemon, "run", run)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    try:
        daemon.run(Settings(source=(FilesSettings(path=str(tmp_path)),)), lambda _: None)
    finally:
        gc.unfreeze()

    assert found[0] > 10_000
