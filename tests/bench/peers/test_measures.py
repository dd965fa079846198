import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..compiler import build
from . import measures
from .base import Conversation, Peer, Running, Unavailable
from .floor import Floor
from .measures import Clients, Sizes, idle, visit

SIZES = Sizes(idle=120, few=5, many=8, beating=10, heartbeat=0.02)

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return build(Path(__file__).with_name("clients.c"), tmp_path)


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    peer = Floor()
    peer.install(tmp_path)
    return peer


@needs_compiler
def test_a_visit_measures_connections_messages_and_clients_that_come_back(
    program: Path, floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "_PAUSE", 0.0)
    monkeypatch.setattr(measures, "_SETTLING", 0.0)

    sample = visit(floor, program, SIZES)

    assert 0 == sample.refused
    assert min(sample.handshakes, sample.handshake_cpu, sample.back) > 0
    assert 0 <= sample.few_spread < sample.few_whole
    assert 0 <= sample.many_spread < sample.many_whole
    assert min(sample.few_cpu, sample.many_cpu) > 0


@needs_compiler
def test_all_clients_receive_a_message_of_the_expected_size(program: Path, floor: Floor, tmp_path: Path) -> None:
    directory = tmp_path / "server"
    directory.mkdir()
    with floor.start(directory, 3_600.0) as server, Clients(program, server.port, floor.conversation) as clients:
        clients.open(20)
        clients.expect("news")
        server.publish("news" + "x" * 292)
        first, last, size = clients.reached()

        assert measures.MESSAGE_BYTES == size
        assert 0 < first <= last
        assert 0 == clients.pongs()


@needs_compiler
def test_clients_that_fail_end_with_the_reason(program: Path) -> None:
    with Clients(program, 1, Conversation()) as clients, pytest.raises(Unavailable, match="the clients ended: command"):
        clients.open(20_001)


class Silent(Peer):
    """A server that FakeIdle stands for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def install(self, cache: Path) -> str:
        return "1.0"

    def start(self, directory: Path, heartbeat: float) -> Running:
        raise NotImplementedError


class FakeIdle:
    """Idle clients whose server takes 1 ms and pings all clients in each half of an interval, unless its name says otherwise."""

    def __init__(self, peer: Peer, program: Path, sizes: Sizes, stack: ExitStack) -> None:
        if peer.name == "absent":
            raise Unavailable("it didn't start")
        self.peer = peer
        self.readings: list[float] = []
        self.pongs: list[float] = []

    def read(self) -> None:
        if self.peer.name == "broken" and self.readings:
            raise OSError("it ended")
        self.readings.append(0.001 * len(self.readings))
        self.pongs.append(0.0 if self.peer.name == "without" else 5.0 * len(self.pongs))


def test_idle_servers_have_a_share_in_each_window_and_the_others_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "_Idle", FakeIdle)
    failed: dict[str, str] = {}

    def fail(peer: Peer, error: Exception) -> None:
        failed[peer.name] = str(error)

    peers = [Silent(each) for each in ("absent", "broken", "without", "right")]
    shares = idle(peers, Path("program"), SIZES, 2, fail)

    assert {"right": pytest.approx([0.1, 0.1])} == shares
    assert failed == {
        "absent": "it didn't start",
        "broken": "it ended",
        "without": "its clients got 0.00 heartbeats in each interval",
    }


def test_the_most_clients_fit_below_the_open_files_of_a_service() -> None:
    assert 10_000 == Sizes().most()
