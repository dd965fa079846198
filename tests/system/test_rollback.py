"""Roll-backs with the real process and real remotes: local, smart HTTP behind nginx, and ssh; refusals, hangs and kill -9."""

import getpass
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ..repository import Repository
from .process import Server
from .test_gate import SCHEMA
from .test_git import NGINX, SSHD, find, free_port, needs, serving, wait_for

pytestmark = pytest.mark.slow

FILES = {"application.yml": "x: 1\n", "shop.yml": "a: 1\n", "shop-dev.yml": "b: 1\n", "cart.yml": "c: 1\n"}
KEY = {"application": "shop", "profile": "dev", "label": "main"}
GOOD, BAD = {"a": 1, "b": 1, "x": 1}, {"a": 2, "b": 1, "x": 1}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """The second commit changes shop.yml, the third one another application."""
    made = Repository(tmp_path / "config.git")
    made.commit(FILES)
    made.commit({"shop.yml": "a: 2\n"})
    made.commit({"cart.yml": "c: 2\n"})
    return made


def settings(state: Path, uri: str, more: str = "", workers: int = 1, **keys: Any) -> str:
    values = {"schemes": ["file", "http", "ssh"], "push": True, "refresh_interval": 3600.0, "hook_interval": 0, **keys}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    return (
        f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{state}"\nworkers = {workers}\n'
        f'[[source]]\nkind = "git"\nuri = "{uri}"\n' + "\n".join(lines) + f"\n{more}"
    )


def ask(server: Server, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", data, method="POST" if data else "GET")
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def plan(server: Server, to: str, **more: Any) -> Any:
    status, said = ask(server, "/api/v1/rollback", {**KEY, "to": to, "dry_run": True, **more})
    assert 200 == status, said
    return said


def roll_back(server: Server, to: str, head: str = "", **more: Any) -> tuple[int, Any]:
    body = {**KEY, "to": to, "reason": "incident 7", **more}
    return ask(server, "/api/v1/rollback", {**body, "expected": head or plan(server, to, **more)["head"]})


def commits(repository: Repository, branch: str = "main") -> list[str]:
    """The commits of the branch, the oldest first."""
    return repository.git("rev-list", "--reverse", f"refs/heads/{branch}").split()


def document(server: Server, label: str = "main") -> Any:
    return json.loads(
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/{label}/shop-dev.json", timeout=10).read()
    )


def until(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def hook(repository: Repository, name: str, text: str) -> None:
    path = repository.path / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def events(server: Server, name: str) -> list[Any]:
    lines = [json.loads(line) for line in server.output().splitlines() if line.startswith("{")]
    return [each for each in lines if each["event"] == name]


def locks(state: Path) -> list[str]:
    return [str(path) for path in state.glob("**/git/*.git/**/*.lock")]


# A local remote.


def test_a_key_goes_back_and_everything_else_stays(repository: Repository, tmp_path: Path) -> None:
    first, _, head = commits(repository)
    with Server(tmp_path / "x", settings=settings(tmp_path / "state", repository.uri)) as server:
        assert BAD == document(server)
        found = plan(server, first[:12])
        assert ([{"path": "shop.yml", "act": "change"}], head, first) == (
            found["files"],
            found["head"],
            found["target"]["commit"],
        )
        assert [{"op": "replace", "path": "/a", "old": 2, "new": 1}] == found["changes"]
        assert [{**KEY, "profile": "default"}] == found["others"]
        assert [head] == commits(repository)[2:]

        status, done = roll_back(server, first)
        assert (200, {**found, "commit": done["commit"]}) == (status, done)
        until(lambda: document(server) == GOOD)
        assert [head, done["commit"]] == commits(repository)[2:]
        changed = repository.git("diff-tree", "-r", "--name-only", head, "main").splitlines()
        assert ["shop.yml"] == changed
        entry, begun = ask(server, "/api/v1/audit?act=rollback")[1]["entries"]
        assert ("begun", entry["details"]) == (begun["outcome"], begun["details"])
        assert ("done", "shop:dev:main", "incident 7", done["commit"]) == (
            *(entry[name] for name in ("outcome", "target", "reason")),
            entry["details"]["commit"],
        )
        assert 1 == len(events(server, "rolled back"))
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10).read()
        assert b'vortexd_rollbacks_total{outcome="done"} 1' in metrics

        # The version that was served before is one commit back now.
        assert done["commit"] == plan(server, found["version"])["head"]
        assert 200 == roll_back(server, found["version"])[0]
        until(lambda: document(server) == BAD)
        assert 0 == server.stop()


def test_shared_files_and_a_tag_and_a_source_that_may_not_push_are_refused(
    repository: Repository, tmp_path: Path
) -> None:
    first, *_ = commits(repository)
    repository.commit({"application.yml": "x: 2\n"})
    repository.git("tag", "v1", "main")
    text = settings(tmp_path / "state", repository.uri)
    with Server(tmp_path / "x", settings=text.replace("push = true", "push = false")) as server:
        status, said = ask(server, "/api/v1/rollback", {**KEY, "to": first, "dry_run": True})
        assert (409, True) == (status, "application.yml" in said["message"])
        found = plan(server, first, shared=True)
        assert ["application.yml", "shop.yml"] == [each["path"] for each in found["files"]]
        assert not found["pushable"]
        status, said = roll_back(server, first, shared=True)
        assert (403, True) == (status, "set push of the source" in said["message"])
        status, said = ask(server, "/api/v1/rollback", {**KEY, "label": "v1", "to": first, "dry_run": True})
        assert (409, True) == (status, "tag" in said["message"])

        # A reload brings the setting into force.
        (tmp_path / "vortexd.toml").write_text(text)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: bool(events(server, "reloaded")))
        order = {**KEY, "to": first, "dry_run": True, "shared": True}
        until(lambda: ask(server, "/api/v1/rollback", order)[1].get("pushable", False))
        assert 200 == roll_back(server, first, shared=True)[0]
        until(lambda: document(server) == GOOD)
        assert 0 == server.stop()


def test_a_branch_that_moved_meanwhile_is_refused_and_the_next_plan_has_it(
    repository: Repository, tmp_path: Path
) -> None:
    first, *_ = commits(repository)
    with Server(tmp_path / "x", settings=settings(tmp_path / "state", repository.uri)) as server:
        head = plan(server, first)["head"]
        moved = repository.commit({"cart.yml": "c: 3\n"})
        status, said = roll_back(server, first, head)
        assert 409 == status
        assert "the branch has moved meanwhile" in said["message"]
        assert "nothing has changed" in said["message"]
        assert moved == commits(repository)[-1]

        until(lambda: plan(server, first)["head"] == moved)
        status, said = roll_back(server, first, head)
        assert (409, True) == (status, moved in said["message"])
        assert 200 == roll_back(server, first, moved)[0]
        assert 0 == server.stop()


def test_a_hook_that_refuses_is_named_and_its_words_are_shown_but_not_in_the_audit_log(
    repository: Repository, tmp_path: Path
) -> None:
    first, _, head = commits(repository)
    hook(repository, "pre-receive", "echo changes need a ticket >&2; exit 1")
    with Server(tmp_path / "x", settings=settings(tmp_path / "state", repository.uri)) as server:
        status, said = roll_back(server, first)
        assert 409 == status
        assert "(pre-receive hook declined)" in said["message"]
        entry, begun = ask(server, "/api/v1/audit?act=rollback")[1]["entries"]
        assert "begun" == begun["outcome"]
        assert ("refused", True) == (entry["outcome"], "hook declined" in entry["details"]["problem"])
        assert "changes need a ticket" in said["message"]
        assert "changes need a ticket" in server.output()
        # A hook may quote a value, and the audit log has none.
        assert "ticket" not in str(entry)
        assert head == commits(repository)[-1]
        (repository.path / "hooks/pre-receive").unlink()
        assert 200 == roll_back(server, first)[0]
        assert 0 == server.stop()


def test_a_remote_that_hangs_ends_the_push_and_slows_nobody(repository: Repository, tmp_path: Path) -> None:
    first, _, head = commits(repository)
    hook(repository, "pre-receive", "exec sleep 60")
    text = settings(tmp_path / "state", repository.uri, fetch_timeout=1.5)
    with Server(tmp_path / "x", settings=text) as server, ThreadPoolExecutor() as pool:
        answer = pool.submit(roll_back, server, first)
        slowest = 0.0
        while not answer.done():
            began = time.monotonic()
            document(server)
            slowest = max(slowest, time.monotonic() - began)
        status, said = answer.result()
        assert 503 == status
        assert "it isn't known whether the push has arrived" in said["message"]
        assert "git push took longer than 1.5 s" in said["message"]
        assert slowest < 0.5
        assert head == commits(repository)[-1]
        until(lambda: not processes("sleep 60"))
        entry, begun = ask(server, "/api/v1/audit?act=rollback")[1]["entries"]
        assert "begun" == begun["outcome"]
        assert "failed" == entry["outcome"]
        assert 0 == server.stop()


def processes(command: str) -> list[int]:
    """The processes with this command line, those excepted that have ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
        if line == command:
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("hook_name", ["pre-receive", "post-receive"])
def test_after_kill_9_during_the_push_everything_is_whole(
    hook_name: str, repository: Repository, tmp_path: Path
) -> None:
    """The process of git goes on by itself, so the commit may arrive."""
    first, _, head = commits(repository)
    hook(repository, hook_name, f"touch {tmp_path}/pushing; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    text = settings(tmp_path / "state", repository.uri)
    with Server(tmp_path / "x", settings=text) as server, ThreadPoolExecutor() as pool:
        answer = pool.submit(roll_back, server, first)
        until(lambda: (tmp_path / "pushing").exists())
        server.stop(signal.SIGKILL)
        assert isinstance(answer.exception(), OSError)
    [_, entry] = map(json.loads, (tmp_path / "state/audit/audit.jsonl").read_text().splitlines())
    (tmp_path / "go").touch()
    until(lambda: commits(repository)[-1] != head)
    assert ("rollback", "begun", commits(repository)[-1]) == (
        *(entry[name] for name in ("act", "outcome")),
        entry["details"]["commit"],
    )
    (repository.path / "hooks" / hook_name).unlink()
    check_restart(repository, tmp_path, text, {json.dumps(GOOD)})


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.06, 0.09, 0.13])
def test_after_kill_9_at_any_moment_everything_is_whole(delay: float, repository: Repository, tmp_path: Path) -> None:
    first, *_ = commits(repository)
    text = settings(tmp_path / "state", repository.uri)
    with Server(tmp_path / "x", settings=text) as server, ThreadPoolExecutor() as pool:
        head = plan(server, first)["head"]
        answer = pool.submit(roll_back, server, first, head)
        time.sleep(delay)
        server.stop(signal.SIGKILL)
        answer.exception()
    until(lambda: not pushes(tmp_path))
    check_restart(repository, tmp_path, text, {json.dumps(GOOD), json.dumps(BAD)})


def pushes(place: Path) -> list[str]:
    """The processes of git that still use the mirror or the repository."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"GIT_DIR={place}".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def check_restart(repository: Repository, place: Path, text: str, documents: set[str]) -> None:
    """Start again, and go back to the first commit."""
    first = commits(repository)[0]
    with Server(place / "x", settings=text) as server:
        assert json.dumps(document(server), sort_keys=True) in documents
        assert [] == locks(place / "state")
        [mirror] = (place / "state").glob("**/git/*.git")
        checked = subprocess.run(["git", "-C", str(mirror), "fsck", "--strict"], capture_output=True, text=True)
        assert 0 == checked.returncode, checked.stderr
        if document(server) != GOOD:
            assert 200 == roll_back(server, first)[0]
            until(lambda: document(server) == GOOD)
        repository.commit({"shop.yml": "a: 9\n"})
        ask(server, "/monitor", {"path": "shop.yml"})
        until(lambda: document(server)["a"] == 9)
        assert 200 == roll_back(server, first)[0]
        until(lambda: document(server) == GOOD)
        assert [] == locks(place / "state")
        assert 0 == server.stop()
    assert "" == repository.git("fsck", "--strict")


# Several workers, and the gate.


def test_any_worker_answers_and_all_of_them_fetch(repository: Repository, tmp_path: Path) -> None:
    """Each request is a connection of its own, so any worker may get it."""
    text = settings(tmp_path / "state", repository.uri, workers=2)
    with Server(tmp_path / "x", settings=text) as server:
        first, second, _ = commits(repository)
        for to, wanted in ((first, GOOD), (second, BAD)) * 4:
            status, done = roll_back(server, to)
            assert 200 == status, done
            until(partial(ten, server, wanted))
        assert 11 == len(commits(repository))
        found = ask(server, "/api/v1/audit?act=rollback")[1]["entries"]
        assert ["begun"] * 8 + ["done"] * 8 == sorted(each["outcome"] for each in found)
        assert 0 == server.stop()


def ten(server: Server, wanted: Any) -> bool:
    """Whether ten connections in a row, which both workers share, serve this."""
    return all(document(server) == wanted for _ in range(10))


@pytest.mark.parametrize("workers", [1, 2])
def test_of_several_at_once_one_is_done(workers: int, repository: Repository, tmp_path: Path) -> None:
    text = settings(tmp_path / "state", repository.uri, workers=workers)
    with Server(tmp_path / "x", settings=text) as server, ThreadPoolExecutor(4) as pool:
        first, _, head = commits(repository)
        answers = [each.result() for each in [pool.submit(roll_back, server, first, head) for _ in range(4)]]
        assert [200, 409, 409, 409] == sorted(status for status, _ in answers)
        assert 4 == len(commits(repository))
        until(lambda: ten(server, GOOD))
        assert 0 == server.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_label_that_the_gate_holds_back_is_free_again(workers: int, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    good = repository.commit({"shop.yml": "port: 1\n", "shop.schema.json": SCHEMA})
    text = settings(tmp_path / "state", repository.uri, "[[gate]]\nsource_schemas = true\ntimeout = 30.0\n", workers)
    with Server(tmp_path / "x", settings=text) as server:
        bad = repository.commit({"shop.yml": "port: hunter2\n"})
        ask(server, "/monitor", {"path": "shop.yml"})
        until(lambda: held_back(server) == [[bad]] * workers)
        assert {"port": 1} == document(server)

        found = plan(server, good)
        assert (bad, [{"path": "shop.yml", "act": "change"}]) == (found["head"], found["files"])
        assert [{"op": "replace", "path": "/port", "old": "hunter2", "new": 1}] == found["changes"]
        assert 200 == roll_back(server, good)[0]
        until(lambda: held_back(server) == [[]] * workers)
        assert {"port": 1} == document(server)
        repository.commit({"shop.yml": "port: 2\n"})
        ask(server, "/monitor", {"path": "shop.yml"})
        until(lambda: document(server) == {"port": 2})
        assert 0 == server.stop()


def test_a_roll_back_that_the_gate_refuses_is_not_pushed(tmp_path: Path) -> None:
    """Otherwise it would hold back all keys of the label."""
    repository = Repository(tmp_path / "config.git")
    first = repository.commit({"shop.yml": "port: hunter2\n"})
    head = repository.commit({"shop.yml": "port: 1\n", "shop.schema.json": SCHEMA})
    text = settings(tmp_path / "state", repository.uri, "[[gate]]\nsource_schemas = true\ntimeout = 30.0\n")
    with Server(tmp_path / "x", settings=text) as server:
        found = plan(server, first)["refused"]
        status, said = roll_back(server, first)
        places = {(each["key"], each["rule"], each["file"], each["line"]) for each in found["findings"]}
        assert ("shop:dev:main", "shop.schema.json", "shop.yml", 1) in places
        assert (None, len(found["findings"])) == (found["failure"], found["findings_count"])
        assert 409 == status
        assert "the gate would hold the commit back: shop:" in said["message"]
        assert " of shop.schema.json at /port (shop.yml:1)" in said["message"]
        assert "hunter2" not in str(found) + str(said)
        assert [first, head] == commits(repository)
        [entry] = ask(server, "/api/v1/audit?act=rollback")[1]["entries"]
        assert "refused" == entry["outcome"]
        assert 0 == server.stop()


def test_a_label_that_is_held_back_since_before_a_restart_is_free_again(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    good = repository.commit({"shop.yml": "port: 1\n", "shop.schema.json": SCHEMA})
    text = settings(tmp_path / "state", repository.uri, "[[gate]]\nsource_schemas = true\ntimeout = 30.0\n")
    with Server(tmp_path / "x", settings=text) as server:
        bad = repository.commit({"shop.yml": "port: x\n"})
        ask(server, "/monitor", {"path": "shop.yml"})
        until(lambda: held_back(server) == [[bad]])
        assert 0 == server.stop()
    with Server(tmp_path / "x", settings=text) as server:
        assert ([[bad]], {"port": 1}) == (held_back(server), document(server))
        assert 200 == roll_back(server, good)[0]
        until(lambda: held_back(server) == [[]])
        assert {"port": 1} == document(server)
        assert 0 == server.stop()


def held_back(server: Server) -> list[Any]:
    status = ask(server, "/status")[1]
    workers = [status, *status.get("workers", {}).values()]
    return [[each["state"] for each in worker.get("gate", ())] for worker in workers]


# Smart HTTP with basic authentication.


@contextmanager
def http_remote(place: Path, root: Path) -> Iterator[str]:
    """Serve repositories by nginx and git's own program, for a reader and a writer. Return the address."""
    needs(("nginx", "nginx-light"), ("fcgiwrap", "fcgiwrap"))
    place.mkdir()
    (place / "htpasswd").write_text("reader:{PLAIN}reader-secret\nwriter:{PLAIN}writer-secret\n")
    backend = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
    port = free_port()
    text = NGINX.format(place=place, port=port, root=root, backend=f"{backend}/git-http-backend")
    (place / "nginx.conf").write_text(text if os.geteuid() == 0 else text.replace("user root;", ""))
    commands = (
        [str(find("fcgiwrap")), "-s", f"unix:{place}/fcgi"],
        [str(find("nginx")), "-c", f"{place}/nginx.conf", "-e", f"{place}/error.log"],
    )
    with serving(*commands):
        wait_for(port)
        yield f"http://127.0.0.1:{port}"


def secret(path: Path, text: str) -> str:
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return str(path)


ONLY_WRITER = 'echo "$REMOTE_USER" >> {place}/users; test "$REMOTE_USER" = writer'


@pytest.mark.parametrize(
    ("user", "password", "problem"),
    [
        ("writer", "writer-secret", ""),
        ("writer", "wrong-secret", "Authentication failed"),
        ("", "", "(pre-receive hook declined)"),
    ],
    ids=["right", "wrong", "those for fetching"],
)
def test_G10_a_push_over_smart_http(
    user: str, password: str, problem: str, repository: Repository, tmp_path: Path
) -> None:
    first, _, head = commits(repository)
    hook(repository, "pre-receive", ONLY_WRITER.format(place=tmp_path))
    keys: dict[str, Any] = {"username": "reader", "password_file": secret(tmp_path / "read", "reader-secret")}
    if user:
        keys |= {"push_username": user, "push_password_file": secret(tmp_path / "write", password)}
    with http_remote(tmp_path / "nginx", tmp_path) as site:
        text = settings(tmp_path / "state", f"{site}/config.git", **keys)
        with Server(tmp_path / "x", settings=text) as server:
            status, said = roll_back(server, first)
            if problem:
                assert (409, True) == (status, problem in said["message"])
                assert head == commits(repository)[-1]
            else:
                assert 200 == status
                until(lambda: document(server) == GOOD)
                assert "writer\n" == (tmp_path / "users").read_text()
            shown = server.output() + str(said) + str(ask(server, "/api/v1/audit")[1]) + str(ask(server, "/status")[1])
            assert "-secret" not in shown
            assert 0 == server.stop()


def test_a_remote_that_goes_away_is_an_error_and_nothing_is_lost(repository: Repository, tmp_path: Path) -> None:
    first, *_ = commits(repository)
    keys: dict[str, Any] = {"username": "writer", "password_file": secret(tmp_path / "write", "writer-secret")}
    with http_remote(tmp_path / "nginx", tmp_path) as site:
        text = settings(tmp_path / "state", f"{site}/config.git", **keys)
        server = Server(tmp_path / "x", settings=text)
    with server:
        status, said = roll_back(server, first)
        assert (503, True) == (status, "the remote can't be reached" in said["message"])
        assert "nothing has changed" in said["message"]
        assert BAD == document(server)
        assert 3 == len(commits(repository))
        assert 0 == server.stop()


# ssh.

# A key with this command only fetches.
READ_ONLY = """
case "$SSH_ORIGINAL_COMMAND" in
    git-upload-pack*) eval "$SSH_ORIGINAL_COMMAND" ;;
    *) echo "you may not push" >&2; exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("key", "problem"),
    [("writer", ""), ("stranger", "Permission denied (publickey"), ("", "Could not read from remote repository")],
    ids=["right", "wrong", "that for fetching"],
)
def test_G05_a_push_over_ssh(key: str, problem: str, repository: Repository, tmp_path: Path) -> None:
    needs(("sshd", "openssh-server"), ("ssh", "openssh-client"), ("ssh-keygen", "openssh-client"))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    first, _, head = commits(repository)
    place, port = tmp_path / "ssh", free_port()
    place.mkdir()
    for name in ("host", "reader", "writer", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)], check=True)
    reader, writer = ((place / f"{name}.pub").read_text() for name in ("reader", "writer"))
    (place / "read-only").write_text(READ_ONLY)
    (place / "key.pub").write_text(f'command="sh {place}/read-only" {reader}{writer}')
    (place / "sshd_config").write_text(SSHD.format(port=port, place=place))
    (place / "known_hosts").write_text(f"[127.0.0.1]:{port} {(place / 'host.pub').read_text()}")
    uri = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{repository.path}"
    keys: dict[str, Any] = {"ssh_key": str(place / "reader"), "known_hosts": str(place / "known_hosts")}
    if key:
        keys["push_ssh_key"] = str(place / key)
    with serving([str(find("sshd")), "-D", "-f", str(place / "sshd_config")]):
        wait_for(port)
        with Server(tmp_path / "x", settings=settings(tmp_path / "state", uri, **keys)) as server:
            status, said = roll_back(server, first)
            if problem:
                assert (409 if key else 503, True) == (status, problem in said["message"]), said
                assert "nothing has changed" in said["message"]
                assert head == commits(repository)[-1]
                assert BAD == document(server)
            else:
                assert 200 == status, said
                until(lambda: document(server) == GOOD)
            assert "PRIVATE" not in server.output() + str(said)
            assert 0 == server.stop()
