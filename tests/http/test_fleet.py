"""`/api/v1/fleet`: its queries, its pages, and the keys that each token may see."""

import math
from collections.abc import Mapping
from typing import Any

import attrs
import orjson
import pytest
import trio
from trio.testing import MockClock

from tests.fakes import open_gate
from tests.http.serving import headers_of
from vortexd.auth import Authority, Forbidden, Grant, Right
from vortexd.auth.gate import Admission
from vortexd.auth.principal import Kind, Principal
from vortexd.core.errors import RemoteError
from vortexd.core.model import ClusterOrder, ClusterReport, Key
from vortexd.core.patterns import parse_pattern
from vortexd.fleet import LAST, Fleet, Instance, KeyState, NodePages, NodeView, Page, Question, Record, make_ack
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


# Several nodes.


class FakeNodes:
    """Other nodes whose fleets a test sets."""

    def __init__(self, *fleets: Fleet, views: tuple[NodeView, ...] = (), pages: tuple[Page, ...] = ()) -> None:
        self.fleets = fleets
        self.views = views
        self.more = pages
        self.asked: list[Question] = []
        self.state = ClusterReport("shop", "a", True, NOW, None, (), None)
        self.steady_for = 7.0

    def report(self) -> ClusterReport:
        return self.state

    def keys(self) -> set[Key]:
        listed = {state.key for page in self.more for state in page.keys}
        return listed.union(*(each.keys() for each in self.fleets))

    async def pages(self, question: Question) -> NodePages:
        self.asked.append(question)
        return NodePages(self.views, (*(each.page(question, NOW) for each in self.fleets), *self.more))


async def clustered(of: Fleet, nodes: FakeNodes, query: str = "", *grants: tuple[str, str]) -> dict[str, Any]:
    who = admission(*grants)
    pages = FleetPages(of, Labels(), lambda: NOW, None, nodes)
    answer = await pages.answer(Request("GET", "/api/v1/fleet", query, headers_of({}), b"", who, lambda: who))
    said: dict[str, Any] = orjson.loads(answer.body)
    return said


SERVING = NodeView("a", "serving"), NodeView("b", "serving")
AWAY = NodeView("c", "away", LAST, NOW, "it is away", is_whole=False)


async def test_without_a_cluster_no_node_is_shown() -> None:
    said = await shown(fleet(ORDERS))
    assert ["keys", "next"] == list(said)
    assert "away" not in said["keys"][0]["counts"]


def test_a_cluster_is_steady_since_its_nodes_came_and_a_server_alone_always() -> None:
    alone, clustered = (
        FleetPages(fleet(), Labels(), lambda: NOW, None, nodes).steady_for for nodes in (None, FakeNodes())
    )
    assert (alone, clustered) == (math.inf, 7.0)


async def test_several_nodes_answer_as_one() -> None:
    said = await clustered(fleet(ORDERS), FakeNodes(fleet(BILLING, ORDERS), views=SERVING))

    assert ["billing", "orders"] == [each["app"] for each in said["keys"]]
    assert (2, 2, 0, 100.0) == (
        *(said["keys"][1]["counts"][name] for name in ("connected", "applied", "away")),
        said["keys"][1]["percent"],
    )
    assert ["host:0", "host:1"] == [each["name"] for each in said["keys"][1]["instances"]]
    assert 0 == said["nodes_silent"]
    assert {
        "name": "a",
        "state": "serving",
        "silent": False,
        "counts": "current",
        "as_of": None,
        "reason": None,
    } == said["nodes"][0]
    assert "workers_silent" not in said


async def test_while_a_node_is_silent_no_key_is_at_100_percent() -> None:
    said = await clustered(fleet(ORDERS), FakeNodes(views=(*SERVING, AWAY)))

    assert (99.99, 1) == (said["keys"][0]["percent"], said["nodes_silent"])
    assert {
        "name": "c",
        "state": "away",
        "silent": True,
        "counts": "last",
        "as_of": "2030-03-17T17:46:40.000Z",
        "reason": "it is away",
    } == said["nodes"][2]


async def test_instances_that_are_away_are_counted_and_lower_the_percentage() -> None:
    away = Page((KeyState(ORDERS, None, 0.0, 0, 0, 0, 0, 0, away=3),))
    said = await clustered(fleet(ORDERS), FakeNodes(views=(AWAY,), pages=(away,)))

    assert (1, 3, 25.0) == (
        said["keys"][0]["counts"]["connected"],
        said["keys"][0]["counts"]["away"],
        said["keys"][0]["percent"],
    )


async def test_the_keys_of_other_nodes_need_the_same_rights() -> None:
    nodes = FakeNodes(fleet(BILLING, ORDERS), views=SERVING)
    said = await clustered(fleet(), nodes, "", ("read", "orders:*"))

    assert ["orders"] == [each["app"] for each in said["keys"]]
    assert [(ORDERS,)] == [each.keys for each in nodes.asked]


async def several(pages: FleetPages, *requests: tuple[str, Admission]) -> list[list[str]]:
    """Send requests at the same time. Return the applications in each answer."""
    found: dict[int, list[str]] = {}

    async def send(number: int, query: str, who: Admission) -> None:
        request = Request("GET", "/api/v1/fleet", query, headers_of({}), b"", who, lambda: who)
        said = orjson.loads((await pages.answer(request)).body)
        found[number] = [each["app"] for each in said["keys"]]

    async with trio.open_nursery() as nursery:
        for number, (query, who) in enumerate(requests):
            nursery.start_soon(send, number, query, who)
    return [found[number] for number in range(len(requests))]


async def test_viewers_who_see_the_same_share_one_round_of_questions_for_a_second(mock_clock: MockClock) -> None:
    nodes = FakeNodes(fleet(BILLING, ORDERS), views=SERVING)
    pages = FleetPages(fleet(ORDERS), Labels(), lambda: NOW, None, nodes)
    viewers = [("", admission(("admin", "*"))) for _ in range(50)]
    assert [["billing", "orders"]] * 50 == await several(pages, *viewers)
    assert 1 == len(nodes.asked)
    mock_clock.jump(0.9)
    await several(pages, *viewers)
    assert 1 == len(nodes.asked)
    mock_clock.jump(0.1)
    await several(pages, *viewers)
    assert 2 == len(nodes.asked)


async def test_the_rights_of_each_caller_decide_what_it_shares(mock_clock: MockClock) -> None:
    nodes = FakeNodes(fleet(BILLING, ORDERS), views=SERVING)
    pages = FleetPages(fleet(ORDERS), Labels(), lambda: NOW, None, nodes)
    everything, one, other = (
        admission(("read", "*")),
        admission(("read", "orders:*")),
        admission(("read", "billing:*"), ("subscribe", "*")),
    )
    nothing = admission(("subscribe", "*"))
    requests = [("", each) for each in (everything, one, other, nothing, one)]
    found = await several(pages, *requests)

    assert [["billing", "orders"], ["orders"], ["billing"], [], ["orders"]] == found
    # A client that sees no key asks nothing that others see.
    assert {(BILLING, ORDERS), (ORDERS,), (BILLING,), ()} == {each.keys for each in nodes.asked}
    assert 4 == len(nodes.asked)
    with pytest.raises(Forbidden):
        await pages.answer(
            Request("GET", "/", "app=orders&profile=prod", headers_of({}), b"", nothing, lambda: nothing)
        )


@pytest.mark.parametrize("queries", [("", "limit=7"), ("", "state=silent"), ("", "app=orders"), ("limit=1", "limit=2")])
async def test_other_parameters_are_another_question(mock_clock: MockClock, queries: tuple[str, str]) -> None:
    nodes = FakeNodes(fleet(BILLING, ORDERS), views=SERVING)
    pages = FleetPages(fleet(), Labels(), lambda: NOW, None, nodes)
    who = admission(("read", "*"))
    for _ in range(2):
        await several(pages, *((query, who) for query in queries))
    assert 2 == len(nodes.asked)


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_the_pages_of_several_nodes_list_everything_once(limit: int) -> None:
    names = [Key(f"app-{number}", "prod", "main") for number in range(5)]
    of, nodes = fleet(*names, *names), FakeNodes(fleet(*names[1:3]), fleet(*names[3:], *names), views=SERVING)
    found: list[tuple[str, str, str]] = []
    after = ""
    for _ in range(100):
        said = await clustered(of, nodes, f"limit={limit}{after}")
        found += [(key["app"], each["name"], each["connection"]) for key in said["keys"] for each in key["instances"]]
        if said["next"] is None:
            break
        after = f"&after={said['next']}"
    whole = await clustered(of, nodes, "limit=1000")

    assert found == [
        (key["app"], each["name"], each["connection"]) for key in whole["keys"] for each in key["instances"]
    ]
    # No question has more keys than a page can show, and one more.
    assert all(len(each.keys) <= min(limit + 2, 5) for each in nodes.asked[:-1])


async def test_a_page_is_not_the_last_if_keys_that_have_gone_took_its_room() -> None:
    names = [Key(f"app-{number}", "prod", "main") for number in range(6)]

    class Gone(FakeNodes):
        def keys(self) -> set[Key]:
            return set(names)

    of, nodes = fleet(names[0], names[5]), Gone(views=SERVING)
    first = await clustered(of, nodes, "limit=2")
    assert (names[:4], ["app-0"]) == (list(nodes.asked[0].keys), [each["app"] for each in first["keys"]])
    second = await clustered(of, nodes, f"limit=2&after={first['next']}")
    assert (["app-5"], None) == ([each["app"] for each in second["keys"]], second["next"])


async def test_a_page_whose_last_key_is_listed_goes_on_behind_its_last_instance() -> None:
    names = [Key(f"app-{number}", "prod", "main") for number in range(6)]

    class Gone(FakeNodes):
        def keys(self) -> set[Key]:
            return set(names)

    of, nodes = fleet(names[3]), Gone(views=SERVING)
    first = await clustered(of, nodes, "limit=2")
    assert ["host:0"] == [each["name"] for key in first["keys"] for each in key["instances"]]
    second = await clustered(of, nodes, f"limit=2&after={first['next']}")
    assert ([], None) == ([each for key in second["keys"] for each in key["instances"]], second["next"])


async def test_a_worker_that_is_silent_is_counted_beside_the_nodes() -> None:
    who = admission()
    pages = FleetPages(fleet(ORDERS), Labels(), lambda: NOW, TwoWorkers(fleet(ORDERS)), FakeNodes(views=SERVING))
    answer = await pages.answer(Request("GET", "/api/v1/fleet", "", headers_of({}), b"", who, lambda: who))
    said = orjson.loads(answer.body)

    assert (1, 0) == (said["workers_silent"], said["nodes_silent"])
    page, silent = await pages.here(Question((ORDERS,)))
    assert (2, 1) == (page.keys[0].connected, silent)


@pytest.mark.parametrize(("is_up", "status"), [(True, "UP"), (False, "AWAY")])
async def test_the_answer_says_whether_the_node_can_use_the_store_but_not_why(is_up: bool, status: str) -> None:
    nodes = FakeNodes(views=SERVING)
    nodes.state = ClusterReport("shop", "a", is_up, NOW - 1, "http://etcd:2379 is away", (), None)

    assert {"status": status, "since": "2030-03-17T17:46:39.000Z"} == (await clustered(fleet(ORDERS), nodes))["store"]


@pytest.mark.parametrize(
    ("label", "behind", "expected"),
    [
        ("main", (), False),
        ("main", ("dev", "main"), True),
        ("main", ("mai", "maint"), False),
        ("dev,main", ("main",), True),
        ("dev,main", ("dev,main",), False),
    ],
)
async def test_a_key_is_behind_if_another_node_has_a_newer_state_of_its_label(
    label: str, behind: tuple[str, ...], expected: bool
) -> None:
    nodes = FakeNodes(views=SERVING)
    nodes.state = attrs.evolve(nodes.state, order=ClusterOrder("ab", behind, ()))
    [key] = (await clustered(fleet(Key("orders", "prod", label)), nodes))["keys"]

    assert expected is key["behind"]


async def test_without_a_cluster_no_key_is_behind() -> None:
    assert "behind" not in (await shown(fleet(ORDERS)))["keys"][0]


# During a roll-out.


@attrs.frozen
class Candidate:
    target: str = "v2"
    stepped: float = NOW
    phase: str = "running"

    def has(self, instance: str) -> bool:
        return instance == "reached"


async def test_a_key_in_a_roll_out_has_a_target_and_its_instances_the_version_that_is_expected_of_them() -> None:
    rolling = {ORDERS: Candidate()}
    made = Fleet(FleetSettings(), lambda _: "v1", candidate_of=rolling.get)
    for name in ("reached", "other", "gone"):
        instance = Instance(ORDERS, f"id-{name}", "", name, NOW)
        made.join(instance, NOW)
        made.acknowledge(instance, ORDERS, make_ack("v1", "applied", None, NOW))
    made.leave(instance, NOW)
    made.join(Instance(BILLING, "id", "", "reached", NOW), NOW)
    [billing, orders] = (await shown(made))["keys"]

    assert ("v1", "v2", "running") == (orders["version"], orders["target"], orders["rollout"])
    assert [("gone", "gone", None), ("other", "applied", "v1"), ("reached", "silent", "v2")] == [
        (each["name"], each["state"], each["expected"]) for each in orders["instances"]
    ]
    assert (1, 1, 50.0) == (orders["counts"]["applied"], orders["counts"]["silent"], orders["percent"])
    assert not {"target", "rollout"} & billing.keys()
    assert "expected" not in billing["instances"][0]

    # After the roll-out, nothing is left of it.
    rolling.clear()
    orders = (await shown(made))["keys"][1]
    assert "target" not in orders
    assert [False] * 3 == ["expected" in each for each in orders["instances"]]


# After a restart.


async def test_what_was_acknowledged_before_a_restart_has_a_member_of_its_own() -> None:
    made = fleet(ORDERS)
    before = make_ack("v1", "rejected", "no room", NOW - 60)
    made.restore([Record(ORDERS, name, "old", before, NOW - 1) for name in ("back", "gone")], NOW)
    made.join(Instance(ORDERS, "id-back", "", "back", NOW), NOW)
    [key] = (await shown(made))["keys"]
    said = {"version": "v1", "status": "rejected", "error": "no room", "at": "2030-03-17T17:45:40.000Z"}

    assert {
        "connected": 2,
        "applied": 1,
        "rejected": 0,
        "silent": 1,
        "gone": 1,
        "unlisted": 0,
        "before_restart": 2,
    } == key["counts"]
    assert 50.0 == key["percent"]
    assert [("back", "silent", None, said), ("gone", "gone", None, said), ("host:0", "applied", "v1", None)] == [
        (each["name"], each["state"], each["ack"] and each["ack"]["version"], each.get("before_restart"))
        for each in key["instances"]
    ]
    assert "before_restart" not in key["instances"][2]
    [rejected] = (await shown(made, "state=rejected"))["keys"]
    assert [] == rejected["instances"]
