"""`/console`: the page for people. Static files of the package, read once; what the page shows it asks for as any client does, with a token.

The files hold nothing of this server, so they are for everybody. The policy lets them load and reach nothing but this address.
"""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import ClassVar

from ..core.errors import RemoteError
from .endpoint import Endpoint, Request, Response

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    # The files are those of one version of vortexd: they are asked for again, and seldom sent again.
    "Cache-Control": "no-cache",
}


class Console:
    """The files below `/console/`.

    Args:
        pages: By name: the content and its entity tag.
    """

    route: ClassVar = "/console"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = True

    def __init__(self, pages: Mapping[str, tuple[bytes, str]]) -> None:
        self._pages = pages

    async def answer(self, request: Request) -> Response:
        """See `exchange.Endpoint`."""
        if request.path == "/console":
            return Response(308, b"", None, {"Location": "console/"})
        name = request.path.removeprefix("/console/") or "index.html"
        page = self._pages.get(name)
        if page is None:
            raise RemoteError("there is nothing here", 404)
        body, tag = page
        if request.headers.get("If-None-Match") == tag:
            return Response(304, b"", None, {**_HEADERS, "ETag": tag})
        return Response(200, body, _TYPES[name.rpartition(".")[2]], {**_HEADERS, "ETag": tag})


def console_routes() -> dict[str, Endpoint]:
    """The console's entries in the table of routes."""
    pages = {}
    for each in (files("vortexd") / "console").iterdir():
        if each.name.rpartition(".")[2] in _TYPES:
            body = each.read_bytes()
            pages[each.name] = body, f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    console = Console(pages)
    return {"/console": console, "/console/": console}
