"""The query of a request as parameters, decoded once. Pure."""

from collections.abc import Collection

from ..core import names
from ..core.errors import RemoteError


def parse_query(query: str, allowed: Collection[str]) -> dict[str, str]:
    """Take a query apart. The token's parameter, which has been looked at before, is left out.

    Raises:
        RemoteError: A parameter stands twice, isn't one of those allowed, or isn't UTF-8.
    """
    parameters: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        # Names as well, as the handshake has it.
        name = names.decode_segment(name)
        if name == "token":
            continue
        if name not in allowed:
            raise RemoteError("the parameters are " + ", ".join(allowed))
        if name in parameters:
            raise RemoteError("a query parameter stands twice")
        parameters[name] = names.decode_segment(value.replace("+", " "))
    return parameters
