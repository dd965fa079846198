"""The gate with the real process: a refused commit, a restart of the process that validates, and an exception by an administrator."""

import hashlib
import json
import os
import re
import shutil
import signal
import urllib.error
import urllib.request
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from trio_websocket import open_websocket_url

from ..repository import Repository
from .process import Server
from .test_broken import ask, files_settings, git_settings, until

pytestmark = pytest.mark.slow

SCHEMA = '{"properties": {"port": {"type": "integer"}}, "required": ["port"]}'


def let_through(server: Server, state: str) -> int:
    body = json.dumps({"label": "main", "state": state, "reason": "incident 7"}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/api/v1/gate", body, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        status: int = answer.status
        return status


def gates(server: Server) -> list[Any]:
    """What each worker holds back: the commits."""
    status = ask(server, "/status")[1]
    workers = [status, *status.get("workers", {}).values()]
    return [[each["state"] for each in worker.get("gate", ())] for worker in workers]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refused_commit_is_held_back_until_it_is_corrected_or_let_through(tmp_path: Path, workers: int) -> None:
    repository = Repository(tmp_path / "config.git")
    first = repository.commit({"shop.yml": "port: 1\n", "shop.schema.json": SCHEMA})
    settings = git_settings(tmp_path / "state", repository).replace("[server]\n", f"[server]\nworkers = {workers}\n")
    with Server(tmp_path / "x", settings=f"{settings}[[gate]]\nsource_schemas = true\ntimeout = 30.0\n") as server:
        assert first == ask(server, "/shop/default")[1]["version"]
        bad = repository.commit({"shop.yml": "port: hunter2\n"})
        until(lambda: gates(server) == [[bad]] * workers)
        status, body, headers = ask(server, "/shop/default")
        assert (200, first) == (status, body["version"])
        assert 'keyword="type";rule="shop.schema.json";file="shop.yml";line=1' in headers["X-Vortex-Held-Back"]
        assert "hunter2" not in str(headers)

        for pid in validators(server.process.pid):
            os.kill(pid, signal.SIGKILL)
        good = repository.commit({"shop.yml": "port: 2\n"})
        until(lambda: gates(server) == [[]] * workers)
        assert good == ask(server, "/shop/default")[1]["version"]

        worse = repository.commit({"shop.yml": "name: x\n"})
        until(lambda: gates(server) == [[worse]] * workers)
        assert 204 == let_through(server, worse)
        until(lambda: gates(server) == [[]] * workers)
        assert worse == ask(server, "/shop/default")[1]["version"]

        # However many workers there are, each decision has one entry.
        until(lambda: len(acts(server)) == 4)
        assert [
            ("judge", "refused", bad, "gate"),
            ("release label", "done", good, "gate"),
            ("judge", "refused", worse, "gate"),
            ("let through", "done", worse, "anonymous"),
        ] == [(each["act"], each["outcome"], each["details"]["state"], each["who"]) for each in acts(server)]
        last = acts(server)[-1]
        assert ("incident 7", "127.0.0.1", "main") == (last["reason"], last["from"], last["target"])
        assert "hunter2" not in str(acts(server))


@pytest.mark.parametrize("workers", [1, 2])
def test_with_the_scope_application_only_that_application_is_held_back(tmp_path: Path, workers: int) -> None:
    repository = Repository(tmp_path / "config.git")
    schema = tmp_path / "port.schema.json"
    schema.write_text(SCHEMA)
    first = repository.commit({"shop.yml": "port: 1\n", "cart.yml": "port: 1\n"})
    settings = git_settings(tmp_path / "state", repository).replace("[server]\n", f"[server]\nworkers = {workers}\n")
    settings += f'[[gate]]\nschemas = ["{schema}"]\nscope = "application"\ntimeout = 30.0\n'
    with Server(tmp_path / "x", settings=settings) as server:
        assert first == ask(server, "/shop/default")[1]["version"]
        until(lambda: len([*(tmp_path / "state" / "accepted").glob("*.json")]) == 1)
        bad = repository.commit({"shop.yml": "port: hunter2\n", "cart.yml": "port: 2\n"})
        until(lambda: gates(server) == [[bad]] * workers)
        # Each worker may answer.
        for _ in range(4):
            status, body, headers = ask(server, "/shop/default")
            assert (200, first) == (status, body["version"])
            assert 'scope="application";applications="shop";key="shop:default:main"' in headers["X-Vortex-Held-Back"]
            status, body, headers = ask(server, "/cart/default")
            assert (200, bad) == (status, body["version"])
            assert "X-Vortex-Held-Back" not in headers
        [held] = ask(server, "/api/v1/gate")[1]["held_back"]
        assert ("application", ["shop"], bad) == (held["scope"], held["applications"], held["state"])
        until(lambda: len(acts(server)) == 1)
        assert "shop" == acts(server)[0]["details"]["applications"]
        server.stop(signal.SIGKILL)
    # What is remembered is the last state of which nothing was held back.
    with Server(tmp_path / "x", settings=settings) as server:
        until(lambda: gates(server) == [[bad]] * workers)
        assert [first, bad] == [ask(server, f"/{name}/default")[1]["version"] for name in ("shop", "cart")]
        worse = repository.commit({"shop.yml": "port: hunter2\n", "cart.yml": "port: x\n"})
        until(lambda: gates(server) == [[worse]] * workers)
        assert [first, bad] == [ask(server, f"/{name}/default")[1]["version"] for name in ("shop", "cart")]
        good = repository.commit({"shop.yml": "port: 3\n"})
        until(lambda: gates(server) == [[good]] * workers)
        assert [good, bad] == [ask(server, f"/{name}/default")[1]["version"] for name in ("shop", "cart")]
        assert 204 == let_through(server, good)
        until(lambda: gates(server) == [[]] * workers)
        assert [good, good] == [ask(server, f"/{name}/default")[1]["version"] for name in ("shop", "cart")]
        assert "applications held back" in server.output()
        assert "hunter2" not in server.output()


def acts(server: Server) -> list[Any]:
    """The entries of the audit log about the gate, the oldest first."""
    entries: list[Any] = ask(server, "/api/v1/audit")[1]["entries"]
    return entries[::-1]


def refused_handshake(server: Server, path: str, **more: str) -> tuple[int, Message]:
    """Ask for a WebSocket. Return the status and the headers with which the server refuses it."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
    try:
        connection.request("GET", path, headers={"Connection": "Upgrade", "Upgrade": "websocket", **key, **more})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers
    finally:
        connection.close()


async def test_a_first_read_that_is_refused_names_the_gate_over_http_and_websockets(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "config.git")
    repository.commit({"shop.yml": "port: 1\n", "application.yml": "name: hunter2\n", "ghost.schema.json": SCHEMA})
    settings = git_settings(tmp_path / "state", repository)
    with Server(tmp_path / "x", settings=f"{settings}[[gate]]\nsource_schemas = true\ntimeout = 30.0\n") as server:
        # No file is named after this application, so it is judged when it is first asked for.
        for _ in range(2):
            status, headers = refused_handshake(server, "/ws/ghost/dev")
            assert (500, '"application.yml";served=nothing') == (status, headers["x-vortex-broken"])
            status, said, _ = ask(server, "/ghost/dev")
            assert 500 == status
        repository.commit({"application.yml": "name: x\nport: 2\n"})
        until(lambda: ask(server, "/ghost/dev")[0] == 200)
        async with open_websocket_url(f"ws://127.0.0.1:{server.port}/ws/ghost/dev") as websocket:
            assert {"name": "x", "port": 2} == json.loads(await websocket.get_message())["config"]

        # A new label that is refused is never served.
        repository.commit({"shop.schema.json": SCHEMA, "shop.yml": "port: hunter2\n"}, "next", parent="main")
        until(lambda: "next" in [each["label"] for each in ask(server, "/status")[1].get("gate", ())])
        status, headers = refused_handshake(server, "/ws/shop/default?label=next")
        assert 503 == status
        assert 'key="shop:default:next";pointer="/port"' in headers["x-vortex-held-back"]
        status, said, more = ask(server, "/shop/default/next")
        assert (503, "the gate holds this label back, and no earlier state of it is known") == (
            status,
            said["message"],
        )
        assert headers["x-vortex-held-back"] == more["X-Vortex-Held-Back"]
        assert "5" == headers["retry-after"] == more["Retry-After"]
        assert 404 == ask(server, "/shop/default/nowhere")[0]
        assert "hunter2" not in server.output()
        repository.commit({"shop.yml": "port: 3\n"}, "next")
        until(lambda: ask(server, "/shop/default/next")[0] == 200)


def test_findings_about_a_profile_reach_no_client_that_may_not_read_it(tmp_path: Path) -> None:
    may = {"dev": '["read", "subscribe"]', "prod": '["read", "subscribe"]', "root": '["admin"]'}
    token = {name: f"vt_{name[0] * 43}" for name in may}
    entries = [
        f'[[token]]\nname = "{name}"\nsha256 = "{hashlib.sha256(token[name].encode()).hexdigest()}"\nrights = {rights}\n'
        + ("" if name == "root" else f'patterns = ["shop:{name}:*"]\n')
        for name, rights in may.items()
    ]
    (tmp_path / "tokens.toml").write_text("".join(entries))
    (tmp_path / "tokens.toml").chmod(0o600)
    schema = '{"additionalProperties": false, "properties": {"port": {"type": "integer"}}}'
    repository = Repository(tmp_path / "config.git")
    repository.commit(
        {"shop.yml": "port: 0\n", "shop-dev.yml": "port: 1\n", "shop-prod.yml": "port: 2\n", "shop.schema.json": schema}
    )
    settings = git_settings(tmp_path / "state", repository)
    settings += f'[[gate]]\nsource_schemas = true\ntimeout = 30.0\n[auth]\ntokens = ["{tmp_path / "tokens.toml"}"]\n'
    with Server(tmp_path / "x", settings=settings) as server:

        def say(path: str, who: str) -> tuple[int, str | None, str]:
            """Ask, and return the status, the header about the gate, and all that the server answers."""
            url = f"http://127.0.0.1:{server.port}{path}"
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token[who]}"})
            try:
                answer = urllib.request.urlopen(request, timeout=10)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                head = answer.headers
                return answer.status, head["X-Vortex-Held-Back"], f"{head}{answer.read().decode()}"

        bad = {"shop-prod.yml": "port: 2\nplanted: 1\n"}
        state = repository.commit(bad)
        repository.commit(bad, "next", parent="main")
        until(lambda: {"main", "next"} == held(say("/status", "root")[2]))

        for path in ("/shop/dev", "/main/shop-dev.json", "/main/shop-dev.properties", "/api/v1/explain/shop/dev"):
            assert (200, f'"main";state="{state}"') == say(path, "dev")[:2]
            own = path.replace("dev", "prod")
            assert 'key="shop:prod:main";pointer="/planted"' in (say(own, "prod")[1] or "")
        status, header, said = say("/shop/dev/next", "dev")
        assert (503, 1) == (status, (header or "").count('"next";state="'))
        status, headers = refused_handshake(server, "/ws/shop/dev?label=next", Authorization=f"Bearer {token['dev']}")
        assert (503, header) == (status, headers["x-vortex-held-back"])
        assert "planted" not in f"{said}{header}{headers}"
        shown = [
            *("/shop/dev", "/main/shop-dev.json", "/shop/prod", "/shop/prod/next", "/api/v1/explain/shop/dev"),
            *("/api/v1/explain/shop/prod", "/status", "/api/v1/gate", "/api/v1/audit", "/health", "/ready", "/metrics"),
            *("/monitor", "/api/v1/whoami", "/api/v1/keys"),
        ]
        for path in shown:
            assert "planted" not in say(path, "dev")[2]
        for path in ("/status", "/api/v1/gate", "/api/v1/audit"):
            assert 403 == say(path, "dev")[0]
            assert "planted" in say(path, "root")[2]


def held(status: str) -> set[str]:
    """The labels that an answer of /status says are held back."""
    return {each["label"] for each in json.loads(status.rpartition("\n")[2]).get("gate", ())}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_killed_during_a_judgement_has_published_nothing_and_leaves_no_process(
    tmp_path: Path, workers: int
) -> None:
    settings, change = settings_of("git", tmp_path, workers)
    pids = tmp_path / "pids"
    script = f"if grep -q slow; then echo $$ >> {pids}; sleep 300; fi"
    settings += f"command = {json.dumps(['/bin/sh', '-c', script])}\n".replace("timeout = 30.0\n", "")
    settings = settings.replace("timeout = 30.0\n", "timeout = 200.0\n")
    change("port: 1\n")
    with Server(tmp_path / "x", settings=settings) as server:
        until(lambda: len([*(tmp_path / "state" / "accepted").glob("*.json")]) == 1)
        # Each worker serves it. A worker that starts later would wait for the verdict on the next change.
        until(lambda: gates(server) == [[]] * workers)
        change("port: 2\nname: slow\n")
        until(lambda: pids.exists() and len(pids.read_text().split()) == workers)
        assert 1 == port(server)
        found = [*map(int, pids.read_text().split()), *validators(server.process.pid)]
        assert 2 * workers == len(found)
        server.stop(signal.SIGKILL)
    until(lambda: not any(map(is_running, found)))
    change("port: 3\n")
    with Server(tmp_path / "x", settings=settings) as server:
        assert 3 == port(server)
        until(lambda: gates(server) == [[]] * workers)


def test_the_example_keeps_its_schema_and_the_change_of_the_readme_is_refused(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    shutil.copytree(root / "conf/example", tmp_path / "conf/example")
    [settings] = re.findall(r"```toml\n(.*?source_schemas.*?)```", (root / "README.md").read_text(), re.DOTALL)
    # The name of the sample is the one that the test writes it to.
    settings = f'[server]\nbind = ["127.0.0.1:0"]\n{settings.replace("conf/example", str(tmp_path / "conf/example"))}'
    with Server(tmp_path / "x", settings=settings.replace("true", "true\ntimeout = 30.0")) as server:
        until(lambda: len(validators(server.process.pid)) == 1)
        assert {"held_back": [], "standing": []} == ask(server, "/api/v1/gate")[1]
        file = tmp_path / "conf/example/billing-prod.yml"
        text = file.read_text()
        assert "size: 20" in text
        file.write_text(text.replace("size: 20", "size: many"))
        until(lambda: all(gates(server)))
        [finding] = ask(server, "/api/v1/gate")[1]["held_back"][0]["findings"]
        assert ("billing:prod:main", "/database/pool/size", "type") == tuple(
            finding[name] for name in ("key", "pointer", "keyword")
        )
        file.write_text(text)
        until(lambda: not any(gates(server)))


def is_running(pid: int) -> bool:
    """Whether a process runs. One that has ended may still be listed, if no process waits for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def validators(pid: int) -> list[int]:
    """The processes below a process that validate."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            if b"vortexd.gate.validation" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
            found += validators(child)
    return found


def settings_of(kind: str, directory: Path, workers: int = 1) -> tuple[str, Any]:
    """Settings with a gate on a source of a kind, and a function that changes the source and returns its state."""
    schema = directory / "port.schema.json"
    schema.write_text(SCHEMA)
    if kind == "git":
        repository = Repository(directory / "config.git")
        settings = git_settings(directory / "state", repository)
    else:
        (directory / "config").mkdir()
        settings = files_settings(directory / "config", directory / "state")

    def change(text: str) -> None:
        if kind == "git":
            repository.commit({"shop.yml": text})
        else:
            (directory / "config" / "new").write_text(text)
            (directory / "config" / "new").rename(directory / "config" / "shop.yml")

    settings = settings.replace("workers = 1\n", "").replace("[server]\n", f"[server]\nworkers = {workers}\n")
    return f'{settings}[[gate]]\nschemas = ["{schema}"]\ntimeout = 30.0\n', change


def port(server: Server) -> Any:
    return ask(server, "/shop/default")[1]["propertySources"][0]["source"]["port"]


@pytest.mark.parametrize("kind", ["git", "files"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_restart_does_not_publish_what_was_refused(tmp_path: Path, kind: str, workers: int) -> None:
    settings, change = settings_of(kind, tmp_path, workers)
    change("port: 1\n")
    accepted = tmp_path / "state" / "accepted"
    with Server(tmp_path / "x", settings=settings) as server:
        until(lambda: len([*accepted.glob("*.json")]) == 1)
        before = next(accepted.glob("*.json")).read_bytes()
        change("port: 2\n")
        until(lambda: next(accepted.glob("*.json")).read_bytes() != before)
        change("port: hunter2\n")
        until(lambda: all(gates(server)))
        # Nothing at the end of the process is needed.
        server.stop(signal.SIGKILL)
    for _ in range(2):
        with Server(tmp_path / "x", settings=settings) as server:
            assert 2 == port(server)
            until(lambda: all(len(each) == 1 for each in gates(server)))
            assert "hunter2" not in server.output()
            assert 0 == server.stop()
    # A state that comes while the server doesn't run is judged, too.
    change("port: hunter3\n")
    with Server(tmp_path / "x", settings=settings) as server:
        assert 2 == port(server)
        change("port: 3\n")
        until(lambda: port(server) == 3)
        until(lambda: gates(server) == [[]] * workers)


def test_what_is_not_remembered_is_served_and_reported(tmp_path: Path) -> None:
    settings, change = settings_of("git", tmp_path)
    change("port: 1\n")
    accepted = tmp_path / "state" / "accepted"
    with Server(tmp_path / "x", settings=settings) as server:
        until(lambda: len([*accepted.glob("*.json")]) == 1)
        change("port: x\n")
        until(lambda: all(gates(server)))
        assert 0 == server.stop()
    [index] = accepted.glob("*.json")
    index.write_bytes(b"garbage")
    with Server(tmp_path / "x", settings=settings) as server:
        assert "x" == port(server)
        until(lambda: "served configuration breaks the gate's rules" in server.output())
        assert "accepted state unreadable" in server.output()
        until(lambda: index.read_bytes().startswith(b'{"format":1'))
        assert 0 == server.stop()
    # Without a gate, the states are removed: they would be out of date.
    with Server(tmp_path / "x", settings=settings.partition("[[gate]]")[0]) as server:
        until(lambda: [] == [*accepted.glob("*.json")])
        assert "x" == port(server)
