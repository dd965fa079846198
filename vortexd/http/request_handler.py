"""From a request to its answer: one place for tokens, methods, errors and what is counted, whoever has read the request.

In come the parts of an HTTP request, out goes an `Response`, always: whatever an endpoint raises becomes one here. Paths are looked up as they were
sent, because one that is decoded first can't tell `/` from `%2F`.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from uuid import uuid4

import structlog
from structlog.contextvars import bound_contextvars

from ..auth import Admission, Gate, Right
from ..core.errors import FormatError, RemoteError, ResolveError, UnknownLabel
from ..core.faults import Faults
from ..net.proxies import Proxies, Sender
from ..observe.metrics import Metrics
from .broken import unreadable
from .endpoint import Headers, Request, Response
from .routes import Routes
from .spring.errors import error as spring_error

log = structlog.get_logger()


class RequestHandler:
    """See the module.

    Args:
        timestamp: The current time as RFC 3339, for error bodies.
        gate: Who is let in.
    """

    def __init__(self, routes: Routes, metrics: Metrics, timestamp: Callable[[], str], gate: Gate) -> None:
        self.routes = routes
        self._metrics = metrics
        self._timestamp = timestamp
        self._gate = gate
        self._faults = Faults()

    async def answer(
        self,
        method: str,
        path: str,
        query: str,
        headers: Sequence[tuple[bytes, bytes]],
        sender: Sender,
        body: bytes = b"",
        proxies: Proxies | None = None,
    ) -> Response:
        """Answer a request.

        Args:
            method: As it was sent.
            path: As it was sent, without the query.
            query: As it was sent, without the `?`.
            headers: Names in lower case.
            sender: The peer.
            proxies: Where the peer is a proxy that is believed who has sent the request.
        """
        began = time.perf_counter()

        def admit() -> Admission:
            return self._gate.admit(headers, f"{path}?{query}", sender)

        try:
            below = self.routes.below(path)
            request = Request(method, below, query, Headers(headers), body, None, admit)
            if proxies is None:
                made = await self._answer(path, request)
            else:
                sender = proxies.sender(headers, sender.host)
                # Of one connection with a proxy come the requests of many.
                with bound_contextvars(peer=sender.host or "unix"):
                    made = await self._answer(path, request)
        except RemoteError as error:
            made = self.failure(error)
        except Exception as error:
            number = str(uuid4())
            log.error("request failed", request=number, method=method, path=path, exc_info=error)
            made = self.failure(RemoteError(f"internal error; in the server's log it is {number}", 500))
        self._metrics.answered(made.route, made.status, time.perf_counter() - began)
        return made

    def failure(self, error: RemoteError, route: str = "refused") -> Response:
        """What is answered to a mistake."""
        body = spring_error(error.status, error.reason, self._timestamp())
        return Response(error.status, body, headers=error.headers, route=route)

    async def _answer(self, path: str, request: Request) -> Response:
        try:
            endpoint = self.routes.find(path)
        except RemoteError:
            # Who isn't let in doesn't learn what there is.
            request.admit()
            raise
        if request.method not in endpoint.methods:
            allowed = ", ".join(endpoint.methods)
            return self.failure(RemoteError(f"only {allowed}", 405, {"Allow": allowed}), "other")
        if not endpoint.is_public:
            request = request.admitted()
        try:
            made = await endpoint.answer(request)
        except UnknownLabel as error:
            # Nobody gets here who wasn't let in: what is public knows no labels.
            raise error.for_peer(partial(request.owner.may, Right.READ)) from None
        except (FormatError, ResolveError) as error:
            self._report(request, path, endpoint.route, error)
            return self.failure(unreadable(), endpoint.route)
        except RemoteError as error:
            if error.status == 500 and error.__cause__ is not None:
                self._report(request, path, endpoint.route, error.__cause__)
            raise
        self._faults.works(path)
        return made if made.route else made.on(endpoint.route)

    def _report(self, request: Request, path: str, route: str, error: BaseException) -> None:
        """Log why a request is answered with 500: once while it lasts, for clients ask again and again."""
        reason = str(error)
        if self._faults.is_new((route, reason), path, time.monotonic()):
            log.warning("request not served", method=request.method, route=route, path=path, reason=reason)
