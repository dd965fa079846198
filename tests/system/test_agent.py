"""The agent and the server as real processes, with a real nginx if it is installed: good changes take effect, bad changes don't."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .process import Server

VORTEXCTL = [sys.executable, "-m", "vortexd.ctl"]
TIMEOUT = 30.0


def comes_true(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def ctl(*arguments: str, environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*VORTEXCTL, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(environment or {})},
        check=False,
    )


class Bench:
    """A server with one application, and an agent.toml for it."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory = directory
        self.server = server
        self.target = directory / "app.conf"
        self.config = directory / "agent.toml"
        self.started: list[subprocess.Popen[str]] = []
        (directory / "app.conf.j2").write_text("size={{ config.size }}\n")

    def serve(self, text: str) -> None:
        """Change the server's configuration in one step."""
        temporary = self.directory / "new"
        temporary.write_text(text)
        temporary.replace(self.directory / "config/shop.yml")

    def settle(self, template: str) -> None:
        self.config.write_text(
            f'[server]\nurl = ["http://127.0.0.1:{self.server.port}"]\ninstance = "here"\n'
            f'[agent]\nstate_directory = "state"\n[log]\nformat = "json"\n'
            f'[[template]]\napplication = "shop"\nsource = "app.conf.j2"\ntarget = "{self.target}"\n'
            f"quiet_period = 0.05\n{template}\n"
        )

    def start(self) -> "subprocess.Popen[str]":
        with (self.directory / "agent.log").open("a") as log:
            process = subprocess.Popen([*VORTEXCTL, "agent", "--config", str(self.config)], stderr=log, text=True)
        self.started.append(process)
        return process

    def log(self) -> str:
        return (self.directory / "agent.log").read_text()

    def instances(self) -> list[dict[str, Any]]:
        """Return the server's fleet and its acknowledgements."""
        answer = json.loads(ctl("fleet", "--json", "--server", f"http://127.0.0.1:{self.server.port}").stdout)
        return [each for key in answer["keys"] for each in key["instances"]]

    def acks(self) -> list[tuple[str, str]]:
        """Return the server's entry for this agent: state and error."""
        return [(each["state"], (each["ack"] or {}).get("error") or "") for each in self.instances()]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/shop.yml").write_text("size: 1\n")
    with Server(tmp_path / "config") as server:
        one = Bench(tmp_path, server)
        try:
            yield one
        finally:
            for process in one.started:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(20)


def test_once_dry_run_and_their_statuses(bench: Bench) -> None:
    bench.settle('check = ["grep", "-q", "size=[0-9]", "{file}"]')
    arguments = ("agent", "--config", str(bench.config))
    previewed = ctl(*arguments, "--dry-run")
    assert (1, True, False) == (previewed.returncode, "+size=1\n" in previewed.stdout, bench.target.exists())

    assert (0, "size=1\n") == (ctl(*arguments, "--once").returncode, bench.target.read_text())
    assert 0 == ctl(*arguments, "--dry-run").returncode
    assert ["here"] == [each["name"] for each in bench.instances()]
    assert "applied" == bench.instances()[0]["ack"]["status"]
    assert 0o600 == bench.target.stat().st_mode & 0o777
    bench.serve("size: many\n")
    assert comes_true(lambda: "+size=many" in ctl(*arguments, "--dry-run").stdout)
    refused = ctl(*arguments, "--once")
    assert (1, "size=1\n") == (refused.returncode, bench.target.read_text())
    assert "rejected: check ended with status 1" in refused.stderr
    assert "many" not in refused.stderr


def test_wrong_settings_are_said_all_at_once(bench: Bench) -> None:
    bench.settle('mode = "9"\nchek = []')
    refused = ctl("agent", "--check", "--config", str(bench.config))

    assert 2 == refused.returncode
    assert ["template[0].chek" in refused.stderr, "template[0].mode" in refused.stderr] == [True, True]


def test_settings_that_others_write_are_refused(bench: Bench) -> None:
    bench.settle("")
    bench.config.chmod(0o666)

    assert 2 == ctl("agent", "--check", "--config", str(bench.config)).returncode


def test_without_a_server_nothing_is_written_and_the_status_says_so(bench: Bench) -> None:
    bench.settle("")
    bench.config.write_text(bench.config.read_text().replace("[agent]", "start_timeout = 0.5\n[agent]"))
    assert 0 == bench.server.stop()

    assert (3, False) == (ctl("agent", "--once", "--config", str(bench.config)).returncode, bench.target.exists())


def test_without_a_server_it_begins_with_what_was_known_last_where_that_is_set(bench: Bench) -> None:
    bench.settle("")
    bench.config.write_text(bench.config.read_text().replace("[agent]", "[agent]\nlast_known_good = true"))
    arguments = ("agent", "--once", "--config", str(bench.config))
    assert (0, "size=1\n") == (ctl(*arguments).returncode, bench.target.read_text())
    assert 0 == bench.server.stop()
    bench.target.unlink()

    assert (0, "size=1\n") == (ctl(*arguments).returncode, bench.target.read_text())


def test_a_second_agent_on_the_same_file_is_refused(bench: Bench) -> None:
    bench.settle("")
    bench.start()
    assert comes_true(bench.target.exists)
    refused = ctl("agent", "--once", "--config", str(bench.config))

    assert (1, True) == (refused.returncode, "another agent writes" in refused.stderr)


def test_an_agent_killed_between_replacement_and_reload_makes_up_for_it(bench: Bench) -> None:
    loads, wait = bench.directory / "loads", bench.directory / "wait"
    bench.settle(f"shell = true\nreload = ['cat {bench.target} >> {loads}; while test -e {wait}; do sleep 0.05; done']")
    process = bench.start()
    assert comes_true(lambda: loads.exists() and loads.read_text() == "size=1\n")
    assert comes_true(lambda: '"applied"' in bench.log())
    wait.touch()
    bench.serve("size: 2\n")
    assert comes_true(lambda: loads.read_text() == "size=1\nsize=2\n")
    process.kill()
    process.wait(20)
    assert "size=2\n" == bench.target.read_text()
    wait.unlink()
    again = bench.start()

    assert comes_true(lambda: loads.read_text() == "size=1\nsize=2\nsize=2\n")
    assert comes_true(lambda: bench.acks() == [("applied", "")])
    again.send_signal(signal.SIGTERM)
    assert 0 == again.wait(20)
    assert {"app.conf", "app.conf.j2"} == {each.name for each in bench.directory.iterdir() if "app.conf" in each.name}


def test_a_command_has_the_configuration_as_its_environment(bench: Bench) -> None:
    server = ("--server", f"http://127.0.0.1:{bench.server.port}", "--app", "shop")
    ran = ctl("exec", *server, "--prefix", "SHOP_", "--", "/bin/sh", "-c", "echo $SHOP_SIZE; exit 7")

    assert (7, "1\n") == (ran.returncode, ran.stdout)


def test_a_command_is_started_anew_when_its_configuration_changes(bench: Bench) -> None:
    log = bench.directory / "log"
    command = [
        *(*VORTEXCTL, "exec", "--server", f"http://127.0.0.1:{bench.server.port}", "--app", "shop"),
        *("--quiet-period", "0s", "--settle", "100ms", "--"),
        *("/bin/sh", "-c", f"echo $SIZE >> {log}; exec sleep 600"),
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    bench.started.append(process)
    assert comes_true(lambda: log.exists() and log.read_text() == "1\n")
    bench.serve("size: 2\n")

    assert comes_true(lambda: log.read_text() == "1\n2\n")
    process.send_signal(signal.SIGTERM)
    assert 128 + signal.SIGTERM == process.wait(20)


# With a real nginx.

NGINX = """\
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections {{{{ config.connections }}}}; }}
http {{
    access_log off;
    server {{ listen 127.0.0.1:{port}; return 200 "{{{{ config.greeting }}}}"; }}
}}
"""


@pytest.fixture(scope="module")
def nginx() -> str:
    if shutil.which("nginx") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(
            "apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light",
            shell=True,
            capture_output=True,
            timeout=300,
            check=False,
        )
    found = shutil.which("nginx")
    if found is None:
        pytest.skip("there is no nginx, and it can't be installed")
    return found


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number: int = listening.getsockname()[1]
        return number


@pytest.mark.slow
def test_nginx_takes_up_what_is_good_and_never_sees_what_is_not(bench: Bench, nginx: str, port: int) -> None:
    template = NGINX.format(directory=bench.directory, port=port)
    (bench.directory / "app.conf.j2").write_text(template)
    bench.serve("connections: 64\ngreeting: hello\n")
    by_hand = template.replace("{{ config.connections }}", "64").replace("{{ config.greeting }}", "by hand")
    bench.target.write_text(by_hand)
    bench.target.chmod(0o640)
    bench.settle(
        f'check = ["{nginx}", "-t", "-q", "-c", "{{file}}"]\nsignal = "HUP"\npid_file = "{bench.directory}/nginx.pid"'
    )
    bench.started.append(subprocess.Popen([nginx, "-c", str(bench.target), "-g", "daemon off;"], text=True))
    assert comes_true(lambda: served(port) == "by hand")
    bench.start()
    assert comes_true(lambda: served(port) == "hello")
    assert comes_true(lambda: bench.acks() == [("applied", "")])

    bench.serve("connections: many\ngreeting: worse\n")
    assert comes_true(lambda: [state for state, _ in bench.acks()] == ["rejected"])
    assert 'invalid number "many"' in bench.acks()[0][1]
    assert "many" not in bench.log()
    assert (True, "hello", 0o640) == (
        "connections 64" in bench.target.read_text(),
        served(port),
        bench.target.stat().st_mode & 0o777,
    )
    bench.serve("connections: 128\ngreeting: better\n")
    assert comes_true(lambda: served(port) == "better")
    assert comes_true(lambda: bench.acks() == [("applied", "")])


def served(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""
