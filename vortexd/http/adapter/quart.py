"""Receives request bodies with Quart, within a limit, and only as long as the peer is connected."""

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
        limit: The largest size of the body in bytes.
        response: The response, after it was made; else None.
        error: The error that the connection raised while Quart received the body.
    """

    head: RequestHead
    limit: int
    response: Response | None = None
    error: Exception = attrs.field(factory=PeerGone)


class _LimitedRequest(TrioRequest):
    """A request with its own limit for the body.

    Relies on: Quart passes `max_content_length` and `scope` by name. It has no public way to set the limit of one request
    before its first byte.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options["max_content_length"] = options["scope"][_RECEIPT].limit
        super().__init__(*arguments, **options)


class QuartBodies:
    """Receives request bodies with Quart, and then calls the request handler.

    If the announced length exceeds the limit, Quart refuses the body before it reads any of it. If the real length exceeds
    the limit, Quart refuses the body at that point. If the peer leaves, Quart cancels the request. vortexd doesn't use the
    router and the responses of Quart.

    Relies on: Quart runs `before_request` before it uses the result of its router.

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
        """Receive the body, and answer the request.

        Args:
            limit: The largest size of the body in bytes. If the body is larger, the response is 413.

        Raises:
            PeerGone: The peer left before the body was complete, or before the response was made.
            trio.TooSlowError: The peer takes too long to send the body.
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
            """Drop Quart's response. The receipt has the response of the request handler."""

        try:
            await self._app(_quart_scope(receipt), receive, send)
        except Exception:
            # Quart 0.23 raises an error if the peer closes its sending half after the body. The response is made by then.
            if receipt.response is None:
                raise
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
        # With HTTP/1.0, Quart requires no Host header. The gate has checked the header.
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
