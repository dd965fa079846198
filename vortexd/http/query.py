"""Parses the query of a request into parameters, and decodes them once. Pure."""

from collections.abc import Collection

from ..core import names
from ..core.errors import RemoteError


def parse_query(query: str, allowed: Collection[str]) -> dict[str, str]:
    """Parse a query. The parameter `token` is left out, because the gate has checked it before.

    Raises:
        RemoteError: A parameter occurs twice, isn't allowed, or isn't UTF-8.
    """
    parameters: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        # Decode names too, as the handshake does.
        name = names.decode_segment(name)
        if name == "token":
            continue
        if name not in allowed:
            raise RemoteError("the parameters are " + ", ".join(allowed))
        if name in parameters:
            raise RemoteError("a query parameter occurs twice")
        parameters[name] = names.decode_segment(value.replace("+", " "))
    return parameters
