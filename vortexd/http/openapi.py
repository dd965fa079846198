"""`/openapi.json`: the HTTP API as an OpenAPI 3.1 document, made of what the endpoints declare.

Tests compare the document with the router, with vortexd-api(7), and with real responses. It is the same for every client, and public: it describes nothing
secret.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol

import orjson

from ..settings.http import HttpSettings
from .endpoint import Endpoint, Request, Response, etag_of, is_known
from .operation import ERRORS, IF_NONE_MATCH, error_response, ok, operation
from .schemas import ERROR, Operations, Schema
from .spring.environment import V1


class Described(Protocol):
    """What the document takes from an endpoint, or from its class."""

    @property
    def operations(self) -> Operations: ...
    @property
    def schemas(self) -> Mapping[str, Schema]: ...


_DOCUMENT = ok("this document", {V1: {"type": "object"}}, has_tag=True)


class OpenApi(Endpoint):
    """The document, by the settings in force.

    Args:
        endpoints: All others.
        is_open: Whether no token is asked for.

    Attributes:
        described: All endpoints, this one included.
    """

    route: ClassVar = "/openapi.json"
    is_public: ClassVar = True
    operations: ClassVar = {
        "/openapi.json": {"get": operation("openapi", "This.", _DOCUMENT, [IF_NONE_MATCH], is_public=True)}
    }

    def __init__(self, endpoints: Iterable[Endpoint], is_open: Callable[[], bool]) -> None:
        self.described: list[Endpoint] = [*endpoints, self]
        self._is_open = is_open
        self.replace(HttpSettings())

    def replace(self, settings: HttpSettings) -> None:
        """Put other settings in force, for requests to come."""
        self._prefix = settings.prefix
        # By whether no token is asked for.
        self._encoded: dict[bool, tuple[bytes, str]] = {}

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        is_open = self._is_open()
        if is_open not in self._encoded:
            body = orjson.dumps(document(self.described, self._prefix, is_open=is_open))
            self._encoded[is_open] = body, etag_of(body)
        body, etag = self._encoded[is_open]
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if is_known(request.headers.get("If-None-Match"), etag):
            return Response(304, content_type=None, headers=headers)
        return Response(body=body, headers=headers)


def document(endpoints: Iterable[Described], prefix: str = "", *, is_open: bool = False) -> dict[str, Any]:
    """Make the document.

    Args:
        endpoints: Those that it describes.
        prefix: As `HttpSettings.prefix`.
        is_open: Whether no token is asked for.
    """
    tokens: list[dict[str, list[str]]] = [{"bearer": []}, {"basic": []}, {"token": []}, {"config-token": []}]
    paths: Operations = {}
    schemas: dict[str, Schema] = {"Error": ERROR}
    for each in endpoints:
        paths |= each.operations
        schemas |= each.schemas
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
        "paths": paths,
        "components": {
            "schemas": schemas,
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
            "responses": {f"Error{status}": error_response(status) for status in ERRORS},
        },
    }
