"""Facts about the endpoints of a cluster: questions of other nodes, and the removal of a node that is away."""

import orjson
import pytest

from tests.audit.noted import NotedAudit
from tests.http.serving import headers_of, serving
from vortexd.audit import Actor, Outcome
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.fleet import KeyState, Page, Question
from vortexd.http.cluster import ClusterFleet, ClusterMembers
from vortexd.http.endpoint import Request
from vortexd.observe.metrics import Metrics

KEY = Key("orders", "prod", "main")
QUESTION = Question((KEY,), "silent", 7, (KEY, "a", "b"))
PATH = "/api/v1/cluster/fleet"
ANYBODY = Actor("anonymous", "anonymous", "127.0.0.1")


class FakeNode:
    """Notes what it is asked, and refuses as a test wants it."""

    def __init__(self, error: RemoteError | None = None) -> None:
        self.error = error
        self.checked: list[tuple[str | None, str, bytes]] = []
        self.forgotten: list[str] = []
        self.signed: list[tuple[str, bytes]] = []
        self.announced: list[tuple[str | None, str, int]] = []

    def check(self, header: str | None, path: str, body: bytes) -> None:
        self.checked.append((header, path, body))
        if self.error is not None:
            raise self.error

    def announces(self, header: str | None, path: str, length: int) -> bool:
        self.announced.append((header, path, length))
        return header == "right"

    def sign(self, path: str, question: bytes, answer: bytes) -> bytes:
        self.signed.append((path, question))
        return b'{"mac":"m","answer":%b}' % answer

    async def forget(self, node: str) -> None:
        self.forgotten.append(node)
        if self.error is not None:
            raise self.error


class FakeFleet:
    """Answers every question with one page."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    async def here(self, question: Question) -> tuple[Page, int]:
        self.asked.append(question)
        return Page((KeyState(KEY, "v1", 1.0, 1, 1, 0, 0, 0),)), 2


def request(body: bytes, method: str = "POST", path: str = PATH, **headers: str) -> Request:
    return Request(method, path, "", headers_of(headers), body, None, lambda: pytest.fail("a token is checked"))


async def test_a_node_is_answered_with_a_page_of_this_node() -> None:
    node, fleet = FakeNode(), FakeFleet()
    body = QUESTION.to_json().encode()
    answer = await ClusterFleet(node, fleet).answer(request(body, **{"Vortexd-Cluster": "mac"}))

    assert [("mac", PATH, body)] == node.checked
    assert [QUESTION] == fleet.asked
    assert [(PATH, body)] == node.signed
    said = orjson.loads(answer.body)["answer"]
    assert (200, 2, ["workers_silent", "page"]) == (answer.status, said["workers_silent"], list(said))
    assert KEY.application == said["page"]["keys"][0]["key"]["application"]


async def test_a_question_that_is_refused_is_not_read() -> None:
    node, fleet = FakeNode(RemoteError("no", 403)), FakeFleet()
    with pytest.raises(RemoteError, match="no"):
        await ClusterFleet(node, fleet).answer(request(b"{"))
    assert ([(None, PATH, b"{")], []) == (node.checked, fleet.asked)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"7",
        b"{}",
        b'{"keys":7}',
        b'{"keys":[],"limit":"x"}',
        b'{"keys":[],"limit":0}',
        b'{"keys":[],"limit":1001}',
    ],
)
async def test_a_question_that_is_none_is_refused(body: bytes) -> None:
    fleet = FakeFleet()
    with pytest.raises(RemoteError) as refused:
        await ClusterFleet(FakeNode(), fleet).answer(request(body))
    assert (400, []) == (refused.value.status, fleet.asked)


@pytest.mark.parametrize("limit", [1, 1_000])
async def test_the_limits_of_a_page_are_within_its_bounds(limit: int) -> None:
    fleet = FakeFleet()
    await ClusterFleet(FakeNode(), fleet).answer(request(Question((KEY,), limit=limit).to_json().encode()))
    assert [limit] == [each.limit for each in fleet.asked]


async def test_the_endpoints_are_served_and_need_what_they_should() -> None:
    node = FakeNode()
    endpoint = ClusterFleet(node, FakeFleet())
    assert (True, 8_388_608) == (endpoint.is_public, endpoint.body_bytes)
    async with serving(more=[endpoint, ClusterMembers(node, audit := NotedAudit())]) as http:
        answered = await http.ask(PATH, "POST", QUESTION.to_json().encode())
        assert 200 == answered.status
        assert 405 == (await http.ask(PATH)).status
        assert 204 == (await http.ask("/api/v1/cluster/members/a.b", "DELETE")).status
        assert 405 == (await http.ask("/api/v1/cluster/members/a.b")).status
    assert ["a.b"] == node.forgotten
    assert [("cluster member forget", ANYBODY, "a.b", Outcome.DONE, "", {})] == audit.noted


async def test_a_node_announces_a_large_question_in_its_own_header() -> None:
    node = FakeNode()
    endpoint = ClusterFleet(node, FakeFleet())
    assert not endpoint.is_announced(PATH, headers_of({"Vortexd-Cluster": "right"}), 7)
    assert endpoint.is_announced(PATH, headers_of({"Vortexd-Cluster-Length": "right"}), 8)
    assert [(None, PATH, 7), ("right", PATH, 8)] == node.announced


async def test_a_node_that_can_not_be_forgotten_is_an_error() -> None:
    node = FakeNode(RemoteError("it isn't away", 409))
    async with serving(more=[ClusterMembers(node, audit := NotedAudit())]) as http:
        answered = await http.ask("/api/v1/cluster/members/a/b", "DELETE")
    assert (409, ["a/b"]) == (answered.status, node.forgotten)
    assert [("cluster member forget", ANYBODY, "a/b", Outcome.REFUSED, "it isn't away", {})] == audit.noted


def test_only_administrators_forget_nodes() -> None:
    assert (False, "admin") == (ClusterMembers.is_public, str(ClusterMembers.right.value))


def test_without_a_cluster_there_is_neither() -> None:
    from tests.http.serving import FakeReader
    from vortexd.http.routes import standard_routes

    routes = standard_routes(FakeReader(), Metrics())
    for path in (PATH, "/api/v1/cluster/members/a"):
        with pytest.raises(RemoteError, match="nothing at this path"):
            routes.find(path)
