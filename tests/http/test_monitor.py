"""`/monitor` through the real listener: who may call, how large a body may be, and what is told to the sources."""

import hashlib
import hmac
import json
from collections.abc import Collection
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from tests.fakes import open_gate
from tests.http.serving import serving, wait_until
from tests.http.test_auth import bearer, gate
from vortexd.auth import Authority
from vortexd.http.monitor import Monitor
from vortexd.settings import MonitorSettings

PUSH = {
    "ref": "refs/heads/main",
    "commits": [{"modified": ["shop-dev.yml"]}],
    "repository": {"clone_url": "https://git.example/a.git"},
}


class FakeSources:
    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.told: list[tuple[list[str], list[str]]] = []

    def notified(self, addresses: Collection[str], refs: Collection[str]) -> int:
        self.told.append((list(addresses), list(refs)))
        return self.count


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    return path


def signature(body: bytes) -> str:
    return "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()


async def test_a_push_makes_sources_look_and_is_answered_as_spring_does() -> None:
    sources = FakeSources()
    async with serving(more={"/monitor": Monitor(sources, MonitorSettings())}) as http:
        answer = await http.ask("/monitor", "POST", json.dumps(PUSH).encode(), X_Github_Event="push")

    assert (200, ["shop-dev", "shop"]) == (answer.status, json.loads(answer.body))
    assert [(["https://git.example/a.git"], ["refs/heads/main"])] == sources.told


async def test_another_repository_is_answered_with_nothing() -> None:
    async with serving(more={"/monitor": Monitor(FakeSources(0), MonitorSettings())}) as http:
        answer = await http.ask("/monitor", "POST", json.dumps(PUSH).encode(), X_Github_Event="push")
        plain = await http.ask("/monitor", "POST", b'{"path": "shop.yml"}')

    assert (200, []) == (answer.status, json.loads(answer.body))
    assert ["shop"] == json.loads(plain.body)


async def test_who_signs_needs_no_token_and_who_does_not_needs_admin(secret: Path) -> None:
    sources = FakeSources()
    monitor = Monitor(sources, MonitorSettings(str(secret)))
    body = json.dumps(PUSH).encode()
    signed = {"X_Github_Event": "push", "X_Hub_Signature_256": signature(body)}
    wrong = {"X_Github_Event": "push", "X_Hub_Signature_256": signature(body + b" ")}
    async with serving(gate=gate(), more={"/monitor": monitor}) as http:
        statuses = [
            (await http.ask("/monitor", "POST", body, **headers)).status
            for headers in (signed, wrong, {}, bearer("reader"), bearer("admin") | {"X_Github_Event": "push"})
        ]

    assert [200, 401, 401, 403, 200] == statuses
    assert 2 == len(sources.told)


async def test_who_is_open_to_all_still_asks_for_a_signature(secret: Path) -> None:
    nobody = Authority(anonymous=frozenset())
    async with serving(gate=open_gate(nobody), more={"/monitor": Monitor(FakeSources(), MonitorSettings())}) as http:
        assert (await http.ask("/monitor", "POST", b'{"path": "a"}')).status in (401, 403)


async def test_its_bodies_may_be_larger_than_others_and_have_an_end() -> None:
    sources = FakeSources()
    monitor = Monitor(sources, MonitorSettings(body_bytes=200_000))
    large = json.dumps(PUSH | {"filler": "x" * 100_000}).encode()
    async with serving(more={"/monitor": monitor}) as http:
        answer = await http.ask("/monitor", "POST", large, X_Github_Event="push")
        larger = await http.ask("/monitor", "POST", large * 3, X_Github_Event="push")
        other = await http.ask("/shop/dev", "POST", large)

    assert [200, 413, 413] == [answer.status, larger.status, other.status]
    assert 1 == len(sources.told)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_posts_are_hooks(method: str) -> None:
    async with serving(more={"/monitor": Monitor(FakeSources(), MonitorSettings())}) as http:
        answer = await http.ask("/monitor", method)

    assert (405, "POST") == (answer.status, answer.headers["allow"])


async def test_a_secret_that_can_not_be_read_is_said_in_the_log_and_opens_nothing(tmp_path: Path) -> None:
    sources = FakeSources()
    with capture_logs() as logs:
        async with serving(more={"/monitor": Monitor(sources, MonitorSettings(str(tmp_path / "missing")))}) as http:
            answer = await http.ask("/monitor", "POST", b'{"path": "a"}')

    assert (500, []) == (answer.status, sources.told)
    assert ["webhook secret unreadable"] == [each["event"] for each in logs if each["log_level"] == "error"]


async def test_H02_nobody_fills_the_memory_with_many_large_hooks(nursery: trio.Nursery) -> None:
    head = b"POST /monitor HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answers: list[bytes] = []
    async with serving(more={"/monitor": Monitor(FakeSources(), MonitorSettings())}) as http:

        async def hold(framing: bytes) -> None:
            async with await http.connect() as stream:
                await stream.send_all(head + framing + b"\r\n\r\n" + b"5\r\nhello")
                answers.append(await stream.receive_some())

        for number in range(10):
            nursery.start_soon(hold, (b"Content-Length: 5000000", b"Transfer-Encoding: chunked")[number % 2])
        await wait_until(lambda: len(answers) == 2)
        small = await http.ask(
            "/monitor", "POST", b"path=application", Content_Type="application/x-www-form-urlencoded"
        )
        nursery.cancel_scope.cancel()

    assert [b"HTTP/1.1 503"] * 2 == [each[:12] for each in answers]
    assert 200 == small.status


async def test_a_large_hook_is_taken() -> None:
    async with serving(more={"/monitor": Monitor(FakeSources(), MonitorSettings())}) as http:
        for _ in range(10):
            answer = await http.ask("/monitor", "POST", b'{"path": "' + b"x" * 1_000_000 + b'"}')

            assert 200 == answer.status
