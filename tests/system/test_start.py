"""The daemon starts without the libraries that most daemons never use, and loads them when they are needed."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .process import Server

# Quart and Hypercorn need these, for bodies; HTTP/2, metrics, and keys and certificates need the others.
FOR_BODIES = {"hypercorn", "quart", "quart_trio", "flask", "jinja2", "click", "aiofiles", "werkzeug"}
FOR_HTTP2 = {"h2", "hpack", "hyperframe"}
FOR_METRICS = {"prometheus_client"}
FOR_KEYS = {"cryptography", "jwt", "asn1crypto"}
_IMPORTED = re.compile(r"^import time:.*\| +([^ ]+)$", re.MULTILINE)


def loaded(server: Server) -> set[str]:
    """Return the top packages that the server has imported so far."""
    return {name.partition(".")[0] for name in _IMPORTED.findall(server.output())}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "orders.yml").write_text("a: 1\n")
    return directory


@pytest.fixture
def server(source: Path) -> Iterator[Server]:
    with Server(source, environment={"PYTHONPROFILEIMPORTTIME": "1"}) as server:
        yield server
        assert 0 == server.stop()


def test_a_read_loads_nothing_for_other_requests_and_the_first_of_these_loads_what_it_needs(server: Server) -> None:
    address = f"http://127.0.0.1:{server.port}"
    with urllib.request.urlopen(f"{address}/orders/dev", timeout=20) as answer:
        assert 200 == answer.status
    before = loaded(server)
    with urllib.request.urlopen(f"{address}/metrics", timeout=20) as answer:
        assert 200 == answer.status
    scraped = loaded(server)

    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/encrypt", b"secret", timeout=20)

    assert {"vortexd", "trio"} <= before
    assert set() == before & (FOR_BODIES | FOR_HTTP2 | FOR_METRICS | FOR_KEYS)
    assert FOR_METRICS <= scraped
    assert set() == scraped & (FOR_BODIES | FOR_HTTP2 | FOR_KEYS)
    assert FOR_BODIES <= loaded(server)
    assert set() == loaded(server) & FOR_KEYS


def test_a_key_in_the_settings_loads_cryptography_before_the_server_is_ready(tmp_path: Path, source: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a password")
    key.chmod(0o600)
    settings = f'[server]\nbind = ["127.0.0.1:0"]\n[encryption]\nkey_file = "{key}"\n[[source]]\npath = "{source}"\n'
    with Server(source, settings=settings, environment={"PYTHONPROFILEIMPORTTIME": "1"}) as server:
        assert "cryptography" in loaded(server)
        assert 0 == server.stop()
