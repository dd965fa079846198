"""`/monitor` through the real listener: access, the size of bodies, the hints to sources, and the log."""

import base64
import hashlib
import hmac
import json
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.fakes import open_gate, wait_until
from tests.http.serving import serving
from tests.http.test_auth import bearer, gate
from vortexd.auth import Authority
from vortexd.core.model import BrokenFile, Served
from vortexd.gate.finding import Refusal
from vortexd.http import monitor as module
from vortexd.http.endpoint import Headers, Request, Response
from vortexd.http.monitor import Monitor
from vortexd.net.proxies import Sender
from vortexd.observe.logs import fit, redact
from vortexd.process.peers import Peers
from vortexd.settings.monitor import MonitorSettings
from vortexd.source.git.repositories import repository_of

PUSH = {
    "ref": "refs/heads/main",
    "commits": [{"modified": ["shop-dev.yml"]}],
    "repository": {"clone_url": "https://git.example/a.git"},
}


class FakeSources:
    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.told: list[tuple[list[str], list[str]]] = []
        self.waiting = 0
        self.looked = trio.Event()
        self.looked.set()

    def notified(self, addresses: Collection[str], refs: Collection[str]) -> int:
        self.told.append((list(addresses), list(refs)))
        return self.count

    async def wait_looked(self, addresses: Collection[str], refs: Collection[str]) -> None:
        assert (list(addresses), list(refs)) == self.told[-1]
        self.waiting += 1
        await self.looked.wait()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    return path


class FakePeers(Peers):
    """Notes what other workers are told, and can be asked as they ask."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, object]] = []

    def tell(self, name: str, text: str = "") -> None:
        self.told.append((name, orjson.loads(text)))

    def asked(self, name: str, text: str) -> str:
        return self._handlers[name](text)


def about_hooks(logs: list[Any]) -> list[dict[str, Any]]:
    """What was logged of hooks. All of it can be read: nothing is cut, and nothing looks like a token to the log."""
    found = [dict(each) for each in logs if each["event"].startswith("webhook")]
    assert found == [dict(redact(None, "", fit(None, "", dict(each)))) for each in found]
    return found


def signature(body: bytes) -> str:
    return "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()


async def test_a_push_makes_sources_look_and_is_answered_as_spring_does() -> None:
    sources = FakeSources()
    async with serving(more=[Monitor(sources, MonitorSettings())]) as http:
        answer = await http.ask("/monitor", "POST", json.dumps(PUSH).encode(), X_Github_Event="push")

    assert (200, ["shop-dev", "shop"]) == (answer.status, json.loads(answer.body))
    assert [(["https://git.example/a.git"], ["refs/heads/main"])] == sources.told


async def test_another_repository_is_answered_with_nothing() -> None:
    async with serving(more=[Monitor(FakeSources(0), MonitorSettings())]) as http:
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
    async with serving(gate=gate(), more=[monitor]) as http:
        statuses = [
            (await http.ask("/monitor", "POST", body, **headers)).status
            for headers in (signed, wrong, {}, bearer("reader"), bearer("admin") | {"X_Github_Event": "push"})
        ]

    assert [200, 401, 401, 403, 200] == statuses
    assert 2 == len(sources.told)


@pytest.mark.parametrize(("has_secret", "statuses"), [(True, [200, 401, 401]), (False, [200, 200, 200])])
async def test_where_nobody_is_asked_for_a_token_a_secret_that_is_set_is_asked_for(
    secret: Path, has_secret: bool, statuses: list[int]
) -> None:
    sources = FakeSources()
    monitor = Monitor(sources, MonitorSettings(str(secret) if has_secret else ""))
    body = json.dumps(PUSH).encode()
    async with serving(more=[monitor]) as http:
        with capture_logs() as logs:
            found = [
                (await http.ask("/monitor", "POST", body, X_Github_Event="push", **headers)).status
                for headers in (
                    {"X_Hub_Signature_256": signature(body)},
                    {"X_Hub_Signature_256": signature(body + b" ")},
                    {},
                )
            ]

    assert statuses == found
    assert statuses.count(200) == len(sources.told)
    assert statuses.count(401) == sum(each["event"] == "webhook refused" for each in logs)


async def test_a_form_is_verified_as_it_was_sent(secret: Path) -> None:
    """GitHub sends forms unless it is told otherwise, and signs the form, not the JSON in it."""
    sources = FakeSources()
    body = urlencode({"payload": json.dumps(PUSH)}).encode()
    headers = {"X_Github_Event": "push", "Content_Type": "application/x-www-form-urlencoded"}
    async with serving(gate=gate(), more=[Monitor(sources, MonitorSettings(str(secret)))]) as http:
        signed = await http.ask("/monitor", "POST", body, X_Hub_Signature_256=signature(body), **headers)
        inner = signature(json.dumps(PUSH).encode())
        unsigned = await http.ask("/monitor", "POST", body, X_Hub_Signature_256=inner, **headers)

    assert [(200, b'["shop-dev","shop"]'), 401] == [(signed.status, signed.body), unsigned.status]
    assert [(["https://git.example/a.git"], ["refs/heads/main"])] == sources.told


async def test_the_secret_may_be_the_password_of_whoever_calls(secret: Path) -> None:
    """Azure DevOps knows no signatures."""
    sources = FakeSources()
    monitor = Monitor(sources, MonitorSettings(str(secret)))
    async with serving(gate=gate(), more=[monitor]) as http:
        statuses = [
            (await http.ask("/monitor", "POST", b"{}", Authorization=f"Basic {base64.b64encode(each).decode()}")).status
            for each in (b"azure:s3cret", b"azure:other")
        ]

    assert [200, 401] == statuses
    assert 1 == len(sources.told)


async def test_other_settings_are_in_force_at_once(secret: Path) -> None:
    body = json.dumps(PUSH).encode()
    monitor = Monitor(FakeSources(), MonitorSettings())
    async with serving(gate=gate(), more=[monitor]) as http:
        before = await http.ask("/monitor", "POST", body, X_Hub_Signature_256=signature(body))
        monitor.replace(MonitorSettings(str(secret), 2_048))
        after = await http.ask("/monitor", "POST", body, X_Hub_Signature_256=signature(body))

    assert [401, 200, 2_048] == [before.status, after.status, monitor.body_bytes]


async def test_who_is_open_to_all_still_asks_for_a_signature(secret: Path) -> None:
    nobody = Authority(anonymous=frozenset())
    async with serving(gate=open_gate(nobody), more=[Monitor(FakeSources(), MonitorSettings())]) as http:
        assert (await http.ask("/monitor", "POST", b'{"path": "a"}')).status in (401, 403)


async def test_its_bodies_may_be_larger_than_others_and_have_an_end() -> None:
    sources = FakeSources()
    monitor = Monitor(sources, MonitorSettings(body_bytes=200_000))
    large = json.dumps(PUSH | {"filler": "x" * 100_000}).encode()
    async with serving(more=[monitor]) as http:
        answer = await http.ask("/monitor", "POST", large, X_Github_Event="push")
        larger = await http.ask("/monitor", "POST", large * 3, X_Github_Event="push")
        other = await http.ask("/shop/dev", "POST", large)

    assert [200, 413, 413] == [answer.status, larger.status, other.status]
    assert 1 == len(sources.told)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_posts_are_hooks(method: str) -> None:
    async with serving(more=[Monitor(FakeSources(), MonitorSettings())]) as http:
        answer = await http.ask("/monitor", method)

    assert (405, "POST") == (answer.status, answer.headers["allow"])
    assert "/monitor" == Monitor.route


async def test_a_secret_that_can_not_be_read_is_said_in_the_log_and_opens_nothing(tmp_path: Path) -> None:
    sources = FakeSources()
    with capture_logs() as logs:
        async with serving(more=[Monitor(sources, MonitorSettings(str(tmp_path / "missing")))]) as http:
            answer = await http.ask("/monitor", "POST", b'{"path": "a"}')

    assert (500, []) == (answer.status, sources.told)
    assert ["webhook secret unreadable"] == [each["event"] for each in logs if each["log_level"] == "error"]
    assert 1 == len(about_hooks(logs))


async def test_H02_nobody_fills_the_memory_with_many_large_hooks(nursery: trio.Nursery) -> None:
    head = b"POST /monitor HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answers: list[bytes] = []
    async with serving(more=[Monitor(FakeSources(), MonitorSettings())]) as http:

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
    async with serving(more=[Monitor(FakeSources(), MonitorSettings())]) as http:
        for _ in range(10):
            answer = await http.ask("/monitor", "POST", b'{"path": "' + b"x" * 1_000_000 + b'"}')

            assert 200 == answer.status


# A verified request is a hint to look, and the log says the consequence.


async def test_a_hook_is_logged_with_what_follows_from_it_and_passed_on_to_other_workers() -> None:
    peers = FakePeers()
    with capture_logs() as logs:
        async with serving(more=[Monitor(FakeSources(2), MonitorSettings(), peers)]) as http:
            await http.ask("/monitor", "POST", json.dumps(PUSH).encode(), X_Github_Event="push")

    assert [("notified", [["https://git.example/a.git"], ["refs/heads/main"]])] == peers.told
    assert [
        {
            "event": "webhook",
            "log_level": "info",
            "provider": "github",
            "kind": "push",
            "refs": ["refs/heads/main"],
            "sources": 2,
            "consequence": "these sources fetch, at most once per hook_interval",
        }
    ] == about_hooks(logs)


@pytest.mark.parametrize("count", [1, 0])
async def test_other_nodes_are_told_whether_or_not_this_one_has_the_repository(count: int) -> None:
    told: list[object] = []
    announce = lambda addresses, refs: told.append((list(addresses), list(refs)))  # noqa: E731 - it is short
    async with serving(more=[Monitor(FakeSources(count), MonitorSettings(), announce=announce)]) as http:
        await http.ask("/monitor", "POST", json.dumps(PUSH).encode(), X_Github_Event="ping")
        assert [] == told
        await http.ask("/monitor", "POST", json.dumps(PUSH).encode(), X_Github_Event="push")
        assert [(["https://git.example/a"], ["refs/heads/main"])] == told
        await http.ask("/monitor", "POST", json.dumps(PUSH).encode(), X_Github_Event="made-up")
    assert 2 == len(told)


@pytest.mark.parametrize(
    "address", ["https://ada:pass@git.example/A.git", "ssh://git@git.example:22/a", "git@git.example:a.git"]
)
async def test_other_nodes_are_told_of_a_repository_without_user_and_password(address: str) -> None:
    told: list[object] = []
    monitor = Monitor(
        FakeSources(), MonitorSettings(), announce=lambda addresses, refs: told.extend([*addresses, *refs])
    )
    message = PUSH | {"repository": {"clone_url": address, "html_url": "https://git.example/"}}
    async with serving(more=[monitor]) as http:
        await http.ask("/monitor", "POST", json.dumps(message).encode(), X_Github_Event="push")
    [other] = [each for each in told if each != "refs/heads/main"]
    assert other == "https://git.example/a"
    assert repository_of(address) == repository_of(str(other))


async def test_other_nodes_are_not_told_of_a_request_that_is_refused(secret: Path) -> None:
    told: list[object] = []
    monitor = Monitor(
        FakeSources(), MonitorSettings(secret=str(secret)), announce=lambda addresses, refs: told.append(addresses)
    )
    async with serving(more=[monitor]) as http:
        await http.ask("/monitor", "POST", json.dumps(PUSH).encode(), X_Github_Event="push")
    assert [] == told


def test_another_worker_makes_its_own_sources_look() -> None:
    sources, peers = FakeSources(3), FakePeers()
    # Only the worker that has received the webhook tells other nodes.
    Monitor(sources, MonitorSettings(), peers, announce=lambda addresses, refs: pytest.fail("it was told twice"))

    assert "3" == peers.asked("notified", '[["https://git.example/a.git"],["refs/heads/main"]]')
    assert [(["https://git.example/a.git"], ["refs/heads/main"])] == sources.told
    assert [] == peers.told


async def test_a_hook_that_no_source_is_meant_by_is_logged_without_passwords() -> None:
    message = PUSH | {"repository": {"clone_url": "https://ada:pass@git.example/a.git", "html_url": "git.example:a"}}
    peers = FakePeers()
    with capture_logs() as logs:
        async with serving(more=[Monitor(FakeSources(0), MonitorSettings(), peers)]) as http:
            answer = await http.ask("/monitor", "POST", json.dumps(message).encode(), X_Github_Event="push")
            by_hand = await http.ask("/monitor", "POST", b'{"path": "a"}')

    assert [b"[]", b'["a"]'] == [answer.body, by_hand.body]
    # The other workers may have had a reload that this one hasn't had yet.
    assert 2 == len(peers.told)
    expected = {"event": "webhook for no source", "log_level": "info", "consequence": "nothing is fetched"}
    assert [
        expected
        | {
            "provider": "github",
            "kind": "push",
            "repositories": ["git.example/a"],
            "refs": ["refs/heads/main"],
            "reason": "no git source has this repository and serves these refs",
        },
        expected
        | {"provider": "plain", "kind": "path", "repositories": [], "refs": [], "reason": "there is no git source"},
    ] == about_hooks(logs)


@pytest.mark.parametrize("message", [{"ref": "refs/heads/a"}, {"repository": {"clone_url": "https://git.example/a"}}])
async def test_a_ref_or_a_repository_alone_is_reason_enough_to_leave_all_out(message: object) -> None:
    with capture_logs() as logs:
        async with serving(more=[Monitor(FakeSources(0), MonitorSettings())]) as http:
            await http.ask("/monitor", "POST", json.dumps(message).encode(), X_Github_Event="push")

    assert ["no git source has this repository and serves these refs"] == [each["reason"] for each in about_hooks(logs)]


@pytest.mark.parametrize("count", [0, 1])
async def test_a_line_of_the_log_names_a_handful_of_refs_and_repositories(count: int) -> None:
    refs = [f"refs/heads/{number}" for number in range(20)]
    links = [{"href": f"https://git.example/{number}"} for number in range(20)]
    message = {"changes": [{"ref": {"id": ref}} for ref in refs], "repository": {"links": {"clone": links}}}
    sources = FakeSources(count)
    with capture_logs() as logs:
        async with serving(more=[Monitor(sources, MonitorSettings())]) as http:
            await http.ask("/monitor", "POST", json.dumps(message).encode(), X_Event_Key="repo:refs_changed")

    [line] = about_hooks(logs)
    assert refs[:8] == line["refs"]
    if not count:
        assert [f"git.example/{number}" for number in range(8)] == line["repositories"]
    assert [([each["href"] for each in links], refs)] == sources.told


async def test_an_event_that_is_not_known_makes_all_look_and_is_logged_once_for_each_provider() -> None:
    sources, peers = FakeSources(), FakePeers()
    body = json.dumps(PUSH).encode()
    with capture_logs() as logs:
        async with serving(more=[Monitor(sources, MonitorSettings(), peers)]) as http:
            for headers in (
                {"X_Github_Event": "star"},
                {"X_Github_Event": "star"},
                {"X_Github_Event": "fork"},
                {"X_Gitea_Event": "star"},
                {"X_Github_Event": "star"},
            ):
                answer = await http.ask("/monitor", "POST", body, **headers)
                assert (200, b"[]") == (answer.status, answer.body)

    assert [([], [])] * 5 == sources.told
    assert [("notified", [[], []])] * 5 == peers.told
    unknown = [each for each in about_hooks(logs) if each["event"] == "webhook not recognised"]
    assert [
        {
            "event": "webhook not recognised",
            "log_level": "info",
            "provider": provider,
            "kind": kind,
            "consequence": "every git source fetches, because the server doesn't know which repository has changed",
        }
        for provider, kind in (("github", "star"), ("github", "fork"), ("gitea", "star"))
    ] == unknown
    assert 5 == sum(each["event"] == "webhook" for each in about_hooks(logs))


async def test_events_that_are_made_up_fill_neither_memory_nor_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_UNKNOWN", 3)
    sources = FakeSources()
    with capture_logs() as logs:
        async with serving(more=[Monitor(sources, MonitorSettings())]) as http:
            for number in range(6):
                await http.ask("/monitor", "POST", b"{}", X_Github_Event=f"event{number}")

    unknown = [each["kind"] for each in about_hooks(logs) if each["event"] == "webhook not recognised"]
    assert ["event0", "event1", "event2"] == unknown
    assert 6 == len(sources.told)


async def test_a_ping_is_answered_and_nothing_is_fetched() -> None:
    sources, peers = FakeSources(), FakePeers()
    with capture_logs() as logs:
        async with serving(more=[Monitor(sources, MonitorSettings(), peers)]) as http:
            answer = await http.ask("/monitor", "POST", json.dumps(PUSH).encode(), X_Github_Event="ping")

    assert (200, b"[]", [], []) == (answer.status, answer.body, sources.told, peers.told)
    assert [
        {
            "event": "webhook ping",
            "log_level": "info",
            "provider": "github",
            "kind": "ping",
            "consequence": "nothing is fetched for a ping",
        }
    ] == about_hooks(logs)


TOPIC = "arn:aws:sns:eu-west-1:123456789012:config"


async def test_a_subscription_is_for_the_operator_to_confirm() -> None:
    """Nothing follows its link: there is no client for HTTP in this module, and the log has what the command needs."""
    sources, peers = FakeSources(), FakePeers()
    confirmation = "2336412f37".ljust(255, "a")
    message = {"TopicArn": TOPIC, "Token": confirmation, "SubscribeURL": f"https://sns.example/?Token={confirmation}"}
    with capture_logs() as logs:
        async with serving(more=[Monitor(sources, MonitorSettings(), peers)]) as http:
            answer = await http.ask(
                "/monitor", "POST", json.dumps(message).encode(), X_Amz_Sns_Message_Type="SubscriptionConfirmation"
            )

    assert (200, b"[]", [], []) == (answer.status, answer.body, sources.told, peers.told)
    assert [
        {
            "event": "webhook to be confirmed",
            "log_level": "warning",
            "provider": "sns",
            "topic": TOPIC,
            "confirmation": confirmation,
            "consequence": "the topic sends nothing until you confirm its subscription; vortexd follows no link",
            "remedy": "aws sns confirm-subscription --topic-arn <topic> --token <confirmation>",
        }
    ] == about_hooks(logs)


async def test_a_subscription_that_was_ended_is_logged() -> None:
    sources = FakeSources()
    with capture_logs() as logs:
        async with serving(more=[Monitor(sources, MonitorSettings())]) as http:
            body = json.dumps({"Type": "UnsubscribeConfirmation", "TopicArn": TOPIC}).encode()
            answer = await http.ask("/monitor", "POST", body)

    assert (200, b"[]", []) == (answer.status, answer.body, sources.told)
    assert [
        {
            "event": "webhook subscription ended",
            "log_level": "warning",
            "provider": "sns",
            "topic": TOPIC,
            "consequence": "no source fetches for this topic any more",
            "remedy": "subscribe again, unless you ended the subscription",
        }
    ] == about_hooks(logs)


@pytest.mark.parametrize(
    ("headers", "has_secret", "status", "reason"),
    [
        ({}, True, 401, "the request isn't signed; a valid token is required"),
        ({}, False, 401, "the request isn't signed; a valid token is required"),
        (
            {"X_Hub_Signature_256": "sha256=0"},
            True,
            401,
            "the signature isn't made with monitor.secret; a valid token is required",
        ),
        (
            {"X_Gitlab_Token": "s3cret"},
            False,
            401,
            "the request is signed, but monitor.secret isn't set; a valid token is required",
        ),
        (bearer("reader"), True, 403, "the request isn't signed; the token doesn't allow this"),
    ],
)
async def test_a_request_that_is_not_verified_is_logged_with_the_reason(
    headers: dict[str, str], has_secret: bool, status: int, reason: str, secret: Path
) -> None:
    sources = FakeSources()
    monitor = Monitor(sources, MonitorSettings(str(secret) if has_secret else ""))
    with capture_logs() as logs:
        async with serving(gate=gate(), more=[monitor]) as http:
            answer = await http.ask("/monitor", "POST", b"{}", X_Github_Event="push", **headers)

    assert (status, []) == (answer.status, sources.told)
    assert [
        {
            "event": "webhook refused",
            "log_level": "warning",
            "provider": "github",
            "kind": "push",
            "status": status,
            "reason": reason,
            "consequence": "nothing is fetched",
        }
    ] == about_hooks(logs)


async def test_text_that_no_encoding_has_harms_nothing() -> None:
    sources = FakeSources()
    message = {
        "ref": "refs/heads/\ud800",
        "commits": [{"added": ["\ud800.yml", "shop.yml"]}],
        "repository": {"clone_url": "https://git.example/\ud800"},
    }
    async with serving(more=[Monitor(sources, MonitorSettings())]) as http:
        answer = await http.ask("/monitor", "POST", json.dumps(message).encode(), X_Github_Event="push")

    assert (200, b'["shop"]', [([], [])]) == (answer.status, answer.body, sources.told)


# What the sender is told.

PLAIN = b'{"path": "shop.yml"}'


def broken(path: str) -> BrokenFile:
    return BrokenFile("main", "", path, 3, None, "reason", Served.LAST_GOOD)


def request() -> Request:
    admission = open_gate().admit([], "/monitor", Sender("127.0.0.1"))
    headers = Headers([(b"content-type", b"application/json")])
    return Request("POST", "/monitor", "", headers, PLAIN, None, lambda: admission)


async def test_the_answer_names_what_is_broken_once_the_sources_have_looked() -> None:
    sources, files = FakeSources(), [broken("before.yml")]
    sources.looked = trio.Event()
    monitor = Monitor(sources, MonitorSettings(), broken=lambda: files)
    answers: list[Response] = []

    async def ask() -> None:
        answers.append(await monitor.answer(request()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_until(lambda: sources.waiting == 1)
        assert [] == answers
        files[:] = [broken("shop.yml")]
        sources.looked.set()

    assert b'["shop"]' == answers[0].body
    assert {"X-Vortex-Broken": '"shop.yml";line=3;served=last_good'} == answers[0].headers


async def test_the_answer_waits_for_no_longer_than_senders_do(autojump_clock: MockClock) -> None:
    sources = FakeSources()
    sources.looked = trio.Event()
    began = trio.current_time()
    answer = await Monitor(sources, MonitorSettings()).answer(request())

    assert module.LOOK_SECONDS == trio.current_time() - began
    assert {} == answer.headers


async def test_what_is_held_back_is_named_only_once_the_sources_have_looked(autojump_clock: MockClock) -> None:
    """The push may repair what is held back."""
    sources = FakeSources()
    monitor = Monitor(sources, MonitorSettings(), refusals=lambda: [Refusal("main", "c1", (), 1)])
    name = "X-Vortex-Held-Back"
    assert '"main";state="c1"' == (await monitor.answer(request())).headers[name]
    # This one doesn't wait, because another one has waited just now.
    assert name not in (await monitor.answer(request())).headers
    await trio.sleep(module.LOOK_SECONDS)
    sources.looked = trio.Event()
    assert name not in (await monitor.answer(request())).headers
    # Nothing is fetched for this one, so nothing changes.
    monitor = Monitor(FakeSources(0), MonitorSettings(), refusals=lambda: [Refusal("main", "c1", (), 1)])
    assert name in (await monitor.answer(request())).headers


async def test_a_hook_that_no_source_is_meant_by_is_answered_at_once(autojump_clock: MockClock) -> None:
    sources = FakeSources(0)
    await Monitor(sources, MonitorSettings()).answer(request())

    assert 0 == sources.waiting


async def test_of_a_storm_of_hooks_only_a_few_wait() -> None:
    sources = FakeSources()
    monitor = Monitor(sources, MonitorSettings())
    answered: list[bytes] = []

    async def ask() -> None:
        answered.append((await monitor.answer(request())).body)

    def has_answered(times: int) -> bool:
        return (sources.waiting, len(answered)) == (16 * times, 4)

    # The second time shows that those who have waited make room for others.
    for number in (1, 2):
        sources.looked = trio.Event()
        answered.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
            await wait_until(partial(has_answered, number))
            sources.looked.set()
        assert 20 == len(answered)
        # A sender that calls again and again isn't kept waiting each time.
        sources.looked = trio.Event()
        for _ in range(3):
            await ask()
        assert 16 * number == sources.waiting
        assert module.LOOK_SECONDS - 1 < monitor._rests_until - trio.current_time() <= module.LOOK_SECONDS
        monitor._rests_until = trio.current_time()


def test_without_a_webhook_all_workers_and_nodes_can_be_made_to_fetch() -> None:
    """As after a commit that the server itself has pushed. A password of an address stays here."""
    told: list[object] = []
    sources, peers = FakeSources(3), FakePeers()
    monitor = Monitor(
        sources, MonitorSettings(), peers, announce=lambda addresses, refs: told.append((list(addresses), list(refs)))
    )

    assert 3 == monitor.spread(["https://u:hunter2@git.example/a.git"], ["refs/heads/main"])
    assert [("notified", [["https://u:hunter2@git.example/a.git"], ["refs/heads/main"]])] == peers.told
    assert [(["https://git.example/a"], ["refs/heads/main"])] == told
