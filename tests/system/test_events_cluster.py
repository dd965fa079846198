"""Event streams of two real nodes on a real etcd: a client that moves to the other node goes on where it stopped."""

import signal

import orjson
import pytest

from .process import Server
from .test_cluster import Cluster, cluster, members, repository, servers, size, until, webhook
from .test_events import Stream

pytestmark = pytest.mark.slow
# The fixtures of the other file.
_FIXTURES = cluster, repository, servers


def stream(server: Server, query: str, last: str = "") -> Stream:
    options = ("-H", f"Last-Event-ID: {last}") if last else ()
    return Stream(f"http://127.0.0.1:{server.port}/api/v1/events/orders/dev{query}", *options)


def push(cluster: Cluster, number: int, at: Server, *others: Server) -> None:
    """Commit a value, and wait until all nodes serve it."""
    cluster.repository.commit({"orders-dev.yml": f"size: {number}\n"})
    webhook(at)
    until(lambda: {size(each) for each in (at, *others)} == {number})


class Heard:
    """What a client that moves between nodes has heard about the key, in order."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self.versions: list[str] = []
        self.resumes: list[str] = []
        self.last = ""

    def take(self, stream: Stream) -> None:
        """Take all events of a stream. Each change must begin at the version that the client has."""
        for each in stream.events:
            data = orjson.loads(each.get("data", "{}"))
            self.last = each.get("id", self.last)
            if each.get("event") == "hello":
                self.resumes.append(data["resume"])
            elif data.get("profile") == "dev" and each["event"] == "config_snapshot":
                self.values.append(data["config"]["size"])
                self.versions.append(data["version"])
            elif data.get("profile") == "dev" and each["event"] == "config_change":
                assert data["old_version"] == self.versions[-1]
                self.values.append(data["diff"][0]["value"])
                self.versions.append(data["new_version"])
            elif data.get("profile") == "dev":
                assert (each["event"], data["version"]) == ("in_sync", self.versions[-1])


@pytest.mark.parametrize("query", ["", "?pattern=orders:*"], ids=["one key", "patterns"])
def test_a_stream_resumes_at_the_other_node_without_a_gap(cluster: Cluster, query: str) -> None:
    heard = Heard()
    with cluster.start("a") as a, cluster.start("b") as b:
        until(lambda: members(a) == members(b) == {"a": "serving", "b": "serving"})
        with stream(a, query) as first:
            first.wait("config_snapshot", profile="dev")
            push(cluster, 2, a, b)
            first.wait("config_change", profile="dev")
        heard.take(first)
        with stream(b, query, heard.last) as second:
            second.wait("in_sync", profile="dev")
            push(cluster, 3, b, a)
            second.wait("config_change", profile="dev")
        heard.take(second)
        # The client misses two changes. Each node has noticed one of them.
        push(cluster, 4, a, b)
        push(cluster, 5, b, a)
        with stream(a, query, heard.last) as third:
            third.wait("config_change", profile="dev")
            a.stop(signal.SIGKILL)
            assert third.ended() != 0
        heard.take(third)
        push(cluster, 6, b)
        with stream(b, query, heard.last) as fourth:
            fourth.wait("config_change", profile="dev")
            push(cluster, 7, b)
            fourth.wait("config_change", profile="dev", diff=[{"op": "replace", "path": "/size", "value": 7}])
        heard.take(fourth)

    assert heard.values == [1, 2, 3, 5, 6, 7]
    assert heard.resumes == ["snapshot", "in_sync", "diff", "diff"]
