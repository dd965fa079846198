"""Crowds that send nothing, a byte a second, or half of a request: other clients don't wait and aren't refused."""

import contextlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import make
from vortexd.ctl.load import Clients

from .crowd import Crowd, Probe, Storm
from .process import Server

pytestmark = pytest.mark.alone

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
{server}
[auth]
open = true
[tls]
{tls}
[[source]]
path = "{source}"
"""
PROXY = 'trusted_proxies = ["127.0.0.0/8"]\nproxy_protocol = true'
HEADER = b"PROXY TCP4 198.51.100.1 127.0.0.1 4321 80\r\n"
IS_LONG = bool(os.environ.get("VORTEXD_LONG"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "billing.yml").write_text("number: 0\n")
    return directory


@contextlib.contextmanager
def serving(source: Path, kind: str = "", prefix: tuple[str, ...] = ()) -> Iterator[tuple[Server, Probe]]:
    """Run a server, and request its health at the same time."""
    tls, context, before = "", None, b""
    if kind in ("tls", "hello"):
        certificate, key = make(source.parent)
        tls = f'certificate = "{certificate}"\nkey = "{key}"'
        context = ssl.create_default_context(cafile=str(certificate))
    elif "proxy" in kind:
        before = HEADER
    settings = SETTINGS.format(source=source, server=PROXY if before else "", tls=tls)
    with Server(source, settings=settings, prefix=prefix) as server:
        yield server, Probe(server.port, context, before)
        assert 0 == server.stop()
    assert '"level": "error"' not in (source.parent / "vortexd.log").read_text()


def check(probe: Probe) -> None:
    """All requests were answered, within a second plus the machine's own delays."""
    assert [] == probe.failures
    times = sorted(probe.times)
    assert len(times) > 5
    assert times[len(times) * 9 // 10] < 1
    assert times[-1] < 5


@pytest.mark.parametrize(
    ("kind", "count", "addresses"),
    [
        ("silent", 1_000, 1),
        ("silent", 1_000, 1_000),
        ("trickle", 1_000, 1),
        ("behind-proxy", 1_000, 1),
        ("tls", 1_000, 1),
        ("hello", 400, 400),
        ("body-trickle", 400, 1),
        *([("trickle", 1_000, 1_000), ("proxy", 1_000, 1), ("hello", 1_000, 1), ("body", 1_000, 1)] if IS_LONG else []),
    ],
)
def test_H03_health_is_answered_whatever_others_keep_to_themselves(
    source: Path, kind: str, count: int, addresses: int
) -> None:
    with serving(source, kind) as (server, probe):
        before = server.private_bytes()
        with probe, Crowd(server.port, count, kind, addresses) as crowd:
            crowd.over.wait(3)
            growth = server.private_bytes() - before
        check(probe)
        assert b"503" not in crowd.statuses
        if kind not in ("hello", "body", "body-trickle"):
            # Each connection costs a descriptor and a small object.
            assert growth < 3_000 * count
        else:
            assert growth < 60_000_000


@pytest.mark.parametrize("addresses", [1, 400] if IS_LONG else [1])
def test_H03_a_burst_leaves_the_reserve_of_descriptors_alone(source: Path, addresses: int) -> None:
    with serving(source, prefix=("prlimit", "--nofile=256")) as (server, probe):
        witness = Clients("127.0.0.1", server.port)
        witness.connect(1, lambda _: "/ws/billing/prod")
        with probe, Crowd(server.port, 400, addresses=addresses) as crowd:
            crowd.over.wait(3)
            (source / "billing.yml").write_text("number: 1\n")
            witness.wait(b'"value":1', 10)
            assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 256
        # With so many addresses, the first round takes a second.
        assert [] == probe.failures
        assert sorted(probe.times)[len(probe.times) // 2] < 1
        assert max(probe.times) < 5
        assert b"503" not in crowd.statuses
        witness.close()
        assert '"silent connections closed"' in server.output()
        assert '"connections not accepted"' not in server.output()


def test_H03_of_many_handshakes_at_once_none_is_refused_and_health_is_answered(source: Path) -> None:
    count = 5_000 if IS_LONG else 1_000
    with serving(source) as (server, probe):
        storm = Storm(server.port, count)
        with probe:
            storm.run()
        storm.close()
        assert (count, []) == (storm.opened, storm.refused)
        assert [] == probe.failures
        assert max(probe.times, default=0) < 5
        if len(probe.times) > 10:
            check(probe)


def test_H03_of_many_handshakes_with_tls_at_once_none_is_refused(source: Path) -> None:
    count = 1_000 if IS_LONG else 300
    with serving(source, "tls") as (server, probe):
        context = probe.context
        assert context is not None
        storm = Storm(server.port, count, context)
        with probe:
            storm.run()
        storm.close()
        assert (count, []) == (storm.opened, storm.refused)
        assert [] == probe.failures
