"""The state of sources over HTTP: the page and the header."""

import attrs
import jsonschema_rs
import orjson
import pytest

from tests.fakes import open_gate
from tests.http.serving import FakeReader
from vortexd.core.model import (
    BrokenFile,
    ClusterMember,
    ClusterOrder,
    ClusterPublishing,
    ClusterReport,
    ClusterVersion,
    HeldBack,
    Key,
    Served,
    SourceReport,
)
from vortexd.http.configuration import Configuration
from vortexd.http.endpoint import Headers, Request
from vortexd.http.status import Status
from vortexd.net.proxies import Sender
from vortexd.observe.metrics import Metrics
from vortexd.process.peers import Peers

WELL = SourceReport("https://git.example/x", "git", "abc", 1_900_000_000.0, None, None, False, 0.0, False)
ILL = SourceReport("files:/x", "files", None, None, "gone", 1_900_000_000.5, True, 42.1234, True)


def request(path: str) -> Request:
    admission = open_gate().admit([], path, Sender("127.0.0.1"))
    return Request("GET", path, "", Headers([]), b"", admission, lambda: admission)


async def test_the_page_says_of_each_source_how_it_is() -> None:
    answer = await Status(lambda: [WELL, ILL], FakeReader()).answer(request("/status"))

    assert [
        {
            "name": "https://git.example/x",
            "kind": "git",
            "revision": "abc",
            "status": "UP",
            "last_success": "2030-03-17T17:46:40.000Z",
            "last_error": None,
            "last_error_at": None,
            "stale_for": 0.0,
            "broken_files": 0,
            "broken": [],
            "unfinished_files": 0,
            "unfinished": [],
        },
        {
            "name": "files:/x",
            "kind": "files",
            "revision": None,
            "status": "STALE",
            "last_success": None,
            "last_error": "gone",
            "last_error_at": "2030-03-17T17:46:40.500Z",
            "stale_for": 42.123,
            "broken_files": 0,
            "broken": [],
            "unfinished_files": 0,
            "unfinished": [],
        },
    ] == orjson.loads(answer.body)["sources"]


async def test_the_page_counts_all_unfinished_files_and_names_the_first_hundred_in_order() -> None:
    report = attrs.evolve(WELL, unfinished={f"{number:03}.yml": "why" for number in reversed(range(101))})
    answer = await Status(lambda: [report], FakeReader()).answer(request("/status"))

    [said] = orjson.loads(answer.body)["sources"]
    assert ("UP", 101, 100) == (said["status"], said["unfinished_files"], len(said["unfinished"]))
    assert {"file": "000.yml", "reason": "why"} == said["unfinished"][0]
    assert {"file": "099.yml", "reason": "why"} == said["unfinished"][-1]


def broken(path: str, root: str = "https://git.example/x/", served: Served = Served.LAST_GOOD) -> BrokenFile:
    revision = "c1" if served is Served.LAST_GOOD else None
    return BrokenFile("main", root, path, 3, 7, "a bracket is missing", served, revision)


async def test_the_page_names_each_broken_file_with_what_it_holds_back() -> None:
    reader = FakeReader()
    other = attrs.evolve(WELL, name="other", root="other/")
    reader.held = [
        HeldBack(broken("shop-dev.yml"), 30, (Key("shop", "dev", "main"), Key("shop", "qa", "main"))),
        HeldBack(broken("x.yml", "elsewhere/"), 0, ()),
    ]
    well = attrs.evolve(WELL, root="https://git.example/x/")
    answer = await Status(lambda: [well, other], reader).answer(request("/status"))
    first, second = orjson.loads(answer.body)["sources"]

    assert ("DEGRADED", 1) == (first["status"], first["broken_files"])
    assert [
        {
            "label": "main",
            "file": "shop-dev.yml",
            "line": 3,
            "column": 7,
            "reason": "a bracket is missing",
            "served": "last_good",
            "last_good": "c1",
            "held_back": {"count": 30, "first": ["shop:dev:main", "shop:qa:main"]},
        }
    ] == first["broken"]
    assert ("UP", 0, []) == (second["status"], second["broken_files"], second["broken"])


async def test_the_page_counts_all_broken_files_and_names_the_first_hundred() -> None:
    reader = FakeReader()
    reader.held = [HeldBack(broken(f"{number}.yml"), 0, ()) for number in range(101)]
    well = attrs.evolve(WELL, root="https://git.example/x/")
    [said] = orjson.loads((await Status(lambda: [well], reader).answer(request("/status"))).body)["sources"]

    assert (101, 100) == (said["broken_files"], len(said["broken"]))


async def test_a_source_that_is_stale_and_has_a_broken_file_is_stale() -> None:
    reader = FakeReader()
    reader.held = [HeldBack(broken("x.yml", "file:/x/"), 0, ())]
    ill = attrs.evolve(ILL, root="file:/x/")
    [said] = orjson.loads((await Status(lambda: [ill], reader).answer(request("/status"))).body)["sources"]

    assert ("STALE", 1) == (said["status"], said["broken_files"])


async def test_other_workers_are_told_of_broken_files_at_once_and_without_the_keys() -> None:
    reader, peers = FakeReader(), Peers()
    reader.held = [HeldBack(broken("x.yml"), 5, ())]
    Status(lambda: [attrs.evolve(WELL, root="https://git.example/x/")], reader, peers)
    [said] = orjson.loads(peers._handlers["status"](""))["sources"]

    assert ["x.yml"] == [each["file"] for each in said["broken"]]
    assert [None] == [each["held_back"] for each in said["broken"]]


CLUSTER = ClusterReport(
    "shop",
    "a",
    True,
    1_900_000_000.0,
    None,
    (
        ClusterMember("a", "serving", "1.0", "https://a:1", "2030-01-01T00:00:00Z"),
        ClusterMember("b", "away", "0.9", "", "2029-01-01T00:00:00Z", 4.56789),
    ),
    "a",
)


async def test_the_page_shows_the_cluster_as_this_node_sees_it() -> None:
    answer = await Status(lambda: [WELL], FakeReader(), cluster=lambda: CLUSTER).answer(request("/status"))

    assert {
        "name": "shop",
        "node": "a",
        "store": {"status": "UP", "since": "2030-03-17T17:46:40.000Z", "last_error": None, "last_error_at": None},
        "member": None,
        "stand_in": False,
        "leader": "a",
        "members": [
            {
                "node": "a",
                "state": "serving",
                "version": "1.0",
                "address": "https://a:1",
                "started": "2030-01-01T00:00:00Z",
                "away_for": None,
            },
            {
                "node": "b",
                "state": "away",
                "version": "0.9",
                "address": None,
                "started": "2029-01-01T00:00:00Z",
                "away_for": 4.568,
            },
        ],
        "order": {"epoch": None, "behind": [], "unordered": []},
    } == orjson.loads(answer.body)["cluster"]


async def test_the_page_names_the_first_labels_that_are_behind_or_have_no_order() -> None:
    labels = tuple(f"l{number:02}" for number in range(25))
    cluster = attrs.evolve(CLUSTER, order=ClusterOrder("ab", labels, labels[1:]))
    answer = await Status(lambda: [WELL], FakeReader(), cluster=lambda: cluster).answer(request("/status"))

    order = orjson.loads(answer.body)["cluster"]["order"]
    assert {"epoch": "ab", "behind": [*labels[:20]], "unordered": [*labels[1:21]]} == order


async def test_the_page_says_when_the_store_is_away_and_why() -> None:
    away = attrs.evolve(
        CLUSTER, is_up=False, last_error="no answer", last_error_at=1_900_000_001.0, leader=None, members=()
    )
    answer = await Status(lambda: [WELL], FakeReader(), cluster=lambda: away).answer(request("/status"))
    said = orjson.loads(answer.body)["cluster"]

    assert {
        "status": "AWAY",
        "since": "2030-03-17T17:46:40.000Z",
        "last_error": "no answer",
        "last_error_at": "2030-03-17T17:46:41.000Z",
    } == said["store"]
    assert (None, []) == (said["leader"], said["members"])


@pytest.mark.parametrize("listing", ["listed", "name taken", "not listed"])
async def test_the_page_says_how_the_cluster_lists_this_node_and_whether_a_state_stands_in(listing: str) -> None:
    report = attrs.evolve(CLUSTER, member=listing, stands_in=True)
    said = orjson.loads((await Status(list, FakeReader(), cluster=lambda: report).answer(request("/status"))).body)

    assert (listing, True) == (said["cluster"]["member"], said["cluster"]["stand_in"])
    assert jsonschema_rs.is_valid(Status.schemas["Status"], said)


@pytest.mark.parametrize(
    ("is_failing", "is_up", "published", "status"),
    [
        (False, True, True, "UP"),
        (False, True, False, "WAITING"),
        (False, False, True, "AWAY"),
        (False, False, False, "AWAY"),
        (True, True, False, "FAILING"),
        (True, False, True, "FAILING"),
    ],
)
async def test_publishing_is_up_only_if_the_store_is_up_and_has_a_published_state(
    is_failing: bool, is_up: bool, published: bool, status: str
) -> None:
    version = ClusterVersion(7, "a" * 64, 1_900_000_000.0, "b") if published else None
    report = attrs.evolve(CLUSTER, is_up=is_up, published=version, publishing=ClusterPublishing(is_failing, None, 0))
    said = orjson.loads((await Status(list, FakeReader(), cluster=lambda: report).answer(request("/status"))).body)

    assert status == said["cluster"]["publishing"]["status"]
    assert jsonschema_rs.is_valid(Status.schemas["Status"], said)


@pytest.mark.parametrize("cluster", [CLUSTER, attrs.evolve(CLUSTER, is_up=False, last_error="x", leader=None)])
async def test_the_page_is_as_it_is_described(cluster: ClusterReport) -> None:
    [schema] = Status.schemas.values()
    for status in (Status(lambda: [WELL], FakeReader(), cluster=lambda: cluster), Status(list, FakeReader())):
        said = orjson.loads((await status.answer(request("/status"))).body)
        assert jsonschema_rs.is_valid(schema, said)
        assert jsonschema_rs.is_valid(schema, said | {"worker": 0, "workers": {"1": said}, "workers_silent": 0})
        assert not jsonschema_rs.is_valid(schema, said | {"cluster": {"name": "shop"}})


async def test_without_a_cluster_the_page_does_not_speak_of_one() -> None:
    answer = await Status(lambda: [WELL], FakeReader()).answer(request("/status"))

    assert ["sources"] == list(orjson.loads(answer.body))


@pytest.mark.parametrize(("is_failing", "status"), [(False, "UP"), (True, "FAILING")])
async def test_the_page_shows_what_is_published_and_whether_this_node_can_publish(
    is_failing: bool, status: str
) -> None:
    version = ClusterVersion(7, "a" * 64, 1_900_000_000.0, "b")
    report = attrs.evolve(CLUSTER, published=version, publishing=ClusterPublishing(is_failing, "full", 3))
    answer = await Status(list, FakeReader(), cluster=lambda: report).answer(request("/status"))
    said = orjson.loads(answer.body)

    assert {"number": 7, "id": "a" * 64, "at": "2030-03-17T17:46:40.000Z", "by": "b"} == said["cluster"]["published"]
    assert {"status": status, "last_error": "full"} == said["cluster"]["publishing"]
    assert jsonschema_rs.is_valid(Status.schemas["Status"], said)
    assert not jsonschema_rs.is_valid(Status.schemas["Status"], {"sources": [], "cluster": said["cluster"] | {"x": 1}})


def test_each_worker_says_how_it_sees_the_cluster() -> None:
    peers = Peers()
    Status(lambda: [WELL], FakeReader(), peers, lambda: CLUSTER)

    assert "shop" == orjson.loads(peers._handlers["status"](""))["cluster"]["name"]


async def test_answers_say_for_how_long_a_source_is_stale() -> None:
    fresh = await Configuration(FakeReader(), lambda: [WELL]).answer(request("/shop/dev"))
    stale = await Configuration(FakeReader(), lambda: [WELL, ILL]).answer(request("/shop/dev"))

    assert "X-Vortex-Stale" not in fresh.headers
    assert "42" == stale.headers["X-Vortex-Stale"]


def test_metrics_say_how_sources_are() -> None:
    metrics = Metrics()
    metrics.watch_sources(lambda: [WELL, ILL])
    text = metrics.render().decode()

    assert 'vortexd_source_failing{number="1",source="files:/x"} 1.0' in text
    assert 'vortexd_source_stale_seconds{number="0",source="https://git.example/x"} 0.0' in text
    assert 'vortexd_source_last_success_timestamp_seconds{number="0",source="https://git.example/x"} 1.9e+09' in text
