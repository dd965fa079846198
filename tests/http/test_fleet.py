"""`/api/v1/fleet`: its queries, its pages, and the keys that each token may see."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
import trio

from tests.fakes import open_gate
from tests.http.serving import headers_of
from vortexd.auth import Authority, Forbidden, Grant, Right
from vortexd.auth.gate import Admission
from vortexd.auth.principal import Kind, Principal
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.core.patterns import parse_pattern
from vortexd.fleet import Fleet, Instance, Question, make_ack
from vortexd.http.endpoint import Request, Response
from vortexd.http.fleet import FleetPages, parse_wanted
from vortexd.http.query import parse_query
from vortexd.net.proxies import Sender
from vortexd.process.peers import Answers, Peers
from vortexd.settings.fleet import FleetSettings

ORDERS, BILLING, LIST = (
    Key("orders", "prod", "main"),
    Key("billing", "prod", "main"),
    Key("orders", "dev,prod", "main"),
)
NOW = 1_900_000_000.0


class Labels:
    default_label = "main"


def fleet(*keys: Key) -> Fleet:
    made = Fleet(FleetSettings(), lambda _: "v1")
    for number, key in enumerate(keys):
        instance = Instance(key, f"id{number}", "192.0.2.1", f"host:{number}", NOW)
        made.join(instance, NOW)
        made.acknowledge(instance, key, make_ack("v1", "applied", None, NOW + 1.5))
    return made


def admission(*grants: tuple[str, str]) -> Admission:
    """Somebody with these rights over these patterns; with none of them everybody has every right."""
    gate = open_gate(Authority() if grants else None)
    principal = Principal(
        "ci",
        Kind.TOKEN,
        tuple(Grant(frozenset({Right(right)}), (parse_pattern(pattern),)) for right, pattern in grants),
    )
    return Admission(gate, principal) if grants else gate.admit([], "/", Sender())


async def asked(
    of: Fleet, query: str = "", *grants: tuple[str, str], peers: Peers | None = None, headers: Mapping[str, str] = {}
) -> Response:
    who = admission(*grants)
    pages = FleetPages(of, Labels(), lambda: NOW, peers)
    return await pages.answer(Request("GET", "/api/v1/fleet", query, headers_of(headers), b"", who, lambda: who))


async def shown(of: Fleet, query: str = "", *grants: tuple[str, str], peers: Peers | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads((await asked(of, query, *grants, peers=peers)).body)
    return answer


async def keys(of: Fleet, query: str = "", *grants: tuple[str, str]) -> list[str]:
    return [f"{each['app']}:{each['profile']}" for each in (await shown(of, query, *grants))["keys"]]


async def test_a_key_is_shown_with_its_counts_and_instances() -> None:
    said = await shown(fleet(ORDERS))

    assert {
        "keys": [
            {
                "app": "orders",
                "profile": "prod",
                "label": "main",
                "version": "v1",
                "counts": {"connected": 1, "applied": 1, "rejected": 0, "silent": 0, "gone": 0, "unlisted": 0},
                "percent": 100.0,
                "instances": [
                    {
                        "name": "host:0",
                        "connection": "id0",
                        "state": "applied",
                        "since": "2030-03-17T17:46:41.500Z",
                        "ack": {"version": "v1", "status": "applied", "error": None, "at": "2030-03-17T17:46:41.500Z"},
                        "shares_name": False,
                    }
                ],
            }
        ],
        "next": None,
    } == said


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["billing:prod", "orders:dev,prod", "orders:prod"]),
        ("app=orders", ["orders:dev,prod", "orders:prod"]),
        ("app=orders&profile=prod", ["orders:prod"]),
        ("app=orders&profile=dev,prod", ["orders:dev,prod"]),
        ("app=ord*&profile=*rod", ["orders:prod"]),
        ("app=b%69lling&label=main", ["billing:prod"]),
        ("label=other", []),
        ("label=next,main", []),
        ("app=nobody&profile=prod", []),
    ],
)
async def test_keys_are_asked_for_by_name_or_glob(query: str, expected: list[str]) -> None:
    assert expected == await keys(fleet(ORDERS, BILLING, LIST), query)


async def test_the_labels_of_a_key_are_one_list() -> None:
    several = Key("orders", "prod", "next,main")

    assert ["orders:prod"] == await keys(fleet(several), "label=next,main")
    assert [] == await keys(fleet(several), "label=main")
    assert [] == await keys(fleet(several), "label=n*")
    assert ["orders:prod"] == await keys(fleet(several), "label=*n*")


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        ([("read", "*")], ["billing:prod", "orders:dev,prod", "orders:prod"]),
        ([("read", "orders:*")], ["orders:dev,prod", "orders:prod"]),
        ([("admin", "x:y")], ["billing:prod", "orders:dev,prod", "orders:prod"]),
        ([("subscribe", "*"), ("report", "*")], []),
        ([("read", "shop:*")], []),
    ],
)
async def test_M12_keys_are_shown_to_who_may_read_them(grants: list[tuple[str, str]], expected: list[str]) -> None:
    assert expected == await keys(fleet(ORDERS, BILLING, LIST), "", *grants)


async def test_T09_a_list_is_shown_to_who_may_read_each_part_of_it() -> None:
    assert ["orders:prod"] == await keys(fleet(ORDERS, LIST), "app=orders", ("read", "orders:prod"))


@pytest.mark.parametrize(
    "query", ["app=billing&profile=prod", "app=nobody&profile=prod", "app=orders&profile=dev,prod"]
)
async def test_who_asks_for_one_key_without_the_right_is_refused_whether_it_is_there_or_not(query: str) -> None:
    with pytest.raises(Forbidden):
        await asked(fleet(ORDERS, BILLING, LIST), query, ("read", "orders:prod"))


async def test_H02_others_have_their_turn_while_many_keys_are_judged(nursery: trio.Nursery) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    nursery.start_soon(others)
    of = fleet(*(Key(f"app-{number}", "prod", "main") for number in range(1_000)))
    found = await keys(of, "limit=1000", ("read", "app-1*"))
    nursery.cancel_scope.cancel()

    assert 111 == len(found)
    # About one for each hundred.
    assert turns > 5


async def test_pages_follow_each_other() -> None:
    of = fleet(ORDERS, ORDERS, ORDERS, BILLING)
    seen, after = [], ""
    for _ in range(10):
        page = await shown(of, f"limit=2{after}")
        seen += [(key["app"], each["name"]) for key in page["keys"] for each in key["instances"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"

    assert [("billing", "host:3"), *(("orders", f"host:{number}") for number in range(3))] == seen


async def test_an_answer_that_is_the_same_is_304() -> None:
    of = fleet(ORDERS)
    etag = (await asked(of)).headers["ETag"]
    again = await asked(of, headers={"If-None-Match": etag})
    other = await asked(of, "state=silent", headers={"If-None-Match": etag})

    assert (304, b"", 200) == (again.status, again.body, other.status)


@pytest.mark.parametrize(
    "query",
    [
        "app=..",
        "profile=a/b",
        "label=-x",
        "label=main,",
        "app=a:b*",
        "state=well",
        "limit=0",
        "limit=1001",
        "limit=%C2%B2",
        "after=x",
        "after=W10=",
        "after=WzEsMiwzLDQsNV0=",
        "colour=red",
        "app=a&app=b",
        "app=%ff",
    ],
)
def test_what_cannot_be_asked_is_refused(query: str) -> None:
    with pytest.raises(RemoteError) as caught:
        parse_wanted(query)

    assert 400 == caught.value.status


def test_a_query_is_decoded_once_and_the_token_is_no_parameter_of_it() -> None:
    assert {"app": "a b+c%2F"} == parse_query("token=x&app=a+b%2Bc%252F&", ["app"])


class TwoWorkers(Peers):
    """Another worker that answers, and one that doesn't."""

    are_there = True

    def __init__(self, other: Fleet) -> None:
        super().__init__()
        self.other = other

    async def ask(self, name: str, text: str = "") -> Answers:
        theirs = Peers()
        FleetPages(self.other, Labels(), lambda: NOW, theirs)
        return Answers({"1": theirs._handlers[name](text), "supervisor": ""}, missing=1)


async def test_several_workers_answer_as_one() -> None:
    said = await shown(fleet(ORDERS), "app=orders", peers=TwoWorkers(fleet(BILLING, ORDERS)))

    (key,) = said["keys"]
    assert (2, 2) == (key["counts"]["connected"], key["counts"]["applied"])
    assert ["host:0", "host:1"] == [each["name"] for each in key["instances"]]
    assert 1 == said["workers_silent"]


async def test_nothing_of_a_key_that_may_not_be_read_is_asked_of_other_workers() -> None:
    class Spy(TwoWorkers):
        asked = ""

        async def ask(self, name: str, text: str = "") -> Answers:
            self.asked += text
            return await super().ask(name, text)

    spy = Spy(fleet(BILLING, ORDERS))
    said = await shown(fleet(), "limit=1", ("read", "orders:*"), peers=spy)

    assert ["orders"] == [key["app"] for key in said["keys"]]
    assert (ORDERS,) == Question.from_json(spy.asked).keys
