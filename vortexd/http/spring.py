"""Spring Cloud Config's JSON of one configuration, and its answer to errors. Pure."""

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Protocol

import attrs
import orjson

from .. import names
from ..model import Config, Key, PropertySource

# The two media types of `Environment`; Spring's Java client asks for the second unless it is told otherwise.
V1 = "application/json"
V2 = "application/vnd.spring-cloud.config-server.v2+json"


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


def environment(config: Config, wanted: Wanted, form: str = V1) -> bytes:
    """Spring's `Environment` as JSON.

    Args:
        form: `V1`, or `V2`, in which each value stands beside its place in the file, as `line:column`.
    """
    values = _with_origins if form == V2 else _plain
    return orjson.dumps(
        {
            "name": wanted.application,
            "profiles": [wanted.profiles],
            "label": wanted.label,
            "version": config.revision,
            "state": None if config.revision is None else "",
            "propertySources": [{"name": each.name, "source": values(each)} for each in config.sources],
        },
        default=dict,
    )


def _plain(source: PropertySource) -> Mapping[str, Any]:
    return source.values


def _with_origins(source: PropertySource) -> Mapping[str, Any]:
    # What has no place in a file is bare; clients unwrap only what has both members.
    return {
        key: {"value": value, "origin": "{}:{}".format(*source.origins[key])} if key in source.origins else value
        for key, value in source.values.items()
    }


def etag_of(body: bytes) -> str:
    """A strong validator of a body (RFC 9110 section 8.8.3)."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this very body (RFC 9110 section 13.1.2, the weak comparison)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def media_type(accept: str | None) -> str | None:
    """Which of the two forms an Accept header (RFC 9110 section 12.5.1) asks for first; None where it wants neither.

    Without one, and for anything, it is the first version, as Spring has it.
    """
    if not accept or not accept.strip():
        return V1
    ranked: list[tuple[float, int, str]] = []
    for position, each in enumerate(accept.split(",")):
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        wanted = V2 if name == V2 else V1 if name in ("*/*", "application/*", V1) else None
        weight = _weight(parameters)
        if wanted is not None and weight > 0:
            ranked.append((-weight, position, wanted))
    return min(ranked)[2] if ranked else None


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0


def error(status: int, message: str, timestamp: str) -> bytes:
    """Spring's error JSON. Neither path nor exception stands in it: both may come from an attacker."""
    members: dict[str, Any] = {
        "timestamp": timestamp,
        "status": status,
        "error": HTTPStatus(status).phrase,
        "message": message,
    }
    return orjson.dumps(members)
