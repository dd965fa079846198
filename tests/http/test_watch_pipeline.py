"""Long polls on the whole pipeline: publications, keys and labels that end, and roll-outs."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import attrs
import pytest
import trio

from tests.fakes import open_gate, timestamp, wait_until
from tests.http.serving import quart_at_once
from tests.http.test_watch import Body
from tests.http.test_watchers import Counts
from tests.pipeline.test_pacing import CANDIDATE, SHOP, Paced, Policy, begun, files, tree
from vortexd.core.model import Key, Tree
from vortexd.core.patterns import parse_pattern
from vortexd.http.app import create_app
from vortexd.http.endpoint import Response
from vortexd.http.request_head import RequestHead
from vortexd.http.routes import standard_routes
from vortexd.http.watch import LateWatchers, Watch
from vortexd.http.watchers import Limits, Watchers
from vortexd.net.proxies import Sender
from vortexd.observe.metrics import Metrics
from vortexd.pipeline.broadcast import Delivery
from vortexd.rollouts.rollout import PLACES, Status
from vortexd.settings.http import HttpSettings

# A fault often shows in a request that nothing wakes.
pytestmark = pytest.mark.timeout(60)
UNPACED = Policy(None, is_on=False)


class Polling:
    """Requests to a pipeline."""

    def __init__(self, whole: Paced, nursery: trio.Nursery, http: HttpSettings | None = None) -> None:
        self.whole, self.nursery, self.counts = whole, nursery, Counts()
        line = whole.pipeline
        self.late = LateWatchers(
            lambda: Watchers(line, whole.registry, lambda: Limits(1_000, 1_000), self.counts, Random())
        )

        async def retrack(keys: object) -> None:
            self.late.wake_keys(keys)  # type: ignore[arg-type]  # they are keys

        whole.publisher.retrack_by(retrack)
        routes = standard_routes(
            whole.reader,
            Metrics(),
            tracks=line,
            settings=http,
            beside=lambda ordinary: [Watch(ordinary, line, self.late)],
        )
        self.app = create_app(routes, Metrics(), lambda: 100, timestamp, open_gate(), quart_at_once)
        self.responses: dict[str, Response] = {}

    async def ask(self, query: str = "", path: str = "/api/v1/watch/shop/default") -> Response:
        head = RequestHead("GET", path, query, [(b"host", b"localhost")], Sender("192.0.2.1"))
        return await self.app.respond(head, Body())

    async def _poll(self, query: str) -> None:
        self.responses[query] = await self.ask(query)

    async def poll(self, *queries: str) -> None:
        """Begin requests that wait."""
        waiting = len(self.late)
        for query in queries:
            self.nursery.start_soon(self._poll, query)
        await wait_until(lambda: len(self.late) == waiting + len(queries))

    async def version(self, query: str = "") -> str:
        return (await self.ask(query)).headers["X-Vortex-Version"]

    async def answered(self, count: int) -> dict[str, int]:
        """The value of each answer, or its status."""
        await wait_until(lambda: len(self.responses) == count)
        return {query: value(each) for query, each in self.responses.items()}


def value(response: Response) -> int:
    if response.status != 200:
        return response.status
    sources = json.loads(response.body)["propertySources"]
    found: int = sources[0]["source"]["a"] if sources else 0
    return found


@asynccontextmanager
async def polling(whole: Paced, http: HttpSettings | None = None) -> AsyncIterator[Polling]:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            yield Polling(whole, nursery, http)
            nursery.cancel_scope.cancel()


async def unpaced(*others: str) -> Paced:
    whole = Paced(UNPACED)
    labels = {label: files("a: 1", other="a: 1") for label in ("main", *others)}
    await whole.publisher.publish(Tree(labels, "main"))
    return whole


async def test_a_publication_answers_those_whose_document_it_changes() -> None:
    async with polling(await unpaced()) as http:
        version = await http.version()
        await http.poll(f"version={version}", f"version={version}&wait=10m")
        await http.whole.publisher.publish(tree("a: 1", other="a: 2"))
        assert {} == http.responses
        await http.whole.publisher.publish(tree("a: 2", other="a: 2"))

        assert {2: 2} == Counter((await http.answered(2)).values())
        assert not http.whole.pipeline.in_use(SHOP)


@pytest.mark.parametrize(("accept_empty", "expected"), [(True, 0), (False, 404)])
async def test_a_key_without_files_is_answered_as_by_the_ordinary_endpoint(accept_empty: bool, expected: int) -> None:
    async with polling(await unpaced(), HttpSettings(accept_empty=accept_empty)) as http:
        await http.poll(f"version={await http.version()}")
        contents = {"other.yml": b"a: 1"}
        await http.whole.publisher.publish(
            Tree({"main": attrs.evolve(files("a: 1"), contents=contents, revision="2")}, "main")
        )
        assert [expected] == [*(await http.answered(1)).values()]
        assert expected == value(await http.ask(path="/shop/default"))


async def test_a_label_that_ends_is_answered_as_by_the_ordinary_endpoint() -> None:
    async with polling(await unpaced("next")) as http:
        await http.poll(f"label=next&version={await http.version('label=next')}")
        await http.whole.publisher.publish(tree("a: 1", other="a: 1"))
        assert [404] == [*(await http.answered(1)).values()]
        assert 404 == value(await http.ask(path="/shop/default/next"))


async def test_a_made_up_key_ends_with_its_last_request() -> None:
    class Noting:
        def __init__(self) -> None:
            self.kinds: list[str] = []

        def deliver(self, delivery: Delivery) -> None:
            self.kinds.append(delivery.kind)

    async with polling(await unpaced()) as http:
        noting, made_up = Noting(), Key("made-up", "default", "main")
        await http.whole.pipeline.subscribe(noting, [parse_pattern("made-up")], 10)
        path = "/api/v1/watch/made-up/default"
        version = (await http.ask(path=path)).headers["X-Vortex-Version"]
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(http.ask, f"version={version}", path)
                await wait_until(lambda: http.whole.pipeline.in_use(made_up) is not None)
                scope.cancel()
        assert not http.whole.pipeline.in_use(made_up)
        assert ["config_snapshot", "config_removed"] == noting.kinds


async def test_an_instance_is_answered_when_a_roll_out_reaches_it_and_the_others_at_its_end() -> None:
    whole, _ = await begun()
    async with polling(whole) as http:
        version = await http.version()
        instances = [f"version={version}&instance=web-{number}" for number in range(20)]
        await http.poll(*instances)
        running = whole.policy.record(reach=PLACES // 2)
        await whole.publisher.roll_by([running])
        chosen = [each for each in instances if whole.tracks.track(SHOP, each.rpartition("=")[2]) == CANDIDATE]
        assert 0 < len(chosen) < 20

        assert dict.fromkeys(chosen, 2) == await http.answered(len(chosen))
        assert 20 - len(chosen) == len(http.late)
        again = f"version={await http.version('instance=' + chosen[0].rpartition('=')[2])}&"
        await http.poll(again + chosen[0].partition("&")[2])
        done = attrs.evolve(
            running, status=Status.DONE, stable=running.target, reach=None, labels=((files("a: 2", other="a: 2"),),)
        )
        await whole.publisher.roll_by([done])

        # The one that has the target already goes on waiting, for its own key.
        assert dict.fromkeys(instances, 2) == await http.answered(20)
        await wait_until(lambda: CANDIDATE not in whole.store)
        assert 1 == len(http.late)


@pytest.mark.parametrize("status", [Status.HALTED, Status.ABORTED])
async def test_an_instance_gets_the_stable_version_back(status: Status) -> None:
    whole, _ = await begun()
    async with polling(whole) as http:
        await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
        candidate, stable = await http.version("instance=one"), await http.version()
        assert candidate != stable
        await http.poll(f"instance=one&version={candidate}", f"canary=true&version={candidate}", f"version={stable}")
        await whole.publisher.roll_by([whole.policy.record(reach=None, status=status, revision=1)])

        found = await http.answered(2)
        assert {f"instance=one&version={candidate}": 1, f"canary=true&version={candidate}": 1} == found
        assert 1 == len(http.late)


async def test_an_instance_is_answered_as_by_the_ordinary_endpoint_when_another_change_comes() -> None:
    """The roll-out ends its candidate, and begins another one."""
    whole, _ = await begun()
    async with polling(whole) as http:

        async def ordinary() -> int:
            return value(await http.ask("instance=one", "/shop/default"))

        await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
        candidate = await http.version("instance=one")
        await http.poll(f"instance=one&version={candidate}")
        await whole.publisher.publish(tree("a: 3", other="a: 3"))
        assert [await ordinary()] == [*(await http.answered(1)).values()]

        stable = await http.version("instance=one")
        await http.poll(f"instance=one&version={stable}")
        await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
        assert 3 == (await http.answered(2))[f"instance=one&version={stable}"] == await ordinary()
