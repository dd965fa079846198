"""Each promise, with the fault that could break it: the real process, recording clients, and one history at the end.

VORTEXD_LONG=1 runs the long forms; VORTEXD_SOAK_SECONDS shortens the soak of an hour. Random tests print their seed, and take one from
VORTEXD_SEED.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.pipeline_runs.history import Reads

from ..repository import Repository
from .fleet import Fleet, save, wait_until
from .process import Server

pytestmark = pytest.mark.slow

IS_LONG = bool(os.environ.get("VORTEXD_LONG"))
SEED = int(os.environ.get("VORTEXD_SEED") or random.SystemRandom().randrange(2**32))
KEY = "orders:dev:main"
FILLER = "x" * 200
SETTINGS = """
[server]
bind = ["{host}:{port}"]
drain_timeout = 5.0
[realtime]
heartbeat_interval = {heartbeat}
heartbeat_timeout = {heartbeat}
write_timeout = 1.0
{realtime}
[[source]]
path = "{source}"
quiet = 0.01
scan_interval = 0.2
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    save(directory / "orders.json", json.dumps(document(0)))
    return directory


def document(number: int) -> dict[str, Any]:
    """Two halves that belong together: a client that sees different halves has seen a mixture."""
    return {"filler": FILLER, "first": number, "second": number}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def settings(source: Path, port: int = 0, host: str = "127.0.0.1", heartbeat: float = 30.0, realtime: str = "") -> str:
    return SETTINGS.format(source=source, port=port, host=host, heartbeat=heartbeat, realtime=realtime)


_started: list[Server] = []


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Whatever a test started is gone when it ends, however it ends."""
    yield
    for server in _started:
        server.__exit__()
    _started.clear()


async def start(source: Path, text: str, **options: Any) -> Server:
    server = await trio.to_thread.run_sync(partial(Server, source, settings=text, **options))
    _started.append(server)
    return server


async def kill(server: Server) -> None:
    await trio.to_thread.run_sync(server.stop, signal.SIGKILL)


@asynccontextmanager
async def following(port: int, count: int, host: str = "127.0.0.1") -> AsyncIterator[Fleet]:
    """A fleet whose history starts with the published document 0. At the end, its history is compared with the promises."""
    async with trio.open_nursery() as nursery:
        fleet = Fleet(nursery, port, host)
        fleet.publishing({KEY: document(0)})
        fleet.follow(KEY, count)
        await fleet.wait_all({KEY: document(0)})
        yield fleet
        await fleet.wait_answered()
        fleet.stop()
        nursery.cancel_scope.cancel()


def get(port: int, path: str = "/orders/dev", host: str = "127.0.0.1") -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


async def served(port: int) -> Any:
    """Return the application's configuration over HTTP, from its first property source."""
    _, body = await trio.to_thread.run_sync(get, port)
    return json.loads(body)["propertySources"][0]["source"]


def metric(port: int, name: str) -> float:
    lines = get(port, "/metrics")[1].decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)


def is_at(port: int, name: str, value: float) -> bool:
    """Return whether a metric has this value."""
    return metric(port, name) == value


def ends_well(server: Server, *, allowed: str = "nothing") -> None:
    """Check that the process stops in order, has no more descriptors open than at the start, and logs no error."""
    assert 0 == server.stop()
    lines = [line for line in server.output().splitlines() if '"level": "error"' in line or "Traceback" in line]
    assert not [line for line in lines if allowed not in line]


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


async def publish(fleet: Fleet, source: Path, number: int) -> None:
    fleet.publishing({KEY: document(number)})
    await trio.to_thread.run_sync(save, source / "orders.json", json.dumps(document(number)))


async def test_R1_kill_9_at_any_moment_shows_nobody_a_mixture(source: Path) -> None:
    chosen = random.Random(SEED)
    print(f"VORTEXD_SEED={SEED}")
    port = free_port()
    server = await start(source, settings(source, port))
    async with following(port, 5) as fleet:
        for number in range(1, 201 if IS_LONG else 13):
            await publish(fleet, source, number)
            await trio.sleep(chosen.uniform(0, 0.2))
            await kill(server)
            server = await start(source, settings(source, port))
            await fleet.wait_all({KEY: document(number)})
        assert document(number) == await served(port)
        assert all(follower.connections > number / 2 for follower in fleet.followers)
    ends_well(server)


def be_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def lead_out(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


BROKEN: dict[str, Callable[[Path], object]] = {
    "nothing at all": lambda path: path.write_bytes(b""),
    "invalid UTF-8": lambda path: path.write_bytes(b'{"first": "\xff"}'),
    "an unknown constant": lambda path: path.write_bytes(b'{"first": NaN}'),
    "a duplicate": lambda path: path.write_bytes(b'{"first": 1, "first": 2}'),
    "a directory": be_a_directory,
    "a link that leads out": lead_out,
    "a depth bomb": lambda path: path.write_bytes(b"[" * 100_000),
}


async def test_R2_a_broken_source_never_replaces_what_is_served(source: Path) -> None:
    file = source / "orders.json"
    server = await start(source, settings(source))
    whole = json.dumps(document(7))
    async with following(server.port, 3) as fleet:
        # Write every incomplete state in place, without a rename, as an editor or a full disk leaves it.
        for size in range(0, len(whole), 1 if IS_LONG else 17):
            await trio.to_thread.run_sync(file.write_text, whole[:size])
            await trio.sleep(0.02)
        for name, damage in BROKEN.items():
            await trio.to_thread.run_sync(save, file, whole[:-1])
            await trio.to_thread.run_sync(damage, file)
            if name == "a directory":
                # A removed file is a valid state. The server can't know that a directory in its place is a mistake.
                file.rmdir()
                await trio.to_thread.run_sync(save, file, whole[:-1])
            await wait_until(lambda: metric(server.port, "vortexd_broken_files ") == 1)
            assert document(0) == await served(server.port), name
        assert all(follower.document == document(0) for follower in fleet.followers)
        assert "orders.json" in server.output()
        await publish(fleet, source, 7)
        await fleet.wait_all({KEY: document(7)})
        assert 0 == metric(server.port, "vortexd_broken_files ")
    ends_well(server)


def _with_a_full_log(command: list[str]) -> "subprocess.Popen[bytes]":
    with open("/dev/full", "w") as full:
        return subprocess.Popen(command, stdout=full, stderr=full)


async def test_R5_a_full_disk_under_the_log_stops_nothing(source: Path) -> None:
    port = free_port()
    file = source.parent / "vortexd.toml"
    file.write_text(settings(source, port))
    command = [*Server.command(), "--config", str(file), "--log-format", "json"]
    process = await trio.to_thread.run_sync(partial(_with_a_full_log, command))
    try:
        with trio.fail_after(20):
            while True:
                try:
                    await served(port)
                    break
                except (urllib.error.URLError, KeyError):
                    await trio.sleep(0.02)
        async with following(port, 3) as fleet:
            await publish(fleet, source, 1)
            await fleet.wait_all({KEY: document(1)})
        process.send_signal(signal.SIGTERM)
        assert 0 == await trio.to_thread.run_sync(process.wait)
    finally:
        process.kill()
        process.wait()


_MIB = 1_048_576
_REPOSITORY = """
[server]
bind = ["127.0.0.1:0"]
state_directory = "{state}"
[[source]]
kind = "git"
uri = "{uri}"
schemes = ["file"]
refresh_interval = 0.2
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted")
    yield place
    for server in _started:
        server.__exit__()
    subprocess.run(["umount", str(place)], check=True)


def halves(place: Path, seconds: float) -> list[Path]:
    """What is half-written, and nobody has written to for so long."""
    return [path for path in place.rglob("tmp_*") if path.stat().st_mtime < time.time() - seconds]


async def test_R5_a_full_disk_under_the_mirror_stops_nothing_and_is_noticed_when_it_has_room(
    tmp_path: Path, small_disk: Path
) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"orders.json": json.dumps(document(0))})
    server = await start(tmp_path / "x", _REPOSITORY.format(state=small_disk, uri=repository.uri))
    fillers = [trio.Path(small_disk / f"filler{size}") for size in (14, 6)]
    for path, size in zip(fillers, (14, 6), strict=True):
        await path.write_bytes(b"x" * size * _MIB)
    async with following(server.port, 3) as fleet:
        fleet.publishing({KEY: document(1)})
        big = random.Random(SEED).randbytes(8 * _MIB)
        await trio.to_thread.run_sync(
            partial(repository.commit, {"orders.json": json.dumps(document(1)), "big.bin": big})
        )
        await wait_until(lambda: "source unreadable" in server.output())
        # Some fetches fail, with longer and longer waits between them.
        await trio.sleep(5)
        assert document(0) == await served(server.port)
        assert 200 == get(server.port, "/ready")[0]
        [report] = json.loads(get(server.port, "/status")[1])["sources"]
        assert "free some, or move server.state_directory" in report["last_error"]
        assert [] == halves(small_disk, 3)

        # Long enough to publish the push, if the earlier failures no longer delay a fetch.
        await fillers[1].unlink()
        began = time.monotonic()
        await fleet.wait_all({KEY: document(1)})
        assert time.monotonic() - began < 10
        assert "mirror rebuilt" not in server.output()
    ends_well(server)


async def test_R6_a_directory_that_vanishes_leaves_what_is_served_and_is_found_again(source: Path) -> None:
    server = await start(source, settings(source))
    async with following(server.port, 3) as fleet:
        aside = source.with_name("aside")
        await trio.Path(source).rename(aside)
        await wait_until(lambda: "source unreadable" in server.output())
        assert document(0) == await served(server.port)
        assert 200 == get(server.port, "/ready")[0]
        fleet.publishing({KEY: document(1)})
        save(aside / "orders.json", json.dumps(document(1)))
        aside.rename(source)
        await fleet.wait_all({KEY: document(1)})
        assert "source readable again" in server.output()
    ends_well(server)


def faketime() -> Path:
    """Return the library; install it where that is possible."""
    found = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "faketime"], capture_output=True, check=False, timeout=120)
        found = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if found is None:
        pytest.skip("there is no libfaketime, and it can't be installed")
    return found


@pytest.mark.parametrize("jump", ["+365d", "-1h"])
async def test_R7_a_jump_of_the_wall_clock_loses_nobody(source: Path, jump: str) -> None:
    clock = source.parent / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(faketime()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    server = await start(source, settings(source, heartbeat=0.5), environment=environment)
    async with following(server.port, 5) as fleet:
        save(clock, jump)
        await trio.sleep(1.5)
        await publish(fleet, source, 1)
        await fleet.wait_all({KEY: document(1)})
        assert {1} == {follower.connections for follower in fleet.followers}
    ends_well(server)


async def test_R8_a_pause_of_the_process_loses_nobody_who_is_alive(source: Path) -> None:
    server = await start(source, settings(source, heartbeat=0.4))
    async with following(server.port, 20) as fleet:
        for _ in range(60 if IS_LONG else 3):
            await trio.sleep(0.3)
            server.process.send_signal(signal.SIGSTOP)
            await trio.sleep(1.2)
            server.process.send_signal(signal.SIGCONT)
            await trio.sleep(0.5)
        await publish(fleet, source, 1)
        await fleet.wait_all({KEY: document(1)})
        assert {1} == {follower.connections for follower in fleet.followers}
    ends_well(server)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def namespace() -> Any:
    """Make a network namespace that is reached over a pair of interfaces."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "iproute2"], capture_output=True, check=False, timeout=120)
    name = f"vortexd{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("link", "add", "vx0", "type", "veth", "peer", "name", "vx1", "netns", name)
        ip("addr", "add", "10.99.7.1/24", "dev", "vx0")
        ip("link", "set", "vx0", "up")
        ip("-n", name, "addr", "add", "10.99.7.2/24", "dev", "vx1")
        ip("-n", name, "link", "set", "vx1", "up")
    except (OSError, subprocess.CalledProcessError) as error:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        pytest.skip(f"network namespaces can't be made here: {error}")
    yield name
    ip("link", "del", "vx0")
    ip("netns", "del", name)


async def test_R9_a_silent_partition_is_noticed_and_healed(source: Path, namespace: str) -> None:
    text = settings(source, host="10.99.7.2", heartbeat=0.5).replace("[[source]]", "[auth]\nopen = true\n[[source]]")
    server = await start(source, text, prefix=["ip", "netns", "exec", namespace])
    async with following(server.port, 5, "10.99.7.2") as fleet:
        ip("link", "set", "vx0", "down")
        await publish(fleet, source, 1)
        await trio.sleep(2)
        ip("link", "set", "vx0", "up")
        # These clients have no heartbeat of their own. When the network is back, they receive the server's close frame.
        await fleet.wait_all({KEY: document(1)}, 40)
        await publish(fleet, source, 2)
        await fleet.wait_all({KEY: document(2)}, 40)
    ends_well(server)


async def test_R10_who_does_not_read_hurts_himself_alone(source: Path) -> None:
    limits = "queue_bytes = 65_536"
    server = await start(source, settings(source, realtime=limits))
    async with following(server.port, 10) as fleet:
        deaf = [deaf_client(server.port) for _ in range(3)]
        before = server.private_bytes()
        heavy = "y" * 100_000
        for number in range(1, 41):
            changed = document(number) | {"heavy": f"{number}{heavy}"}
            fleet.publishing({KEY: changed})
            await trio.to_thread.run_sync(save, source / "orders.json", json.dumps(changed))
            await fleet.wait_all({KEY: changed})
        await wait_until(lambda: metric(server.port, 'vortexd_connections_closed_total{reason="slow"}') == 3)
        # The document's history and the kept frames have limits of their own: 1 MiB, and 64 MiB in total.
        assert server.private_bytes() - before < 40_000_000
        assert {1} == {follower.connections for follower in fleet.followers}
        for each in deaf:
            each.close()
    ends_well(server)


def deaf_client(port: int) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    client.sendall(
        b"GET /ws/orders/dev HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert client.recv(12).startswith(b"HTTP/1.1 101")
    return client


async def test_R11_a_herd_that_comes_back_at_once_is_served(source: Path) -> None:
    port = free_port()
    server = await start(source, settings(source, port))
    count = 300
    async with following(port, count) as fleet:
        await kill(server)
        server = await start(source, settings(source, port))
        await publish(fleet, source, 1)
        await fleet.wait_all({KEY: document(1)})
        with trio.fail_after(10):
            await wait_until(lambda: all(follower.connections == 2 for follower in fleet.followers))
        assert 200 == (await trio.to_thread.run_sync(get, port))[0]
    ends_well(server)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3, 0.4, 0.6])
def test_R13_a_signal_while_it_starts_ends_it(source: Path, delay: float) -> None:
    file = source.parent / "vortexd.toml"
    file.write_text(settings(source))
    large = {f"key{number}": {"a": FILLER, "b": [number] * 10} for number in range(10_000)}
    (source / "large.json").write_text(json.dumps(large))
    with (source.parent / "log").open("w") as log:
        process = subprocess.Popen([*Server.command(), "--config", str(file)], stdout=log, stderr=log)
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)

    assert process.wait(30) in (0, -signal.SIGTERM)
    assert "Traceback" not in (source.parent / "log").read_text()


async def test_R14_a_reload_that_is_wrong_changes_nothing_and_a_storm_of_them_loses_nobody(source: Path) -> None:
    port = free_port()
    right = settings(source, port)
    server = await start(source, right)
    file = source.parent / "vortexd.toml"
    async with following(port, 10) as fleet:
        wrong = ["[server", f"{right}\n[nonsense]\n", right.replace(str(port), "x"), right[: len(right) // 2] + '"']
        wrong.append(f'{right}\n[auth]\ntokens = ["nowhere.toml"]\n')
        for number, text in enumerate(wrong, 1):
            file.write_text(text)
            server.process.send_signal(signal.SIGHUP)
            await wait_until(partial(is_at, port, 'vortexd_reloads_total{outcome="refused"}', number))
            await publish(fleet, source, number)
            await fleet.wait_all({KEY: document(number)})
        file.write_text(right)
        for _ in range(1_000):
            server.process.send_signal(signal.SIGHUP)
            await trio.sleep(0.0005)
        await publish(fleet, source, 100)
        await fleet.wait_all({KEY: document(100)})
        assert 1 <= metric(port, 'vortexd_reloads_total{outcome="done"}') <= 20
        assert {1} == {follower.connections for follower in fleet.followers}
    ends_well(server, allowed="reload refused")


async def test_R15_without_free_descriptors_files_and_health_go_on(source: Path) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("there is no prlimit")
    server = await start(source, settings(source), prefix=["prlimit", "--nofile=128"])
    async with following(server.port, 5) as fleet:
        before = descriptors(server)
        idle = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(200)]
        await publish(fleet, source, 1)
        await fleet.wait_all({KEY: document(1)})
        assert {1} == {follower.connections for follower in fleet.followers}
        for each in idle:
            each.close()
        await wait_until(lambda: descriptors(server) <= before)
        assert document(1) == await served(server.port)
    ends_well(server)


async def test_R16_bombs_within_a_limit_of_memory_end_nothing(source: Path) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("there is no prlimit")
    server = await start(source, settings(source), prefix=["prlimit", "--as=1500000000"])
    async with following(server.port, 3) as fleet:
        levels = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10))
        for name, content in {
            "aliases.yml": "a0: &a0 [x, x, x]\n" + levels,
            "large.yml": "".join(f"key{number}: {FILLER}\n" for number in range(45_000)),
            "deep.yml": "[" * 100_000,
        }.items():
            save(source / name, content)
        await wait_until(lambda: metric(server.port, "vortexd_broken_files ") >= 2)
        await publish(fleet, source, 1)
        await fleet.wait_all({KEY: document(1)})
    ends_well(server)


async def test_R20_order_and_identity_hold_while_subscribers_come_and_go(source: Path) -> None:
    chosen = random.Random(SEED)
    print(f"VORTEXD_SEED={SEED}")
    server = await start(source, settings(source))
    reads: list[Reads] = []
    async with following(server.port, 20) as fleet:
        reads = [Reads(fleet.history.append, trio.current_time, f"reader {number}", KEY) for number in range(3)]
        for number in range(1, 1_001 if IS_LONG else 81):
            await publish(fleet, source, number)
            if chosen.random() < 0.3:
                chosen.choice(fleet.followers).hang_up()
            if chosen.random() < 0.3 and len(fleet.followers) < 50:
                fleet.follow(KEY)
            reader = chosen.choice(reads)
            reader.asked()
            reader.read(await trio.to_thread.run_sync(version_over_http, server.port))
            await trio.sleep(chosen.uniform(0, 0.05))
        await fleet.wait_all({KEY: document(number)})
        assert any(follower.connections > 1 for follower in fleet.followers)
    ends_well(server)


def version_over_http(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/orders/dev", timeout=10) as response:
        return str(response.headers["X-Vortex-Version"])


async def test_a_storm_of_saves_is_a_handful_of_publications(source: Path) -> None:
    text = settings(source).replace("quiet = 0.01", "quiet = 0.1")
    server = await start(source, text)
    async with following(server.port, 20) as fleet:
        before = metric(server.port, "vortexd_publications_total")
        fleet.publisher.publishing({KEY: document(0)})
        began = time.monotonic()
        for number in range(1, 1_001):
            fleet.publishing({KEY: document(number)})
            save(source / "orders.json", json.dumps(document(number)))
            if number % 20 == 0:
                await trio.sleep(max(began + number / 1_000 - time.monotonic(), 0))
        await fleet.wait_all({KEY: document(1_000)})
        assert metric(server.port, "vortexd_publications_total") - before <= 8
    ends_well(server)


async def test_half_a_file_is_served_to_nobody_and_holds_no_other_up(source: Path) -> None:
    """A program truncates a file and writes it slowly. Half of it is a valid document."""
    file = source / "orders.yml"
    (source / "orders.json").unlink()
    save(file, f"filler: {FILLER}\nfirst: 0\nsecond: 0\n")
    server = await start(source, settings(source) + "hold = 600.0\n")
    async with following(server.port, 5) as fleet:
        with file.open("w") as opened:
            opened.write(f"filler: {FILLER}\nfirst: 1\n")
            opened.flush()
            before = metric(server.port, "vortexd_publications_total")
            save(source / "cart.yml", "size: 2\n")
            with trio.fail_after(10):
                await wait_until(lambda: metric(server.port, "vortexd_publications_total") > before)
            assert b'"size":2' in get(server.port, "/cart/dev")[1].replace(b" ", b"")
            assert document(0) == await served(server.port)
            fleet.publishing({KEY: document(1)})
            opened.write("second: 1\n")
        await fleet.wait_all({KEY: document(1)})
    assert "unfinished file published" not in server.output()
    ends_well(server)


async def test_R24_soak(source: Path) -> None:
    """Random clients, changes and faults: at the end, memory, descriptors and order are as at the start."""
    chosen = random.Random(SEED)
    print(f"VORTEXD_SEED={SEED}")
    server = await start(source, settings(source, heartbeat=1.0))
    number = 0
    slopes = []
    async with following(server.port, 30) as fleet:
        base = descriptors(server)
        began = time.monotonic()
        seconds = float(os.environ.get("VORTEXD_SOAK_SECONDS", 3_600 if IS_LONG else 15))
        while time.monotonic() - began < seconds:
            match chosen.randrange(6):
                case 0 | 1:
                    number += 1
                    await publish(fleet, source, number)
                case 2:
                    await trio.to_thread.run_sync(save, source / "orders.json", json.dumps(document(number))[:-1])
                    await trio.sleep(0.05)
                    await trio.to_thread.run_sync(save, source / "orders.json", json.dumps(document(number)))
                case 3:
                    victims = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(20)]
                    for each in victims:
                        each.sendall(
                            chosen.choice([b"GET", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
                        )
                        each.close()
                case 4:
                    deaf_client(server.port).close()
                case 5:
                    server.process.send_signal(signal.SIGHUP)
            await trio.sleep(chosen.uniform(0, 0.1))
            slopes.append(server.private_bytes())
        number += 1
        await publish(fleet, source, number)
        await fleet.wait_all({KEY: document(number)})
        with trio.fail_after(20):
            await wait_until(lambda: descriptors(server) <= base + 2)
        assert {1} == {follower.connections for follower in fleet.followers}
        # The second half must not cost as much as the first half, which also fills caches.
        middle = slopes[len(slopes) // 2]
        assert slopes[-1] - middle < 10_000_000
    ends_well(server)
