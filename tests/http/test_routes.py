"""The router: exact paths, prefixes of paths, reserved first segments, and the prefix of the settings."""

from typing import ClassVar

import orjson
import pytest

from tests.http.serving import FakeReader, FilesReader
from tests.http.test_status import ILL, request
from vortexd.core.errors import RemoteError
from vortexd.http.configuration import Configuration
from vortexd.http.endpoint import Endpoint, Request, Response
from vortexd.http.health import Health, MetricsPage, Ready, UpgradeOnly
from vortexd.http.openapi import OpenApi
from vortexd.http.routes import RESERVED, Routes, standard_routes
from vortexd.http.status import Status
from vortexd.http.whoami import WhoAmI
from vortexd.observe.metrics import Metrics
from vortexd.settings.http import HttpSettings


class Page(Endpoint):
    """An endpoint with some paths."""

    route: ClassVar = "/page"

    def __init__(self, body_bytes: int | None = None, is_served: bool = True) -> None:
        self._body_bytes = body_bytes
        self._is_served = is_served

    @property
    def body_bytes(self) -> int | None:
        return self._body_bytes

    @property
    def is_served(self) -> bool:
        return self._is_served

    async def answer(self, request: Request) -> Response:
        return Response()


class Exact(Page):
    route: ClassVar = "/exact"
    paths: ClassVar = ("/exact", "/wide/exact", "/wide/deep/er/")


class Wide(Page):
    route: ClassVar = "/wide"
    paths: ClassVar = ("/wide/", "/a/b/c/d/e/")


def routes(*endpoints: Endpoint, prefix: str = "") -> Routes:
    return Routes(endpoints, Configuration(FakeReader()), HttpSettings(prefix=prefix))


def found(router: Routes, path: str) -> str:
    """The name of the endpoint's class, or the error."""
    try:
        return type(router.find(path)).__name__
    except RemoteError as error:
        return f"{error.status} {error.reason}"


NOTHING = "404 there is nothing at this path"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/exact", "Exact"),
        ("/wide/exact", "Exact"),
        ("/wide/deep/er/", "Exact"),
        ("/wide/deep/er/x/y", "Exact"),
        ("/wide/deep/er", "Wide"),
        ("/wide/", "Wide"),
        ("/wide/x", "Wide"),
        ("/wide/exact/", "Wide"),
        ("/wide/x/y/z/1/2/3/4", "Wide"),
        ("/wide//", "Wide"),
        ("/a/b/c/d/e/", "Wide"),
        ("/a/b/c/d/e/f", "Wide"),
        ("/a/b/c/d/e/f/g/h", "Wide"),
        ("/openapi.json", "OpenApi"),
    ],
)
def test_the_longest_entry_of_a_path_counts(path: str, name: str) -> None:
    assert name == found(routes(Exact(), Wide()), path)


@pytest.mark.parametrize(
    "path", ["/shop", "/shop/dev", "/", "//", "/b/c", "/%65xact", "/EXACT", "/exact%2F", "/exactly/x"]
)
def test_other_paths_are_those_of_applications(path: str) -> None:
    assert "Configuration" == found(routes(Exact(), Wide()), path)


@pytest.mark.parametrize("path", ["/exact/", "/exact/x", "/wide", "/a", "/a/b", "/a/b/c/d/e", "/a/x/y/z/1/2/3"])
def test_the_first_segment_of_an_entry_is_no_application(path: str) -> None:
    assert NOTHING == found(routes(Exact(), Wide()), path)


@pytest.mark.parametrize("segment", sorted(RESERVED - {"openapi.json"}))
def test_P16_a_reserved_segment_is_no_application_even_without_an_endpoint(segment: str) -> None:
    assert [NOTHING, NOTHING] == [found(routes(), f"/{segment}"), found(routes(), f"/{segment}/dev")]
    assert "Configuration" == found(routes(), f"/x/{segment}")


@pytest.mark.parametrize("path", ["", "*", "exact", "shop/dev"])
def test_a_target_without_a_slash_is_no_path(path: str) -> None:
    assert NOTHING == found(routes(Exact()), path)


def test_an_endpoint_that_is_not_served_keeps_its_segment_and_stays_described() -> None:
    unserved = Exact(is_served=False)
    router = routes(unserved)

    assert [NOTHING, NOTHING] == [found(router, "/exact"), found(router, "/wide/x")]
    assert unserved in router.endpoints


def test_all_endpoints_are_listed_with_those_of_the_router_itself() -> None:
    exact, wide = Exact(), Wide()
    router = routes(exact, wide)

    assert [exact, wide] == [*router.endpoints[:2]]
    assert [Configuration, OpenApi] == [type(each) for each in router.endpoints[2:]]


# The prefix.


@pytest.mark.parametrize(
    ("path", "name", "below"),
    [
        ("/config/shop/dev", "Configuration", "/shop/dev"),
        ("/config/config/dev", "Configuration", "/config/dev"),
        ("/config/exact", "Exact", "/exact"),
        ("/exact", "Exact", "/exact"),
        ("/config/wide/x", "Wide", "/wide/x"),
        ("/wide/x", "Wide", "/wide/x"),
        ("/config/exact/x", NOTHING, "/exact/x"),
        ("/config/", "Configuration", "/"),
        ("/config", NOTHING, "/config"),
        ("/configs/shop/dev", NOTHING, "/configs/shop/dev"),
        ("/shop/dev", NOTHING, "/shop/dev"),
    ],
)
def test_applications_are_below_the_prefix_and_endpoints_work_with_it_and_without(
    path: str, name: str, below: str
) -> None:
    router = routes(Exact(), Wide(), prefix="/config")

    assert (name, below) == (found(router, path), router.below(path))


def test_without_a_prefix_a_path_stays_as_it_is() -> None:
    assert ["/shop/dev", "//", "*"] == [routes().below(path) for path in ("/shop/dev", "//", "*")]


async def test_new_settings_count_for_the_router_the_configuration_and_the_document() -> None:
    router = Routes([], Configuration(FilesReader({"shop.yml": "a: 1"})), HttpSettings())
    assert 200 == (await router.find("/none/dev").answer(request("/none/dev"))).status
    router.replace(HttpSettings(prefix="/config", accept_empty=False))

    assert NOTHING == found(router, "/none/dev")
    with pytest.raises(RemoteError) as caught:
        await router.find("/config/none/dev").answer(request("/none/dev"))
    assert 404 == caught.value.status
    document = orjson.loads((await router.find("/openapi.json").answer(request("/openapi.json"))).body)
    assert [{"url": "/config"}] == document["servers"]


# Bodies.


def test_a_body_has_the_limit_of_its_endpoint_or_else_the_default() -> None:
    router = routes(Exact(body_bytes=8), Wide())

    assert [8, 100, 100, 100] == [
        router.body_bytes(path, 100) for path in ("/exact", "/wide/x", "/shop/dev", "/actuator/x")
    ]
    assert 0 == routes(Exact(body_bytes=0)).body_bytes("/exact", 100)


# The router of a daemon.


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/health", Health),
        ("/ready", Ready),
        ("/metrics", MetricsPage),
        ("/status", Status),
        ("/ws/shop/dev", UpgradeOnly),
        ("/api/v1/whoami", WhoAmI),
        ("/openapi.json", OpenApi),
        ("/shop/dev", Configuration),
    ],
)
def test_every_daemon_has_these_endpoints(path: str, endpoint: type) -> None:
    router = standard_routes(FakeReader(), Metrics())

    assert endpoint is type(router.find(path))


def test_the_first_segments_of_all_daemons_are_reserved() -> None:
    router = standard_routes(FakeReader(), Metrics())
    segments = {
        path.split("/")[1] for each in router.endpoints if each.is_served for path in getattr(each, "paths", ())
    }

    assert {"api", "health", "metrics", "openapi.json", "ready", "status", "ws"} == segments - {"{application}"}
    assert segments - {"{application}"} <= RESERVED


async def test_more_endpoints_settings_and_reports_reach_the_parts_of_the_router() -> None:
    exact = Exact()
    router = standard_routes(
        FakeReader(), Metrics(), lambda: [ILL], [exact], settings=HttpSettings(prefix="/config"), is_open=lambda: True
    )

    assert exact is router.find("/exact")
    assert NOTHING == found(router, "/shop/dev")
    assert 503 == (await router.find("/ready").answer(request("/ready"))).status
    assert b'"STALE"' in (await router.find("/status").answer(request("/status"))).body
    stale = await router.find("/config/shop/dev").answer(request("/shop/dev"))
    assert "42" == stale.headers["X-Vortex-Stale"]
    document = orjson.loads((await router.find("/openapi.json").answer(request("/openapi.json"))).body)
    assert {} in document["security"]


async def test_by_default_the_document_asks_for_a_token() -> None:
    router = standard_routes(FakeReader(), Metrics())
    document = orjson.loads((await router.find("/openapi.json").answer(request("/openapi.json"))).body)

    assert {} not in document["security"]
