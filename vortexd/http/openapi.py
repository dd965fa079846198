"""`/openapi.json`: the HTTP API as an OpenAPI 3.1 document, made from the declarations of the endpoints.

Tests compare the document with the router, with vortexd-api(7), and with real responses. Every client gets the same
document. It is public, because it describes nothing secret.
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
    """The part of an endpoint, or of its class, that the document describes."""

    @property
    def operations(self) -> Operations: ...
    @property
    def schemas(self) -> Mapping[str, Schema]: ...


_DOCUMENT = ok("this document", {V1: {"type": "object"}}, has_tag=True)


class OpenApi(Endpoint):
    """Serves the document for the settings in force.

    Args:
        endpoints: All other endpoints.
        is_open: Returns whether the server requires no token.

    Attributes:
        described: All endpoints, with this one.
    """

    route: ClassVar = "/openapi.json"
    is_public: ClassVar = True
    operations: ClassVar = {
        "/openapi.json": {
            "get": operation("openapi", "The description of this API.", _DOCUMENT, [IF_NONE_MATCH], is_public=True)
        }
    }

    def __init__(self, endpoints: Iterable[Endpoint], is_open: Callable[[], bool]) -> None:
        self.described: list[Endpoint] = [*endpoints, self]
        self._is_open = is_open
        self.replace(HttpSettings())

    def replace(self, settings: HttpSettings) -> None:
        """Apply new settings to the requests from now on."""
        self._prefix = settings.prefix
        # The document and its entity tag. The key is whether the server requires no token.
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
        endpoints: The endpoints to describe.
        prefix: As `HttpSettings.prefix`.
        is_open: Whether the server requires no token.
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
            "description": "vortexd-api(7) describes this API in full, and the WebSocket protocol.",
        },
        "servers": [{"url": prefix or "/"}],
        "security": [{}, *tokens] if is_open else tokens,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "any user name, and the token as password"},
                "token": {"type": "apiKey", "in": "query", "name": "token"},
                "config-token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Config-Token",
                    "description": "the token of Spring's clients; used if the request has no other token",
                },
            },
            "responses": {f"Error{status}": error_response(status) for status in ERRORS},
        },
    }
