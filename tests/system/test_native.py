"""The real process with each way of writing to many sockets: what it says about itself, and that changes reach all clients."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.realtime import both_sockets
from vortexd import __version__
from vortexd.ctl.load import Clients
from vortexd.realtime.sockets import MOST

from .process import Server


@pytest.mark.parametrize("name", both_sockets.NAMES)
def test_more_clients_than_a_batch_get_every_change_with_each_way_of_writing(tmp_path: Path, name: str) -> None:
    both_sockets.made(name)
    environment = {} if name == "native" else {"VORTEXD_NATIVE": "off"}
    source = tmp_path / "config"
    source.mkdir()
    file = source / "billing.yml"
    file.write_text("number: 0\n")
    count = MOST + 76
    with Server(source, environment=environment) as server:
        clients = Clients("127.0.0.1", server.port)
        clients.connect(count, lambda _: "/ws/billing/prod")
        for number in range(1, 4):
            temporary = source / ".new"
            temporary.write_text(f"number: {number}\n")
            temporary.rename(file)
            assert count == len(clients.wait(f'"value":{number}'.encode(), 30))
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=20) as answer:
            metrics = answer.read().decode().splitlines()
        clients.close()
        assert 0 == server.stop()

    assert f'vortexd_build_info{{sockets="{name}",version="{__version__}"}} 1.0' in metrics
    assert f'vortexd_connections{{state="parked"}} {count}.0' in metrics
    assert f'vortexd_sent_messages_total{{type="config_change"}} {3 * count}.0' in metrics


@pytest.mark.parametrize("name", both_sockets.NAMES)
def test_the_version_names_the_way_of_writing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    both_sockets.made(name)
    if name == "python":
        monkeypatch.setenv("VORTEXD_NATIVE", "off")
    printed = subprocess.run([sys.executable, "-m", "vortexd", "--version"], capture_output=True, text=True, check=True)

    assert f"vortexd {__version__} (sockets: {name})\n" == printed.stdout
