"""`/openapi.json`: the HTTP API as an OpenAPI 3.1 document.

What a route answers is described here, and tests hold the description to the table of routes, to vortexd-api(7), and to what is answered. It is the
same for everybody, and for everybody: what it describes is no secret.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, ClassVar

import orjson

from ..fleet import NOBODY, STATES
from .broken import HEADER
from .endpoint import Request, Response, etag_of, is_known
from .key_queries import WITHOUT_FILES
from .schemas import FILE, LABELS, PATHS, PROFILES, PROFILES_WITHOUT_HYPHEN, SCHEMAS, SIDE, Schema, ref
from .spring.environment import V1, V2

_TEXT = "text/plain"
# While a source is stale, and while the key reads broken files.
_SOMETIMES = ("X-Vortex-Stale", HEADER)
_OPTIONAL_HEADERS = frozenset([*_SOMETIMES, WITHOUT_FILES])
_FORM = "application/x-www-form-urlencoded"
_ERRORS = {
    400: "a name, parameter or header that can't be one",
    401: "a valid token is required",
    403: "the token, the Host or the Origin doesn't allow this",
    404: "there is no such label, file or version, or nothing here",
    406: "it doesn't come in a form that is accepted",
    413: "the body is too large",
    415: "this can't be the type of a body",
    426: "this is a WebSocket",
    429: "too many wrong tokens from this address",
    500: "the configuration can't be read; X-Vortex-Broken, /status and the server's log name the file",
    503: "starting, a source is too stale, or too many large bodies are received",
}
# What may come of any request that is asked for a token.
_GUARDED = (400, 401, 403, 404, 429)


class OpenApi:
    """The document, as it is by the settings in force.

    Args:
        prefix: As `HttpSettings.prefix`.
        is_open: Whether nobody is asked for a token.
    """

    route: ClassVar = "/openapi.json"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = True

    def __init__(self, prefix: Callable[[], str], is_open: Callable[[], bool]) -> None:
        self._prefix = prefix
        self._is_open = is_open

    async def answer(self, request: Request) -> Response:
        """See `exchange.Endpoint`."""
        body, etag = _encoded(self._prefix(), self._is_open())
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if is_known(request.headers.get("If-None-Match"), etag):
            return Response(304, content_type=None, headers=headers)
        return Response(body=body, headers=headers)


@lru_cache(maxsize=4)
def _encoded(prefix: str, is_open: bool) -> tuple[bytes, str]:
    body = orjson.dumps(document(prefix, is_open=is_open))
    return body, etag_of(body)


def document(prefix: str = "", *, is_open: bool = False) -> dict[str, Any]:
    """Make the document.

    Args:
        is_open: Whether nobody is asked for a token.
    """
    tokens: list[dict[str, list[str]]] = [
        {"bearer": []},
        {"basic": []},
        {"token": []},
        {"config-token": []},
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vortexd",
            "version": "1",
            "summary": "Serves application configuration, and pushes every change over WebSockets.",
            "description": "Described in full in vortexd-api(7), with the WebSocket protocol.",
        },
        "servers": [{"url": prefix or "/"}],
        "security": [{}, *tokens] if is_open else tokens,
        "paths": _configuration() | _questions() | _cipher() | _operations() | _others(),
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "any user, and the token as password"},
                "token": {"type": "apiKey", "in": "query", "name": "token"},
                "config-token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Config-Token",
                    "description": "of Spring's clients; counts where no other token is sent",
                },
            },
            "responses": {f"Error{status}": _error(status) for status in _ERRORS},
        },
    }


# The parts of an operation.


def _operation(
    name: str,
    summary: str,
    answers: dict[str, Any],
    parameters: Iterable[dict[str, Any]] = (),
    errors: Iterable[int] = (),
    *,
    is_public: bool = False,
) -> dict[str, Any]:
    statuses = sorted({*errors, *(() if is_public else _GUARDED)})
    responses = answers | {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in statuses}
    found: dict[str, Any] = {"operationId": name, "summary": summary, "responses": responses}
    if parameters := list(parameters):
        found["parameters"] = parameters
    if is_public:
        found["security"] = []
    return found


def _answers(description: str, content: dict[str, Schema], *headers: str, has_tag: bool = False) -> dict[str, Any]:
    """A 200, and where there is a validator a 304."""
    names = [*headers, *(["ETag"] if has_tag else [])]
    found: dict[str, Any] = {"description": description, "content": _content(content)}
    if names:
        found["headers"] = {
            name: {"schema": {"type": "string"}, "required": name not in _OPTIONAL_HEADERS} for name in names
        }
    return {"200": found} | ({"304": {"description": "the client has it"}} if has_tag else {})


def _content(content: dict[str, Schema]) -> dict[str, Any]:
    return {media_type: {"schema": schema} for media_type, schema in content.items()}


def _error(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {"description": _ERRORS[status], "content": _content({V1: ref("Error")})}
    named = {401: "WWW-Authenticate", 429: "Retry-After", 500: HEADER, 503: "Retry-After"}.get(status)
    if named is not None:
        found["headers"] = {named: {"schema": {"type": "string"}}}
    return found


def _in_path(name: str, schema: Schema, example: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def _in_query(name: str, description: str, schema: Schema | None = None) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema or {"type": "string"}}


_APPLICATION = _in_path("application", PATHS, "billing")
_PROFILES = _in_path("profiles", PROFILES, "prod")
_LABEL = _in_path("label", LABELS, "main")
_IF_NONE_MATCH = {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}
_FLAG: Schema = {"type": "boolean"}
_RESOLVE = _in_query("resolvePlaceholders", "false leaves placeholders as they are", _FLAG)


def _with_and_without_label(path: str, name: str, make: Callable[[str, list[dict[str, Any]]], Any]) -> dict[str, Any]:
    """A path, and the same with a label behind it."""
    key = [_APPLICATION, _PROFILES]
    return {
        path: {"get": make(name, key)},
        path + "/{label}": {"get": make(f"{name}OfLabel", [*key, _LABEL])},
    }


# The routes.


def _configuration() -> dict[str, Any]:
    """Spring's."""

    def environment(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
        content = {V1: ref("Environment"), V2: ref("EnvironmentWithOrigins")}
        answers = _answers(
            "its property sources", content, "X-Vortex-Version", *_SOMETIMES, WITHOUT_FILES, has_tag=True
        )
        return _operation(
            name, "The configuration, as Spring has it.", answers, [*parameters, _IF_NONE_MATCH], (406, 500, 503)
        )

    paths = _with_and_without_label("/{application}/{profiles}", "environment", environment)
    for suffix, media_type in (("properties", _TEXT), ("yml", _TEXT), ("yaml", _TEXT), ("json", V1)):
        for prefix in ("", "/{label}"):
            paths[f"{prefix}/{{application}}-{{profiles}}.{suffix}"] = {"get": _suffixed(suffix, media_type, prefix)}
    paths["/{application}/{profiles}/{label}/{path}"] = {"get": _file()}
    return paths


def _suffixed(suffix: str, media_type: str, prefix: str) -> dict[str, Any]:
    parameters = [_LABEL] if prefix else []
    parameters += [_APPLICATION, _in_path("profiles", PROFILES_WITHOUT_HYPHEN, "prod"), _RESOLVE, _IF_NONE_MATCH]
    if suffix == "properties":
        parameters.append(_in_query("escape", "true escapes what a reader of properties reads back", _FLAG))
    schema = ref("Document") if media_type == V1 else {"type": "string"}
    answers = _answers(
        "the merged configuration", {media_type: schema}, "X-Vortex-Version", *_SOMETIMES, WITHOUT_FILES, has_tag=True
    )
    summary = f"The configuration as .{suffix}."
    return _operation(suffix + ("OfLabel" if prefix else ""), summary, answers, parameters, (500, 503))


def _file() -> dict[str, Any]:
    path = _in_path("path", FILE, "application.yml")
    path["description"] = "of a file of the source, at any depth"
    default_label = _in_query("useDefaultLabel", "there is no label in the path then, but of the file one more segment")
    content: dict[str, Schema] = {_TEXT: {"type": "string"}, "application/octet-stream": {}}
    return _operation(
        "file",
        "A plain file of the source.",
        _answers("the file", content, "X-Vortex-Stale", has_tag=True),
        [_APPLICATION, _PROFILES, _LABEL, path, _RESOLVE, default_label, _IF_NONE_MATCH],
        (500, 503),
    )


def _questions() -> dict[str, Any]:
    """What people and programs ask about configuration."""

    def explain(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
        return _operation(
            name,
            "For each key, which layers hold it, which wins, from which line of which file.",
            _answers("the explanation", {V1: ref("Explanation")}, "X-Vortex-Version", WITHOUT_FILES, has_tag=True),
            [*parameters, _in_query("key", "this flat key and those below it alone"), _IF_NONE_MATCH],
            (406, 500, 503),
        )

    def difference(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
        side = "a version, a label, version:VERSION or label:LABEL; "
        content = {V1: ref("Difference"), "application/json-patch+json": ref("Patch"), _TEXT: {"type": "string"}}
        own = [
            _in_query("from", side + "the version before `to` if it is missing", SIDE) | {"example": "label:main"},
            _in_query("to", side + "what is current if it is missing", SIDE),
            _in_query("format", "in place of Accept", {"enum": ["json", "patch", "table"]}),
        ]
        return _operation(
            name,
            "What has changed between two versions or labels.",
            _answers("the difference", content, "X-Vortex-Version", WITHOUT_FILES, has_tag=True),
            [*parameters, *own, _IF_NONE_MATCH],
            (406, 500, 503),
        )

    return {
        **_with_and_without_label("/api/v1/explain/{application}/{profiles}", "explain", explain),
        **_with_and_without_label("/api/v1/diff/{application}/{profiles}", "diff", difference),
    }


def _cipher() -> dict[str, Any]:
    """The keys of [encryption]."""
    either = {"anyOf": [ref("Error"), ref("CipherError")]}
    refused = {
        str(status): {"description": _ERRORS[status], "content": _content({V1: either})} for status in (400, 403, 404)
    }

    def text(name: str, summary: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
        found = _operation(name, summary, {}, parameters, (413, 415))
        found["responses"] |= _answers("a text", {_TEXT: {"type": "string"}}) | refused
        body = {"type": "string", "minLength": 1}
        found["requestBody"] = {"required": True, "content": _content({_TEXT: body})}
        return found

    def key(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
        found = _operation(name, "The public key, as OpenSSH writes it.", {}, parameters)
        found["responses"] |= _answers("the key", {_TEXT: {"type": "string"}}) | refused
        return found

    status = _operation("encryptStatus", "Whether there is a key.", _answers("there is", {V1: ref("CipherStatus")}))
    status["responses"] |= refused
    paths: dict[str, Any] = {"/encrypt/status": {"get": status}}
    for below, suffix, names in (("", "", []), ("/{application}/{profiles}", "For", [_APPLICATION, _PROFILES])):
        paths[f"/encrypt{below}"] = {"post": text("encrypt" + suffix, "The ciphertext of a text.", names)}
        paths[f"/decrypt{below}"] = {
            "post": text("decrypt" + suffix, "The text of a ciphertext; right `admin`.", names)
        }
        paths[f"/key{below}"] = {"get": key("key" + suffix, names)}
    return paths


def _operations() -> dict[str, Any]:
    """For operators: the fleet, connections, sources."""
    key = [_in_query(name, "a name or a glob") for name in ("app", "profile", "label")]
    fleet = [
        *key,
        _in_query("state", "lists only instances in that state, or none at all", {"enum": [*STATES, NOBODY]}),
        _in_query("limit", "keys and instances of a page", {"type": "integer", "minimum": 1, "maximum": 1_000}),
        _in_query("after", "what `next` was on the page before"),
        _IF_NONE_MATCH,
    ]
    connections = [
        *(_in_query(name, "only these") for name in ("app", "profile", "label", "version")),
        _in_query("limit", "how many are listed", {"type": "integer", "minimum": 0, "maximum": 1_000}),
    ]
    monitor = _operation(
        "monitor",
        "A repository has changed: a webhook of any provider, verified by the secret; or right `admin`.",
        _answers("the applications whose files were named", {V1: ref("Applications")}, HEADER),
        errors=(413, 500, 503),
    )
    # Whatever the type says, the server tells JSON and forms apart by themselves.
    monitor["requestBody"] = {"content": _content({V1: {}, _FORM: {"type": "object"}, _TEXT: {"type": "string"}})}
    return {
        "/api/v1/fleet": {
            "get": _operation(
                "fleet", "Who has applied what.", _answers("a page", {V1: ref("Fleet")}, has_tag=True), fleet
            )
        },
        "/api/v1/connections": {
            "get": _operation(
                "connections",
                "Who is connected; right `admin`.",
                _answers("a count, and some", {V1: ref("Connections")}),
                connections,
            )
        },
        "/api/v1/whoami": {
            "get": _operation("whoami", "What the token may do.", _answers("its rights", {V1: ref("Identity")}))
        },
        "/status": {
            "get": _operation(
                "status", "How each source is; right `admin`.", _answers("the sources", {V1: ref("Status")})
            )
        },
        "/metrics": {
            "get": _operation(
                "metrics", "For Prometheus; right `admin`.", _answers("the metrics", {_TEXT: {"type": "string"}})
            )
        },
        "/monitor": {"post": monitor},
    }


def _others() -> dict[str, Any]:
    """What is for everybody, and what is only a hint."""
    health = _answers("the process serves", {V1: ref("Health")})
    ready = _answers("a complete state is served", {V1: ref("Health")})
    ready["503"] = {"description": _ERRORS[503], "content": _content({V1: ref("Health")})}
    api = _answers("this document", {V1: {"type": "object"}}, has_tag=True)
    page = _answers("a file of the page", {each: {} for each in _PAGES}, has_tag=True)
    websocket = [
        _APPLICATION,
        _in_path("profile", PROFILES, "prod"),
        _in_query("label", "the source's default label if it is missing"),
        _in_query("last_version", "what the client has"),
        _in_query("instance", "the name of the client"),
    ]
    file = _in_path("file", {"type": "string", "pattern": "^[A-Za-z0-9_-]+[.][a-z]+$"}, "console.js")
    return {
        "/health": {"get": _operation("health", "Is it alive?", health, is_public=True)},
        "/ready": {"get": _operation("ready", "Is it ready?", ready, is_public=True)},
        "/openapi.json": {"get": _operation("openapi", "This.", api, [_IF_NONE_MATCH], is_public=True)},
        "/console/": {
            "get": _operation("console", "A page for people.", page, [_IF_NONE_MATCH], (404,), is_public=True)
        },
        "/console/{file}": {
            "get": _operation("consoleFile", "A file of it.", page, [file, _IF_NONE_MATCH], (404,), is_public=True)
        },
        "/ws/{application}/{profile}": {
            # Its path has no prefix.
            "servers": [{"url": "/"}],
            "get": _operation(
                "websocket",
                "The WebSocket: a snapshot, and then every change.",
                {"101": {"description": "the upgrade; see vortexd-api(7) for what follows"}},
                websocket,
                (426, 500, 503),
            ),
        },
    }


_PAGES = ("text/html", "text/javascript", "text/css", "image/svg+xml")
