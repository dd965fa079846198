"""Reads where values come from: builds the request target of `/api/v1/explain`, takes the answer, returns a file and line of each key. Pure."""

from typing import Any
from urllib.parse import quote

import orjson

from ..core.model import Key
from ..core.text import printable
from .address import Address

_MAX_PLACE = 300


def target(address: Address, key: Key, wanted: str) -> str:
    """Build the request target. As Spring does, it writes a slash in a name as "(_)", because proxies treat %2F in different ways."""
    names = (key.application, key.profile, key.label)
    path = "/".join(quote(name.replace("/", "(_)"), safe="(_)@+,") for name in names)
    query = f"?key={quote(wanted, safe='')}" if wanted else ""
    return f"{address.prefix}/api/v1/explain/{path}{query}"


def places(body: bytes | None, version: str | None) -> dict[str, str]:
    """Return the place of each flat key, such as `application-prod.yml:12`.

    The result is empty if the answer is none, is malformed, or explains another version: its lines may be different ones.
    """
    try:
        answer = orjson.loads(body or b"{}")
        if answer["version"] != version:
            return {}
        layers = [layer["file"] or layer["name"] for layer in answer["layers"]]
        found = ((entry["key"], _place(entry, layers)) for entry in answer["keys"])
        return {key: place for key, place in found if place is not None}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return {}


def _place(entry: Any, layers: list[str]) -> str | None:
    if entry["layer"] is None:
        return None
    line = next((holding["line"] for holding in entry["held_by"] if holding["outcome"] == "wins"), None)
    file = printable(str(layers[entry["layer"]]))[:_MAX_PLACE]
    return file if line is None else f"{file}:{int(line)}"
