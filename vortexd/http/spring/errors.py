"""Spring's error JSON."""

from http import HTTPStatus
from typing import Any

import orjson


def error(status: int, message: str, timestamp: str) -> bytes:
    """The body of an error. Neither path nor exception stands in it: both may come from an attacker."""
    members: dict[str, Any] = {
        "timestamp": timestamp,
        "status": status,
        "error": HTTPStatus(status).phrase,
        "message": message,
    }
    return orjson.dumps(members)
