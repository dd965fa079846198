"""The request handler: the order of its checks, errors as responses, the log, and the labels of the metrics."""

import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, ClassVar
from uuid import UUID

import pytest
import structlog.contextvars
import trio
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from tests.audit.noted import NotedAudit
from tests.fakes import TIMESTAMP, open_gate, timestamp
from tests.http.serving import FakeReader
from vortexd.audit import ForbiddenActs
from vortexd.auth import Authority, Forbidden, Gate, Right, Tokens, load_tokens
from vortexd.auth.tokens import digest_of
from vortexd.core.errors import FormatError, RefusedLabel, RemoteError, ResolveError, UnknownLabel
from vortexd.core.model import Key
from vortexd.http.configuration import Configuration
from vortexd.http.endpoint import Endpoint, Request, Response
from vortexd.http.request_handler import RequestHandler
from vortexd.http.request_head import RequestHead
from vortexd.http.routes import Routes
from vortexd.net.proxies import Proxies, Sender
from vortexd.observe.metrics import Metrics
from vortexd.settings.http import HttpSettings

TOKENS = {right: f"vt_{right}".ljust(46, "x") for right in ("read", "admin")}
FILE = "".join(
    f'[[token]]\nname = "{right}"\nsha256 = "{digest_of(token)}"\nrights = ["{right}"]\npatterns = ["shop"]\n'
    for right, token in TOKENS.items()
)
UNREADABLE = "the configuration can't be read; the server's log names the file at fault"


class Page(Endpoint):
    """Answers as a test says, and keeps the last request."""

    route: ClassVar = "/page"
    paths: ClassVar[tuple[str, ...]] = ("/page", "/page/")
    methods: ClassVar = ("GET", "POST")

    def __init__(self, answer: Callable[[Request], Awaitable[Response]] | None = None) -> None:
        self.answering = answer
        self.asked: list[Request] = []
        self.error: Exception | None = None
        self.made = Response(body=b"{}")

    async def answer(self, request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        return await self.answering(request) if self.answering else self.made


class PublicPage(Page):
    route: ClassVar = "/public"
    paths: ClassVar = ("/public",)
    is_public: ClassVar = True


class AdminPage(Page):
    route: ClassVar = "/admin"
    paths: ClassVar = ("/admin",)
    right: ClassVar = Right.ADMIN
    acts: ClassVar = {"POST": "pin"}


class GuardedPage(AdminPage):
    """Has a response of its own for a token without its right."""

    route: ClassVar = "/guarded"
    paths: ClassVar = ("/guarded",)

    def forbidden(self, error: Forbidden) -> Response:
        return Response(403, b"no", route="ignored")


class Handling:
    """A request handler with one endpoint."""

    def __init__(self, page: Page | None = None, gate: Gate | None = None, prefix: str = "") -> None:
        self.page = page or Page()
        self.metrics = Metrics()
        routes = Routes([self.page], Configuration(FakeReader()), HttpSettings(prefix=prefix))
        self.audit = NotedAudit()
        acts = ForbiddenActs(self.audit, lambda: 0.0)
        self.handler = RequestHandler(routes, self.metrics, timestamp, gate or open_gate(), acts)

    async def ask(
        self,
        path: str = "/page",
        method: str = "GET",
        token: str = "",
        query: str = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        body: bytes = b"",
        sender: Sender | None = None,
        proxies: Proxies | None = None,
    ) -> Response:
        if token:
            headers = (*headers, (b"authorization", f"Bearer {token}".encode()))
        head = RequestHead(method, path, query, headers, sender or Sender("127.0.0.1"), proxies)
        return await self.handler.answer(head, body)

    @property
    def counts(self) -> dict[tuple[str, str], float]:
        """The number of responses by route and class of status."""
        return {
            (sample.labels["route"], sample.labels["status"]): sample.value
            for family in text_string_to_metric_families(self.metrics.render().decode())
            for sample in family.samples
            if sample.name == "vortexd_http_request_seconds_count"
        }


def guarded(**settings: Any) -> Gate:
    return open_gate(Authority(Tokens(load_tokens(FILE, "tokens.toml"))), **settings)


def message(answer: Response) -> str:
    text: str = json.loads(answer.body)["message"]
    return text


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as found:
        yield found


# From the head to the endpoint, and back.


async def test_an_endpoint_gets_the_request_as_the_client_sent_it() -> None:
    http = Handling()
    answer = await http.ask("/page/%2f", "POST", query="a=%62", headers=((b"x-a", b"1"),), body=b"body")
    [request] = http.page.asked

    assert http.page.made.body == answer.body
    assert ("POST", "/page/%2f", "a=%62", b"body") == (request.method, request.path, request.query, request.body)
    assert "1" == request.headers.get("X-A")


async def test_an_endpoint_gets_its_path_without_the_prefix() -> None:
    http = Handling(prefix="/config")
    await http.ask("/config/page")

    assert ["/page"] == [each.path for each in http.page.asked]


async def test_a_response_counts_under_the_route_of_its_endpoint_or_under_its_own() -> None:
    http = Handling()
    first = await http.ask()
    http.page.made = Response(204, content_type=None, route="/own")
    second = await http.ask()

    assert ("/page", "/own") == (first.route, second.route)
    assert {("/page", "2xx"): 1, ("/own", "2xx"): 1} == http.counts


async def test_errors_before_an_endpoint_count_under_two_routes() -> None:
    http = Handling()
    await http.ask("/actuator/x")
    await http.ask(method="PUT")

    assert {("refused", "4xx"): 1, ("other", "4xx"): 1} == http.counts


# The order of the checks.


async def test_another_method_is_refused_with_the_accepted_ones() -> None:
    http = Handling(gate=guarded())
    answer = await http.ask(method="put")

    assert (405, {"Allow": "GET, POST"}) == (answer.status, answer.headers)
    assert "this path accepts only GET, POST" == message(answer)
    assert [] == http.page.asked


class Waits:
    """A wait that nobody waits for."""

    async def wait(self, wait_gone: Callable[[], Awaitable[None]]) -> bool:
        raise NotImplementedError

    def leave(self, status: int | None) -> None:
        raise NotImplementedError


async def test_a_request_that_waits_counts_only_when_it_is_answered() -> None:
    seen: list[tuple[bool, object]] = []

    async def answer(request: Request) -> Response:
        seen.extend((each.may_wait, each.waited) for each in (request, request.admitted()))
        return Response(waiting=waits) if request.waited is None else Response()

    http, waits = Handling(Page(answer)), Waits()
    head = RequestHead("GET", "/page", "", (), Sender("127.0.0.1"))
    assert waits is (await http.handler.answer(head, may_wait=True)).waiting
    assert {} == http.counts
    assert (await http.handler.answer(head, may_wait=True, waited=waits)).waiting is None
    assert {("/page", "2xx"): 1} == http.counts
    await http.ask()

    expected = [(True, None), (True, waits), (False, None)]
    assert [each for each in expected for _ in range(2)] == seen


async def test_a_token_is_required_before_the_endpoint_answers() -> None:
    http = Handling(gate=guarded())
    statuses = [(await http.ask(token=token)).status for token in ("", "vt_unknown", TOKENS["read"])]

    assert [401, 401, 200] == statuses
    assert ["read"] == [each.owner.name for each in http.page.asked]


async def test_a_token_in_the_query_counts() -> None:
    http = Handling(gate=guarded())

    assert 200 == (await http.ask(query=f"token={TOKENS['read']}")).status


async def test_a_public_endpoint_gets_no_owner_and_may_check_the_token_itself() -> None:
    page = PublicPage()
    http = Handling(page, guarded())
    for token in ("", "vt_unknown", TOKENS["read"]):
        assert 200 == (await http.ask("/public", token=token)).status

    assert [None] * 3 == [each.admission for each in page.asked]
    assert "read" == page.asked[2].admit().name
    with pytest.raises(RemoteError):
        page.asked[1].admit()


async def test_a_client_without_a_valid_token_does_not_learn_which_paths_exist() -> None:
    http = Handling(gate=guarded())
    paths = ("/actuator/x", "/page")
    refused = [await http.ask(path) for path in paths]
    admitted = await http.ask("/actuator/x", token=TOKENS["read"])

    assert [401, 401] == [each.status for each in refused]
    assert refused[0].body == refused[1].body
    assert (404, "there is nothing at this path") == (admitted.status, message(admitted))


async def test_a_right_is_required_in_addition_to_a_token() -> None:
    http = Handling(AdminPage(), guarded())
    statuses = {token: (await http.ask("/admin", token=token)).status for token in ("", *TOKENS.values())}

    assert {"": 401, TOKENS["read"]: 403, TOKENS["admin"]: 200} == statuses
    assert {("refused", "4xx"): 2, ("/admin", "2xx"): 1} == http.counts


async def test_an_endpoint_may_have_its_own_response_to_a_token_without_its_right() -> None:
    page = GuardedPage()
    http = Handling(page, guarded())
    answer = await http.ask("/guarded", token=TOKENS["read"])

    assert (403, b"no", "/guarded") == (answer.status, answer.body, answer.route)
    assert [] == page.asked


# Errors of endpoints.


async def test_an_error_of_the_client_is_its_status_its_reason_and_its_headers(
    logs: list[MutableMapping[str, Any]],
) -> None:
    http = Handling()
    http.page.error = RemoteError("later", 503, {"Retry-After": "7"})
    answer = await http.ask()

    assert (503, {"Retry-After": "7"}, "refused") == (answer.status, answer.headers, answer.route)
    assert {
        "timestamp": TIMESTAMP,
        "status": 503,
        "error": "Service Unavailable",
        "message": "later",
    } == json.loads(answer.body)
    assert [] == logs


async def test_P17_an_unknown_label_names_only_labels_that_the_client_may_read() -> None:
    http = Handling(gate=guarded())
    keys = (Key("shop", "dev", "main"), Key("cart", "dev", "next"))
    http.page.error = UnknownLabel("no such label", alternatives=keys)
    reader = await http.ask(token=TOKENS["read"])
    other = await http.ask(token=TOKENS["admin"])

    assert (404, "no such label; there are main") == (reader.status, message(reader))
    assert (404, "no such label") == (other.status, message(other))


async def test_a_label_that_was_never_served_because_of_the_gate_is_503_and_only_readers_see_why() -> None:
    http = Handling(gate=guarded())
    http.page.error = RefusedLabel(Key("shop", "dev", "main"), {"X-Vortex-Held-Back": "x"})
    reader = await http.ask(token=TOKENS["read"])
    other = await http.ask(token=TOKENS["admin"])
    said = "the gate holds this label back, and no earlier state of it is known"

    assert (503, said, {"Retry-After": "5", "X-Vortex-Held-Back": "x"}) == (
        reader.status,
        message(reader),
        reader.headers,
    )
    assert (503, said, {"Retry-After": "5"}) == (other.status, message(other), other.headers)


@pytest.mark.parametrize("error", [FormatError("secret/shop.yml", "reason", 3), ResolveError("reason", "secret/x.yml")])
async def test_a_configuration_that_can_not_be_read_is_500_without_its_path_and_stands_in_the_log(
    error: Exception, logs: list[MutableMapping[str, Any]]
) -> None:
    http = Handling()
    http.page.error = error
    answer = await http.ask("/page/x", query="token=y")

    assert (500, UNREADABLE, "/page") == (answer.status, message(answer), answer.route)
    assert [
        {
            "event": "request not served",
            "log_level": "warning",
            "method": "GET",
            "route": "/page",
            "path": "/page/x",
            "reason": str(error),
        }
    ] == logs


def caused(status: int) -> RemoteError:
    error = RemoteError("no", status)
    error.__cause__ = FormatError("shop.yml", "reason")
    return error


async def test_the_cause_of_a_500_stands_in_the_log(logs: list[MutableMapping[str, Any]]) -> None:
    http = Handling()
    http.page.error = caused(500)
    answer = await http.ask()

    assert (500, "no") == (answer.status, message(answer))
    assert [("request not served", "shop.yml: reason")] == [(each["event"], each["reason"]) for each in logs]


@pytest.mark.parametrize("error", [RemoteError("no", 500), caused(503), caused(404)])
async def test_another_error_stands_in_no_log(error: RemoteError, logs: list[MutableMapping[str, Any]]) -> None:
    http = Handling()
    http.page.error = error
    answer = await http.ask()

    assert (error.status, []) == (answer.status, logs)


async def test_a_reason_is_logged_once_until_its_first_path_works_again(logs: list[MutableMapping[str, Any]]) -> None:
    http = Handling()
    error = FormatError("shop.yml", "reason")
    for path, failing, count in (
        ("/page/a", True, 1),
        ("/page/a", True, 1),
        ("/page/b", True, 1),
        ("/page/b", False, 1),
        ("/page/a", True, 1),
        ("/page/a", False, 1),
        ("/page/b", True, 2),
    ):
        http.page.error = error if failing else None
        await http.ask(path)
        assert (path, failing, count) == (path, failing, len(logs))

    http.page.error = FormatError("shop.yml", "another reason")
    await http.ask("/page/b")
    assert 3 == len(logs)


async def test_H13_a_bug_is_a_number_in_the_response_and_its_details_stand_in_the_log(
    logs: list[MutableMapping[str, Any]],
) -> None:
    http = Handling()
    http.page.error = ZeroDivisionError("secret")
    answer = await http.ask("/page/x", query="token=y")
    text, _, number = message(answer).rpartition(" ")

    assert (500, "internal error; the server's log has the details under") == (answer.status, text)
    assert 4 == UUID(number).version
    assert [
        {
            "event": "request failed",
            "log_level": "error",
            "request": number,
            "method": "GET",
            "path": "/page/x",
            "exc_info": http.page.error,
        }
    ] == logs
    assert {("refused", "5xx"): 1} == http.counts


async def test_each_bug_has_a_number_of_its_own(logs: list[MutableMapping[str, Any]]) -> None:
    http = Handling()
    http.page.error = ZeroDivisionError()

    assert 2 == len({message(await http.ask()) for _ in range(2)}) == len(logs)


async def test_a_request_that_is_cancelled_makes_no_response_and_no_log(logs: list[MutableMapping[str, Any]]) -> None:
    async def forever(request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError("this line is never reached")

    http = Handling(Page(forever))
    with trio.CancelScope() as scope:
        scope.cancel()
        await http.ask()

    assert scope.cancelled_caught
    assert ([], {}) == (logs, http.counts)


# Proxies.


async def peer_of(request: Request) -> Response:
    return Response(body=str(structlog.contextvars.get_contextvars().get("peer")).encode())


@pytest.mark.parametrize(
    ("headers", "sender", "peer"),
    [
        (((b"x-forwarded-for", b"192.0.2.7"),), "127.0.0.1", b"192.0.2.7"),
        ((), "127.0.0.1", b"127.0.0.1"),
        ((), "", b"unix"),
    ],
)
async def test_the_log_of_a_request_through_a_proxy_has_the_address_of_the_client(
    headers: tuple[tuple[bytes, bytes], ...], sender: str, peer: bytes
) -> None:
    http = Handling(Page(peer_of))
    answer = await http.ask(headers=headers, sender=Sender(sender), proxies=Proxies(["127.0.0.1", "unix"]))

    assert peer == answer.body
    assert "peer" not in structlog.contextvars.get_contextvars()


async def test_the_headers_of_a_client_that_is_no_proxy_do_not_count() -> None:
    http = Handling(Page(peer_of))
    with structlog.contextvars.bound_contextvars(peer="of the connection"):
        answer = await http.ask(headers=((b"x-forwarded-for", b"192.0.2.7"),))

    assert b"of the connection" == answer.body


async def test_headers_of_proxies_that_contradict_each_other_are_400() -> None:
    http = Handling()
    headers = ((b"x-forwarded-for", b"192.0.2.7"), (b"forwarded", b"for=192.0.2.8"))
    answer = await http.ask(headers=headers, proxies=Proxies(["127.0.0.1"]))

    assert (400, []) == (answer.status, http.page.asked)
    assert "contradict" in message(answer)


async def test_wrong_tokens_count_for_the_client_and_not_for_its_proxy() -> None:
    http = Handling(gate=guarded(failure_burst=1, failures_per_second=0.001))

    async def status(client: bytes) -> int:
        headers = ((b"x-forwarded-for", client),)
        return (await http.ask(token="vt_unknown", headers=headers, proxies=Proxies(["127.0.0.1"]))).status

    found = [await status(client) for client in (b"192.0.2.7", b"192.0.2.7", b"192.0.2.8")]

    assert [401, 429, 401] == found


async def test_without_a_proxy_wrong_tokens_count_for_the_peer() -> None:
    http = Handling(gate=guarded(failure_burst=1, failures_per_second=0.001))
    peers = ("192.0.2.7", "192.0.2.7", "192.0.2.8")

    assert [401, 429, 401] == [(await http.ask(token="vt_unknown", sender=Sender(peer))).status for peer in peers]


READER = "vt_" + "r" * 43


def readers_only() -> Gate:
    """A gate for one token that may only read."""
    entry = f'[[token]]\nname = "reader"\nsha256 = "{digest_of(READER)}"\nrights = ["read"]\npatterns = ["shop"]\n'
    return open_gate(Authority(Tokens(load_tokens(entry, "tokens.toml"))))


@pytest.mark.parametrize(("method", "count"), [("POST", 1), ("GET", 0)])
async def test_an_act_without_the_right_of_its_endpoint_is_recorded(method: str, count: int) -> None:
    handling = Handling(AdminPage(), readers_only())
    assert 403 == (await handling.ask("/admin", method, READER, query="q=1")).status
    assert 401 == (await handling.ask("/admin", method)).status

    assert [("pin", "reader", "127.0.0.1", "/admin")] * count == [
        (act, actor.name, actor.peer, target) for act, actor, target, *_ in handling.audit.noted
    ]


async def test_an_act_without_the_right_for_a_key_is_recorded_and_other_errors_are_not() -> None:
    page = AdminPage()
    handling = Handling(page)
    for error, count in ((Forbidden(), 1), (RemoteError("no", 404), 1), (None, 1)):
        page.error = error
        await handling.ask("/admin", "POST")
        assert count == len(handling.audit.noted)


async def test_a_request_that_is_no_act_is_not_recorded() -> None:
    page = Page()
    page.error = Forbidden()
    handling = Handling(page)
    assert 403 == (await handling.ask("/page", "POST")).status
    assert [] == handling.audit.noted
