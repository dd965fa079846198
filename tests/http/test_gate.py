"""`/api/v1/gate`: what the gate holds back, and what an administrator lets through."""

from collections.abc import Collection, Iterator
from typing import Any

import attrs
import jsonschema_rs
import orjson
import pytest
from structlog.testing import capture_logs

from tests.audit.noted import NotedAudit
from tests.http.serving import FakeReader, serving
from tests.wiring import Wired
from vortexd.audit import Outcome
from vortexd.core.errors import RemoteError
from vortexd.core.model import Files, Key, Tree
from vortexd.core.patterns import parse_pattern
from vortexd.gate import validation
from vortexd.gate.decision import Person
from vortexd.gate.finding import Finding, Refusal
from vortexd.gate.gate import Rules, Verdict
from vortexd.gate.schemas import Schema
from vortexd.http.gate import GateEndpoint
from vortexd.http.gate_decisions import record_decision
from vortexd.http.monitor import Monitor
from vortexd.http.status import Status
from vortexd.process.peers import Peers
from vortexd.settings.monitor import MonitorSettings

PATH = "/api/v1/gate"
ADA = Person("ada", "token", "192.0.2.1")
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
        self.exceptions: list[tuple[str, str, Person, str]] = []
        self.later: list[tuple[str, str, Person, str]] = []

    async def let_through(self, label: str, state: str, by: Person, reason: str) -> None:
        if self.error is not None:
            raise self.error
        self.exceptions.append((label, state, by, reason))

    def let_through_soon(self, label: str, state: str, by: Person, reason: str) -> None:
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
    async with serving(more=[GateEndpoint(reader, publications, NotedAudit())]) as http:
        answered = await http.ask(PATH)

    said = orjson.loads(answered.body)
    standing = {"label": "dev", "failure": "can't judge", "findings_count": 2, "findings": [FINDING.members]}
    assert {"held_back": [MEMBERS], "standing": [standing]} == said
    schema = GateEndpoint.schemas["Gate"]
    assert jsonschema_rs.is_valid(schema, said)


async def test_before_the_first_state_nothing_is_known() -> None:
    reader, publications, audit = FakeReader(), FakePublications(), NotedAudit()
    reader.default_label = None
    body = orjson.dumps({"label": "main", "state": "c2", "reason": "why"})
    async with serving(more=[GateEndpoint(reader, publications, audit)], reader=reader) as http:
        got, head, posted = await http.ask(PATH), await http.ask(PATH, "HEAD"), await http.ask(PATH, "POST", body)

    assert [503, 503, 503] == [each.status for each in (got, head, posted)]
    assert ["1", "1"] == [each.headers["retry-after"] for each in (got, posted)]
    assert ("starting", [], []) == (orjson.loads(got.body)["message"], publications.exceptions, audit.noted)
    for each in GateEndpoint.operations[PATH].values():
        assert "503" in each["responses"]


async def test_the_applications_that_are_held_back_are_on_the_page_and_in_the_status() -> None:
    reader = FakeReader()
    reader.refused = {"main": attrs.evolve(REFUSAL, applications=("billing",))}
    async with serving(more=[GateEndpoint(reader, FakePublications(), NotedAudit())], reader=reader) as http:
        gate, status = await http.ask(PATH), await http.ask("/status")

    expected = [MEMBERS | {"scope": "application", "applications": ["billing"]}]
    assert (expected, expected) == (orjson.loads(gate.body)["held_back"], orjson.loads(status.body)["gate"])
    assert jsonschema_rs.is_valid(GateEndpoint.schemas["Gate"], orjson.loads(gate.body))


async def test_a_state_is_let_through_with_a_reason_by_all_workers() -> None:
    publications, peers = FakePublications(), FakePeers()
    body = orjson.dumps({"label": "main", "state": "c2", "reason": "incident 7"})
    async with serving(more=[GateEndpoint(FakeReader(), publications, audit := NotedAudit(), peers)]) as http:
        answered = await http.ask(PATH, "POST", body)

    assert (204, b"") == (answered.status, answered.body)
    [(label, state, by, reason)] = publications.exceptions
    assert ("main", "c2", "incident 7") == (label, state, reason)
    # The publisher records the exception. The answer comes once the entry is on the disk.
    assert ([], 1) == (audit.noted, audit.flushed)
    who = [by.name, by.kind, by.peer]
    assert "anonymous" == by.kind
    assert by.peer
    assert [("let through", orjson.dumps(["main", "c2", who, "incident 7"]).decode())] == peers.told
    assert "" == peers._handlers["let through"](peers.told[0][1])
    assert [("main", "c2", by, "incident 7")] == publications.later


async def test_a_state_that_cannot_be_let_through_is_an_error_and_no_other_worker_hears_of_it() -> None:
    publications, peers = FakePublications(), FakePeers()
    publications.error = RemoteError("this label is not held back", 404)
    body = orjson.dumps({"label": "main", "state": "c2", "reason": "incident 7"})
    async with serving(more=[GateEndpoint(FakeReader(), publications, audit := NotedAudit(), peers)]) as http:
        answered = await http.ask(PATH, "POST", body)

    assert (404, []) == (answered.status, peers.told)
    [(act, actor, target, outcome, why, details)] = audit.noted
    assert ("let through", "main", Outcome.REFUSED) == (act, target, outcome)
    assert ("this label is not held back", {"state": "c2"}) == (why, details)
    assert "anonymous" == actor.kind


@pytest.mark.parametrize(
    ("reason", "status"),
    [("x" * 500, 204), ("x" * 501, 400), ("", 400), (" ", 400), ("a\nb", 400), ("a\x1bb", 400), ("ä", 204)],
)
async def test_a_reason_is_one_line_of_limited_length(reason: str, status: int) -> None:
    body = orjson.dumps({"label": "main", "state": "c2", "reason": reason})
    async with serving(more=[GateEndpoint(FakeReader(), FakePublications(), NotedAudit())]) as http:
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
    async with serving(more=[GateEndpoint(FakeReader(), publications, NotedAudit())]) as http:
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


SECRET = "hunter2-is-a-secret"


async def test_no_surface_shows_a_value_and_all_name_the_same_key_rule_file_and_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The secret is in each kind of place that a rule may be about, also in the texts of the schema's errors."""
    monkeypatch.setattr("vortexd.gate.judge.Isolated", InProcess)
    schema = {
        "required": ["name"],
        "additionalProperties": {"not": {"const": SECRET}},
        "properties": {"port": {"type": "integer"}, "mode": {"enum": ["a"]}, "list": {"items": {"maxLength": 3}}},
    }
    rules = Rules((parse_pattern("billing"),), {"s.json": Schema("s.json", orjson.dumps(schema).decode(), "/s.json")})
    whole = Wired(rules=[rules])
    good = b"name: x\nport: 1\nmode: a\nlist: [a]\n"
    bad = f"port: {SECRET}\nmode: {SECRET}\nlist: [{SECRET}]\nother: {SECRET}\n".encode()
    await whole.publisher.publish(Tree({"main": Files({"billing.yml": good}, root="file:/c/")}, "main"))
    with capture_logs() as logs:
        await whole.publisher.publish(
            Tree({"main": Files({"billing.yml": bad}, root="file:/c/", revision="c2")}, "main")
        )
        refusals = whole.reader.refusals
        monitor = Monitor(Fetches(), MonitorSettings(), None, tuple, None, lambda: [*refusals.values()])
        more = [GateEndpoint(whole.reader, whole.publisher, NotedAudit()), monitor]
        async with serving(more=more, reader=whole.reader) as http:
            status, gate = await http.ask("/status"), await http.ask(PATH)
            hook, read = await http.ask("/monitor", "POST", b"{}"), await http.ask("/billing/default")
            explained = await http.ask("/explain/billing/default")
            late = await http.ask("/billing/later")
        metrics = whole.metrics.render().decode()
        with pytest.raises(RemoteError) as caught:
            await whole.publisher.let_through("main", "c1", ADA, "why")
        await whole.publisher.judge_by([rules])
        await whole.publisher.let_through("main", "c2", ADA, "why")
        async with serving(more=more, reader=whole.reader) as http:
            unread = await http.ask("/billing/later")

    audit = NotedAudit()
    for each in whole.decisions:
        record_decision(audit, each, 0)
    assert ["judge", "let through"] == [act for act, *_ in audit.noted]
    texts = [str(each) for each in (*logs, caught.value, metrics, audit.noted)]
    for response in (status, gate, hook, read, explained, late):
        texts += [response.body.decode(), str(response.headers)]
    texts.append(str(unread.headers))
    assert 500 == unread.status
    assert "billing.yml" in unread.headers["x-vortex-broken"]
    assert SECRET not in "".join(texts)
    finding = {
        "key": "billing:default:main",
        "pointer": "/port",
        "keyword": "type",
        "rule": "s.json",
        "file": "billing.yml",
        "line": 1,
    }
    assert finding in orjson.loads(status.body)["gate"][0]["findings"]
    assert finding in orjson.loads(gate.body)["held_back"][0]["findings"]
    item = 'key="billing:default:main";pointer="/port";keyword="type";rule="s.json";file="billing.yml";line=1'
    for response in (hook, read):
        assert item in response.headers["x-vortex-held-back"]
    said = next(each["findings"] for each in logs if each["event"] == "label held back")
    assert "billing:default:main: type of s.json at /port (billing.yml:1)" in said
    assert "vortexd_labels_held_back 1" in metrics


class InProcess:
    """Validates in this process."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def ask(self, request: Any, content: bytes = b"") -> Iterator[Any]:
        return validation.work(request, content)

    def close(self) -> None:
        pass


class Fetches:
    """Sources that fetch at once."""

    def notified(self, addresses: Collection[str], refs: Collection[str]) -> int:
        return 1

    async def wait_looked(self, addresses: Collection[str], refs: Collection[str]) -> None:
        pass
