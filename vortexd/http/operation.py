"""Functions that make parts of the OpenAPI document. Endpoints use them to describe their operations. Pure."""

from collections.abc import Callable, Iterable
from typing import Any

from ..core.broken_files import HEADER
from ..gate.finding import HEADER as HELD_BACK
from .key_queries import PINNED, WITHOUT_FILES
from .schemas import LABELS, PATHS, PROFILES, Operations, Schema, ref
from .spring.environment import V1

TEXT_TYPE = "text/plain"
# Headers of a response while the gate holds back a label of the key, and while the key is pinned.
CONDITIONS = (HELD_BACK, PINNED)
# Headers of a response while a source is stale, and while the key reads broken files; and those above.
SOMETIMES = ("X-Vortex-Stale", HEADER, *CONDITIONS)
# Headers of a response to a page whose origin is listed.
CORS = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers")
_OPTIONAL_HEADERS = frozenset([*SOMETIMES, WITHOUT_FILES, *CORS])
ERRORS = {
    400: "a name, parameter or header isn't valid",
    401: "a valid token is required",
    403: "the token, the Host or the Origin doesn't allow this",
    404: "there is no such label, file or version, or nothing at this path",
    406: "the response doesn't exist in a form that the client accepts",
    409: "the present state doesn't allow this",
    413: "the body is too large",
    415: "the type of the body isn't valid",
    426: "this path needs a WebSocket handshake",
    429: "too many wrong tokens from this address",
    500: "the configuration can't be read; X-Vortex-Broken, /status and the server's log name the file",
    503: "the server is starting, a source is too stale, or too many large bodies are received at a time",
}
# The errors of every endpoint that requires a token.
_GUARDED = (400, 401, 403, 404, 429)


def operation(
    name: str,
    summary: str,
    answers: dict[str, Any],
    parameters: Iterable[dict[str, Any]] = (),
    errors: Iterable[int] = (),
    *,
    is_public: bool = False,
) -> dict[str, Any]:
    """Describe one method of a path.

    Args:
        name: A unique name.
        answers: The responses by status, without errors.
        errors: The statuses of errors, without those that every endpoint with a token has.
    """
    statuses = sorted({*errors, *(() if is_public else _GUARDED)})
    responses = answers | {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in statuses}
    found: dict[str, Any] = {"operationId": name, "summary": summary, "responses": responses}
    if parameters := list(parameters):
        found["parameters"] = parameters
    if is_public:
        found["security"] = []
    return found


def ok(description: str, content: dict[str, Schema], *headers: str, has_tag: bool = False) -> dict[str, Any]:
    """Describe the response 200. If it has an entity tag, describe 304, too."""
    names = [*headers, *(["ETag"] if has_tag else [])]
    found: dict[str, Any] = {"description": description, "content": media(content)}
    if names:
        found["headers"] = {
            name: {"schema": {"type": "string"}, "required": name not in _OPTIONAL_HEADERS} for name in names
        }
    return {"200": found} | ({"304": {"description": "the client has the current response already"}} if has_tag else {})


def media(content: dict[str, Schema]) -> dict[str, Any]:
    """Describe a body by its media types."""
    return {media_type: {"schema": schema} for media_type, schema in content.items()}


def error_response(status: int) -> dict[str, Any]:
    """Describe the response to an error."""
    found: dict[str, Any] = {"description": ERRORS[status], "content": media({V1: ref("Error")})}
    named = {401: "WWW-Authenticate", 429: "Retry-After", 500: HEADER, 503: "Retry-After"}.get(status)
    if named is not None:
        found["headers"] = {named: {"schema": {"type": "string"}}}
    return found


def in_path(name: str, schema: Schema, example: str) -> dict[str, Any]:
    """Describe a part of a path."""
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def in_query(name: str, description: str, schema: Schema | None = None) -> dict[str, Any]:
    """Describe a parameter of a query."""
    return {"name": name, "in": "query", "description": description, "schema": schema or {"type": "string"}}


APPLICATION = in_path("application", PATHS, "billing")
KEY_PROFILES = in_path("profiles", PROFILES, "prod")
KEY_LABEL = in_path("label", LABELS, "main")
IF_NONE_MATCH = {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}
FLAG: Schema = {"type": "boolean"}
RESOLVE = in_query("resolvePlaceholders", "false leaves placeholders as they are", FLAG)


def with_and_without_label(path: str, name: str, make: Callable[[str, list[dict[str, Any]]], Any]) -> Operations:
    """Make the operations of a path, and of the same path with a label at its end."""
    key = [APPLICATION, KEY_PROFILES]
    return {
        path: {"get": make(name, key)},
        path + "/{label}": {"get": make(f"{name}OfLabel", [*key, KEY_LABEL])},
    }
