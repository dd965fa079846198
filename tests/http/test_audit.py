"""`/api/v1/audit`: entries of all workers, newest first, in pages and by filters."""

from typing import Any

import orjson
import pytest
import trio

from tests.fakes import open_gate
from tests.http.serving import headers_of, serving
from vortexd.audit import Actor, Audit, Entry, Outcome
from vortexd.auth import Authority, Right, Tokens, load_tokens
from vortexd.auth.tokens import digest_of
from vortexd.core.errors import RemoteError
from vortexd.http.audit import AuditLog
from vortexd.http.endpoint import Request
from vortexd.net.proxies import Sender
from vortexd.process.peers import Answers, Peers

TOKEN = "vt_" + "x" * 43

ANN = Actor("ann", "token", "192.0.2.1")


class FakePeers(Peers):
    """Other workers, which answer as a test wants it."""

    def __init__(self, texts: dict[str, str], missing: int = 0) -> None:
        super().__init__()
        self._texts = texts
        self._missing = missing

    async def ask(self, name: str, text: str = "") -> Answers:
        assert ("audit", "") == (name, text)
        return Answers(self._texts, self._missing)


class Recording:
    """An audit log in memory, with one second between two entries."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.audit = Audit(None, self._now, 0, self._id)
        self._number = 0

    def _now(self) -> float:
        self.seconds += 1
        return self.seconds

    def _id(self) -> str:
        self._number += 1
        return f"id-{self._number}"


async def ask(audit: Audit, query: str = "", peers: Peers | None = None) -> dict[str, Any]:
    admission = open_gate().admit([], "/", Sender("127.0.0.1"))
    request = Request("GET", "/api/v1/audit", query, headers_of({}), b"", admission, lambda: admission)
    found: dict[str, Any] = orjson.loads((await AuditLog(audit, peers).answer(request)).body)
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [each["id"] for each in found["entries"]]


async def test_an_entry_says_who_when_from_where_and_what() -> None:
    log = Recording().audit
    await log.record("pin", ANN, "shop:prod", Outcome.REFUSED, "not now", to="c1")

    assert {
        "entries": [
            {
                "id": "id-1",
                "time": "1970-01-01T00:00:01.000Z",
                "who": "ann",
                "kind": "token",
                "from": "192.0.2.1",
                "act": "pin",
                "target": "shop:prod",
                "outcome": "refused",
                "reason": "not now",
                "details": {"to": "c1"},
                "worker": 0,
            }
        ],
        "next": None,
        "stored": False,
        "complete": True,
        "workers_silent": 0,
    } == await ask(log)


async def test_pages_together_are_all_entries_newest_first() -> None:
    log = Recording().audit
    for _ in range(5):
        await log.record("pin", ANN)
    first = await ask(log, "limit=2")
    second = await ask(log, f"limit=2&after={first['next']}")
    third = await ask(log, f"limit=2&after={second['next']}")

    assert [["id-5", "id-4"], ["id-3", "id-2"], ["id-1"]] == [ids(first), ids(second), ids(third)]
    assert third["next"] is None
    assert (await ask(log, "limit=5"))["next"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("act=pin", ["id-3", "id-1"]),
        ("who=ann", ["id-3", "id-2"]),
        ("target=a", ["id-2", "id-1"]),
        ("act=pin&who=ann", ["id-3"]),
        ("act=&who=", ["id-3", "id-2", "id-1"]),
        ("act=pi", []),
        ("act=pin&after=id-3&limit=1000", ["id-1"]),
    ],
)
async def test_entries_can_be_selected(query: str, expected: list[str]) -> None:
    log = Recording().audit
    await log.record("pin", Actor("bo"), "a")
    await log.record("lift", ANN, "a")
    await log.record("pin", ANN, "b")

    assert expected == ids(await ask(log, query))


@pytest.mark.parametrize(
    ("query", "status"),
    [("limit=0", 400), ("limit=1001", 400), ("limit=x", 400), ("limit=00001", 400), ("by=ann", 400), ("after=no", 404)],
)
async def test_parameters_that_are_none_are_refused(query: str, status: int) -> None:
    with pytest.raises(RemoteError) as caught:
        await ask(Recording().audit, query)

    assert status == caught.value.status


async def test_the_entries_of_other_workers_are_among_them_once() -> None:
    """What a worker couldn't write is only there."""
    log = Recording().audit
    await log.record("pin", ANN)
    await log.record("pin", ANN)
    own, _ = log.unwritten
    other = Entry("other", "1970-01-01T00:00:01.500Z", ANN, "pin", worker=1)
    text = (other.line + own.line).decode()
    found = await ask(log, peers=FakePeers({"1": text, "2": "", "supervisor": "garbage\n"}, 1))

    assert ["id-2", "other", "id-1"] == ids(found)
    assert 1 == found["workers_silent"]


async def test_a_worker_answers_others_with_what_is_only_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    peers, log = Peers(), Recording().audit
    AuditLog(log, peers)
    assert "" == peers._handlers["audit"]("")
    await log.record("pin", ANN)
    await log.record("lift", ANN)

    assert "".join(each.line.decode() for each in log.unwritten) == peers._handlers["audit"]("")
    assert 2 == len(log.unwritten)


async def test_it_is_for_administrators_and_served() -> None:
    assert (Right.ADMIN, False) == (AuditLog.right, AuditLog.is_public)
    async with serving(more=[AuditLog(Recording().audit)]) as http:
        answer = await http.ask("/api/v1/audit")
        assert (200, "no-store") == (answer.status, answer.headers["cache-control"])
        assert 405 == (await http.ask("/api/v1/audit", "DELETE")).status
    await trio.lowlevel.checkpoint()


async def test_a_request_says_who_acts_and_from_where() -> None:
    admission = open_gate().admit([], "/", Sender("192.0.2.9"))
    from_tcp = Request("GET", "/", "", headers_of({}), b"", admission, lambda: admission, "192.0.2.9")
    from_unix = Request("GET", "/", "", headers_of({}), b"", None, lambda: admission).admitted()

    assert Actor("anonymous", "anonymous", "192.0.2.9") == from_tcp.actor == from_tcp.admitted().actor
    assert "unix" == from_unix.actor.peer


async def test_a_limit_counts_a_known_client_by_its_name_and_another_one_by_its_address() -> None:
    anonymous = open_gate().admit([], "/", Sender("192.0.2.9"))
    first = Request("GET", "/", "", headers_of({}), b"", anonymous, lambda: anonymous, "192.0.2.9")
    second = Request("GET", "/", "", headers_of({}), b"", anonymous, lambda: anonymous, "192.0.2.8")
    assert ("anonymous 192.0.2.9", "anonymous 192.0.2.8") == (first.client, second.client)

    grant = f'[[token]]\nname = "ann"\nsha256 = "{digest_of(TOKEN)}"\nrights = ["read"]\npatterns = ["*"]\n'
    gate = open_gate(Authority(Tokens(load_tokens(grant, "t"))))
    known = gate.admit([(b"authorization", f"Bearer {TOKEN}".encode())], "/", Sender("192.0.2.9"))
    for peer in ("192.0.2.9", "192.0.2.8"):
        assert "token ann" == Request("GET", "/", "", headers_of({}), b"", known, lambda: known, peer).client
