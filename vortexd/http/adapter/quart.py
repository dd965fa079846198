"""Request bodies, received by Quart: within a limit, and only as long as the peer is there."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

import attrs
import trio
from quart import Response as QuartResponse
from quart import request as quart_request
from quart_trio import QuartTrio
from quart_trio.wrappers.request import TrioRequest
from werkzeug.exceptions import HTTPException

from ...core.errors import RemoteError
from ..endpoint import Response
from ..request_head import Body, PeerGone, RequestHead

_Message = Mapping[str, Any]
_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]
_Asgi = Callable[[_Message, _Receive, _Send], Awaitable[None]]

# The key of a request's `_Receipt` in Quart's scope.
_RECEIPT = "vortexd.receipt"


@attrs.define(slots=True, eq=False)
class _Receipt:
    """A request while Quart receives its body.

    Attributes:
        limit: Bytes that the body may have.
        response: The response, once there is one.
        error: Why the body can't be received, if its connection says so.
    """

    head: RequestHead
    limit: int
    response: Response | None = None
    error: Exception = attrs.field(factory=PeerGone)


class _LimitedRequest(TrioRequest):
    """Relies on: Quart passes `max_content_length` and `scope` by name. It offers no public way to limit each request before its first byte."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options["max_content_length"] = options["scope"][_RECEIPT].limit
        super().__init__(*arguments, **options)


class QuartBodies:
    """Receives request bodies with Quart, and has each request answered.

    Quart refuses a body by its announced length before any of it is read, and by its real length as soon as that exceeds the limit. If the peer leaves,
    Quart cancels the request. Its router and its responses aren't used. Relies on: `before_request` runs before the router's verdict counts.

    Args:
        answer: Answers a request with its body.
        failure: Makes the response to an error.
    """

    def __init__(
        self,
        answer: Callable[[RequestHead, bytes], Awaitable[Response]],
        failure: Callable[[RemoteError], Response],
    ) -> None:
        self._answer = answer
        self._failure = failure
        app = QuartTrio("vortexd", static_folder=None)
        app.request_class = _LimitedRequest
        app.config["PROPAGATE_EXCEPTIONS"] = False
        app.before_request(self._answered)
        app.register_error_handler(HTTPException, self._failed)
        self._app = cast(_Asgi, app)

    async def respond(self, head: RequestHead, body: Body, limit: int) -> Response:
        """Receive the body, and answer.

        Args:
            limit: Bytes that the body may have; 413 beyond it.

        Raises:
            PeerGone: The peer left before the body was whole, or before there was a response.
            trio.TooSlowError: The body takes too long.
        """
        receipt = _Receipt(head, limit)
        is_whole = False

        async def receive() -> _Message:
            nonlocal is_whole
            try:
                if is_whole:
                    await body.wait_gone()
                    return {"type": "http.disconnect"}
                part = await body.receive()
            except (PeerGone, trio.TooSlowError) as error:
                receipt.error = error
                return {"type": "http.disconnect"}
            is_whole = part is None
            return {"type": "http.request", "body": part or b"", "more_body": not is_whole}

        async def send(_: object) -> None:
            """Drop Quart's response: the receipt has ours."""

        await self._app(_quart_scope(receipt), receive, send)
        if receipt.response is None:
            raise receipt.error
        return receipt.response

    async def _answered(self) -> QuartResponse:
        receipt = _current_receipt()
        receipt.response = await self._answer(receipt.head, await quart_request.body)
        return QuartResponse(b"")

    async def _failed(self, error: HTTPException) -> QuartResponse:
        receipt, reason = _current_receipt(), error.name
        if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            reason = f"a body has at most {receipt.limit} bytes here"
        receipt.response = self._failure(RemoteError(reason, error.code or 500))
        return QuartResponse(b"")


def _current_receipt() -> _Receipt:
    scope: Mapping[str, Any] = quart_request.scope
    return cast(_Receipt, scope[_RECEIPT])


def _quart_scope(receipt: _Receipt) -> dict[str, Any]:
    head = receipt.head
    return {
        "type": "http",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        # Quart asks for no Host header then. The gate checks it.
        "http_version": "1.0",
        "method": head.method,
        "scheme": "http",
        "path": head.path,
        "raw_path": head.path.encode("latin-1"),
        "query_string": head.query.encode("latin-1"),
        "root_path": "",
        "headers": head.headers,
        "client": None,
        "server": None,
        "extensions": {},
        _RECEIPT: receipt,
    }
