"""Spring Cloud Config's JSON of one configuration, and its answer to errors. Pure."""

import hashlib
from http import HTTPStatus
from typing import Any, Protocol

import attrs
import orjson

from .. import names
from ..model import Config, Key


class ConfigReader(Protocol):
    """What the HTTP side asks of the line."""

    @property
    def default_label(self) -> str | None:
        """The label of a request that names none; None until the first complete state is served."""
        ...

    async def read(self, key: Key) -> Config:
        """The current configuration of a key."""
        ...


@attrs.frozen(slots=True)
class Wanted:
    """What a path asks for, decoded and validated; `label` is None where it names none."""

    application: str
    profiles: str
    label: str | None


def parse_path(raw_path: str) -> Wanted | None:
    """Take `/{application}/{profiles}[/{label}]` apart, before anything is decoded; None where the path is another.

    Raises:
        InvalidName: One of them can't be a name.
    """
    segments = raw_path.split("/")[1:]
    if len(segments) not in (2, 3) or not all(segments):
        return None
    application, profiles, *label = (names.decode_segment(segment) for segment in segments)
    if len(segments) == 2 and profiles.endswith((".yml", ".yaml", ".properties", ".json")):
        return None
    return Wanted(names.application(application), names.profile(profiles), names.label(label[0]) if label else None)


def environment(config: Config, wanted: Wanted) -> bytes:
    """Spring's `Environment` as JSON (version 1)."""
    return orjson.dumps(
        {
            "name": wanted.application,
            "profiles": [wanted.profiles],
            "label": wanted.label,
            "version": config.revision,
            "state": None if config.revision is None else "",
            "propertySources": [{"name": each.name, "source": each.values} for each in config.sources],
        },
        default=dict,
    )


def etag_of(body: bytes) -> str:
    """A strong validator of a body (RFC 9110 section 8.8.3)."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this very body (RFC 9110 section 13.1.2, the weak comparison)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def accepts_json(accept: str | None) -> bool:
    """Whether an Accept header (RFC 9110 section 12.5.1) leaves room for JSON."""
    if not accept or not accept.strip():
        return True
    for each in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in each.split(";"))
        refused = any(part.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for part in parameters)
        if media_type in ("*/*", "application/*", "application/json") and not refused:
            return True
    return False


def error(status: int, message: str, timestamp: str) -> bytes:
    """Spring's error JSON. Neither path nor exception stands in it: both may come from an attacker."""
    members: dict[str, Any] = {
        "timestamp": timestamp,
        "status": status,
        "error": HTTPStatus(status).phrase,
        "message": message,
    }
    return orjson.dumps(members)
