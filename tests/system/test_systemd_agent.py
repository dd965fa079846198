"""The agent's unit under a real systemd: the files and programs that its sandbox allows, and the output of `systemctl status`.

It runs in its own namespaces if the machine allows that; see `machine`. Otherwise all tests are skipped with the reason.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from .machine import DROP_IN, PROGRAM, Machine
from .test_systemd_real import SERVICE, Installed, free_port

AGENT, APP = "vortexctl-agent.service", "app.service"
# Reads its file at a reload, as a daemon does, and refuses a bad file.
UNIT = """
[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/sh -c 'cat /etc/app/app.conf >>/run/app.loaded; ! grep -q bad /etc/app/app.conf'
"""
SETTINGS = """
[server]
url = ["http://127.0.0.1:{port}"]
[[template]]
application = "shop"
source = "app.conf.j2"
target = "/etc/app/app.conf"
quiet_period = 0
check = ["grep", "-q", "number", "{{file}}"]
reload = ["systemctl", "reload", "app.service"]
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine")) as machine:
        machine.run(PROGRAM, "install-units")
        yield machine


@pytest.fixture
def installed(machine: Machine) -> Iterator[Installed]:
    installed = Installed(machine, free_port())
    installed.settings()
    installed.serve(1)
    installed.override(SERVICE, DROP_IN)
    machine.path("/etc/app").mkdir(exist_ok=True)
    installed.put("/etc/systemd/system/app.service", UNIT)
    installed.put("/etc/vortexd/app.conf.j2", "number={{ config.number }}\n")
    installed.put("/etc/vortexd/agent.toml", SETTINGS.format(port=installed.port))
    for path in ("/etc/vortexd/app.conf.j2", "/etc/vortexd/agent.toml"):
        machine.path(path).chmod(0o644)
    installed.override(AGENT, f"{DROP_IN}ReadWritePaths=/etc/app\n")
    machine.run("systemctl", "start", SERVICE, APP)
    yield installed
    machine.run("systemctl", "stop", AGENT, SERVICE, APP)
    machine.run("systemctl", "reset-failed")
    for path in ("/run/app.loaded", "/etc/app/app.conf"):
        machine.path(path).unlink(missing_ok=True)


def comes_true(installed: Installed, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, installed.machine.log()
        time.sleep(0.05)


def text(installed: Installed, path: str) -> str:
    file = installed.machine.path(path)
    return file.read_text() if file.exists() else ""


def test_a_change_is_written_and_the_unit_that_reads_it_reloaded(installed: Installed) -> None:
    installed.machine.run("systemctl", "start", AGENT)
    comes_true(installed, lambda: text(installed, "/run/app.loaded") == "number=1\n")
    installed.serve(2)

    comes_true(installed, lambda: text(installed, "/run/app.loaded") == "number=1\nnumber=2\n")
    comes_true(installed, lambda: installed.machine.show("StatusText", AGENT) == "everything is as configured")
    assert "0" == installed.machine.show("NRestarts", AGENT)
    assert 0o700 == installed.machine.path("/var/lib/vortexctl-agent").stat().st_mode & 0o777


def test_what_the_unit_refuses_is_put_back_and_seen_in_the_status(installed: Installed) -> None:
    installed.machine.run("systemctl", "start", AGENT)
    comes_true(installed, lambda: text(installed, "/run/app.loaded") == "number=1\n")
    installed.put("/etc/vortexd/app.conf.j2", "number=bad\n")
    installed.machine.run("systemctl", "reload", AGENT)

    comes_true(installed, lambda: "reload ended with status 1" in installed.machine.show("StatusText", AGENT))
    assert "number=1\n" == text(installed, "/etc/app/app.conf")
    assert "number=1\nnumber=bad\nnumber=1\n" == text(installed, "/run/app.loaded")


def test_what_the_sandbox_does_not_let_it_write_is_said(installed: Installed) -> None:
    installed.override(AGENT, DROP_IN)
    installed.machine.run("systemctl", "start", AGENT, check=False)

    assert "/etc/app/app.conf: read-only file system; under systemd, add its directory to ReadWritePaths=" in (
        installed.machine.log()
    )
