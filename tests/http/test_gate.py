"""`/api/v1/gate`: what the gate holds back, and what an administrator lets through."""

import jsonschema_rs
import orjson
import pytest

from tests.http.serving import FakeReader, serving
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.gate.finding import Finding, Refusal
from vortexd.gate.gate import Verdict
from vortexd.http.gate import GateEndpoint
from vortexd.http.status import Status
from vortexd.process.peers import Peers

PATH = "/api/v1/gate"
FINDING = Finding(Key("billing", "prod", "main"), "/port", "type", "s.json", "billing.yml", 3)
REFUSAL = Refusal("main", "c2", (FINDING,), 7, None, 0.0)
MEMBERS = {
    "label": "main",
    "state": "c2",
    "since": "1970-01-01T00:00:00.000Z",
    "failure": None,
    "findings_count": 7,
    "findings": [FINDING.members],
}


class FakePublications:
    """Notes what is let through, and refuses as a test wants it."""

    def __init__(self) -> None:
        self.error: RemoteError | None = None
        self.standing: dict[str, Verdict] = {}
        self.exceptions: list[tuple[str, ...]] = []
        self.later: list[tuple[str, ...]] = []

    async def let_through(self, label: str, state: str, by: str, reason: str) -> None:
        if self.error is not None:
            raise self.error
        self.exceptions.append((label, state, by, reason))

    def let_through_soon(self, label: str, state: str, by: str, reason: str) -> None:
        self.later.append((label, state, by, reason))


class FakePeers(Peers):
    """Notes what the other workers are told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []

    def tell(self, name: str, text: str = "") -> None:
        self.told.append((name, text))


async def test_the_page_has_what_is_held_back_and_what_stands() -> None:
    reader, publications = FakeReader(), FakePublications()
    reader.refused = {"main": REFUSAL}
    publications.standing = {"dev": Verdict((FINDING,), 2, "can't judge")}
    async with serving(more=[GateEndpoint(reader, publications)]) as http:
        answered = await http.ask(PATH)

    said = orjson.loads(answered.body)
    standing = {"label": "dev", "failure": "can't judge", "findings_count": 2, "findings": [FINDING.members]}
    assert {"held_back": [MEMBERS], "standing": [standing]} == said
    schema = GateEndpoint.schemas["Gate"]
    assert jsonschema_rs.is_valid(schema, said)


async def test_a_state_is_let_through_with_a_reason_by_all_workers() -> None:
    publications, peers = FakePublications(), FakePeers()
    body = orjson.dumps({"label": "main", "state": "c2", "reason": "incident 7"})
    async with serving(more=[GateEndpoint(FakeReader(), publications, peers)]) as http:
        answered = await http.ask(PATH, "POST", body)

    assert (204, b"") == (answered.status, answered.body)
    [(label, state, by, reason)] = publications.exceptions
    assert ("main", "c2", "incident 7") == (label, state, reason)
    assert [("let through", orjson.dumps(["main", "c2", by, "incident 7"]).decode())] == peers.told
    assert "" == peers._handlers["let through"](peers.told[0][1])
    assert [("main", "c2", by, "incident 7")] == publications.later


async def test_a_state_that_cannot_be_let_through_is_an_error_and_no_other_worker_hears_of_it() -> None:
    publications, peers = FakePublications(), FakePeers()
    publications.error = RemoteError("this label is not held back", 404)
    body = orjson.dumps({"label": "main", "state": "c2", "reason": "incident 7"})
    async with serving(more=[GateEndpoint(FakeReader(), publications, peers)]) as http:
        answered = await http.ask(PATH, "POST", body)

    assert (404, []) == (answered.status, peers.told)


@pytest.mark.parametrize(
    ("reason", "status"),
    [("x" * 500, 204), ("x" * 501, 400), ("", 400), (" ", 400), ("a\nb", 400), ("a\x1bb", 400), ("ä", 204)],
)
async def test_a_reason_is_one_line_of_limited_length(reason: str, status: int) -> None:
    body = orjson.dumps({"label": "main", "state": "c2", "reason": reason})
    async with serving(more=[GateEndpoint(FakeReader(), FakePublications())]) as http:
        assert status == (await http.ask(PATH, "POST", body)).status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"label":"a","state":"b"}',
        b'{"label":"a","state":"b","reason":"c","x":1}',
        b'{"label":1,"state":"b","reason":"c"}',
    ],
)
async def test_a_body_that_is_no_exception_is_refused(body: bytes) -> None:
    publications = FakePublications()
    async with serving(more=[GateEndpoint(FakeReader(), publications)]) as http:
        assert 400 == (await http.ask(PATH, "POST", body)).status
    assert [] == publications.exceptions


def test_only_administrators_see_and_let_through() -> None:
    assert (False, "admin") == (GateEndpoint.is_public, GateEndpoint.right and GateEndpoint.right.value)


async def test_the_status_has_the_labels_that_are_held_back() -> None:
    reader = FakeReader()
    status = Status(list, reader)
    assert {"sources": []} == status._members([])
    reader.refused = {"main": REFUSAL}
    said = status._members([])

    assert [MEMBERS] == said["gate"]
    assert jsonschema_rs.is_valid(Status.schemas["Status"], said)


async def test_a_configuration_of_a_label_that_is_held_back_has_the_header() -> None:
    async with serving() as http:
        http.reader.refused = {"main": REFUSAL}
        answered = await http.ask("/billing/prod")

    assert 200 == answered.status
    assert 'key="billing:prod:main"' in answered.headers["x-vortex-held-back"]
