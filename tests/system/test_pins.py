"""Pins with the real process: several workers, a kill after the answer, a reload, an end by time, and a client that watches."""

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import open_websocket_url

from ..repository import Repository
from .process import Server
from .test_broken import ask, files_settings, git_settings, until

PIN = {"application": "shop", "profile": "dev", "label": "main", "to": "", "reason": "incident 7", "seconds": None}


def post(server: Server, **more: Any) -> tuple[int, Any]:
    body = json.dumps({**PIN, **more}).encode()
    return sent(server, "/api/v1/pins", "POST", body)


def lift(server: Server) -> int:
    return sent(server, "/api/v1/pins/shop/dev/main?reason=mended", "DELETE")[0]


def sent(server: Server, path: str, method: str, body: bytes | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def pins(server: Server) -> list[list[str]]:
    """The versions that each worker has pinned."""
    status = ask(server, "/status")[1]
    workers = [status, *status.get("workers", {}).values()]
    return [[each["version"] for each in worker.get("pins", ())] for worker in workers]


def served(server: Server) -> tuple[Any, str | None]:
    _, document, headers = ask(server, "/main/shop-dev.json")
    return document.get("a"), headers["Vortexd-Pinned"]


def events(server: Server, name: str) -> list[Mapping[str, Any]]:
    found = [json.loads(line) for line in server.output().splitlines() if line.startswith("{")]
    return [each for each in found if each["event"] == name]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_key_stays_at_a_commit_until_its_pin_is_lifted_whatever_the_repository_says(
    tmp_path: Path, workers: int
) -> None:
    repository = Repository(tmp_path / "config.git")
    first = repository.commit({"shop.yml": "a: 1\n", "other.yml": "b: 1\n"})
    repository.commit({"shop.yml": "a: 2\n"})
    settings = git_settings(tmp_path / "state", repository).replace("[server]\n", f"[server]\nworkers = {workers}\n")
    with Server(tmp_path / "x", settings=settings) as server:
        status, pin = post(server, to=first[:12])
        assert (201, first, True) == (status, pin["commit"], pin["served"])
        until(lambda: pins(server) == [[pin["version"]]] * workers)
        third = repository.commit({"shop.yml": "a: 3\n"})
        until(lambda: ask(server, "/other/dev/main")[1]["version"] == third)
        assert {(1, "true")} == {served(server) for _ in range(10)}
        assert (409, True) == ((found := post(server, to=first))[0], "incident 7" in found[1]["message"])

        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(events(server, "reloaded")) == workers)
        assert {(1, "true")} == {served(server) for _ in range(10)}

        assert 204 == lift(server)
        until(lambda: pins(server) == [[]] * workers)
        assert {(3, None)} == {served(server) for _ in range(10)}
        assert 404 == lift(server)
        acts = [(each["act"], each["outcome"]) for each in ask(server, "/api/v1/audit")[1]["entries"]]
        assert {("pin", "done"), ("pin", "refused"), ("lift pin", "done"), ("lift pin", "refused")} <= {*acts}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pin_survives_a_kill_right_after_the_answer_and_a_newer_repository(tmp_path: Path, workers: int) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"shop.yml": "a: 1\n"})
    settings = git_settings(tmp_path / "state", repository).replace("[server]\n", f"[server]\nworkers = {workers}\n")
    with Server(tmp_path / "x", settings=settings) as server:
        assert 201 == post(server)[0]
        server.process.kill()
        server.process.wait(10)
    repository.commit({"shop.yml": "a: 2\n", "more.yml": "b: 1\n"})
    with Server(tmp_path / "x", settings=settings) as server:
        assert {(1, "true")} == {served(server) for _ in range(10)}
        assert 204 == lift(server)
        until(lambda: {served(server) for _ in range(5)} == {(2, None)})
        server.process.kill()
        server.process.wait(10)
    with Server(tmp_path / "x", settings=settings) as server:
        assert {(2, None)} == {served(server) for _ in range(10)}


def test_a_pin_survives_a_restart_while_the_repository_is_away(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    first = repository.commit({"shop.yml": "a: 1\n"})
    repository.commit({"shop.yml": "a: 2\n"})
    settings = git_settings(tmp_path / "state", repository)
    with Server(tmp_path / "x", settings=settings) as server:
        assert 201 == post(server, to=first)[0]
        assert (1, "true") == served(server)
    (tmp_path / "config.git").rename(tmp_path / "away.git")
    with Server(tmp_path / "x", settings=settings) as server:
        assert (1, "true") == served(server)


async def next_message(websocket: Any) -> dict[str, Any]:
    with trio.fail_after(20):
        while True:
            message: dict[str, Any] = json.loads(await websocket.get_message())
            if message["type"].startswith("config_"):
                return message


async def test_a_pin_ends_by_time_and_a_client_sees_exactly_one_change(tmp_path: Path) -> None:
    """It sees nothing while the key is pinned, and the newest state at the end."""
    directory = tmp_path / "config"
    directory.mkdir()
    for name in ("shop.yml", "other.yml"):
        (directory / name).write_text("a: 1\n")
    with Server(directory, settings=files_settings(directory, tmp_path / "state")) as server:
        url = f"ws://127.0.0.1:{server.port}/ws/shop/dev?label=main"
        async with open_websocket_url(url) as client:
            assert {"a": 1} == (await next_message(client))["config"]
            began = time.monotonic()
            status, pin = await trio.to_thread.run_sync(partial(post, server, seconds=3))
            assert (201, True) == (status, pin["until"] is not None)
            for number in (2, 3):
                await trio.to_thread.run_sync(publish, server, directory, number)
            assert 1 == (await trio.to_thread.run_sync(served, server))[0]
            async with open_websocket_url(url) as another:
                first = await next_message(another)
            assert ({"a": 1}, pin["until"]) == (first["config"], first["pinned"]["until"])
            change = await next_message(client)
            assert time.monotonic() - began >= 2.5

        assert ("config_change", [{"op": "replace", "path": "/a", "value": 3}]) == (change["type"], change["diff"])
        assert "pinned" not in change
        assert (3, None) == served(server)
        until(lambda: len(events(server, "pin ended")) == 1)
        [end] = [each for each in ask(server, "/api/v1/audit")[1]["entries"] if each["act"] == "end pin"]
        assert ("vortexd", "system", "shop:dev:main") == (end["who"], end["kind"], end["target"])


def publish(server: Server, directory: Path, number: int) -> None:
    """Save both files, and wait until the key that isn't pinned has the new state."""
    for name in ("shop.yml", "other.yml"):
        (directory / name).write_text(f"a: {number}\n")
    until(lambda: ask(server, "/main/other-dev.json")[1] == {"a": number})


def test_an_earlier_version_of_a_directory_is_pinned_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "shop.yml").write_text("a: 1\n")
    with Server(directory, settings=files_settings(directory, tmp_path / "state")) as server:
        version = ask(server, "/shop/dev/main")[2]["X-Vortex-Version"]
        assert (201, version) == ((found := post(server, to=version))[0], found[1]["version"])
        (directory / "shop.yml").write_text("a: [\n")
        until(lambda: bool(events(server, "configuration file broken")))
        assert (1, "true") == served(server)
        assert 204 == lift(server)
        assert (1, None) == served(server)


def test_garbage_in_the_state_directory_is_set_aside_and_nothing_is_pinned(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "shop.yml").write_text("a: 1\n")
    state = tmp_path / "state" / "pins"
    state.mkdir(parents=True, mode=0o700)
    (state / "pins.json").write_bytes(b"\x00garbage")
    with Server(directory, settings=files_settings(directory, tmp_path / "state", workers=2)) as server:
        assert (1, None) == served(server)
        assert 1 == len(events(server, "pins set aside"))
        assert b"\x00garbage" == (state / "pins.json.unknown").read_bytes()
        assert 201 == post(server)[0]
        assert (1, "true") == served(server)


def test_a_pin_that_can_not_be_written_is_refused_and_the_key_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "shop.yml").write_text("a: 1\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "pins").write_text("no directory")
    with Server(directory, settings=files_settings(directory, tmp_path / "state")) as server:
        status, error = post(server)
        assert (503, True) == (status, "the pins can't be read or written" in error["message"])
        assert (1, None) == served(server)
        (directory / "shop.yml").write_text("a: 2\n")
        until(lambda: served(server) == (2, None))
