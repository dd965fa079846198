"""`/api/v1/keys`: lists the names of the configurations, with their versions and paths, but without their documents.

A response is a page. It lists the keys that have files of their own, and those in use. A token sees the keys that it may
read. The process that answers knows the versions of the keys that it uses.
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

import orjson

from ..core import names
from ..core.errors import RemoteError
from ..core.model import Key
from .endpoint import JSON, Endpoint, Request, Response
from .key_filter import KEY_PARAMETERS, LIMIT_SCHEMA, PARTS, parse_filter, parse_limit, refuse_one, visible_keys
from .key_queries import validated
from .operation import IF_NONE_MATCH, in_query, ok, operation
from .query import parse_query
from .schemas import KEY, TEXT, VERSION, Operations, Schema, a_list, an_object, nullable, ref
from .spring.environment import V1

_PARAMETERS = (*PARTS, "limit", "after")
_SCHEMAS: dict[str, Schema] = {
    "Keys": an_object(
        keys=a_list(an_object(**KEY, version=nullable(VERSION), path=TEXT)),
        next=nullable(TEXT),
    ),
}
_OPERATIONS: Operations = {
    "/api/v1/keys": {
        "get": operation(
            "keys",
            "The names of the configurations, without their documents.",
            ok("a page", {V1: ref("Keys")}, has_tag=True),
            [
                *KEY_PARAMETERS,
                in_query("limit", "the most keys on a page", LIMIT_SCHEMA),
                in_query("after", "the value of `next` on the page before"),
                IF_NONE_MATCH,
            ],
            (503,),
        )
    }
}


class ListsKeys(Protocol):
    """The part of the pipeline that `KeyList` needs."""

    @property
    def default_label(self) -> str | None:
        """The label of a request that names none; None until the first complete state is served."""
        ...

    async def keys(self) -> Sequence[Key]:
        """All keys that have files of their own or are in use, ordered by application, profile and label."""
        ...

    def known_version(self, key: Key) -> str | None:
        """The version of a key, if it is known without resolving the key."""
        ...


class KeyList(Endpoint):
    """Lists keys in pages.

    Args:
        line: The pipeline.
    """

    route: ClassVar = "/api/v1/keys"
    methods: ClassVar = ("GET", "HEAD")
    is_public: ClassVar = False
    operations: ClassVar = _OPERATIONS
    schemas: ClassVar = _SCHEMAS

    def __init__(self, line: ListsKeys) -> None:
        self._line = line

    async def answer(self, request: Request) -> Response:
        """See `Endpoint`."""
        parameters = parse_query(request.query, _PARAMETERS)
        wanted, limit = parse_filter(parameters), parse_limit(parameters)
        after = _after(parameters.get("after", ""))
        if self._line.default_label is None:
            raise RemoteError("starting", 503, {"Retry-After": "1"})
        keys = await self._line.keys()
        start = 0 if after is None else bisect_right(keys, _order(after), key=_order)
        # One key more shows whether another page follows.
        page = await visible_keys(request.owner, wanted, keys[start:], most=limit + 1)
        if not page and after is None:
            refuse_one(request.owner, wanted, self._line.default_label)
        following = str(page[limit - 1]) if len(page) > limit else None
        members = {"keys": list(map(self._members, page[:limit])), "next": following}
        return validated(request, orjson.dumps(members), JSON, {})

    def _members(self, key: Key) -> dict[str, Any]:
        return {
            "app": key.application,
            "profile": key.profile,
            "label": key.label,
            "version": self._line.known_version(key),
            "path": path_of(key),
        }


_order = attrgetter("application", "profile", "label")


def path_of(key: Key) -> str:
    """Return the path of a configuration in Spring's API, below the prefix. As in Spring, `/` in a name is `(_)`."""
    parts = (key.application, key.profile, key.label)
    return "/" + "/".join(quote(part.replace("/", "(_)"), safe="(),") for part in parts)


def _after(text: str) -> Key | None:
    if not text:
        return None
    parts = text.split(":")
    if len(parts) != 3:
        raise RemoteError("after must be the value of `next` on the page before")
    return names.parse_key(*parts)
