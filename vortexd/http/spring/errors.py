"""The JSON of errors, in Spring's form."""

from http import HTTPStatus
from typing import Any

import orjson


def error(status: int, message: str, timestamp: str) -> bytes:
    """Encode the body of an error. It contains neither the path nor the exception, because both may come from an attacker."""
    members: dict[str, Any] = {
        "timestamp": timestamp,
        "status": status,
        "error": HTTPStatus(status).phrase,
        "message": message,
    }
    return orjson.dumps(members)
