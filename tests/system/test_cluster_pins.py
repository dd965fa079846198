"""A pin counts at every node of a cluster with a real etcd: wherever it is put, lifted or asked for."""

import json
import signal
from typing import Any

import pytest

from .process import Server
from .test_cluster import Cluster, cluster, events, get, members, repository, servers, size, until, webhook
from .test_pins import sent

pytestmark = pytest.mark.slow
# The fixtures of the other file.
_FIXTURES = cluster, repository, servers
PIN = {
    "application": "orders",
    "profile": "dev",
    "label": "main",
    "to": "",
    "reason": "incident 7",
    "seconds": None,
}


def put(server: Server, **more: Any) -> tuple[int, Any]:
    return sent(server, "/api/v1/pins", "POST", json.dumps({**PIN, **more}).encode())


def lift(server: Server) -> int:
    return sent(server, "/api/v1/pins/orders/dev/main", "DELETE")[0]


def pinned(server: Server) -> list[str]:
    return [each["by"] for each in get(server, "/api/v1/pins")["pins"]]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pin_of_one_node_freezes_the_key_at_all_nodes(cluster: Cluster, workers: int) -> None:
    settings = {node: cluster.settings(node, workers=workers) for node in "ab"}
    with cluster.start("a", settings["a"]) as a, cluster.start("b", settings["b"]) as b:
        until(lambda: members(a) == members(b) == {"a": "serving", "b": "serving"})
        status, _ = put(a)
        until(lambda: pinned(a) == pinned(b) != [])
        cluster.repository.commit({"orders-dev.yml": "size: 2\n", "shop.yml": "b: 1\n"})
        webhook(a)
        until(lambda: all("shop" in str(get(each, "/shop/dev")) for each in (a, b) for _ in range(4)))
        frozen = {size(each) for each in (a, b) for _ in range(8)}
        second, answer = put(b)
        lifted = lift(b)
        until(lambda: {size(each) for each in (a, b) for _ in range(8)} == {2})

        assert (status, frozen) == (201, {1})
        assert (second, "pinned already" in answer["message"]) == (409, True)
        assert (lifted, pinned(a), pinned(b)) == (204, [], [])


def test_a_node_that_comes_later_never_serves_the_newer_document(cluster: Cluster) -> None:
    with cluster.start("a") as a:
        until(lambda: members(a) == {"a": "serving"})
        put(a)
        cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
        webhook(a)
        with cluster.start("b") as b:
            first = size(b)
            published = events(b, "configuration published")

        assert first == 1
        assert published


def test_a_node_restarts_without_etcd_and_keeps_the_pins(cluster: Cluster) -> None:
    with cluster.start("a") as a:
        until(lambda: members(a) == {"a": "serving"})
        put(a)
        a.process.send_signal(signal.SIGKILL)
        a.process.wait(10)
    cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
    away = cluster.settings("a", endpoints=["http://127.0.0.1:9"])
    with cluster.start("a", away) as a:
        served, status = size(a), lift(a)

        assert (served, status) == (1, 503)
        assert pinned(a) != []


def test_a_pin_that_is_lifted_while_a_node_is_stopped_doesnt_come_back(cluster: Cluster) -> None:
    with cluster.start("a") as a:
        until(lambda: members(a) == {"a": "serving"})
        with cluster.start("b") as b:
            put(b)
            until(lambda: pinned(a) == pinned(b) != [])
        lift(a)
        cluster.repository.commit({"orders-dev.yml": "size: 2\n"})
        webhook(a)
        with cluster.start("b") as b:
            until(lambda: size(b) == 2)

            assert (pinned(a), pinned(b)) == ([], [])
