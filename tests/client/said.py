"""The server's messages, as the text of their frames."""

import json
from collections.abc import Sequence
from typing import Any

from vortexd.client.replica import version_of
from vortexd.core.model import Key

KEY = Key("orders", "dev", "main")


def message(kind: str, key: Key | None = None, **members: Any) -> str:
    named = {"app": key.application, "profile": key.profile, "label": key.label} if key else {}
    return json.dumps({"type": kind, "schema": 1, "timestamp": "2030-01-01T00:00:00.000Z", **named, **members})


def snapshot(document: dict[str, Any], key: Key = KEY, **members: Any) -> str:
    return message("config_snapshot", key, config=document, version=version_of(document), **members)


def change(
    old: dict[str, Any], new: dict[str, Any], diff: Sequence[dict[str, Any]], key: Key = KEY, **members: Any
) -> str:
    versions = {"old_version": version_of(old), "new_version": version_of(new)}
    return message("config_change", key, **versions, diff=diff, **members)


def in_sync(document: dict[str, Any], key: Key = KEY, **members: Any) -> str:
    return message("in_sync", key, version=version_of(document), **members)


def ping(document: dict[str, Any] | None, key: Key = KEY) -> str:
    return message("ping", versions={str(key): None if document is None else version_of(document)})
