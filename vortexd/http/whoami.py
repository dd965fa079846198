"""`/api/v1/whoami`: what the token of a request may do, so that its owner needn't find out by trying."""

from typing import Any, ClassVar

import orjson

from ..auth.principal import Grant, Right
from ..core.text import rfc3339
from .endpoint import Request, Response


class WhoAmI:
    """For everybody with a token, and it says nothing of others."""

    route: ClassVar = "/api/v1/whoami"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False

    async def answer(self, request: Request) -> Response:
        """See `exchange.Endpoint`."""
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
