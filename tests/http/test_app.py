"""Spring's API and the other endpoints, through the real listener and the bridge."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
import trio

from tests.http.serving import FilesReader, serving
from vortexd.core.errors import FormatError, RemoteError, ResolveError
from vortexd.core.model import Files, Key
from vortexd.http.app import Application
from vortexd.http.endpoint import Response
from vortexd.http.request_head import PeerGone, RequestHead
from vortexd.net.proxies import Sender
from vortexd.settings.server import ServerSettings

P = pytest.param


async def test_the_answer_is_springs() -> None:
    async with serving() as http:
        answer = await http.ask("/shop/dev,mysql")

        assert {
            "name": "shop",
            "profiles": ["dev,mysql"],
            "label": None,
            "version": None,
            "state": None,
            "propertySources": [{"name": "file:/config/shop.yml", "source": {"a": 1}}],
        } == json.loads(answer.body)
        assert [Key("shop", "dev,mysql", "main")] == http.reader.asked
        assert "application/json" == answer.headers["content-type"]
        assert "no-cache, private" == answer.headers["cache-control"]
        assert "nosniff" == answer.headers["x-content-type-options"]
        assert 16 == len(answer.headers["x-vortex-version"])
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("/foo(_)app/default", Key("foo/app", "default", "main")),
        ("/foo%2Fapp/default", Key("foo/app", "default", "main")),
        ("/foo/dev-yml", Key("foo", "dev-yml", "main")),
        ("/foo/dev/release(_)1.0", Key("foo", "dev", "release/1.0")),
        ("/foo/dev/release%2F1.0?x=y", Key("foo", "dev", "release/1.0")),
        ("/a%2Cb/dev%2Cprod", Key("a,b", "dev,prod", "main")),
    ],
)
async def test_names_are_decoded_as_spring_does(target: str, key: Key) -> None:
    async with serving() as http:
        answer = await http.ask(target)

        assert (200, [key]) == (answer.status, http.reader.asked)
        if key.label != "main":
            assert key.label == json.loads(answer.body)["label"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/foo/dev.yml", 404),
        ("/foo/dev.properties", 404),
        ("/", 404),
        ("/foo", 404),
        ("/foo/dev/main/", 404),
        ("/foo/dev.yml.x", 404),
        ("/foo.yml", 404),
        ("/foo/dev/main,", 400),
        ("/foo-dev.yml?resolvePlaceholders=perhaps", 400),
        P("/foo/dev/main/..%2F..%2Fetc%2Fpasswd", 400, id="P05"),
        P("/foo/dev/main/../../etc/passwd", 400, id="P05 bare"),
        P("/foo/dev/main/..%252f..%252fetc%252fpasswd", 400, id="P05 twice"),
        P("/foo/dev/main/..(_)..(_)etc(_)passwd", 400, id="P05 spelled"),
        P("/foo/dev/main/%2Fetc%2Fpasswd", 404, id="P05 absolute"),
        P("/foo/dev/main/file:%2F%2F%2Fetc%2Fpasswd", 400, id="P05 url"),
        P("/foo/dev/main/x%23y", 400, id="P05 fragment"),
        P("/foo/dev/main/..%5Cx", 400, id="P05 backslash"),
        P("/foo/dev/main/a%00.txt", 400, id="P05 NUL"),
        P("/foo/dev/main/.git/config", 404, id="P05 hidden"),
        P("/foo/dev/main/WEB-INF/web.xml", 404, id="P05 WEB-INF"),
        P("/foo/dev/main/a%c0%af", 400, id="P05 overlong"),
        P("/foo/dev/../x?useDefaultLabel", 400, id="P05 default label"),
        P("/../foo-dev.yml", 400, id="P02 suffix"),
        P("/..(_)x/foo-dev.yml", 400, id="P02 suffix spelled"),
        P("/..%2Fx-dev.yml", 400, id="P03 suffix"),
        P("/foo-..%2Fx.yml", 400, id="P04 suffix"),
        ("//dev", 404),
        ("/foo/dev/unknown", 404),
        ("/foo/..", 400),
        ("/foo/bar,..,foo", 400),
        ("/foo/%2e%2e", 400),
        ("/foo/bar%2Ffoo", 400),
        ("/foo%23x/dev", 400),
        ("/foo/dev/(_)x", 400),
        P("/test/pathtraversal/..%252f..%252f..%252fetc%252fpasswd", 400, id="P01"),
        P("/a/b/%252f..%252f..%252fetc%252fpasswd", 400, id="P02"),
        P("/a/b/..(_)..(_)..(_)etc(_)passwd", 400, id="P02 spelled"),
        P("/..%252F..%252Fetc%252Fpasswd%23foo/development", 400, id="P03"),
        P("/application/..%2F..%2F..%2F..%2Fetc", 400, id="P04"),
        P("/application/default%2C..%2F..%2Fetc", 400, id="P04 list"),
        P("/%c0%ae%c0%ae%2f/dev", 400, id="P09 overlong"),
        P("/%ef%bc%8e%ef%bc%8e%ef%bc%8f/dev", 400, id="P09 fullwidth"),
        P("/a%00.yml/dev", 400, id="P09 NUL"),
        P("/%2Fetc/passwd/main", 400, id="P10"),
        P("/.git/dev", 400, id="P13"),
        P("/a/dev/.git%2Fconfig", 400, id="P13 label"),
        P("/" + "a" * 5_000 + "/dev", 400, id="P15"),
        P("/a/" + ",".join("b" * 1_000), 400, id="P15 profiles"),
        P("/ws", 404, id="P16 ws"),
        P("/actuator/env", 404, id="P16 actuator"),
        P("/encrypt/status", 404, id="P16 encrypt"),
        P("/favicon.ico", 404, id="P16 favicon"),
        P("/x%0d%0aSet-Cookie:a=b/dev", 400, id="H06"),
    ],
)
async def test_what_is_not_served_is_refused_with_springs_error(target: str, status: int) -> None:
    async with serving() as http:
        answer = await http.ask(target)

        assert status == answer.status
        assert {"timestamp", "status", "error", "message"} == set(json.loads(answer.body))
        assert b"etc" not in answer.body
        if target != "/foo/dev/unknown":
            assert [] == http.reader.asked


async def test_what_the_client_has_is_not_sent_again() -> None:
    async with serving() as http:
        etag = (await http.ask("/shop/dev")).headers["etag"]

        for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            answer = await http.ask("/shop/dev", If_None_Match=known)
            assert (304, b"", etag) == (answer.status, answer.body, answer.headers["etag"])
        http.reader.change({"a": 2})
        assert 200 == (await http.ask("/shop/dev", If_None_Match=etag)).status


async def test_H09_a_list_of_tags_of_any_length_is_read() -> None:
    async with serving() as http:
        tags = ",".join(f'"{number}"' for number in range(1_500))

        assert 200 == (await http.ask("/shop/dev", If_None_Match=tags)).status


async def test_head_has_the_headers_and_no_body() -> None:
    async with serving() as http:
        full = await http.ask("/shop/dev")
        head = await http.ask("/shop/dev", "HEAD")

        assert (200, b"") == (head.status, head.body)
        assert full.headers["content-length"] == head.headers["content-length"]
        assert full.headers["etag"] == head.headers["etag"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_H08_other_methods_are_told_which_there_are(method: str) -> None:
    async with serving() as http:
        answer = await http.ask("/shop/dev", method, X_HTTP_Method_Override="GET")

        assert (405, "GET, HEAD") == (answer.status, answer.headers["allow"])
        assert [] == http.reader.asked


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ("application/json", 200),
        ("text/html, application/*;q=0.5", 200),
        ("application/xml", 406),
        ("text/html", 406),
        ("application/json;q=0", 406),
    ],
)
async def test_H11_what_is_accepted_decides(accept: str, status: int) -> None:
    async with serving() as http:
        assert status == (await http.ask("/shop/dev", Accept=accept)).status


async def test_a_body_over_the_limit_is_told_the_limit() -> None:
    async with serving(ServerSettings(body_bytes=10)) as http:
        answer = await http.ask("/shop/dev", "POST", b"x" * 11)

    assert (413, "a body has at most 10 bytes here") == (answer.status, json.loads(answer.body)["message"])


async def test_a_body_over_the_limit_is_413() -> None:
    async with serving() as http:
        assert 413 == (await http.ask("/shop/dev", "POST", b"x" * 70_000)).status


@pytest.mark.parametrize(("size", "status"), [(3, 200), (70_000, 413)])
async def test_a_get_with_a_body_is_answered_within_the_same_bounds(size: int, status: int) -> None:
    async with serving(ServerSettings(body_bytes=65_536)) as http:
        assert status == (await http.ask("/shop/dev", "GET", b"x" * size)).status
        assert status == (await http.ask("/health", "GET", b"x" * size)).status


async def test_H15_a_form_is_not_parsed() -> None:
    async with serving() as http:
        answer = await http.ask("/shop/dev", "POST", b"--x\r\n\r\n", Content_Type="multipart/form-data; boundary=x")

        assert 405 == answer.status


async def test_health_is_alive_and_readiness_waits_for_the_first_state() -> None:
    async with serving() as http:
        http.reader.default_label = None
        found = [(await http.ask(path)).status for path in ("/health", "/ready", "/shop/dev")]
        assert [200, 503, 503] == found
        assert "1" == (await http.ask("/shop/dev")).headers["retry-after"]

        http.reader.default_label = "main"
        assert [200, 200] == [(await http.ask(path)).status for path in ("/ready", "/shop/dev")]


async def test_H13_a_bug_is_a_number_in_the_answer_and_a_traceback_in_the_log_only() -> None:
    async with serving() as http:
        http.reader.error = ZeroDivisionError("secret")
        answer = await http.ask("/shop/dev")

        assert 500 == answer.status
        assert b"secret" not in answer.body
        assert b"Traceback" not in answer.body
        assert 36 == len(json.loads(answer.body)["message"].rpartition(" ")[2])
        http.reader.error = None
        assert 200 == (await http.ask("/shop/dev")).status


async def test_an_application_that_was_never_sound_is_500_without_its_path() -> None:
    async with serving() as http:
        http.reader.error = FormatError("secret/shop.yml", "reason", 3)
        answer = await http.ask("/shop/dev")

        assert 500 == answer.status
        assert b"shop.yml" not in answer.body


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """Warnings and errors, each with what is bound to its connection."""
    found: list[MutableMapping[str, Any]] = []

    def keep(_logger: object, level: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        if level in ("warning", "error"):
            found.append(dict(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    yield found
    structlog.configure(**before)


@pytest.mark.parametrize("error", [FormatError("secret/shop.yml", "reason", 3), ResolveError("reason", "shop.yml")])
async def test_what_is_answered_with_500_is_in_the_log_once_while_it_lasts(
    error: Exception, logs: list[MutableMapping[str, Any]]
) -> None:
    async with serving() as http:
        http.reader.error = error
        for target in ("/shop/dev?token=x", "/shop/dev", "/other/dev", "/shop/dev"):
            assert 500 == (await http.ask(target)).status
        (event,) = logs
        assert {"connection", "peer"} < set(event)
        assert {
            "event": "request not served",
            "method": "GET",
            "route": "/{application}/{profiles}",
            "path": "/shop/dev",
            "reason": str(error),
        } == {name: value for name, value in event.items() if name not in ("connection", "peer")}

        http.reader.error = FormatError("other.yml", "another one")
        await http.ask("/shop/dev")
        assert 2 == len(logs)

        http.reader.error = None
        assert 200 == (await http.ask("/shop/dev")).status
        assert 2 == len(logs)
        http.reader.change({"a": 2})
        http.reader.error = error
        await http.ask("/shop/dev")
        assert 3 == len(logs)


async def test_what_the_peer_does_wrong_is_in_no_log(logs: list[MutableMapping[str, Any]]) -> None:
    async with serving() as http:
        for target, method in (("/nowhere", "GET"), ("/shop/dev/unknown", "GET"), ("/shop/dev", "PUT")):
            assert 400 <= (await http.ask(target, method)).status < 500

    assert [] == logs


async def test_a_bug_is_logged_with_its_number_method_and_path(logs: list[MutableMapping[str, Any]]) -> None:
    async with serving() as http:
        http.reader.error = ZeroDivisionError("x")
        answer = await http.ask("/shop/dev?token=x")

    (event,) = logs
    number = json.loads(answer.body)["message"].rpartition(" ")[2]
    assert ("request failed", number, "GET", "/shop/dev") == tuple(
        event[name] for name in ("event", "request", "method", "path")
    )
    assert {"connection", "peer", "exc_info"} < set(event)


async def test_a_plain_file_that_cannot_be_read_says_why_in_the_log(logs: list[MutableMapping[str, Any]]) -> None:
    files = Files({}, {"nginx.conf": "it has 2 bytes, 1 is the limit"}, "file:/config/")
    async with serving(reader=FilesReader({"main": files})) as http:
        for _ in range(2):
            answer = await http.ask("/shop/dev/main/nginx.conf")
            assert 500 == answer.status
            assert b"bytes" not in answer.body

    (event,) = logs
    assert "nginx.conf: it has 2 bytes, 1 is the limit" == event["reason"]


async def test_a_websocket_path_without_an_upgrade_is_426() -> None:
    async with serving() as http:
        answer = await http.ask("/ws/shop/dev")

        assert (426, "websocket") == (answer.status, answer.headers["upgrade"])


async def test_L03_made_up_names_do_not_grow_the_metrics() -> None:
    async with serving() as http:
        await http.ask("/shop/dev")
        before = len(http.metrics.render().splitlines())
        for number in range(50):
            await http.ask(f"/made-up-{number}/dev")

        assert before == len(http.metrics.render().splitlines())
        assert b"made-up" not in (await http.ask("/metrics")).body


async def test_L09_ready_is_not_said_before_there_is_a_state_and_alive_is() -> None:
    async with serving() as http:
        http.reader.default_label = None
        before = [(await http.ask(path)).status for path in ("/health", "/ready")]
        http.reader.default_label = "main"
        after = [(await http.ask(path)).status for path in ("/health", "/ready")]

    assert ([200, 503], [200, 200]) == (before, after)


V2 = "application/vnd.spring-cloud.config-server.v2+json"


async def test_the_second_form_has_the_place_of_each_value() -> None:
    async with serving() as http:
        http.reader.origins = {"a": (3, 5)}
        http.reader.change({"a": 1, "b": "bare"})
        second = await http.ask("/shop/dev", Accept=V2)
        first = await http.ask("/shop/dev")

    assert V2 == second.headers["content-type"]
    [source] = json.loads(second.body)["propertySources"]
    assert {"a": {"value": 1, "origin": "3:5"}, "b": "bare"} == source["source"]
    assert {"a": 1, "b": "bare"} == json.loads(first.body)["propertySources"][0]["source"]
    assert second.headers["x-vortex-version"] == first.headers["x-vortex-version"]
    assert second.headers["etag"] != first.headers["etag"]


# Requests that wait.


class Waits:
    """A wait with the given results, in order."""

    def __init__(self, *results: bool) -> None:
        self.results = [*results]
        self.left: list[int | None] = []

    async def wait(self, wait_gone: Callable[[], Awaitable[None]]) -> bool:
        await trio.lowlevel.checkpoint()
        return self.results.pop(0)

    def leave(self, status: int | None) -> None:
        self.left.append(status)


class Handler:
    """Answers with the given responses, in order."""

    def __init__(self, *responses: Response) -> None:
        self.responses = [*responses]
        self.asked: list[tuple[bool, object]] = []

    async def answer(self, head: RequestHead, body: bytes = b"", **options: Any) -> Response:
        self.asked.append((options["may_wait"], options.get("waited")))
        return self.responses.pop(0)

    def failure(self, error: RemoteError) -> Response:
        return Response(error.status)


class NoBody:
    def __init__(self, error: RemoteError | None = None) -> None:
        self.error = error
        self.waits: list[str] = []

    async def receive(self) -> None:
        raise NotImplementedError

    async def wait_gone(self) -> None:
        raise NotImplementedError

    @contextmanager
    def waiting(self) -> Iterator[None]:
        if self.error is not None:
            raise self.error
        self.waits.append("begins")
        yield
        self.waits.append("ends")


async def respond(handler: Handler, body: NoBody) -> Response:
    application = Application(handler, lambda: 100)  # type: ignore[arg-type]  # it answers as one
    return await application.respond(RequestHead("GET", "/x", "", (), Sender()), body)


async def test_a_request_waits_until_it_is_answered_and_leaves_with_its_status() -> None:
    waits, body = Waits(True, True), NoBody()
    handler = Handler(Response(waiting=waits), Response(waiting=waits), Response(304))

    assert 304 == (await respond(handler, body)).status
    assert [(True, None), (True, waits), (True, waits)] == handler.asked
    assert ["begins", "ends"] * 2 == body.waits
    assert [304] == waits.left


async def test_a_request_that_need_not_wait_is_answered_at_once() -> None:
    body = NoBody()
    assert 200 == (await respond(Handler(Response()), body)).status
    assert [] == body.waits


async def test_a_client_that_leaves_gets_no_response_and_its_wait_ends() -> None:
    waits, handler = Waits(False), Handler()
    handler.responses = [Response(waiting=waits)]
    with pytest.raises(PeerGone):
        await respond(handler, NoBody())
    assert [None] == waits.left


async def test_a_wait_that_is_cancelled_ends() -> None:
    waits = Waits(True)
    with trio.move_on_after(0):
        await respond(Handler(Response(waiting=waits)), NoBody())
    assert [None] == waits.left


async def test_a_connection_with_too_many_waits_refuses_the_request() -> None:
    waits = Waits()
    body = NoBody(RemoteError("too many", 429))
    assert 429 == (await respond(Handler(Response(waiting=waits)), body)).status
    assert [429] == waits.left
