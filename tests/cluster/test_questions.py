"""Facts about questions between nodes: the secret, the MAC, deadlines, limits, and what the log says."""

import hashlib
import hmac
import ssl
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair

from vortexd.cluster import questions
from vortexd.cluster.connection import Connection, Endpoint, NotSent
from vortexd.cluster.engine import EngineError, Entry, Event
from vortexd.cluster.keys import Keys
from vortexd.cluster.questions import DEADLINE, HEADER, LENGTH_HEADER, Questions
from vortexd.cluster.warnings import RecordWarnings
from vortexd.core.errors import RemoteError
from vortexd.settings.cluster import ClusterSettings

KEYS = Keys("c")
SECRET = bytes(range(32))
SETTINGS = ClusterSettings(name="c", endpoints=("http://e",))
PATH = "/api/v1/cluster/fleet"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"


def secret(value: bytes = SECRET) -> Entry:
    return Entry(KEYS.secret, value, 1, 1)


def header(node: str = "b", path: str = PATH, body: bytes = b"{}", value: bytes = SECRET, sender: str = "a") -> str:
    mac = hmac.new(value, f"{node}\n{path}\n".encode() + body, hashlib.sha256).hexdigest()
    return f"node={sender}, mac={mac}"


def announced(length: int, node: str = "a", path: str = PATH, value: bytes = SECRET) -> str:
    mac = hmac.new(value, f"length\n{node}\n{path}\n{length}".encode(), hashlib.sha256).hexdigest()
    return f"mac={mac}"


def signed(node: str, answer: bytes = b"1", value: bytes = SECRET, path: str = PATH, question: bytes = b"{}") -> bytes:
    """Return the whole response of a node with its MAC."""
    text = f"answer\n{node}\n{path}\n".encode() + hashlib.sha256(question).digest() + answer
    body = b'{"mac":"%b","answer":%b}' % (hmac.new(value, text, hashlib.sha256).hexdigest().encode(), answer)
    return OK % (len(body), body)


Peer = Callable[[trio.abc.Stream], Awaitable[None]]


@attrs.define(eq=False)
class Stage:
    """The questions of node "a", and the behaviour of each other node by its host."""

    peers: dict[str, Peer | Exception] = attrs.field(factory=dict)
    settings: ClusterSettings = SETTINGS
    opened: list[tuple[str, ssl.SSLContext | None]] = attrs.field(factory=list)
    streams: list[trio.abc.Stream] = attrs.field(factory=list)
    contexts: list[ClusterSettings] = attrs.field(factory=list)
    context_error: EngineError | None = None
    nursery: trio.Nursery | None = None
    asks: Questions = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.asks = Questions(KEYS, "a", lambda: self.settings, RecordWarnings(), self.connect, self.context)
        self.asks.read([secret()])

    async def connect(self, endpoint: Endpoint, tls: ssl.SSLContext | None) -> Connection:
        self.opened.append((str(endpoint), tls))
        peer = self.peers[endpoint.host]
        if isinstance(peer, Exception):
            raise peer
        ours, theirs = memory_stream_pair()
        self.streams.append(ours)
        assert self.nursery is not None
        self.nursery.start_soon(peer, theirs)
        return Connection(ours, "x")

    async def context(self, settings: ClusterSettings) -> ssl.SSLContext:
        await trio.lowlevel.checkpoint()
        self.contexts.append(settings)
        if self.context_error is not None:
            raise self.context_error
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def ask(self, **addresses: str) -> questions.Answers:
        async with trio.open_nursery() as self.nursery:
            found = await self.asks.ask(addresses, PATH, b"{}")
            self.nursery.cancel_scope.cancel()
        return found


def sends(answer: bytes, *, ends: bool = False, received: list[bytes] | None = None) -> Peer:
    async def peer(stream: trio.abc.Stream) -> None:
        data = bytes(await stream.receive_some(65_536))
        if received is not None:
            received.append(data)
        await stream.send_all(answer)
        if ends:
            await stream.aclose()

    return peer


async def hangs(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


# Questions that arrive.


def test_a_question_of_a_node_of_the_cluster_is_let_through() -> None:
    with capture_logs() as logs:
        Stage().asks.check(header("a"), PATH, b"{}")
    assert [] == logs


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "mac=" + "0" * 64,
        header("b"),
        header("a", path=PATH + "x"),
        header("a", body=b"{ }"),
        header("a", value=bytes(32)),
        header("a")[:-1],
        header("a") + "0",
        header("a").upper(),
        header("a", sender="x" * 65),
        header("a", sender="a b"),
    ],
)
def test_any_other_question_is_refused(given: str | None) -> None:
    stage = Stage()
    with pytest.raises(RemoteError, match="only nodes of this cluster") as refused:
        stage.asks.check(given, PATH, b"{}")

    assert 403 == refused.value.status
    assert {"answered": 0, "failed": 0, "refused": 1} == stage.asks.counts


def test_the_parts_of_a_question_can_not_be_moved_into_each_other() -> None:
    mac = header("a", path="/x", body=b"y")
    with pytest.raises(RemoteError):
        Stage().asks.check(mac, "/", b"xy")


def test_the_log_names_a_refused_question_once_until_one_is_right() -> None:
    stage = Stage()

    def ask(given: str) -> None:
        with suppress(RemoteError):
            stage.asks.check(given, PATH, b"{}")

    with capture_logs() as logs:
        for given in (header("b", sender="x"), "", header("a"), ""):
            ask(given)
    assert [("cluster question refused", "x", "warning"), ("cluster question refused", None, "warning")] == [
        (each["event"], each["node"], each["log_level"]) for each in logs
    ]
    assert 3 == stage.asks.counts["refused"]


def test_without_a_secret_a_node_is_not_ready_for_questions() -> None:
    stage = Stage()
    stage.asks.read([])
    with pytest.raises(RemoteError) as refused:
        stage.asks.check(header("a"), PATH, b"{}")
    assert (503, 0) == (refused.value.status, stage.asks.counts["refused"])
    with pytest.raises(RemoteError) as refused:
        stage.asks.check(None, PATH, b"{}")
    assert (403, 1) == (refused.value.status, stage.asks.counts["refused"])


def test_a_node_of_the_cluster_announces_the_length_of_its_question() -> None:
    asks = Stage().asks
    assert asks.announces(announced(7), PATH, 7)
    assert {"answered": 0, "failed": 0, "refused": 0} == asks.counts


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "mac=" + "0" * 64,
        header("a"),
        announced(8),
        announced(7, node="b"),
        announced(7, path=PATH + "x"),
        announced(7, value=bytes(32)),
        announced(7)[:-1],
        announced(7) + "0",
        announced(7).upper(),
        "node=a, " + announced(7),
    ],
)
def test_any_other_announcement_is_none(given: str | None) -> None:
    stage = Stage()
    with capture_logs() as logs:
        assert not stage.asks.announces(given, PATH, 7)
    assert ([], 0) == (logs, stage.asks.counts["refused"])


def test_without_a_secret_nothing_is_announced() -> None:
    asks = Stage().asks
    asks.read([])
    assert not asks.announces(announced(7), PATH, 7)


# The secret.


def test_the_revision_of_a_secret_that_can_not_be_used_is_known_until_there_is_another_one() -> None:
    asks = Stage().asks
    assert asks.unusable_secret == 0
    short = Entry(KEYS.secret, b"short", 4, 7)
    asks.read([short])
    assert asks.unusable_secret == 7
    asks.read([])
    assert asks.unusable_secret == 0
    for after in (None, secret()):
        asks.take([Event(KEYS.secret, short, 8)])
        assert asks.unusable_secret == 7
        asks.take([Event(KEYS.secret, after, 9)])
        assert asks.unusable_secret == 0
    asks.read([secret()])
    assert asks.unusable_secret == 0


def test_a_secret_that_can_not_be_used_is_warned_of_again_after_its_deletion() -> None:
    asks, short = Stage().asks, Entry(KEYS.secret, b"short", 4, 7)
    with capture_logs() as logs:
        for _ in range(2):
            asks.take([Event(KEYS.secret, short, 8), Event(KEYS.secret, None, 9)])
    assert ["cluster record unusable"] * 2 == [each["event"] for each in logs]


def test_the_secret_comes_with_a_reading_or_an_event_and_goes_with_its_deletion() -> None:
    asks = Stage().asks
    assert asks.has_secret
    asks.take([Event("/other", None, 2)])
    assert asks.has_secret
    asks.take([Event(KEYS.secret, None, 2)])
    assert not asks.has_secret
    asks.take([Event("/other", Entry("/other", SECRET, 2, 2), 2)])
    assert not asks.has_secret
    asks.take([Event(KEYS.secret, secret(), 3)])
    assert asks.has_secret
    asks.read([])
    assert not asks.has_secret


@pytest.mark.parametrize("value", [b"", SECRET[:-1], SECRET + b"x"])
def test_a_secret_of_another_length_is_one_warning_and_is_not_used(value: bytes) -> None:
    asks = Stage().asks
    with capture_logs() as logs:
        asks.read([secret(value)])
        asks.read([secret(value)])
        assert not asks.has_secret
        asks.read([secret()])
        asks.read([secret(value)])
    assert 2 == len(logs)
    assert ("cluster record unusable", KEYS.secret, "it doesn't have 32 bytes") == (
        logs[0]["event"],
        logs[0]["key"],
        logs[0]["reason"],
    )


# Questions to others.


async def test_a_node_is_asked_with_a_mac_and_its_answer_is_returned(autojump_clock: MockClock) -> None:
    received: list[bytes] = []
    stage = Stage({"b": sends(signed("b", b"hello"), received=received)})
    found = await stage.ask(b="http://b:7")

    assert ({"b": b"hello"}, {}) == (found.bodies, found.reasons)
    assert [("http://b:7", None)] == stage.opened
    [request] = received
    head, _, body = request.partition(b"\r\n\r\n")
    assert (b"POST /api/v1/cluster/fleet HTTP/1.1", b"{}") == (head.splitlines()[0], body)
    assert f"{HEADER}: {header('b')}".encode() in head.splitlines()
    assert f"{LENGTH_HEADER}: {announced(2, 'b')}".encode() in head.splitlines()
    assert {"answered": 1, "failed": 0, "refused": 0} == stage.asks.counts
    with pytest.raises(trio.ClosedResourceError):
        await stage.streams[0].send_all(b"x")


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [("http://b", "http://b:80"), ("https://b", "https://b:443"), ("https://b:1", "https://b:1")],
)
async def test_an_address_without_a_port_has_that_of_its_scheme(
    address: str, endpoint: str, autojump_clock: MockClock
) -> None:
    stage = Stage({"b": sends(signed("b"))})
    await stage.ask(b=address)

    assert endpoint == stage.opened[0][0]
    assert address.startswith("https") == (stage.opened[0][1] is not None)


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        (NotSent("no route"), "it can't be reached: no route"),
        (sends(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), "it answers with status 403"),
        (
            sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", ends=True),
            "the connection has failed: the connection has ended before the answer was complete",
        ),
        (hangs, "it hasn't answered in 2 s"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), "it hasn't answered in 2 s"),
    ],
)
async def test_a_node_that_gives_no_answer_has_a_reason(
    peer: Peer | Exception, reason: str, autojump_clock: MockClock
) -> None:
    stage = Stage({"b": peer, "c": sends(signed("c"))})
    began = trio.current_time()
    found = await stage.ask(b="http://b", c="http://c")

    assert ({"c": b"1"}, {"b": reason}) == (found.bodies, found.reasons)
    assert trio.current_time() - began <= DEADLINE
    assert {"answered": 1, "failed": 1, "refused": 0} == stage.asks.counts


@pytest.mark.parametrize("excess", [0, 1])
async def test_an_answer_has_a_largest_size(
    excess: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "ANSWER_BYTES", 100)
    # Around the answer are 84 bytes.
    found = await Stage({"b": sends(signed("b", b"x" * (16 + excess)))}).ask(b="http://b")

    assert ({"b": "its answer is longer than 100 bytes"} if excess else {}) == found.reasons


WRONG = "the MAC of its answer is wrong; another cluster may listen there"
WITHOUT = "its answer has no MAC; another program or another version may listen there"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (signed("b", value=bytes(32)), WRONG),
        (signed("c"), WRONG),
        (signed("b", path="/other"), WRONG),
        (signed("b", question=b"[]"), WRONG),
        (signed("b", b"2").replace(b'"answer":2', b'"answer":1'), WRONG),
        (OK % (1, b"1"), WITHOUT),
        (OK % (0, b""), WITHOUT),
    ],
)
async def test_an_answer_of_another_than_the_node_that_was_asked_is_not_taken(
    answer: bytes, reason: str, autojump_clock: MockClock
) -> None:
    assert ({}, {"b": reason}) == attrs.astuple(await Stage({"b": sends(answer)}).ask(b="http://b"))


def test_a_node_signs_its_answers_as_others_check_them() -> None:
    asks = Stage().asks
    assert signed("a", b'{"x":1}').partition(b"\r\n\r\n")[2] == asks.sign(PATH, b"{}", b'{"x":1}')
    asks.read([])
    with pytest.raises(RemoteError) as caught:
        asks.sign(PATH, b"{}", b"1")
    assert 503 == caught.value.status


@pytest.mark.parametrize("address", ["b", "ftp://b", "http://b/x"])
async def test_an_address_that_is_none_can_not_be_used(address: str, autojump_clock: MockClock) -> None:
    assert {"b": "its address can't be used"} == (await Stage().ask(b=address)).reasons


async def test_without_a_secret_no_node_is_asked(autojump_clock: MockClock) -> None:
    stage = Stage()
    stage.asks.read([])
    assert {"b": "the cluster's secret isn't known yet"} == (await stage.ask(b="http://b")).reasons
    assert [] == stage.opened


async def test_many_nodes_are_asked_a_bounded_number_at_a_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_AT_ONCE", 2)
    now, most = 0, 0

    def slow(node: str) -> Peer:
        async def peer(stream: trio.abc.Stream) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await trio.sleep(0.5)
            now -= 1
            await sends(signed(node))(stream)

        return peer

    nodes = {f"n{number}": f"http://n{number}" for number in range(6)}
    found = await Stage({node: slow(node) for node in nodes}).ask(**nodes)
    assert (6, 2) == (len(found.bodies), most)


async def test_the_log_names_a_silent_node_once_and_says_when_it_answers(autojump_clock: MockClock) -> None:
    stage = Stage({"b": NotSent("refused"), "c": NotSent("refused")})
    with capture_logs() as logs:
        await stage.ask(b="http://b")
        await stage.ask(b="http://b")
        stage.peers["b"] = sends(signed("b"))
        await stage.ask(b="http://b", c="http://c")
        await stage.ask(b="http://b")
        await stage.ask(b="http://b", c="http://c")
    assert [
        ("cluster node silent", "b", "warning"),
        ("cluster node silent", "c", "warning"),
        ("cluster node answers", "b", "info"),
        ("cluster node silent", "c", "warning"),
    ] == [(each["event"], each["node"], each["log_level"]) for each in logs]
    assert "it can't be reached: refused" == logs[0]["reason"]


async def test_the_context_is_made_anew_only_after_a_reload(autojump_clock: MockClock) -> None:
    stage = Stage({"b": sends(signed("b"))})
    await stage.ask(b="https://b")
    await stage.ask(b="https://b")
    first = stage.settings
    assert [first] == stage.contexts
    stage.settings = attrs.evolve(first, ca_file="/x")
    await stage.ask(b="https://b")
    assert [first, stage.settings] == stage.contexts


async def test_certificates_that_can_not_be_used_are_the_reason(autojump_clock: MockClock) -> None:
    stage = Stage(context_error=EngineError("no file"))
    assert {"b": "it can't be reached: no file"} == (await stage.ask(b="https://b")).reasons


async def test_certificates_that_hang_take_no_thread_of_other_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    has_begun, is_over = threading.Event(), threading.Event()

    def hang(_: ClusterSettings) -> None:
        has_begun.set()
        is_over.wait(20)

    monkeypatch.setattr(questions, "client_context", hang)
    try:
        with trio.move_on_after(0.5) as scope:
            await questions._context(SETTINGS)
        assert scope.cancelled_caught
        assert has_begun.is_set()
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    finally:
        is_over.set()


async def test_the_context_trusts_the_authorities_of_the_cluster(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="none"):
        await questions._context(attrs.evolve(SETTINGS, ca_file=str(tmp_path / "none")))
    assert isinstance(await questions._context(SETTINGS), ssl.SSLContext)
