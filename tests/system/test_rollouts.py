"""Roll-outs with the real process: a fleet of named clients of which some reject, some are silent and some reconnect; kills; workers."""

import contextlib
import json
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

from ..repository import Repository
from .process import Server
from .test_broken import ask, git_settings
from .test_pins import sent

pytestmark = pytest.mark.slow

RULE = '\n[[rollout]]\napplications = ["shop"]\nsteps = [10, 50, 100]\nwithin = 20\n'


class Instance:
    """A named client: it keeps its connection, applies patches of one value, and says what a test wants."""

    def __init__(self, server: Server, name: str, say: Callable[[Any], str | None], application: str = "shop") -> None:
        self._server = server
        self._application = application
        self.name = name
        self._say = say
        self.value: Any = None
        self.values: list[Any] = []
        self.version: str | None = None
        self.scope = trio.CancelScope()

    def move_to(self, server: Server) -> None:
        """Connect to another process from now on."""
        self._server = server

    async def run(self) -> None:
        while True:
            with contextlib.suppress(ConnectionClosed, HandshakeError, OSError), trio.CancelScope() as self.scope:
                await self._connect()
            await trio.sleep(0.05)

    async def _connect(self) -> None:
        resume = f"&last_version={self.version}" if self.version else ""
        url = f"ws://127.0.0.1:{self._server.port}/ws/{self._application}/dev?label=main&instance={self.name}{resume}"
        async with open_websocket_url(url, connect_timeout=10, disconnect_timeout=1) as link:
            while True:
                message = json.loads(await link.get_message())
                if message["type"] == "config_snapshot":
                    self.value = message["config"]["a"]
                elif message["type"] == "config_change":
                    self.value = message["diff"][0]["value"]
                elif message["type"] == "ping":
                    await link.send_message(json.dumps({"type": "pong"}))
                    continue
                elif message["type"] != "in_sync":
                    continue
                if message["type"] != "in_sync":
                    self.values.append(self.value)
                self.version = message.get("new_version") or message["version"]
                if (status := self._say(self.value)) is not None:
                    ack = {"type": "ack", "app": self._application, "profile": "dev", "label": "main"}
                    error = {"error": f"{self.name} has no such pool"} if status == "rejected" else {}
                    await link.send_message(json.dumps({**ack, "version": self.version, "status": status, **error}))


class Fleet:
    """Named clients of one server."""

    def __init__(self, server: Server, count: int, say: Callable[[str, Any], str | None]) -> None:
        def saying(name: str) -> Callable[[Any], str | None]:
            return lambda value: say(name, value)

        names = [f"web-{number:03}" for number in range(count)]
        self.instances = [Instance(server, name, saying(name)) for name in names]

    @property
    def values(self) -> Counter[Any]:
        return Counter(each.value for each in self.instances)

    async def all_have(self, value: Any, seconds: float = 30) -> None:
        await until(lambda: self.values == {value: len(self.instances)}, seconds)


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    for _ in range(round(seconds / 0.02)):
        if condition():
            return
        await trio.sleep(0.02)
    assert condition()


def applied(_: str, __: Any) -> str:
    return "applied"


def events(server: Server, name: str) -> list[Any]:
    found = [json.loads(line) for line in server.output().splitlines() if line.startswith("{")]
    return [each for each in found if each["event"] == name]


def record(state: Path) -> dict[str, Any]:
    """The record on the disk."""
    file = state / "rollouts" / "rollouts.json"
    if not file.exists():
        return {}
    found: list[dict[str, Any]] = json.loads(file.read_bytes())["roll_outs"]
    return found[0] if found else {}


@contextlib.contextmanager
def serving(tmp_path: Path, repository: Repository, workers: int = 1, rule: str = RULE) -> Iterator[Server]:
    settings = git_settings(tmp_path / "state", repository).replace("[server]\n", f"[server]\nworkers = {workers}\n")
    with Server(tmp_path / "x", settings=settings + rule) as server:
        yield server


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_change_reaches_a_fleet_in_steps(tmp_path: Path, workers: int) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"shop.yml": "a: 1\n"})
    with serving(tmp_path, repository, workers) as server:
        fleet = Fleet(server, 60, applied)
        async with trio.open_nursery() as nursery:
            for each in fleet.instances:
                nursery.start_soon(each.run)
            await fleet.all_have(1)
            repository.commit({"shop.yml": "a: 2\n"})
            await fleet.all_have(2)
            await until(lambda: bool(events(server, "roll-out done")))
            # The other worker hears of the end a moment later.
            await until(lambda: {ask(server, "/main/shop-dev.json")[1]["a"] for _ in range(8)} == {2})
            nursery.cancel_scope.cancel()

        steps = [(each["step"], each["share"], each["named"]) for each in events(server, "roll-out step begun")]
        assert steps == [(1, 10, 60), (2, 50, 60), (3, 100, 60)]
        assert {tuple(each.values) for each in fleet.instances} == {(1, 2)}


@pytest.mark.parametrize("workers", [1, 2])
async def test_one_rejection_brings_all_back_and_unnamed_readers_never_see_it(tmp_path: Path, workers: int) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"shop.yml": "a: 1\n"})
    with serving(tmp_path, repository, workers) as server:
        fleet = Fleet(server, 300, lambda _, value: "rejected" if value == 2 else "applied")
        async with trio.open_nursery() as nursery:
            for each in fleet.instances:
                nursery.start_soon(each.run)
            await fleet.all_have(1)
            repository.commit({"shop.yml": "a: 2\n"})
            await until(lambda: bool(events(server, "roll-out halted")))
            await fleet.all_have(1)
            assert {ask(server, "/main/shop-dev.json")[1]["a"] for _ in range(5)} == {1}
            nursery.cancel_scope.cancel()

        tried = [each for each in fleet.instances if 2 in each.values]
        assert len(tried) == 30
        assert {tuple(each.values) for each in tried} == {(1, 2, 1)}
        [halted] = events(server, "roll-out halted")
        assert "no such pool" in halted["reason"]
        assert record(tmp_path / "state")["status"] == "halted"


async def test_silent_instances_halt_it_and_a_revert_makes_room_for_the_next_change(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"shop.yml": "a: 1\n"})
    with serving(tmp_path, repository, rule=RULE.replace("20", "2")) as server:
        fleet = Fleet(server, 40, lambda _, value: None if value == 2 else "applied")
        async with trio.open_nursery() as nursery:
            for each in fleet.instances:
                nursery.start_soon(each.run)
            await fleet.all_have(1)
            repository.commit({"shop.yml": "a: 2\n"})
            await until(lambda: bool(events(server, "roll-out halted")))
            await fleet.all_have(1)
            repository.commit({"shop.yml": "a: 1\n"})
            await until(lambda: record(tmp_path / "state").get("status") == "done")
            repository.commit({"shop.yml": "a: 3\n"})
            await fleet.all_have(3)
            nursery.cancel_scope.cancel()

        assert "silent: web-" in events(server, "roll-out halted")[0]["reason"]
        assert {tuple(each.values) for each in fleet.instances} == {(1, 3), (1, 2, 1, 3)}


async def test_instances_that_reconnect_keep_their_version(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"shop.yml": "a: 1\n"})
    with serving(tmp_path, repository) as server:
        may_apply = trio.Event()

        def say(name: str, value: Any) -> str | None:
            return "applied" if value == 1 or may_apply.is_set() else None

        fleet = Fleet(server, 60, say)
        async with trio.open_nursery() as nursery:
            for each in fleet.instances:
                nursery.start_soon(each.run)
            await fleet.all_have(1)
            repository.commit({"shop.yml": "a: 2\n"})
            await until(lambda: fleet.values == {1: 54, 2: 6})
            for each in fleet.instances:
                each.scope.cancel()
            await trio.sleep(1)
            assert fleet.values == {1: 54, 2: 6}
            may_apply.set()
            for each in fleet.instances:
                each.scope.cancel()
            await fleet.all_have(2)
            nursery.cancel_scope.cancel()

        assert {tuple(each.values) for each in fleet.instances} == {(1, 2)}


# trio-websocket leaves the socket of a connection that is refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("moment", ["remembered", "roll-out begun", "step 1", "step 2", "roll-out halted"])
async def test_a_kill_at_any_moment_loses_nothing_and_gives_nobody_a_version_too_early(
    tmp_path: Path, workers: int, moment: str
) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"shop.yml": "a: 1\n"})
    is_bad = moment == "roll-out halted"
    held = trio.Event()

    def say(_: str, value: Any) -> str | None:
        if value == 1 or held.is_set():
            return "rejected" if is_bad and value == 2 else "applied"
        share = fleet.values[2]
        return "rejected" if is_bad else "applied" if moment == "step 2" and share <= 4 else None

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path, repository, workers))
        fleet = Fleet(server, 40, say)
        async with trio.open_nursery() as nursery:
            for each in fleet.instances:
                nursery.start_soon(each.run)
            await fleet.all_have(1)
            if moment == "remembered":
                await until(lambda: record(tmp_path / "state").get("status") == "done")
                server.process.kill()
                server.process.wait(10)
                repository.commit({"shop.yml": "a: 2\n"})
            else:
                repository.commit({"shop.yml": "a: 2\n"})
                shares = {"step 1": 4, "step 2": 20}
                await until(
                    lambda: fleet.values[2] >= shares[moment] if moment in shares else bool(events(server, moment))
                )
                server.process.kill()
                server.process.wait(10)
            second = stack.enter_context(serving(tmp_path, repository, workers))
            for each in fleet.instances:
                each.move_to(second)
            await trio.sleep(1)
            most = {"remembered": 4, "roll-out begun": 4, "step 1": 4, "step 2": 20, "roll-out halted": 0}[moment]
            assert fleet.values[2] <= most
            held.set()
            for each in fleet.instances:
                each.scope.cancel()
            await fleet.all_have(1 if is_bad else 2)
            nursery.cancel_scope.cancel()

        expected = {(1,), (1, 2, 1)} if is_bad else {(1, 2)}
        assert {tuple(each.values) for each in fleet.instances} <= expected


async def test_a_trailer_lets_a_change_go_out_in_steps_without_any_setting(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"shop.yml": "a: 1\n"})
    with serving(tmp_path, repository, rule="") as server:
        fleet = Fleet(server, 20, lambda _, value: "rejected" if value == 3 else "applied")
        async with trio.open_nursery() as nursery:
            for each in fleet.instances:
                nursery.start_soon(each.run)
            await fleet.all_have(1)
            repository.commit({"shop.yml": "a: 2\n"})
            await fleet.all_have(2)
            assert events(server, "roll-out begun") == []
            repository.commit({"shop.yml": "a: 3\n"}, message="Try three\n\nVortexd-Rollout: 10,100")
            await until(lambda: bool(events(server, "roll-out halted")))
            await fleet.all_have(2)
            nursery.cancel_scope.cancel()

        [begun] = events(server, "roll-out begun")
        assert begun["steps"] == [10, 100]
        assert sum(3 in each.values for each in fleet.instances) == 2


async def test_people_resume_abort_and_promote_and_all_surfaces_agree(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"shop.yml": "a: 1\n"})
    with serving(tmp_path, repository) as server:
        fleet = Fleet(server, 20, lambda _, value: "rejected" if value == 2 else "applied")
        async with trio.open_nursery() as nursery:
            for each in fleet.instances:
                nursery.start_soon(each.run)
            await fleet.all_have(1)
            repository.commit({"shop.yml": "a: 2\n"})
            await until(lambda: bool(events(server, "roll-out halted")))
            shown = ask(server, "/api/v1/rollouts")[1]["rollouts"]
            status = ask(server, "/status")[1]["rollouts"]
            assert [(each["status"], each["application"]) for each in shown] == [("halted", "shop")]
            assert [(each["status"], each["reason"]) for each in status] == [("halted", shown[0]["reason"])]
            assert 'vortexd_rollouts{status="halted"} 1' in ask_text(server, "/metrics")
            assert (1, True) == await waited(server)
            await fleet.all_have(1)
            stable, target = shown[0]["stable"], shown[0]["target"]
            [key] = ask(server, "/api/v1/fleet")[1]["keys"]
            assert (stable, target, "halted") == (key["version"], key["target"], key["rollout"])
            assert (0, False) == await waited(server, "--version", stable)
            wrong = act(server, "abort", target="0" * 16)
            assert wrong[0] == 409
            assert act(server, "resume")[0] == 200
            await until(lambda: len(events(server, "roll-out halted")) == 2)
            assert act(server, "abort")[0] == 200
            assert act(server, "resume")[0] == 409
            await fleet.all_have(1)
            assert act(server, "promote")[0] == 200
            await fleet.all_have(2)
            [key] = ask(server, "/api/v1/fleet")[1]["keys"]
            assert target == key["version"]
            assert "rollout" not in key
            assert act(server, "abort")[0] in (404, 409)
            nursery.cancel_scope.cancel()

        assert ask(server, "/main/shop-dev.json")[1]["a"] == 2
        acts = [(each["act"], each["outcome"]) for each in ask(server, "/api/v1/audit")[1]["entries"]]
        assert {("rollout abort", "done"), ("rollout abort", "refused"), ("rollout halt", "done")} <= set(acts)
        assert {("rollout resume", "done"), ("rollout promote", "done")} <= set(acts)


async def waited(server: Server, *more: str) -> tuple[int, bool]:
    """Run `vortexctl wait`. Return its status, and whether it says that the roll-out is halted."""
    key = ["--app", "shop", "--profile", "dev", "--server", f"http://127.0.0.1:{server.port}", "--timeout", "20s"]
    command = [sys.executable, "-m", "vortexd.ctl", "wait", *key, *more]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    return done.returncode, b"is halted" in done.stderr


def act(server: Server, name: str, **more: Any) -> tuple[int, Any]:
    key = {"application": "shop", "profile": "dev", "label": "main"}
    return sent(server, "/api/v1/rollouts", "POST", json.dumps({**key, "act": name, "reason": "why", **more}).encode())


def ask_text(server: Server, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
        found: str = answer.read().decode()
        return found
