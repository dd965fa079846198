"""The pods of packaging/kubernetes run with the image of packaging/container, as kubelet would run them.

`packaging/container/check` builds the image, unpacks it and runs these tests.
"""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .kubelet import Container, Pod
from .test_kubernetes import KUBERNETES, TOKEN, one, rendered, settings_of, token_entry

IMAGE = os.environ.get("VORTEXD_IMAGE_ROOT", "")
pytestmark = pytest.mark.skipif(not IMAGE, reason="packaging/container/check runs it: it needs the image, and root")
PATIENCE = 30.0
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def wait_until(is_true: Callable[[], bool]) -> float:
    """Wait until something is true, and return the seconds that it took."""
    began = time.monotonic()
    while not is_true():
        assert time.monotonic() - began < PATIENCE, "it took too long"
        time.sleep(0.01)
    return time.monotonic() - began


def get(port: int, path: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=HEADERS)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.loads(answer.read() or b"{}")


def is_ready(port: int) -> bool:
    try:
        get(port, "/ready")
    except (OSError, ValueError):
        return False
    return True


def batch(port: int) -> object:
    [source, *_] = [
        each for each in get(port, "/orders/default")["propertySources"] if "orders.batch" in each["source"]
    ]
    return source["source"]["orders.batch"]


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[tuple[Pod, Container]]:
    """A pod of the overlay `files`. Only its port differs, because pods share the network here."""
    objects = rendered(KUBERNETES / "files")
    name, text = settings_of(objects)
    maps = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
    contents = {
        **maps,
        name: {"vortexd.toml": text.replace(":8888", f":{port}")},
        "vortexd-credentials": {"tokens.toml": token_entry()},
    }
    (tmp_path / "server").mkdir()
    pod = Pod(Path(IMAGE), one(objects, "Deployment")["spec"]["template"]["spec"], contents, tmp_path / "server")
    process = pod.start("vortexd", ["--config", "/etc/vortexd/vortexd.toml"])
    try:
        wait_until(lambda: is_ready(port))
        yield pod, process
    finally:
        print(process.kill())


def test_a_changed_config_map_is_published_without_a_restart(server: tuple[Pod, Container], port: int) -> None:
    pod, _ = server
    before = batch(port)
    pod.volumes["config"].update({"application.yml": "greeting: hello\n", "orders.yml": "orders: {batch: 250}\n"})
    seconds = wait_until(lambda: batch(port) == 250)

    assert before == 100
    print(f"published {seconds:.2f} s after the swap")


def test_a_full_state_volume_stops_neither_the_server_nor_its_changes(server: tuple[Pod, Container], port: int) -> None:
    pod, process = server
    process.signal(signal.SIGKILL)
    process.process.wait(10)
    state = pod.path("state")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=2777", "tmpfs", str(state)], check=True)
    try:
        (state / "full").write_bytes(bytes(4_096))
        full = pod.start("vortexd", ["--config", "/etc/vortexd/vortexd.toml"])
        wait_until(lambda: is_ready(port))
        pod.volumes["config"].update({"application.yml": "greeting: hello\n", "orders.yml": "orders: {batch: 9}\n"})
        wait_until(lambda: batch(port) == 9)
        output = full.kill()
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)

    assert "no space left on device" in output


def test_the_process_has_no_rights_and_an_unwritable_root(server: tuple[Pod, Container]) -> None:
    pod, _ = server
    script = "import os; print(os.getuid(), open('/proc/self/status').read().split('CapEff:')[1].split()[0], flush=True); open('/x', 'w')"
    status, output = pod.run("vortexd", "/opt/vortexd/bin/python", "-c", script)

    assert output.splitlines()[0] == "10001 0000000000000000"
    assert status == 1
    assert "Read-only file system" in output


def test_the_health_check_of_the_image_tells_a_server_from_none(server: tuple[Pod, Container], port: int) -> None:
    pod, process = server
    check = ("/opt/vortexd/bin/python", "/opt/vortexd/health.py", f"http://127.0.0.1:{port}/health")
    healthy = pod.run("vortexd", *check)
    process.signal(signal.SIGKILL)
    process.process.wait(10)
    dead, output = pod.run("vortexd", *check)

    assert healthy == (0, "")
    assert dead == 1
    assert "Connection refused" in output


def test_sigterm_ends_a_pod_in_order(server: tuple[Pod, Container]) -> None:
    _, process = server
    process.signal(signal.SIGTERM)

    assert process.process.wait(45) == 0
    assert process.process.stdout is not None
    assert '"event": "stopped"' in process.process.stdout.read()


def test_an_init_container_waits_for_a_first_state_and_a_sidecar_follows(
    server: tuple[Pod, Container], port: int, tmp_path: Path
) -> None:
    pod, _ = server
    objects = rendered(KUBERNETES / "client")
    agent, deployment = one(objects, "ConfigMap"), one(objects, "Deployment")
    files = {**agent["data"], "agent.toml": agent["data"]["agent.toml"].replace("vortexd:8888", f"127.0.0.1:{port}")}
    contents = {agent["metadata"]["name"]: files, "orders-vortexd": {"token": TOKEN}}
    (tmp_path / "client").mkdir()
    client = Pod(Path(IMAGE), deployment["spec"]["template"]["spec"], contents, tmp_path / "client")
    prepared = client.run("directory")
    status, output = client.run("first-state")
    target = client.path("generated") / "orders/orders.json"

    assert prepared == (0, "")
    assert status == 0, output
    assert json.loads(target.read_text())["orders"] == {"batch": 100}

    sidecar = client.start("agent")
    try:
        pod.volumes["config"].update({"application.yml": "greeting: hello\n", "orders.yml": "orders: {batch: 7}\n"})
        wait_until(lambda: json.loads(target.read_text())["orders"] == {"batch": 7})
    finally:
        sidecar.kill()
