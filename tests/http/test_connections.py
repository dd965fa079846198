"""`/api/v1/connections`: counts and lists connections for operators."""

from collections.abc import Iterable
from typing import Any

import attrs
import orjson
import pytest

from tests.fakes import open_gate
from tests.http.serving import serving
from vortexd.auth import ALL_RIGHTS, Authority, Gate, Right
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.fleet import Instance
from vortexd.http.connections import Connections
from vortexd.http.endpoint import Headers, Request
from vortexd.net.proxies import Sender
from vortexd.process.peers import Answers, Peers
from vortexd.realtime.server import Connected

BILLING = Key("billing", "prod", "main")


def instance(number: int, host: str = "127.0.0.1", key: Key = BILLING) -> Instance:
    return Instance(key, f"id-{number}", host, f"pod-{number}")


ONE = Connected(instance(1), "billing", BILLING, "v2", 0, is_parked=True)
LATE = attrs.evolve(ONE, instance=instance(2), version="v1", is_parked=False)
OTHER = Connected(instance(3, "", Key("shop", "dev", "main")), "", Key("shop", "dev", "main"), None, 2, is_parked=False)


def request(query: str = "", gate: Gate | None = None) -> Request:
    admission = (gate or open_gate()).admit([], "/", Sender("127.0.0.1"))
    return Request("GET", "/api/v1/connections", query, Headers([]), b"", admission, lambda: admission)


async def ask(connected: Iterable[Connected], query: str = "", peers: Peers | None = None) -> dict[str, Any]:
    answer = await Connections(lambda: connected, peers).answer(request(query))
    loaded: dict[str, Any] = orjson.loads(answer.body)
    return loaded


async def test_all_are_counted_by_version_and_some_are_listed() -> None:
    found = await ask([ONE, LATE, OTHER, attrs.evolve(ONE, instance=instance(4))], "limit=2")

    assert (4, 2) == (found["total"], found["parked"])
    assert [("v2", 2), ("v1", 1), (None, 1)] == [(each["version"], each["connections"]) for each in found["versions"]]
    assert ["id-1", "id-2"] == [each["id"] for each in found["connections"]]
    assert {
        "id": "id-1",
        "instance": "pod-1",
        "peer": "127.0.0.1",
        "principal": "billing",
        "app": "billing",
        "profile": "prod",
        "label": "main",
        "version": "v2",
        "patterns": 0,
        "state": "parked",
        "transport": "websocket",
    } == found["connections"][0]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("app=shop", ["id-3"]),
        ("version=v1", ["id-2"]),
        ("app=billing&profile=prod&label=main", ["id-1", "id-2"]),
        ("app=", []),
    ],
)
async def test_a_question_may_be_for_some(query: str, ids: list[str]) -> None:
    found = await ask([ONE, LATE, OTHER], query)

    assert ids == [each["id"] for each in found["connections"]]
    assert len(ids) == found["total"]


@pytest.mark.parametrize("limit", ["x", "-1", "1001", "99999", "", "1.5", "²"])
async def test_a_limit_is_a_number_within_bounds(limit: str) -> None:
    with pytest.raises(RemoteError, match="limit"):
        await ask([ONE], f"limit={limit}")


async def test_L08_only_who_has_admin_is_told() -> None:
    gate = open_gate(Authority(anonymous=ALL_RIGHTS - {Right.ADMIN}))

    async with serving(gate=gate, more=[Connections(lambda: [ONE])]) as http:
        assert 403 == (await http.ask("/api/v1/connections")).status


class Others(Peers):
    """Workers that have what is given."""

    def __init__(self, *connected: Iterable[Connected], missing: int = 0) -> None:
        super().__init__()
        self._others = connected
        self._missing = missing

    async def ask(self, name: str, text: str = "") -> Answers:
        assert "connections" == name
        answers = {}
        for number, each in enumerate(self._others, 1):
            peers = Peers()
            Connections(lambda each=each: each, peers)  # type: ignore[misc]  # mypy infers no type of a default
            answers[str(number)] = peers._handlers[name](text)
        return Answers(answers, self._missing)


async def test_of_several_workers_each_says_what_all_have() -> None:
    found = await ask([ONE], "limit=3", Others([ONE, LATE], [OTHER, ONE], missing=1))

    assert (5, 3, 1) == (found["total"], found["parked"], found["workers_silent"])
    assert [("v2", 3), ("v1", 1), (None, 1)] == [(each["version"], each["connections"]) for each in found["versions"]]
    assert 3 == len(found["connections"])
