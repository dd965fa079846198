"""The request handler: checks tokens, methods and rights, handles errors and counts metrics, for all protocols.

It takes the head and the body of a request, and always returns a `Response`. Any error of an endpoint becomes a response
here. The router looks up the path as the client sent it. If the path were decoded first, the router couldn't tell `/` from
`%2F`.
"""

import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import structlog
from structlog.contextvars import bound_contextvars

from ..audit import ForbiddenActs
from ..auth import Admission, Forbidden, Gate, Right
from ..core.errors import FormatError, RefusedLabel, RemoteError, ResolveError, UnknownLabel
from ..core.faults import Faults
from ..observe.metrics import Metrics
from .broken import unreadable
from .endpoint import Endpoint, Headers, Request, Response
from .request_head import RequestHead
from .routes import Routes
from .spring.errors import error as spring_error
from .waiting import Waiting

log = structlog.get_logger()


class RequestHandler:
    """Answers requests.

    Args:
        timestamp: Returns the current time as RFC 3339, for error bodies.
        gate: Checks tokens, Host and Origin.
        forbidden_acts: Records acts that a client has tried without the right, or None.
    """

    def __init__(
        self,
        routes: Routes,
        metrics: Metrics,
        timestamp: Callable[[], str],
        gate: Gate,
        forbidden_acts: ForbiddenActs | None = None,
    ) -> None:
        self._forbidden_acts = forbidden_acts
        self.routes = routes
        self._metrics = metrics
        self._timestamp = timestamp
        self._gate = gate
        self._faults = Faults()

    async def answer(
        self, head: RequestHead, body: bytes = b"", *, may_wait: bool = False, waited: Waiting | None = None
    ) -> Response:
        """Answer a request.

        Args:
            body: The complete body, within its limit.
            may_wait, waited: As in `Request`.
        """
        began = time.perf_counter()
        headers, sender, path = head.headers, head.sender, head.path

        def admit() -> Admission:
            return self._gate.admit(headers, f"{path}?{head.query}", sender, was_admitted=waited is not None)

        def check() -> None:
            self._gate.check_headers(headers, sender)

        try:
            if head.proxies is not None:
                sender = head.proxies.sender(headers, sender.host)
            target = self.routes.below(path), head.query
            members = head.method, *target, Headers(headers), body
            request = Request(*members, None, admit, sender.host, check, may_wait, waited)
            if head.proxies is None:
                made = await self._answer(path, request)
            else:
                # One connection of a proxy carries the requests of many clients.
                with bound_contextvars(peer=sender.host or "unix"):
                    made = await self._answer(path, request)
        except RemoteError as error:
            made = self.failure(error)
        except Exception as error:
            number = str(uuid4())
            log.error("request failed", request=number, method=head.method, path=path, exc_info=error)
            made = self.failure(RemoteError(f"internal error; the server's log has the details under {number}", 500))
        if made.waiting is None:
            # The time of a wait isn't the time of an answer.
            self._metrics.answered(made.route, made.status, time.perf_counter() - began)
        return made

    def failure(self, error: RemoteError, route: str = "refused") -> Response:
        """Make the response to an error."""
        body = spring_error(error.status, error.reason, self._timestamp())
        return Response(error.status, body, headers=error.headers, route=route)

    async def _answer(self, path: str, request: Request) -> Response:
        try:
            endpoint = self.routes.find(path)
        except RemoteError:
            # A client without a valid token must not learn which paths exist.
            request.admit()
            raise
        if request.method not in endpoint.methods:
            allowed = ", ".join(endpoint.methods)
            return self.failure(RemoteError(f"this path accepts only {allowed}", 405, {"Allow": allowed}), "other")
        if not (endpoint.is_public or endpoint.checks_token):
            request = request.admitted()
        if endpoint.right is not None:
            try:
                request.owner.authorize(endpoint.right, None)
            except Forbidden as error:
                self._note_forbidden(request, endpoint)
                return endpoint.forbidden(error).on(endpoint.route)
        try:
            made = await endpoint.answer(request)
        except Forbidden:
            self._note_forbidden(request, endpoint)
            raise
        except UnknownLabel as error:
            # Only endpoints that require a token look up labels, so the request has an owner.
            raise error.for_peer(partial(request.owner.may, Right.READ)) from None
        except RefusedLabel as error:
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

    def _note_forbidden(self, request: Request, endpoint: Endpoint) -> None:
        act = endpoint.acts.get(request.method)
        if act is not None and self._forbidden_acts is not None:
            self._forbidden_acts.note(act, request.actor, request.path)

    def _report(self, request: Request, path: str, route: str, error: BaseException) -> None:
        """Log the reason of a 500. Clients repeat requests, so a reason is logged only once as long as it persists."""
        reason = str(error)
        if self._faults.is_new((route, reason), path, time.monotonic()):
            log.warning("request not served", method=request.method, route=route, path=path, reason=reason)
