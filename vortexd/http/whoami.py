"""`/api/v1/whoami`: lists the rights of the request's token, so that its owner doesn't have to try them out."""

from typing import Any, ClassVar

import orjson

from ..auth.principal import Grant, Right
from ..core.text import rfc3339
from .endpoint import Endpoint, Request, Response
from .operation import ok, operation
from .schemas import TEXT, Operations, Schema, a_list, an_object, nullable, ref
from .spring.environment import V1

_SCHEMAS: dict[str, Schema] = {
    "Identity": an_object(
        name=TEXT,
        kind={"enum": ["token", "jwt", "certificate", "anonymous"]},
        expires=nullable(TEXT),
        grants=a_list(
            an_object(
                rights=a_list({"enum": ["read", "subscribe", "report", "admin"]}),
                patterns=a_list(TEXT),
            )
        ),
    ),
}
_OPERATIONS: Operations = {
    "/api/v1/whoami": {"get": operation("whoami", "The rights of the token.", ok("its rights", {V1: ref("Identity")}))}
}


class WhoAmI(Endpoint):
    """Answers requests with any valid token. The response reveals nothing about other tokens."""

    route: ClassVar = "/api/v1/whoami"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    operations: ClassVar = _OPERATIONS
    schemas: ClassVar = _SCHEMAS

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        principal = request.owner.principal
        expires = principal.expires_at
        members = {
            "name": principal.name,
            "kind": principal.kind.value,
            "expires": None if expires is None else rfc3339(expires),
            "grants": [_members(each) for each in principal.grants],
        }
        return Response(body=orjson.dumps(members))


def _members(grant: Grant) -> dict[str, Any]:
    return {
        "rights": [right.value for right in Right if right in grant.rights],
        "patterns": list(map(str, grant.patterns)),
    }
