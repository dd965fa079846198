"""Broken files, with the real process: which content replaces them, on each instance and after each restart, and where the server reports it."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from ..repository import Repository
from .process import Server

BROKEN = "a: 1\nb: [2\n"


def ask(server: Server, path: str) -> tuple[int, Any, Message]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def git_settings(state: Path, repository: Repository) -> str:
    return (
        f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{state}"\n[[source]]\nkind = "git"\n'
        f'uri = "{repository.uri}"\nschemes = ["file"]\nrefresh_interval = 0.1\n'
    )


def files_settings(directory: Path, state: Path, *, remember: bool = True, workers: int = 1) -> str:
    return (
        f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{state}"\nworkers = {workers}\n[[source]]\n'
        f'path = "{directory}"\nquiet = 0.01\nremember = {str(remember).lower()}\n'
    )


def test_every_instance_serves_the_same_in_place_of_broken_files_whenever_it_started(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    good = repository.commit({"shop.yml": "a: 0\n", "application.yml": "c: 0\n"})
    (tmp_path / "one").mkdir()
    with Server(tmp_path / "one" / "x", settings=git_settings(tmp_path / "state1", repository)) as old:
        repository.commit({"application.yml": "c: 1\n", "README": "x"}, author="Bob <bob@example.org>")
        # One file becomes broken, and another file is broken from its first commit on.
        commit = repository.commit({"shop.yml": BROKEN, "shop-dev.yml": "[", "application.yml": "c: 2\n"})
        until(lambda: ask(old, "/shop/dev")[1]["version"] == commit)
        (tmp_path / "two").mkdir()
        with Server(tmp_path / "two" / "x", settings=git_settings(tmp_path / "state2", repository)) as new:
            for path in ("/shop/dev", "/shop/default", "/cart/default", "/api/v1/explain/shop/dev"):
                (status, body, headers), other = ask(old, path), ask(new, path)

                assert 200 == status
                assert (status, body) == other[:2]
                assert headers["X-Vortex-Broken"] == other[2]["X-Vortex-Broken"]
            for server in (old, new):
                values = [each["source"] for each in ask(server, "/shop/dev")[1]["propertySources"]]
                assert [{"a": 0}, {"c": 2}] == values
                broken = ask(server, "/api/v1/explain/shop/dev")[1]["broken"]
                found = {each["file"]: (each["served"], each["last_good"]) for each in broken}
                assert ("without", None) == found["shop-dev.yml"]
                assert "last_good" == found["shop.yml"][0]
                assert good != found["shop.yml"][1] != commit
                [source] = ask(server, "/status")[1]["sources"]
                assert ("DEGRADED", 2) == (source["status"], source["broken_files"])
            assert 0 == new.stop()
        assert 0 == old.stop()


def test_a_link_that_is_moved_to_a_broken_file_leaves_its_keys_with_what_it_led_to(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    links = dict.fromkeys(("current", "orders.yml", "pay.yml", "shop.yml"), "120000")
    texts = {"current": "v1", "orders.yml": "current/orders.yml", "pay.yml": "v1/orders.yml", "shop.yml": "pay.yml"}
    good = repository.commit({"v1/orders.yml": "a: 1\n", **texts}, modes=links)
    moved = {"current": "v2", "pay.yml": "v2/orders.yml"}
    # A link is replaced by a separate file.
    tip = repository.commit(
        {"v2/orders.yml": BROKEN, **moved, "shop.yml": BROKEN}, modes={**links, "shop.yml": "100644"}
    )
    with Server(tmp_path / "x", settings=git_settings(tmp_path / "state", repository)) as server:
        for app in ("orders", "pay", "shop"):
            status, body, _ = ask(server, f"/{app}/default")

            assert (200, tip) == (status, body["version"])
            assert [{"a": 1}] == [each["source"] for each in body["propertySources"]]
            [broken] = ask(server, f"/api/v1/explain/{app}/default")[1]["broken"]
            assert (f"{app}.yml", "last_good", good) == (broken["file"], broken["served"], broken["last_good"])
        assert 0 == server.stop()


def test_every_surface_names_the_file_the_line_and_what_is_served(tmp_path: Path) -> None:
    directory, state = tmp_path / "config", tmp_path / "state"
    directory.mkdir()
    (directory / "shop.yml").write_text("a: 0\n")
    with Server(tmp_path / "x", settings=files_settings(directory, state)) as server:
        (directory / "shop.yml").write_text(BROKEN)
        until(lambda: "X-Vortex-Broken" in ask(server, "/shop/dev")[2])
        status, body, headers = ask(server, "/shop/dev")
        line = int(headers["X-Vortex-Broken"].split(";")[1].removeprefix("line="))
        assert (200, {"a": 0}) == (status, body["propertySources"][0]["source"])
        assert f'"shop.yml";line={line};served=last_good' == headers["X-Vortex-Broken"]
        [source] = ask(server, "/status")[1]["sources"]
        [told] = source["broken"]
        [explained] = ask(server, "/api/v1/explain/shop/dev")[1]["broken"]
        [logged] = [json.loads(each) for each in server.output().splitlines() if "configuration file broken" in each]
        assert {"shop.yml"} == {told["file"], explained["file"], logged["file"]}
        assert {line} == {told["line"], explained["line"], logged["line"]}
        assert 1 == len({told["reason"], explained["reason"], logged["reason"]})
        assert "keys that read it are served with its last good content" == logged["consequence"]
        assert {"count": 1, "first": ["shop:default:main"]} == told["held_back"]
        assert {"status": "UP", "broken_files": 1} == ask(server, "/ready")[1]
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10).read().decode()
        assert "vortexd_broken_files 1.0" in metrics
        assert "vortexd_broken_files_without_good_content 0.0" in metrics
        (directory / "shop.yml").write_text("a: 1\n")
        until(lambda: "X-Vortex-Broken" not in ask(server, "/shop/dev")[2])
        assert "UP" == ask(server, "/status")[1]["sources"][0]["status"]
        assert 0 == server.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_file_and_a_restart_together_are_no_outage(tmp_path: Path, workers: int) -> None:
    directory, state = tmp_path / "config", tmp_path / "state"
    directory.mkdir()
    for name in ("shop", "cart"):
        (directory / f"{name}.yml").write_text("a: 0\nsecret: '{cipher}0123'\n")
    settings = files_settings(directory, state, workers=workers)
    with Server(tmp_path / "x", settings=settings) as server:
        until(lambda: len([*state.glob("remembered/*/index.json")]) == 1)
        assert 0 == server.stop()
    assert 0o700 == (state / "remembered").stat().st_mode & 0o777
    assert [*state.glob("remembered/*/" + "[0-9a-f]" * 64)]
    (directory / "shop.yml").write_text(BROKEN)
    (directory / "cart.yml").unlink()
    (directory / "new.yml").write_text("[")
    with Server(tmp_path / "x", settings=settings) as server:
        for _ in range(4):
            status, body, headers = ask(server, "/shop/dev")
            assert (200, 0) == (status, body["propertySources"][0]["source"]["a"])
            assert headers["X-Vortex-Broken"].endswith(";served=last_good")
            assert [] == ask(server, "/cart/dev")[1]["propertySources"]
            assert ask(server, "/new/dev")[2]["X-Vortex-Broken"].endswith(";served=without")
        (directory / "shop.yml").write_text("a: 1\n")
        until(lambda: ask(server, "/shop/dev")[1]["propertySources"][0]["source"] == {"a": 1})
        assert 0 == server.stop()


def test_what_is_not_to_be_remembered_is_removed_and_a_broken_file_is_an_error_after_a_restart(tmp_path: Path) -> None:
    directory, state = tmp_path / "config", tmp_path / "state"
    directory.mkdir()
    (directory / "shop.yml").write_text("a: 0\n")
    (directory / "cart.yml").write_text("a: 0\n")
    with Server(tmp_path / "x", settings=files_settings(directory, state)) as server:
        until(lambda: len([*state.glob("remembered/*/index.json")]) == 1)
        assert 0 == server.stop()
    (directory / "shop.yml").write_text(BROKEN)
    with Server(tmp_path / "x", settings=files_settings(directory, state, remember=False)) as server:
        status, body, headers = ask(server, "/shop/dev")
        assert 500 == status
        assert headers["X-Vortex-Broken"].endswith(";served=nothing")
        assert "shop.yml" not in json.dumps(body["message"])
        assert 200 == ask(server, "/cart/dev")[0]
        assert "keys that read it can't be served" in server.output()
        assert [] == [*state.glob("remembered/*")]
        assert 0 == server.stop()


def test_a_state_directory_that_cannot_be_written_is_a_warning_and_serving_goes_on(tmp_path: Path) -> None:
    directory, state = tmp_path / "config", tmp_path / "state"
    directory.mkdir()
    (directory / "shop.yml").write_text("a: 0\n")
    state.write_text("a file")
    with Server(tmp_path / "x", settings=files_settings(directory, state)) as server:
        assert 200 == ask(server, "/shop/dev")[0]
        until(lambda: "content not remembered" in server.output())
        (directory / "shop.yml").write_text("a: 1\n")
        until(lambda: ask(server, "/shop/dev")[1]["propertySources"][0]["source"] == {"a": 1})
        assert 0 == server.stop()
        assert 1 == server.output().count("content not remembered")


def test_without_a_settings_file_nothing_is_written(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "shop.yml").write_text("a: 0\n")
    environment = {"XDG_STATE_HOME": str(tmp_path / "home"), "STATE_DIRECTORY": ""}
    with Server(directory, environment=environment) as server:
        assert 200 == ask(server, "/shop/dev")[0]
        assert 0 == server.stop()
    assert not (tmp_path / "home").exists()
