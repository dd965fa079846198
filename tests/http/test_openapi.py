"""The OpenAPI document is complete, and describes exactly the routes of the router and of vortexd-api(7)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import jsonschema_rs
import pytest

from tests.fakes import open_gate
from tests.http.described import ENDPOINTS, whole_document
from tests.http.serving import serving
from tests.http.test_difference import differing
from tests.http.test_explain import explaining
from tests.http.test_history import remembering
from vortexd.audit import Actor, Audit
from vortexd.auth import Authority, Tokens, load_tokens
from vortexd.auth.tokens import entry_of, new_token
from vortexd.core import names
from vortexd.core.errors import InvalidName
from vortexd.core.model import Key
from vortexd.http.audit import AuditLog
from vortexd.http.openapi import document
from vortexd.http.schemas import FILE
from vortexd.http.spring.config_request import Form
from vortexd.settings.http import HttpSettings

PAGE = (Path(__file__).parent.parent.parent / "man" / "vortexd-api.7").read_text()
PATHS: dict[str, dict[str, Any]] = whole_document()["paths"]


def shape(path: str) -> str:
    """A template without the names of its parameters."""
    return re.sub(r"\{\w+\}", "{}", path)


def owner_of(path: str) -> type | None:
    """The endpoint that answers a path: that with the longest route."""
    routes = {shape(each.route.partition("[")[0]): each for each in ENDPOINTS}
    found = [route for route in routes if (shape(path) + "/").startswith(route + "/")]
    return routes[max(found, key=len)] if found else None


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.__name__)
def test_each_endpoint_is_described_with_its_methods_and_who_may_ask(endpoint: Any) -> None:
    found = {path: each for path, each in PATHS.items() if owner_of(path) is endpoint}

    assert found, endpoint.route
    for each in found.values():
        assert {method.lower() for method in endpoint.methods} - {"head"} == each.keys() - {"servers"}
        # Whoever signs needs no token, but it is asked for from others.
        if endpoint.__name__ != "Monitor":
            assert endpoint.is_public == all(
                one.get("security") == [] for name, one in each.items() if name != "servers"
            )


@pytest.mark.parametrize("form", Form)
def test_each_form_of_configuration_is_described(form: Form) -> None:
    assert shape(form.value) in map(shape, PATHS)


def described() -> set[tuple[str, str]]:
    """The methods and paths of vortexd-api(7)."""
    found = set()
    for method, line in re.findall(r"^\.It Li (GET|POST|DELETE) (.*)$", PAGE, re.MULTILINE):
        target, *suffixes = line.partition("?")[0].split(" , ")
        targets = [target, *(target.rpartition(".")[0] + suffix for suffix in suffixes)]
        for each in targets:
            found.add((method, shape(re.sub(r"\[.*?\]", "", each))))
            found.add((method, shape(re.sub(r"[\[\]]", "", each))))
    return found


def test_the_page_and_the_document_have_the_same_routes() -> None:
    """But for a file of the default label, which has no template of its own, and what is below the page for people."""
    ours = {(method.upper(), shape(path)) for path, each in PATHS.items() for method in each.keys() - {"servers"}}
    elsewhere = {("GET", "/ws/{}/{}"), ("GET", "/console/{}"), ("OPTIONS", "/api/v1/events/{}/{}")}

    assert ours - elsewhere == described()


def test_each_operation_has_a_name_of_its_own_and_all_its_parameters() -> None:
    identifiers = [one["operationId"] for each in PATHS.values() for name, one in each.items() if name != "servers"]
    assert len(identifiers) == len(set(identifiers))

    for path, each in PATHS.items():
        for name, one in each.items():
            if name != "servers":
                parameters = [one["name"] for one in one.get("parameters", ()) if one["in"] == "path"]
                assert sorted(re.findall(r"\{(\w+)\}", path)) == sorted(parameters)


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_whatever_is_referred_to_is_there_and_used() -> None:
    whole = whole_document()
    used = set(references(whole))
    there = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in whole["components"][kind]}

    assert there == used


@pytest.mark.parametrize("text", ["a.yml", "a/b/c.txt", "a b", "-x", "A.B.c", "WEB/x"])
def test_the_paths_of_files_that_are_described_are_taken(text: str) -> None:
    assert re.search(FILE["pattern"], text)
    assert text == names.file_path(text)


@pytest.mark.parametrize("text", ["", "/a", "a/", "a//b", ".a", "a/.b", "WEB-INF/x"])
def test_what_is_never_served_is_not_described(text: str) -> None:
    assert not re.search(FILE["pattern"], text)
    assert names.file_path(text) is None


@pytest.mark.parametrize("text", ["a..b", "a:b", "a%b", "(_)a"])
def test_nor_is_what_is_refused(text: str) -> None:
    assert not re.search(FILE["pattern"], text)
    with pytest.raises(InvalidName):
        names.file_path(text)


def test_with_a_prefix_the_paths_are_below_it() -> None:
    whole = whole_document("/config")

    assert [{"url": "/config"}] == whole["servers"]
    assert [{"url": "/"}] == whole["paths"]["/ws/{application}/{profile}"]["servers"]
    assert [{"url": "/"}] == whole_document()["servers"]


@pytest.mark.parametrize("is_open", [True, False])
async def test_it_is_served_to_everybody_and_says_whether_a_token_is_asked_for(is_open: bool) -> None:
    gate = open_gate() if is_open else open_gate(Authority(Tokens(load_tokens(entry_of("one", new_token()), "t"))))
    async with serving(gate=gate) as http:
        answer = await http.ask("/openapi.json")
        again = await http.ask("/openapi.json", If_None_Match=answer.headers["etag"])

    assert (200, "application/json") == (answer.status, answer.headers["content-type"])
    assert document(http.routes.endpoints, is_open=is_open) == json.loads(answer.body)
    assert ({} in json.loads(answer.body)["security"]) == is_open
    assert (304, b"") == (again.status, again.body)


async def test_a_reload_puts_another_prefix_into_the_document() -> None:
    async with serving() as http:
        before = await http.ask("/openapi.json")
        http.routes.replace(HttpSettings(prefix="/config"))
        after = await http.ask("/openapi.json")

    assert [{"url": "/"}] == json.loads(before.body)["servers"]
    assert [{"url": "/config"}] == json.loads(after.body)["servers"]
    assert before.headers["etag"] != after.headers["etag"]


def problems(name: str, body: bytes) -> list[str]:
    """Where an answer isn't what its schema says."""
    validator = jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}"} | whole_document())
    return [f"{each.instance_path}: {each.message}" for each in validator.iter_errors(json.loads(body))]


async def test_the_audit_log_is_what_its_schema_says() -> None:
    audit = Audit(None, lambda: 0.0)
    await audit.record("reload", Actor("SIGHUP"), changed="http")
    async with serving(more=[AuditLog(audit)]) as http:
        body = (await http.ask("/api/v1/audit")).body

    assert b'"SIGHUP"' in body
    assert [] == problems("Audit", body)
    assert problems("Audit", body.replace(b'"outcome":"done"', b'"outcome":"odd"'))


async def test_histories_are_what_their_schema_says() -> None:
    async with remembering() as (http, _):
        history = (await http.ask("/api/v1/history/shop/dev")).body

    assert b'"commit"' in history
    assert [] == problems("History", history)
    assert problems("History", history.replace(b'"old":', b'"older":'))


async def test_explanations_and_differences_are_what_their_schemas_say() -> None:
    async with explaining() as (http, _):
        explanation = (await http.ask("/api/v1/explain/shop/dev")).body
    async with differing() as (http, line):
        difference = (await http.ask(f"/api/v1/diff/shop/dev?from={line.versions[0]}&to=release/1.0")).body
        line.put(Key("cart", "dev", "main"), {})
        line.former = attrs.evolve(await line.read(Key("cart", "dev", "main")), revision="c" * 40)
        commit = (await http.ask("/api/v1/diff/cart/dev")).body
        patch = (await http.ask(f"/api/v1/diff/shop/dev?from={line.versions[0]}&format=patch")).body

    assert [] == problems("Explanation", explanation) + problems("Difference", difference) + problems("Patch", patch)
    assert b'"commit"' in commit
    assert [] == problems("Difference", commit)
    assert problems("Explanation", explanation.replace(b'"outcome":"wins"', b'"outcome":"looses"'))
    assert problems("Difference", difference.replace(b'"old":', b'"older":'))
