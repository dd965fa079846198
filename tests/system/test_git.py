"""The real daemon on real git servers: a local repository, git's own daemon, smart HTTP behind nginx, and ssh."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import open_websocket_url

from ..repository import Repository
from .process import Server

COMMON = "".join(f"key{number}: a value\n" for number in range(20))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "config.git")
    made.commit({"application.yml": COMMON, "orders-dev.yml": "size: 1\n"})
    return made


def settings(state: Path, uri: str, **keys: Any) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
    return (
        f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{state}"\n'
        f'[[source]]\nkind = "git"\nuri = "{uri}"\nschemes = ["file", "git", "http", "ssh"]\nrefresh_interval = 0.2\n'
        + "\n".join(lines)
        + "\n"
    )


def get(port: int, path: str) -> tuple[Any, Message]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer), answer.headers


def until(port: int, path: str, wanted: Any) -> None:
    """Repeat the request until the first property source is this."""
    deadline = time.monotonic() + 20
    while get(port, path)[0]["propertySources"][0]["source"] != wanted:
        assert time.monotonic() < deadline, get(port, path)
        time.sleep(0.02)


def test_a_push_reaches_http_and_websocket_clients_with_its_origin(repository: Repository, tmp_path: Path) -> None:
    first = repository.git("rev-parse", "main").strip()
    with Server(tmp_path / "x", settings=settings(tmp_path / "state", repository.uri)) as server:
        body, headers = get(server.port, "/orders/dev")
        assert (first, "") == (body["version"], body["state"])
        assert [f"{repository.uri}/orders-dev.yml", f"{repository.uri}/application.yml"] == [
            source["name"] for source in body["propertySources"]
        ]
        assert "X-Vortex-Stale" not in headers

        async def watch() -> tuple[Any, Any, str]:
            async with open_websocket_url(f"ws://127.0.0.1:{server.port}/ws/orders/dev") as client:
                snapshot = json.loads(await client.get_message())
                pushed = repository.commit({"orders-dev.yml": "size: 2\n"}, author="Grace Hopper <g@example.org>")
                with trio.fail_after(20):
                    return snapshot, json.loads(await client.get_message()), pushed

        snapshot, change, pushed = trio.run(watch)
        assert first == snapshot["origin"]["commit"]
        assert "config_change" == change["type"]
        assert (pushed, "Grace Hopper") == (change["origin"]["commit"], change["origin"]["author"])
        assert [{"op": "replace", "path": "/size", "value": 2}] == change["diff"]
        until(server.port, "/orders/dev", {"size": 2})
        [source] = get(server.port, "/status")[0]["sources"]
        assert ("git", pushed, "UP") == (source["kind"], source["revision"], source["status"])
        assert 0 == server.stop()


def test_each_toggle_names_its_own_author_live_resumed_fresh_and_after_a_restart(
    repository: Repository, tmp_path: Path
) -> None:
    authors = ("Ann", "Bob", "Cy", "Dee")
    versions: list[str] = []

    def told(message: Any) -> tuple[str, str]:
        return message["origin"]["author"], message["origin"]["commit"]

    async def ask(port: int, query: str = "") -> Any:
        async with open_websocket_url(f"ws://127.0.0.1:{port}/ws/orders/dev{query}") as client:
            return json.loads(await client.get_message())

    async def toggle(port: int) -> str:
        async with open_websocket_url(f"ws://127.0.0.1:{port}/ws/orders/dev") as client:
            first = json.loads(await client.get_message())
            versions.append(first["version"])
            times = [first["timestamp"]]
            for number, author in enumerate(authors, 2):
                pushed = repository.commit({"orders-dev.yml": f"size: {2 - number % 2}\n"}, author=f"{author} <a@b>")
                with trio.fail_after(20):
                    live = json.loads(await client.get_message())
                resumed, fresh = await ask(port, f"?last_version={versions[-1]}"), await ask(port)
                versions.append(fresh["version"])
                explained = get(port, "/api/v1/explain/orders/dev")[0]["sources"][0]["origin"]
                assert [(author, pushed)] * 4 == [
                    *map(told, (live, resumed, fresh)),
                    (explained["author"], explained["commit"]),
                ]
                assert pushed == get(port, "/orders/dev")[0]["version"]
                assert live["timestamp"] == resumed["timestamp"] == fresh["timestamp"]
                times.append(live["timestamp"])
            # A commit that touches no file of the key changes neither the version nor the origin.
            other = repository.commit({"billing.yml": "a: 1\n"}, author="Eve <e@b>")
            until(port, "/billing/dev", {"a": 1})
            assert (other, ("Dee", pushed)) == (get(port, "/orders/dev")[0]["version"], told(await ask(port)))
        assert times == sorted(set(times))
        return pushed

    with Server(tmp_path / "x", settings=settings(tmp_path / "state", repository.uri)) as server:
        pushed = trio.run(toggle, server.port)
        assert 0 == server.stop()
    assert versions[0] != versions[1]
    assert versions[0::2] == [versions[0]] * 3
    for state in ("state", "other-state"):
        with Server(tmp_path / "x", settings=settings(tmp_path / state, repository.uri)) as server:
            assert ("Dee", pushed) == told(trio.run(ask, server.port))
            assert 0 == server.stop()


def test_a_bare_repository_on_the_command_line_is_served_as_one_and_the_log_names_what_is_published(
    repository: Repository, tmp_path: Path
) -> None:
    commit = repository.git("rev-parse", "main").strip()
    with Server(repository.path, environment={"XDG_STATE_HOME": str(tmp_path / "state")}) as server:
        body, _ = get(server.port, "/orders/dev")
        said = server.output()

    assert commit == body["version"]
    [published] = [json.loads(line) for line in said.splitlines() if '"configuration published"' in line]
    assert (commit, "Ada Lovelace") == (published["commit"], published["author"])


def test_a_server_that_knows_nothing_before_shows_what_the_last_commit_changed(
    repository: Repository, tmp_path: Path
) -> None:
    def diff(server: Server, *arguments: str) -> tuple[int, str, str]:
        command = [str(Path(sys.executable).with_name("vortexctl")), "diff", "orders", "dev", *arguments]
        command += ["--server", f"http://127.0.0.1:{server.port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    first = repository.git("rev-parse", "main").strip()
    with Server(tmp_path / "x", settings=settings(tmp_path / "state", repository.uri)) as server:
        status, lines, _ = diff(server)
        # The first commit has made the document.
        assert (1, True) == (status, "+ /size: 1" in lines.splitlines())
    repository.commit({"orders-dev.yml": "size: 2\n"})
    # A change of another application doesn't delay this one.
    repository.commit({"billing.yml": "a: 1\n"})
    with Server(tmp_path / "x", settings=settings(tmp_path / "state", repository.uri)) as server:
        status, lines, _ = diff(server)

    title, *changes = lines.splitlines()
    assert (1, ["- /size: 1", "+ /size: 2"]) == (status, changes)
    assert f"(commit {first[:12]}) -> main@" in title


def test_what_can_not_be_fetched_is_served_and_called_stale(repository: Repository, tmp_path: Path) -> None:
    text = settings(tmp_path / "state", repository.uri, max_staleness=0.5)
    with Server(tmp_path / "x", settings=text) as server:
        repository.path.rename(tmp_path / "away")
        deadline = time.monotonic() + 20
        while "X-Vortex-Stale" not in get(server.port, "/orders/dev")[1]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        while not is_out_of_service(server.port):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10).read().decode()
        assert 'vortexd_source_failing{number="0"' in metrics
        (tmp_path / "away").rename(repository.path)
        while is_out_of_service(server.port):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert 0 == server.stop()


def is_out_of_service(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=10) as answer:
            return bool(answer.status != 200)
    except urllib.error.HTTPError as error:
        return error.code == 503


def test_a_directory_goes_over_a_repository(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "overrides").mkdir()
    (tmp_path / "overrides/application.yml").write_text("size: 9\n")
    text = f'[[source]]\npath = "{tmp_path / "overrides"}"\n' + settings(tmp_path / "state", repository.uri)
    with Server(tmp_path / "x", settings=text) as server:
        body, _ = get(server.port, "/orders/dev")
        assert (None, None) == (body["version"], body["state"])
        assert [{"size": 9}, {"size": 1}] == [source["source"] for source in body["propertySources"][:2]]
        assert 0 == server.stop()


def test_R22_a_client_resumes_at_another_instance(repository: Repository, tmp_path: Path) -> None:
    text = settings(tmp_path / "one", repository.uri)
    with Server(tmp_path / "x", settings=text) as one:
        (tmp_path / "b").mkdir()
        with Server(tmp_path / "b" / "x", settings=text.replace('/one"', '/two"')) as two:

            async def version(port: int, query: str = "") -> Any:
                async with open_websocket_url(f"ws://127.0.0.1:{port}/ws/orders/dev{query}") as client:
                    return json.loads(await client.get_message())

            first = trio.run(version, one.port)
            again = trio.run(version, two.port, f"?last_version={first['version']}")
            assert ("in_sync", first["version"]) == (again["type"], again["version"])
            assert [0, 0] == [one.stop(), two.stop()]


@contextmanager
def git_daemon(base: Path) -> Iterator[tuple[int, int]]:
    """Start git's own daemon; return its port and its process group."""
    port = free_port()
    with serving(
        ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", f"--base-path={base}", str(base)]
    ) as [group]:
        wait_for(port)
        yield port, group


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_git_daemon(repository: Repository, tmp_path: Path) -> None:
    with git_daemon(tmp_path) as (port, _):
        text = settings(tmp_path / "state", f"git://127.0.0.1:{port}/config.git")
        with Server(tmp_path / "x", settings=text) as server:
            until(server.port, "/orders/dev", {"size": 1})
            repository.commit({"orders-dev.yml": "size: 2\n"})
            until(server.port, "/orders/dev", {"size": 2})
            assert 0 == server.stop()


def test_R4_a_remote_that_hangs_slows_nobody_and_leaves_no_process(repository: Repository, tmp_path: Path) -> None:
    with git_daemon(tmp_path) as (port, group):
        text = settings(tmp_path / "state", f"git://127.0.0.1:{port}/config.git", fetch_timeout=0.5)
        with Server(tmp_path / "x", settings=text) as server:
            os.killpg(group, signal.SIGSTOP)
            slowest, is_stale, deadline = 0.0, False, time.monotonic() + 20
            while not is_stale:
                assert time.monotonic() < deadline
                began = time.monotonic()
                is_stale = "X-Vortex-Stale" in get(server.port, "/orders/dev")[1]
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 0.5
            assert len(children(server.process.pid)) <= 3  # two that read the mirror, one that fetches
            os.killpg(group, signal.SIGCONT)
            while "X-Vortex-Stale" in get(server.port, "/orders/dev")[1]:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert 0 == server.stop()


def children(pid: int) -> list[str]:
    return [each for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()]


def needs(*packages: tuple[str, str]) -> None:
    """Provide programs, given as (program, package of Debian). Install them if that is allowed; otherwise skip the test with the reason."""
    missing = [package for program, package in packages if not find(program)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", "-qq", *command], capture_output=True, timeout=120, env=environment)
    if missing := [program for program, _ in packages if not find(program)]:
        pytest.skip(f"there is no {', '.join(missing)}, and it can't be installed")


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(*commands: list[str]) -> Iterator[list[int]]:
    """Run servers, and stop them with all processes that they have started."""
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for command in commands
    ]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
                os.killpg(process.pid, signal.SIGCONT)
            process.wait(10)


NGINX = """
user root;
daemon off;
pid {place}/nginx.pid;
error_log {place}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
  server {{
    listen 127.0.0.1:{port};
    auth_basic git;
    auth_basic_user_file {place}/htpasswd;
    location / {{
      fastcgi_pass unix:{place}/fcgi;
      fastcgi_param SCRIPT_FILENAME {backend};
      fastcgi_param GIT_PROJECT_ROOT {root};
      fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param PATH_INFO $uri;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
      fastcgi_param HTTP_GIT_PROTOCOL $http_git_protocol;
      fastcgi_param REMOTE_USER $remote_user;
    }}
  }}
}}
"""


@pytest.mark.parametrize("password", ["hunter2-secret", "wrong-secret"])
def test_G10_smart_http_with_basic_auth(password: str, repository: Repository, tmp_path: Path) -> None:
    needs(("nginx", "nginx-light"), ("fcgiwrap", "fcgiwrap"))
    place = tmp_path / "nginx"
    place.mkdir()
    (place / "htpasswd").write_text("reader:{PLAIN}hunter2-secret\n")
    token = tmp_path / "token"
    token.write_text(f"{password}\n")
    token.chmod(0o600)
    port = free_port()
    backend = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
    text = NGINX.format(place=place, port=port, root=tmp_path, backend=f"{backend}/git-http-backend")
    (place / "nginx.conf").write_text(text if os.geteuid() == 0 else text.replace("user root;", ""))
    uri = f"http://127.0.0.1:{port}/config.git"
    keys = {"username": "reader", "password_file": str(token)}
    servers = (
        [str(find("fcgiwrap")), "-s", f"unix:{place}/fcgi"],
        [str(find("nginx")), "-c", f"{place}/nginx.conf", "-e", f"{place}/error.log"],
    )
    with serving(*servers):
        wait_for(port)
        if password != "hunter2-secret":
            assert "Authentication failed" in refusal(tmp_path, settings(tmp_path / "state", uri, **keys), password)
            return
        with Server(tmp_path / "x", settings=settings(tmp_path / "state", uri, **keys)) as server:
            until(server.port, "/orders/dev", {"size": 1})
            repository.commit({"orders-dev.yml": "size: 2\n"})
            until(server.port, "/orders/dev", {"size": 2})
            assert password not in server.output() + json.dumps(get(server.port, "/status")[0])
            assert f"{uri}/orders-dev.yml" == get(server.port, "/orders/dev")[0]["propertySources"][0]["name"]
            assert 0 == server.stop()


def refusal(directory: Path, text: str, secret: str) -> str:
    """Return the output of a daemon whose first fetch fails; it never becomes ready."""
    (directory / "vortexd.toml").write_text(text)
    command = [sys.executable, "-m", "vortexd", "--config", str(directory / "vortexd.toml"), "--log-format", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "source unreadable" in line:
                break
        process.terminate()
        said += process.stderr.read()
    assert secret not in said
    return said


SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {place}/host
AuthorizedKeysFile {place}/key.pub
PidFile {place}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""


@pytest.mark.parametrize(
    ("is_known", "passphrase"), [(True, ""), (False, ""), (True, "hunter2")], ids=["well", "unknown host", "passphrase"]
)
def test_G05_ssh_with_a_key_and_only_with_known_hosts(
    is_known: bool, passphrase: str, repository: Repository, tmp_path: Path
) -> None:
    needs(("sshd", "openssh-server"), ("ssh", "openssh-client"), ("ssh-keygen", "openssh-client"))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    place, port = tmp_path / "ssh", free_port()
    place.mkdir()
    for name, secret in (("host", ""), ("key", passphrase), ("other", "")):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", secret, "-f", str(place / name)], check=True)
    (place / "sshd_config").write_text(SSHD.format(port=port, place=place))
    host = (place / ("host.pub" if is_known else "other.pub")).read_text()
    (place / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}")
    uri = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{repository.path}"
    keys = {"ssh_key": str(place / "key"), "known_hosts": str(place / "known_hosts")}
    with serving([str(find("sshd")), "-D", "-f", str(place / "sshd_config")]):
        wait_for(port)
        if not is_known:
            assert "ost key verification failed" in refusal(
                tmp_path, settings(tmp_path / "state", uri, **keys), "PRIVATE"
            )
            return
        if passphrase:
            said = refusal(tmp_path, settings(tmp_path / "state", uri, **keys), passphrase)
            assert f"{place / 'key'} is protected by a passphrase" in said
            return
        with Server(tmp_path / "x", settings=settings(tmp_path / "state", uri, **keys)) as server:
            until(server.port, "/orders/dev", {"size": 1})
            repository.commit({"orders-dev.yml": "size: 2\n"})
            until(server.port, "/orders/dev", {"size": 2})
            assert 0 == server.stop()
