"""The endpoints of a cluster: the questions of other nodes, and the removal of a node that is away.

A daemon without a cluster has none of them.
"""

from typing import ClassVar, Protocol

import cattrs

from ..audit import Audit, Outcome
from ..auth import Right
from ..core.errors import RemoteError
from ..fleet import Page, Question
from .endpoint import Endpoint, Headers, Request, Response
from .key_filter import MOST
from .operation import in_path, operation
from .schemas import COUNT, TEXT, Operations, an_object

_HEADER = "Vortexd-Cluster"
_LENGTH_HEADER = "Vortexd-Cluster-Length"
# The act in the audit log.
FORGET = "cluster member forget"
# The largest question: a page's keys, each with names of the largest length, take less.
_QUESTION_BYTES = 8_388_608


class Node(Protocol):
    """The part of the node that these endpoints need."""

    def check(self, header: str | None, path: str, body: bytes) -> None:
        """Check that a node of this cluster asks.

        Raises:
            RemoteError: It isn't so.
        """
        ...

    def announces(self, header: str | None, path: str, length: int) -> bool:
        """Return whether the header proves that a node of this cluster sends a question of this length."""
        ...

    def sign(self, path: str, question: bytes, answer: bytes) -> bytes:
        """Return an answer to a question with its MAC, as a JSON object."""
        ...

    async def forget(self, node: str) -> None:
        """Remove the record of a node that is away.

        Raises:
            RemoteError: It can't be removed.
        """
        ...


class AnswersNodes(Protocol):
    """The part of the fleet's pages that `ClusterFleet` needs."""

    async def here(self, question: Question) -> tuple[Page, int]:
        """Return a page of this node's instances, and how many workers haven't answered."""
        ...


_OPERATIONS: Operations = {
    "/api/v1/cluster/fleet": {
        "post": operation(
            "clusterFleet",
            "A page of this node's instances, for another node of the cluster. The header has a MAC by the cluster's secret.",
            {
                "200": {
                    "description": "a page",
                    "content": {
                        "application/json": {
                            "schema": an_object(
                                mac={"type": "string", "pattern": "^[0-9a-f]{64}$"},
                                answer=an_object(workers_silent=COUNT, page={"type": "object"}),
                            )
                        }
                    },
                }
            },
            [{"name": each, "in": "header", "schema": TEXT} for each in (_HEADER, _LENGTH_HEADER)],
            (400, 403, 413, 503),
            is_public=True,
        )
    }
}
_FORGET: Operations = {
    "/api/v1/cluster/members/{node}": {
        "delete": operation(
            "forgetNode",
            "Removes the record of a node that is away; needs the right `admin`.",
            {"204": {"description": "the node is forgotten"}},
            [in_path("node", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}, "node-b")],
            (409, 503),
        )
    }
}


class ClusterFleet(Endpoint):
    """`POST /api/v1/cluster/fleet`: answers another node with a page of this node's instances."""

    route: ClassVar = "/api/v1/cluster/fleet"
    methods: ClassVar = ("POST",)
    # The MAC takes the place of a token.
    is_public: ClassVar = True
    operations: ClassVar = _OPERATIONS

    def __init__(self, node: Node, fleet: AnswersNodes) -> None:
        self._node = node
        self._fleet = fleet

    @property
    def body_bytes(self) -> int | None:
        """See `Endpoint`."""
        return _QUESTION_BYTES

    def is_announced(self, path: str, headers: Headers, length: int) -> bool:
        """See `Endpoint`."""
        return self._node.announces(headers.get(_LENGTH_HEADER), path, length)

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        self._node.check(request.headers.get(_HEADER), request.path, request.body)
        page, silent = await self._fleet.here(_question(request.body))
        answer = b'{"workers_silent":%d,"page":%s}' % (silent, page.to_json().encode())
        return Response(body=self._node.sign(request.path, request.body, answer))


class ClusterMembers(Endpoint):
    """`DELETE /api/v1/cluster/members/NODE`, for tokens with `admin`: removes the record of a node that is away."""

    route: ClassVar = "/api/v1/cluster/members/{node}"
    paths: ClassVar = ("/api/v1/cluster/members/",)
    methods: ClassVar = ("DELETE",)
    is_public: ClassVar = False
    right: ClassVar = Right.ADMIN
    operations: ClassVar = _FORGET

    def __init__(self, node: Node, audit: Audit) -> None:
        self._node = node
        self._audit = audit

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        # A node's name has no character that has to be encoded.
        node = "/".join(request.segments[4:])
        try:
            await self._node.forget(node)
        except RemoteError as error:
            await self._audit.record(FORGET, request.actor, node, Outcome.REFUSED, error.reason)
            raise
        await self._audit.record(FORGET, request.actor, node)
        return Response(204, content_type=None)


def _question(body: bytes) -> Question:
    try:
        question = Question.from_json(body.decode())
    except (ValueError, TypeError, KeyError, cattrs.BaseValidationError):
        raise RemoteError("this isn't a question about the fleet; another version may have made it") from None
    if not 1 <= question.limit <= MOST:
        raise RemoteError(f"limit is a whole number from 1 to {MOST}")
    return question
