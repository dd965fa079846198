"""The endpoints for supervisors and Prometheus, and the answer at the path of WebSockets without an upgrade."""

import json
import re
import threading
from collections.abc import Mapping

import attrs
import orjson
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from tests.fakes import open_gate
from tests.http.serving import FakeReader, FilesReader, serving
from tests.http.test_status import ILL, WELL, broken, request
from tests.http.test_whoami import FILE, TOKEN
from vortexd.auth import Authority, Right, Tokens, load_tokens
from vortexd.core.errors import RemoteError
from vortexd.core.model import HeldBack, Key
from vortexd.http.endpoint import Response
from vortexd.http.health import Health, MetricsPage, Ready, UpgradeOnly
from vortexd.observe.metrics import CONTENT_TYPE, Metrics, load_exposition
from vortexd.process.peers import Answers, Peers

# Whether the server runs, and whether it is ready.


async def test_health_needs_nothing_of_the_server() -> None:
    answer = await Health().answer(request("/health"))

    assert (200, b'{"status":"UP"}', "application/json") == (answer.status, answer.body, answer.content_type)


async def test_a_server_is_ready_from_its_first_state_on() -> None:
    reader = FakeReader()
    reader.default_label = None
    before = await Ready(reader).answer(request("/ready"))
    reader.default_label = "main"
    after = await Ready(reader).answer(request("/ready"))

    assert (503, b'{"status":"OUT_OF_SERVICE"}', {"Retry-After": "1"}) == (before.status, before.body, before.headers)
    assert (200, b'{"status":"UP"}', {}) == (after.status, after.body, after.headers)


async def test_a_source_that_is_stale_but_not_too_stale_leaves_the_server_ready() -> None:
    assert ILL.is_too_stale
    stale = attrs.evolve(ILL, is_too_stale=False)

    assert 200 == (await Ready(FakeReader(), lambda: [stale]).answer(request("/ready"))).status


async def test_a_server_that_is_not_ready_does_not_count_its_broken_files() -> None:
    reader = FakeReader()
    reader.held = [HeldBack(broken("x.yml"), 5, ())]
    answer = await Ready(reader, lambda: [ILL]).answer(request("/ready"))

    assert (503, b'{"status":"OUT_OF_SERVICE"}') == (answer.status, answer.body)


async def test_a_server_with_broken_files_is_ready_and_says_how_many_there_are() -> None:
    reader = FakeReader()
    sound = await Ready(reader).answer(request("/ready"))
    reader.held = [HeldBack(broken("x.yml"), 5, ()), HeldBack(broken("y.yml"), 5, ())]
    answer = await Ready(reader).answer(request("/ready"))

    assert (200, {"status": "UP"}) == (sound.status, orjson.loads(sound.body))
    assert (200, {"status": "UP", "broken_files": 2}) == (answer.status, orjson.loads(answer.body))


async def test_a_source_that_is_too_stale_is_not_ready() -> None:
    well = await Ready(FakeReader(), lambda: [WELL]).answer(request("/ready"))
    ill = await Ready(FakeReader(), lambda: [WELL, ILL]).answer(request("/ready"))

    assert [200, 503] == [well.status, ill.status]


# Metrics.


class FakePeers(Peers):
    """One of three workers, whose others give fixed answers."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__()
        self.number = 1
        self.texts = texts
        self.asked: list[str] = []

    @property
    def are_there(self) -> bool:
        return True

    async def ask(self, name: str, text: str = "") -> Answers:
        await trio.lowlevel.checkpoint()
        self.asked.append(name)
        return Answers(self.texts)


def published(count: int) -> Metrics:
    metrics = Metrics()
    for _ in range(count):
        metrics.published(0, 0)
    return metrics


def publications(answer: Response) -> dict[str | None, float]:
    """The number of publications by worker."""
    return {
        sample.labels.get("worker"): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
        if sample.name == "vortexd_publications_total"
    }


async def test_a_single_daemon_shows_its_own_metrics_without_a_worker() -> None:
    answer = await MetricsPage(published(2)).answer(request("/metrics"))

    assert (200, CONTENT_TYPE) == (answer.status, answer.content_type)
    assert {None: 2.0} == publications(answer)


@pytest.mark.parametrize("error", [OSError("too many open files"), ImportError("no such module")])
async def test_if_prometheus_client_cannot_be_loaded_metrics_get_503_until_it_can(error: Exception) -> None:
    errors = [error]

    def load() -> object:
        if errors:
            raise errors.pop()
        return load_exposition()

    page = MetricsPage(published(2), load=load)
    with capture_logs() as logs, pytest.raises(RemoteError, match="metrics can't be shown now") as caught:
        await page.answer(request("/metrics"))

    assert (503, {"Retry-After": "1"}) == (caught.value.status, caught.value.headers)
    assert [("metrics not shown", str(error), "warning")] == [
        (each["event"], each["reason"], each["log_level"]) for each in logs
    ]
    assert {None: 2.0} == publications(await page.answer(request("/metrics")))


async def test_the_first_scrape_imports_in_a_thread() -> None:
    threads: list[threading.Thread] = []

    def load() -> object:
        threads.append(threading.current_thread())
        return load_exposition()

    page = MetricsPage(published(2), load=load)
    assert [] == threads
    for _ in range(2):
        await page.answer(request("/metrics"))

    assert [True] == [each is not threading.main_thread() for each in threads]


async def test_a_worker_shows_the_metrics_of_all_workers_that_answer() -> None:
    peers = FakePeers({"0": published(5).render().decode(), "supervisor": published(7).render().decode()})
    answer = await MetricsPage(published(2), peers).answer(request("/metrics"))

    assert {"1": 2.0, "0": 5.0, "supervisor": 7.0} == publications(answer)
    assert ["metrics"] == peers.asked


def own(text: str) -> list[str]:
    """Return the metrics without those of the process, which change between two scrapes."""
    return [line for line in text.splitlines() if not re.match(r"(# (HELP|TYPE) )?process_", line)]


async def test_other_workers_get_the_metrics_of_the_moment() -> None:
    peers, metrics = FakePeers({}), published(1)
    MetricsPage(metrics, peers)
    metrics.published(0, 0)

    assert own(metrics.render().decode()) == own(peers._handlers["metrics"](""))
    assert "vortexd_publications_total 2.0" in own(peers._handlers["metrics"](""))


def test_only_metrics_need_a_right_and_only_the_state_is_public() -> None:
    assert (True, True) == (Health.is_public, Ready.is_public)
    assert (False, Right.ADMIN) == (MetricsPage.is_public, MetricsPage.right)
    assert (False, None, ("/ws/",)) == (UpgradeOnly.is_public, UpgradeOnly.right, UpgradeOnly.paths)


# A WebSocket's address without an upgrade.


@pytest.mark.parametrize(
    ("target", "refused", "message"),
    [
        ("/ws/billing/dev", None, "this is a WebSocket: ask for an upgrade"),
        ("/ws/shop/dev?label=main&instance=x", None, "this is a WebSocket: ask for an upgrade"),
        ("/ws/shop/prod", "403", "the token doesn't allow this"),
        ("/ws/orders/default", "403", "the token doesn't allow this"),
        ("/ws/orders/default?label=nowhere", "403", "the token doesn't allow this"),
        ("/ws/billing/dev?label=nowhere", "404", "no such label"),
        ("/ws/billing/dev?label=..", "400", "invalid label"),
        ("/ws/billing", "404", "WebSockets are at /ws/{application}/{profile}"),
    ],
)
async def test_without_an_upgrade_it_says_whether_a_handshake_would_be_refused(
    target: str, refused: str | None, message: str
) -> None:
    authority = Authority(Tokens(load_tokens(FILE, "tokens.toml")))
    async with serving(gate=open_gate(authority), reader=FilesReader({"billing.yml": "a: 1"})) as http:
        answer = await http.ask(target, Authorization=f"Bearer {TOKEN}")

    assert (426, "websocket") == (answer.status, answer.headers["upgrade"])
    assert (refused, message) == (answer.headers.get("x-vortex-refused"), json.loads(answer.body)["message"])


BROKEN = FilesReader({"billing.yml": "a: ["})


@pytest.mark.parametrize("may_read", [True, False])
async def test_without_an_upgrade_it_names_the_file_because_of_which_a_handshake_would_be_refused(
    may_read: bool,
) -> None:
    rights = frozenset({Right.SUBSCRIBE, *([Right.READ] if may_read else [])})
    gate = open_gate(Authority(anonymous=rights))
    async with serving(gate=gate, reader=BROKEN) as http:
        answer = await http.ask("/ws/billing/dev")

    assert (426, "500") == (answer.status, answer.headers["x-vortex-refused"])
    named = '"billing.yml";line=2;served=nothing' if may_read else None
    assert named == answer.headers.get("x-vortex-broken")
    assert b"billing.yml" not in answer.body
    assert "the configuration can't be read" in json.loads(answer.body)["message"]


async def test_before_the_first_state_a_handshake_would_be_refused_for_a_while() -> None:
    reader = FilesReader({"billing.yml": "a: 1"})
    reader.default_label = None
    async with serving(reader=reader) as http:
        answer = await http.ask("/ws/billing/dev")

    assert ("503", "starting") == (answer.headers["x-vortex-refused"], json.loads(answer.body)["message"])


async def refusal(target: str, reader: FakeReader) -> RemoteError:
    path, _, query = target.partition("?")
    with pytest.raises(RemoteError) as caught:
        await UpgradeOnly(reader).answer(attrs.evolve(request(path), query=query))
    return caught.value


async def test_a_handshake_would_ask_for_the_label_of_the_request_or_else_for_the_default() -> None:
    reader = FakeReader()
    for target in ("/ws/shop/dev", "/ws/shop/dev?label=release(_)1.0", "/ws/foo(_)app/a,b?label="):
        error = await refusal(target, reader)
        assert (426, {"Upgrade": "websocket", "Connection": "upgrade"}) == (error.status, error.headers)

    assert [
        Key("shop", "dev", "main"),
        Key("shop", "dev", "release/1.0"),
        Key("foo/app", "a,b", "main"),
    ] == reader.asked


async def test_a_handshake_with_a_label_is_possible_before_the_first_state_is_known() -> None:
    reader = FakeReader()
    reader.default_label = None

    assert "X-Vortex-Refused" not in (await refusal("/ws/shop/dev?label=main", reader)).headers
    assert "503" == (await refusal("/ws/shop/dev", reader)).headers["X-Vortex-Refused"]


async def test_a_key_that_the_token_does_not_allow_is_not_looked_up() -> None:
    reader = FilesReader({"billing.yml": "a: 1"})
    gate = open_gate(Authority(Tokens(load_tokens(FILE, "tokens.toml"))))
    async with serving(gate=gate, reader=reader) as http:
        await http.ask("/ws/orders/default", Authorization=f"Bearer {TOKEN}")
        assert [] == reader.asked
        await http.ask("/ws/billing/default", Authorization=f"Bearer {TOKEN}")

    assert [Key("billing", "default", "main")] == reader.asked
