"""Spring's `Environment`: encodes a configuration as JSON in both media types, and chooses the media type."""

from collections.abc import Mapping
from typing import Any

import orjson

from ...core.model import OVERRIDES, Config, PropertySource
from .config_request import ConfigRequest

# Spring's Java client requests V2 by default.
V1 = "application/json"
V2 = "application/vnd.spring-cloud.config-server.v2+json"
_ANY_JSON = "application/*+json"
_WANTED = {V1: V1, "*/*": V1, "application/*": V1, V2: V2, _ANY_JSON: V2}
# Spring's name for the origin of overrides.
_SERVER = "Config server overrides"


def environment(config: Config, config_request: ConfigRequest, form: str = V1) -> bytes:
    """Encode Spring's `Environment` as JSON.

    Args:
        form: `V1` or `V2`. In `V2`, each value has its position in the file, as `line:column`.
    """
    values = _with_origins if form == V2 else _plain
    return orjson.dumps(
        {
            "name": config_request.application,
            "profiles": [config_request.profiles],
            "label": config_request.label,
            "version": config.revision,
            "state": None if config.revision is None else "",
            "propertySources": [{"name": each.name, "source": values(each)} for each in config.sources],
        },
        default=dict,
    )


def _plain(source: PropertySource) -> Mapping[str, Any]:
    return source.values


def _with_origins(source: PropertySource) -> Mapping[str, Any]:
    if source.name == OVERRIDES:
        return {key: {"value": value, "origin": _SERVER} for key, value in source.values.items()}
    # A value without a position in a file stays plain. Clients unwrap only objects with both members.
    return {
        key: {"value": value, "origin": "{}:{}".format(*source.origins[key])} if key in source.origins else value
        for key, value in source.values.items()
    }


def media_type(accept: str | None) -> str | None:
    """Choose the form that an Accept header (RFC 9110 section 12.5.1) prefers. Returns None if it accepts neither form.

    If there is no header, or if it accepts any type, the form is V1, as in Spring. `application/*+json` selects V2, because
    the name of V1 has no suffix.
    """
    if not accept or not accept.strip():
        return V1
    ranked: list[tuple[float, int, str]] = []
    accepted = _accepted(accept)
    for position, (name, weight) in enumerate(accepted):
        config_request = _WANTED.get(name)
        # If the header refuses V2 by its full name, a range with its suffix doesn't select it.
        if config_request is not None and weight > 0 and not (name == _ANY_JSON and (V2, 0.0) in accepted):
            ranked.append((-weight, position, config_request))
    return min(ranked)[2] if ranked else None


def wants_bytes(accept: str | None) -> bool:
    """Whether the client wants the unchanged bytes of a plain file.

    As in Spring, it must name `application/octet-stream` or `application/*`.
    """
    config_request = ("application/octet-stream", "application/*")
    return any(name in config_request and weight > 0 for name, weight in _accepted(accept or ""))


def _accepted(accept: str) -> list[tuple[str, float]]:
    """Parse an Accept header into its media types, in lower case, each with its weight."""
    found = []
    for each in accept.split(","):
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        found.append((name, _weight(parameters)))
    return found


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0
