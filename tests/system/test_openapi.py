"""The OpenAPI document and the daemon's answers agree, for valid and invalid requests that are generated from the document."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis

from tests.http.described import whole_document
from tests.system.process import Server
from vortexd.auth.tokens import digest_of

pytestmark = pytest.mark.alone

EXAMPLE = Path(__file__).parent.parent.parent / "conf" / "example"
TOKEN = "vt_" + "x" * 43
SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
[console]
enabled = true
[encryption]
key_file = "{directory}/key"
[[source]]
path = "{source}"
# No etcd is there. A node has all endpoints nevertheless.
[cluster]
name = "described"
endpoints = ["http://127.0.0.1:9"]
"""
GUARDED = """
[auth]
tokens = ["{directory}/tokens.toml"]
failure_burst = 1000000
"""
TOKENS = f"""
[[token]]
name = "all"
sha256 = "{digest_of(TOKEN)}"
rights = ["read", "subscribe", "report", "admin"]
patterns = ["*"]
"""
HANDSHAKE = (
    f"GET /ws/billing/prod?token={TOKEN}&instance=one HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()


def config() -> schemathesis.Config:
    """A limit on the tests, and the same requests each time."""
    accepted = {
        # No schema can describe a value that was encrypted with the test's key, or that came from an earlier answer.
        "/decrypt": [200, 400],
        "/decrypt/{application}/{profiles}": [200, 400],
        "/api/v1/fleet": [200, 304, 400],
        "/api/v1/keys": [200, 304, 400],
        # The endpoint requires an upgrade.
        "/ws/{application}/{profile}": [426],
    }
    operations: list[dict[str, Any]] = [
        {
            "include-path": path,
            "checks": {"positive_data_acceptance": {"expected-statuses": [*statuses, 401, 403, 404]}},
        }
        for path, statuses in accepted.items()
    ]
    # There is no etcd, and the answer says so. It must still be one of those that are described.
    operations.append(
        {
            "include-path": "/api/v1/cluster/members/{node}",
            "checks": {
                "not_a_server_error": {"enabled": False},
                "positive_data_acceptance": {"expected-statuses": [401, 403, 503]},
                "negative_data_rejection": {"expected-statuses": [400, 401, 404, 503]},
            },
        }
    )
    # Pins and roll-outs of a cluster are in etcd, too.
    operations += [
        {
            "include-path": path,
            "checks": {
                "not_a_server_error": {"enabled": False},
                "positive_data_acceptance": {"expected-statuses": [200, 400, 401, 403, 404, 409, 503]},
                "negative_data_rejection": {"expected-statuses": [400, 401, 403, 404, 405, 409, 503]},
            },
        }
        for path in (
            "/api/v1/pins",
            "/api/v1/rollouts",
            "/api/v1/pins/{application}/{profiles}",
            "/api/v1/pins/{application}/{profiles}/{label}",
        )
    ]
    # The server checks names only after the upgrade.
    operations[len(accepted) - 1]["checks"]["negative_data_rejection"] = {"expected-statuses": [400, 401, 404, 426]}
    return schemathesis.Config.from_dict(
        {
            "seed": 1,
            "cache": {"enabled": False},
            "generation": {
                "max-examples": 8,
                "deterministic": True,
                "database": "none",
                "with-security-parameters": False,
            },
            "operations": operations,
        }
    )


open_api = schemathesis.openapi.from_dict(whole_document(is_open=True), config=config())
guarded_api = schemathesis.openapi.from_dict(whole_document(), config=config())


@contextmanager
def serving(directory: Path, settings: str) -> Iterator[str]:
    for name, text in {"key": "a password", "tokens.toml": TOKENS}.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o600)
    with Server(directory / "config", settings=settings.format(directory=directory, source=EXAMPLE)) as server:
        # Connect a client, so that the fleet and the connections aren't empty.
        with socket.create_connection(("127.0.0.1", server.port), 20) as client:
            client.sendall(HANDSHAKE)
            assert client.recv(16).startswith(b"HTTP/1.1 101")
            yield f"http://127.0.0.1:{server.port}"
        server.stop()


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The addresses of a server without tokens, and of one with them. They start at the same time, because each waits for etcd."""
    directories = tmp_path_factory.mktemp("open"), tmp_path_factory.mktemp("guarded")
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        unguarded, guarded = (
            threads.submit(stack.enter_context, serving(directory, settings))
            for directory, settings in zip(directories, (SETTINGS, SETTINGS + GUARDED), strict=True)
        )
        yield unguarded.result(), guarded.result()


def patience(case: schemathesis.Case[Any]) -> dict[str, Any]:
    """The seconds to wait for an answer. An event stream has no end, so its first events must do."""
    if "/events/" not in case.path:
        return {}
    # Without a pattern, a stream begins with two events, and no third one follows soon.
    case.operation.schema.config.max_stream_events = None if "pattern" in case.query else 2
    return {"timeout": 1}


@open_api.parametrize()
def test_what_is_answered_to_everybody_is_as_described(case: schemathesis.Case[Any], urls: tuple[str, str]) -> None:
    case.call_and_validate(urls[0], **patience(case))


@guarded_api.parametrize()
def test_what_is_answered_to_a_token_is_as_described(case: schemathesis.Case[Any], urls: tuple[str, str]) -> None:
    case.call_and_validate(urls[1], headers={"Authorization": f"Bearer {TOKEN}"}, **patience(case))
