"""The functions with which endpoints describe their operations."""

import pytest

from vortexd.core.broken_files import HEADER
from vortexd.http.key_queries import WITHOUT_FILES
from vortexd.http.operation import ERRORS, error_response, in_path, in_query, ok, operation, with_and_without_label


def test_an_operation_has_its_own_errors_and_those_of_every_token_in_order() -> None:
    found = operation("name", "Summary.", {"200": {}}, (), (503, 406, 400))

    assert ["200", "400", "401", "403", "404", "406", "429", "503"] == [*found["responses"]]
    assert {"$ref": "#/components/responses/Error503"} == found["responses"]["503"]
    assert ("name", "Summary.") == (found["operationId"], found["summary"])
    assert not {"security", "parameters"} & found.keys()


def test_a_public_operation_asks_for_no_token() -> None:
    found = operation("name", "Summary.", {"200": {}}, [in_query("q", "what")], (404,), is_public=True)

    assert ["200", "404"] == [*found["responses"]]
    assert [] == found["security"]
    assert [{"name": "q", "in": "query", "description": "what", "schema": {"type": "string"}}] == found["parameters"]


def test_a_response_has_304_and_a_tag_where_there_is_a_validator() -> None:
    plain = ok("it", {"text/plain": {"type": "string"}})
    tagged = ok("it", {}, "X-Vortex-Version", HEADER, "X-Vortex-Stale", WITHOUT_FILES, has_tag=True)

    assert {"200": {"description": "it", "content": {"text/plain": {"schema": {"type": "string"}}}}} == plain
    assert ["200", "304"] == [*tagged]
    required = {name: each["required"] for name, each in tagged["200"]["headers"].items()}
    optional = dict.fromkeys((HEADER, "X-Vortex-Stale", WITHOUT_FILES), False)
    assert {"X-Vortex-Version": True, "ETag": True} | optional == required


@pytest.mark.parametrize("status", ERRORS)
def test_an_error_names_its_header(status: int) -> None:
    headers = {401: {"WWW-Authenticate"}, 429: {"Retry-After"}, 500: {HEADER}, 503: {"Retry-After"}}
    found = error_response(status)

    assert headers.get(status, set()) == set(found.get("headers", ()))
    assert ERRORS[status] == found["description"]


def test_a_path_comes_with_and_without_a_label() -> None:
    paths = with_and_without_label("/x", "name", lambda name, parameters: (name, [each["name"] for each in parameters]))

    assert {"get": ("name", ["application", "profiles"])} == paths["/x"]
    assert {"get": ("nameOfLabel", ["application", "profiles", "label"])} == paths["/x/{label}"]
    assert in_path("a", {}, "b")["required"]
