"""A new endpoint is one class. It declares everything that the other modules need to know about it."""

import json
from typing import ClassVar

import pytest

from tests.fakes import open_gate
from tests.http.serving import Response as Answer
from tests.http.serving import Serving, serving
from vortexd.auth import Authority, Forbidden, Gate, Right, Tokens, load_tokens
from vortexd.auth.tokens import digest_of
from vortexd.core.errors import RemoteError
from vortexd.http.configuration import Configuration
from vortexd.http.endpoint import Endpoint, Request, Response
from vortexd.http.operation import ok, operation
from vortexd.http.schemas import TEXT, an_object, ref
from vortexd.settings.server import ServerSettings

TOKENS = {right: f"vt_{right}".ljust(46, "x") for right in ("read", "admin")}
FILE = "".join(
    f'[[token]]\nname = "{right}"\nsha256 = "{digest_of(token)}"\nrights = ["{right}"]\npatterns = ["*"]\n'
    for right, token in TOKENS.items()
)


class Greeting(Endpoint):
    """An endpoint that this file adds."""

    route: ClassVar = "/greeting"
    paths: ClassVar[tuple[str, ...]] = ("/greeting", "/greeting/")
    methods: ClassVar = ("POST",)
    right: ClassVar = Right.ADMIN
    operations: ClassVar = {
        "/greeting": {"post": operation("greeting", "Greets.", ok("a word", {"application/json": ref("Greeting")}))}
    }
    schemas: ClassVar = {"Greeting": an_object(greeting=TEXT)}

    @property
    def body_bytes(self) -> int:
        return 8

    async def answer(self, request: Request) -> Response:
        return Response(body=json.dumps({"greeting": request.body.decode()}).encode())


class Unserved(Greeting):
    route: ClassVar = "/unserved"
    paths: ClassVar = ("/unserved",)
    operations: ClassVar = {"/unserved": {"post": operation("unserved", "Is off.", {})}}

    @property
    def is_served(self) -> bool:
        return False


async def post(http: Serving, right: str = "admin", body: bytes = b"hello", path: str = "/greeting") -> Answer:
    headers = {"Authorization": f"Bearer {TOKENS[right]}"} if right else {}
    return await http.ask(path, "POST", body, **headers)


def guarded() -> Gate:
    return open_gate(Authority(Tokens(load_tokens(FILE, "tokens.toml"))), failure_burst=1_000)


async def test_it_is_in_the_router_with_all_its_paths() -> None:
    async with serving(gate=guarded(), more=[Greeting()]) as http:
        endpoint = http.routes.find("/greeting")
        answer = await post(http)
        below = await post(http, path="/greeting/below")

    assert isinstance(endpoint, Greeting)
    assert (200, {"greeting": "hello"}) == (answer.status, json.loads(answer.body))
    assert 200 == below.status


async def test_it_is_behind_its_right_and_its_methods() -> None:
    async with serving(gate=guarded(), more=[Greeting()]) as http:
        statuses = {right: (await post(http, right)).status for right in ("", "read", "admin")}
        other = await http.ask("/greeting", Authorization=f"Bearer {TOKENS['admin']}")

    assert {"": 401, "read": 403, "admin": 200} == statuses
    assert (405, "POST") == (other.status, other.headers["allow"])


async def test_its_body_has_its_limit() -> None:
    async with serving(ServerSettings(body_bytes=4), gate=guarded(), more=[Greeting()]) as http:
        statuses = [(await post(http, body=b"x" * length)).status for length in (8, 9)]

    assert [200, 413] == statuses


async def test_a_limit_below_that_of_others_holds_too() -> None:
    async with serving(ServerSettings(body_bytes=100), gate=guarded(), more=[Greeting()]) as http:
        statuses = [(await post(http, body=b"x" * length)).status for length in (8, 9)]

    assert [200, 413] == statuses


async def test_it_is_in_the_openapi_document_with_its_schema() -> None:
    async with serving(more=[Greeting()]) as http:
        document = json.loads((await http.ask("/openapi.json")).body)

    assert "greeting" == document["paths"]["/greeting"]["post"]["operationId"]
    assert Greeting.schemas["Greeting"] == document["components"]["schemas"]["Greeting"]
    assert {"/health", "/openapi.json", "/{application}/{profiles}"} <= document["paths"].keys()


async def test_its_route_is_the_label_of_its_metrics() -> None:
    async with serving(gate=guarded(), more=[Greeting()]) as http:
        await post(http, path="/greeting/below")
        await post(http, "read")
        metrics = http.metrics.render().decode()

    assert 'route="/greeting",status="2xx"' in metrics
    assert 'route="refused",status="4xx"' in metrics
    assert "below" not in metrics


async def test_its_first_segment_is_no_application_any_more() -> None:
    class Exact(Greeting):
        paths: ClassVar = ("/greeting",)

    async with serving(more=[Exact()]) as http:
        with pytest.raises(RemoteError):
            http.routes.find("/greeting/dev")
    async with serving() as http:
        assert isinstance(http.routes.find("/greeting/dev"), Configuration)


async def test_one_that_is_off_is_described_and_not_served() -> None:
    async with serving(gate=guarded(), more=[Unserved()]) as http:
        with pytest.raises(RemoteError):
            http.routes.find("/unserved")
        with pytest.raises(RemoteError):
            http.routes.find("/unserved/dev")
        document = json.loads((await http.ask("/openapi.json")).body)

    assert "/unserved" in document["paths"]


def test_an_endpoint_declares_little_where_the_usual_will_do() -> None:
    class Usual(Endpoint):
        route: ClassVar = "/usual"

        async def answer(self, request: Request) -> Response:
            return Response()

    class Below(Usual):
        pass

    usual = Usual()
    assert (("/usual",), ("GET", "HEAD"), False, None) == (usual.paths, usual.methods, usual.is_public, usual.right)
    assert (None, True) == (usual.body_bytes, usual.is_served)
    assert ("/usual",) == Below.paths
    error = Forbidden("no")
    with pytest.raises(Forbidden) as raised:
        usual.forbidden(error)
    assert error is raised.value
