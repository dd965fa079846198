"""How sources are, over HTTP: the page, the header and readiness."""

import orjson
from werkzeug.datastructures import Headers

from tests.fakes import open_gate
from tests.http.serving import FakeReader
from vortexd.http.configuration import Configuration
from vortexd.http.exchange import Request
from vortexd.http.health import Ready
from vortexd.http.status import Status
from vortexd.metrics import Metrics
from vortexd.model import SourceReport
from vortexd.proxies import Sender

WELL = SourceReport("https://git.example/x", "git", "abc", 1_900_000_000.0, None, None, False, 0.0, False)
ILL = SourceReport("files:/x", "files", None, None, "gone", 1_900_000_000.5, True, 42.1234, True)


def request(path: str) -> Request:
    admission = open_gate().admit([], path, Sender("127.0.0.1"))
    return Request("GET", path, "", Headers(), b"", admission, lambda: admission)


async def test_the_page_says_of_each_source_how_it_is() -> None:
    answer = await Status(lambda: [WELL, ILL]).answer(request("/status"))

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
        },
    ] == orjson.loads(answer.body)["sources"]


async def test_answers_say_for_how_long_a_source_is_stale() -> None:
    fresh = await Configuration(FakeReader(), lambda: [WELL]).answer(request("/shop/dev"))
    stale = await Configuration(FakeReader(), lambda: [WELL, ILL]).answer(request("/shop/dev"))

    assert "X-Vortex-Stale" not in fresh.headers
    assert "42" == stale.headers["X-Vortex-Stale"]


async def test_a_source_that_is_too_stale_is_not_ready() -> None:
    well = await Ready(FakeReader(), lambda: [WELL]).answer(request("/ready"))
    ill = await Ready(FakeReader(), lambda: [WELL, ILL]).answer(request("/ready"))

    assert [200, 503] == [well.status, ill.status]


def test_metrics_say_how_sources_are() -> None:
    metrics = Metrics()
    metrics.watch_sources(lambda: [WELL, ILL])
    text = metrics.render().decode()

    assert 'vortexd_source_failing{number="1",source="files:/x"} 1.0' in text
    assert 'vortexd_source_stale_seconds{number="0",source="https://git.example/x"} 0.0' in text
    assert 'vortexd_source_last_success_timestamp_seconds{number="0",source="https://git.example/x"} 1.9e+09' in text
