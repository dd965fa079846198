"""`/console`: the page for people. Its files are static, and the server reads them once.

The page requests its content with a token, as any client does. The files contain nothing secret, so they are public. The
content security policy allows the page to load from this address and to connect to it, and to no other address.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ..core.errors import RemoteError
from .endpoint import Endpoint, Request, Response
from .operation import IF_NONE_MATCH, in_path, ok, operation
from .schemas import Operations

_DIRECTORY = Path(__file__).parent.parent / "console"
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
    # The files belong to one version of vortexd. Browsers revalidate them each time, and seldom download them again.
    "Cache-Control": "no-cache",
}


_PAGE = ok(
    "a file of the page",
    {each: {} for each in ("text/html", "text/javascript", "text/css", "image/svg+xml")},
    has_tag=True,
)
_FILE = in_path("file", {"type": "string", "pattern": "^[A-Za-z0-9_-]+[.][a-z]+$"}, "console.js")
_OPERATIONS: Operations = {
    "/console/": {
        "get": operation("console", "The console, a page for people.", _PAGE, [IF_NONE_MATCH], (404,), is_public=True)
    },
    "/console/{file}": {
        "get": operation("consoleFile", "A file of the console.", _PAGE, [_FILE, IF_NONE_MATCH], (404,), is_public=True)
    },
}


class Console(Endpoint):
    """The files below `/console/`.

    Args:
        pages: Maps the name of each file to its content and its entity tag.
        is_served: Whether the router serves the console.
    """

    route: ClassVar = "/console"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = True
    paths: ClassVar = ("/console", "/console/")
    operations: ClassVar = _OPERATIONS

    def __init__(self, pages: Mapping[str, tuple[bytes, str]], *, is_served: bool = True) -> None:
        self._pages = pages
        self._is_served = is_served

    @property
    def is_served(self) -> bool:
        """See `Endpoint`."""
        return self._is_served

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        if request.path == "/console":
            return Response(308, b"", None, {"Location": "console/"})
        name = request.path.removeprefix("/console/") or "index.html"
        page = self._pages.get(name)
        if page is None:
            raise RemoteError("there is nothing at this path", 404)
        body, tag = page
        if request.headers.get("If-None-Match") == tag:
            return Response(304, b"", None, {**_HEADERS, "ETag": tag})
        return Response(200, body, _TYPES[name.rpartition(".")[2]], {**_HEADERS, "ETag": tag})


def console(*, is_served: bool = True) -> Console:
    """Make the endpoint of the page.

    Args:
        is_served: Whether the console is enabled.
    """
    pages = {}
    for each in _DIRECTORY.iterdir():
        if each.name.rpartition(".")[2] in _TYPES:
            body = each.read_bytes()
            pages[each.name] = body, f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    return Console(pages, is_served=is_served)
