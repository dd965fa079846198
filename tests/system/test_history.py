"""Histories from the real daemon: of real repositories after a fresh clone and after a force-push, and of several sources."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..repository import Repository
from .process import Server


def source(repository: Repository, **keys: Any) -> str:
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in keys.items())
    return f'[[source]]\nkind = "git"\nuri = "{repository.uri}"\nschemes = ["file"]\nrefresh_interval = 0.2\n{lines}'


def settings(state: Path, *sources: str) -> str:
    return f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{state}"\n' + "".join(sources)


def get(server: Server, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
        return json.load(answer)


def shown(server: Server, path: str) -> list[tuple[str, list[str]]]:
    """Return the commits of a history, each with its changes."""
    found = get(server, f"/api/v1/history/{path}")["commits"]
    return [(each["commit"], [f"{row['path']}={row.get('new')}" for row in each["changes"]]) for each in found]


def has_history(server: Server, path: str) -> bool:
    try:
        get(server, f"/api/v1/history/{path}")
    except urllib.error.HTTPError as error:
        error.close()
        return False
    return True


def until(wanted: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "config.git")


def test_a_fresh_clone_has_the_history_of_a_key_that_nobody_watches(repository: Repository, tmp_path: Path) -> None:
    first = repository.commit({"orders-dev.yml": "size: 1\n", "cart.yml": "a: 1\n"})
    repository.commit({"cart.yml": "a: 2\n"})
    third = repository.commit({"orders-dev.yml": "size: 3\n"}, author="Grace <g@example.org>")
    for attempt in ("one", "two"):
        # Each state directory gets a mirror of its own.
        with Server(tmp_path / attempt, settings=settings(tmp_path / f"state {attempt}", source(repository))) as server:
            assert [(third, ["/size=3"]), (first, ["/size=1"])] == shown(server, "orders/dev")
            page = get(server, "/api/v1/history/orders/dev")
            assert ("Grace", True) == (page["commits"][0]["author"], page["complete"])
            compared = get(server, f"/api/v1/diff/orders/dev?from=commit:{first[:9]}&to=commit:{third}")
            assert (first, third) == (compared["from"]["commit"], compared["to"]["commit"])
            assert [("/size", 1, 3)] == [(each["path"], each["old"], each["new"]) for each in compared["changes"]]


def test_after_a_force_push_the_history_is_the_new_one(repository: Repository, tmp_path: Path) -> None:
    first = repository.commit({"orders.yml": "size: 1\n"})
    lost = repository.commit({"orders.yml": "size: 2\n"})
    more = repository.commit({"orders.yml": "size: 3\n"})
    with Server(tmp_path / "x", settings=settings(tmp_path / "state", source(repository))) as server:
        assert [more, lost, first] == [commit for commit, _ in shown(server, "orders/dev")]
        cursor = get(server, "/api/v1/history/orders/dev?limit=1")["next"]
        forced = repository.commit({"orders.yml": "size: 9\n"}, parent=first)
        until(lambda: shown(server, "orders/dev")[0][0] == forced)

        assert [(forced, ["/size=9"]), (first, ["/size=1"])] == shown(server, "orders/dev")
        for path in (f"history/orders/dev?after={cursor}", f"diff/orders/dev?from=commit:{lost}&to=commit:{forced}"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                get(server, f"/api/v1/{path}")
            with caught.value as error:
                assert 404 == error.code


def test_two_repositories_are_one_history_by_time_with_a_directory_as_it_is_now(
    repository: Repository, tmp_path: Path
) -> None:
    other = Repository(tmp_path / "other.git")
    other._time = repository._time
    (directory := tmp_path / "directory").mkdir()
    (directory / "orders.yml").write_text("d: 1\n")
    first = repository.commit({"orders.yml": "a: 1\n"})
    other._time += 1
    second = other.commit({"orders.yml": "b: 1\n"})
    repository._time += 1
    third = repository.commit({"orders.yml": "a: 2\nb: 2\n"})
    files = f'[[source]]\nkind = "files"\npath = "{directory}"\nremember = false\n'
    made = settings(tmp_path / "state", source(repository), source(other), files)
    with Server(tmp_path / "x", settings=made) as server:
        page = get(server, "/api/v1/history/orders/dev")
        assert [third, second, first] == [each["commit"] for each in page["commits"]]
        assert [["/a", "/b"], ["/b"], ["/a"]] == [
            sorted(row["path"] for row in each["changes"]) for each in page["commits"]
        ]
        assert [repository.uri, other.uri, repository.uri] == [each["source"].rstrip("/") for each in page["commits"]]
        assert [2, 1, 0] == [each["count"] for each in page["layers"]]
        # At the second commit, the first repository had its first one.
        compared = get(server, f"/api/v1/diff/orders/dev?from=commit:{second}&to=commit:{third}")
        assert [("/a", 1, 2), ("/b", 1, 2)] == [
            (each["path"], each["old"], each["new"]) for each in compared["changes"]
        ]
        pages = [get(server, "/api/v1/history/orders/dev?limit=1")]
        while pages[-1]["next"]:
            assert len(pages) < 5
            pages.append(get(server, f"/api/v1/history/orders/dev?limit=1&after={pages[-1]['next']}"))
        assert page["commits"] == [each for found in pages for each in found["commits"]]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_directory_has_versions_across_restarts_and_of_the_time_between(workers: int, tmp_path: Path) -> None:
    (directory := tmp_path / "directory").mkdir()
    file = directory / "orders.yml"
    file.write_text("size: 1\n")
    made = settings(tmp_path / "state", f'[[source]]\nkind = "files"\npath = "{directory}"\n')
    made = made.replace("[server]\n", f"[server]\nworkers = {workers}\n")
    with Server(tmp_path / "x", settings=made) as server:
        # Until the first version is written, no history is known.
        until(lambda: has_history(server, "orders/dev"))
        file.write_text("size: 2\n")
        until(lambda: bool(shown(server, "orders/dev")))
        [(first, changes)] = shown(server, "orders/dev")
        assert ["/size=2"] == changes
    file.write_text("size: 3\n")
    with Server(tmp_path / "y", settings=made) as server:
        until(lambda: len(shown(server, "orders/dev")) == 2)
        page = get(server, "/api/v1/history/orders/dev")
        newest, oldest = page["commits"]
        assert [["/size", 2, 3], ["/size", 1, 2]] == [
            [each["changes"][0][name] for name in ("path", "old", "new")] for each in page["commits"]
        ]
        assert (first, "", "", f"file:{directory}/") == (
            oldest["commit"],
            oldest["author"],
            oldest["message"],
            oldest["source"],
        )
        assert oldest["time"] <= newest["time"]
        assert [("versions", 3)] == [(each["kind"], each["count"]) for each in page["layers"]]
        assert not page["complete"]
        compared = get(server, f"/api/v1/diff/orders/dev?from=commit:{first[:8]}")
        assert (first, [("/size", 2, 3)]) == (
            compared["from"]["commit"],
            [(each["path"], each["old"], each["new"]) for each in compared["changes"]],
        )
        # This process hasn't published a version before the current one.
        compared = get(server, "/api/v1/diff/orders/dev")
        assert [("/size", 2, 3)] == [(each["path"], each["old"], each["new"]) for each in compared["changes"]]
        compared = get(server, f"/api/v1/diff/orders/dev?from=date:{oldest['time']}")
        assert compared["from"]["commit"] in (first, newest["commit"])


def test_two_labels_are_one_history(repository: Repository, tmp_path: Path) -> None:
    first = repository.commit({"orders.yml": "a: 1\n"})
    repository.git("branch", "fix", "main")
    second = repository.commit({"orders.yml": "a: 2\nb: 2\n"})
    third = repository.commit({"orders.yml": "a: 3\n"}, branch="fix")
    with Server(tmp_path / "x", settings=settings(tmp_path / "state", source(repository))) as server:
        page = get(server, "/api/v1/history/orders/dev/main,fix")

        assert [(third, "fix"), (second, "main"), (first, "main,fix")] == [
            (each["commit"], each["label"]) for each in page["commits"]
        ]
        assert page["complete"]


def test_a_kill_while_versions_are_written_leaves_a_history_without_a_gap(tmp_path: Path) -> None:
    (directory := tmp_path / "directory").mkdir()
    file = directory / "orders.yml"
    made = settings(tmp_path / "state", f'[[source]]\nkind = "files"\npath = "{directory}"\nquiet_one_file = 0\n')
    number = 0
    file.write_text("size: 0\n")
    for attempt in range(2):
        with Server(tmp_path / f"run {attempt}", settings=made) as server:
            until(lambda: has_history(server, "orders/dev"))
            end = time.monotonic() + 0.6 + attempt / 10
            while time.monotonic() < end:
                number += 1
                (part := directory / ".part").write_text(f"size: {number}\n")
                part.replace(file)
                time.sleep(0.005)
            server.process.kill()
            server.process.wait()
    with Server(tmp_path / "last", settings=made) as server:
        until(lambda: newest(server) == number)
        found = get(server, "/api/v1/history/orders/dev?limit=100")["commits"]
        sizes = [(each["changes"][0]["old"], each["changes"][0]["new"]) for each in found]
        log = (tmp_path / "vortexd.log").read_text()

    assert len(sizes) > 3
    assert [new for _, new in sizes[1:]] == [old for old, _ in sizes[:-1]]
    assert sorted(sizes, reverse=True) == sizes
    assert "unreadable" not in log


def newest(server: Server) -> int:
    found = shown(server, "orders/dev")
    return int(found[0][1][0].removeprefix("/size=")) if found else 0
