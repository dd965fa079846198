"""Parses the path and the query of a request by Spring's routes.

The result is a `ConfigRequest`, whose names are decoded once and validated. If the path matches no route, the result is
None. A path is split before it is decoded, so `%2F` is part of a name.
"""

import enum
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

import attrs

from ...core import names
from ...core.errors import RemoteError
from ...core.model import Key


class Form(enum.Enum):
    """The form of the response: a configuration in one of its forms, or a plain file.

    The value is the template of the route, for the metrics.
    """

    ENVIRONMENT = "/{application}/{profiles}"
    PROPERTIES = "/{application}-{profiles}.properties"
    YAML = "/{application}-{profiles}.yml"
    JSON = "/{application}-{profiles}.json"
    FILE = "/{application}/{profile}/{label}/{path}"


@attrs.frozen(slots=True, cache_hash=True)
class ConfigRequest:
    """A parsed request for a configuration or a plain file.

    Attributes:
        label: The label; None if the request names no label.
        path: The path of a plain file; "" for a configuration.
        resolves: Whether the server resolves placeholders.
        escapes: Whether `.properties` is escaped, so that a parser reads the same values back.
    """

    form: Form
    application: str
    profiles: str
    label: str | None = None
    path: str = ""
    resolves: bool = True
    escapes: bool = False

    def key(self, default_label: str) -> Key:
        return Key(self.application, self.profiles, default_label if self.label is None else self.label)


# Spring's own expression for a last segment that can't be profiles.
_LOOKS_SUFFIXED = re.compile(r".*\b\.(?:ya?ml|properties|json)\b", re.DOTALL)
_FORMS = {"properties": Form.PROPERTIES, "yml": Form.YAML, "yaml": Form.YAML, "json": Form.JSON}
_YES, _NO = ("true", "on", "yes", "1"), ("false", "off", "no", "0")
_DEFAULT_LABEL = "useDefaultLabel"


def parse_path(path: str, query: str = "") -> ConfigRequest | None:
    """Parse a request. Returns None if the path matches none of Spring's routes.

    Raises:
        RemoteError: A name isn't valid, or a parameter isn't true or false (400).
    """
    parameters = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    segments = path.split("/")[1:]
    if len(segments) == 1:
        return _suffixed(segments[0], None, parameters)
    if not all(segments[:3]):
        return None
    if len(segments) == 2:
        profiles = names.decode_segment(segments[1])
        suffixed = _suffixed(segments[1], segments[0], parameters)
        if suffixed is not None or _LOOKS_SUFFIXED.match(profiles):
            return suffixed
        return _environment(segments, None)
    if len(segments) == 3 and _DEFAULT_LABEL not in parameters:
        return _environment(segments[:2], names.decode_segment(segments[2]))
    return _file(segments, parameters)


def _environment(segments: list[str], label: str | None) -> ConfigRequest:
    application, profiles = map(names.decode_segment, segments)
    return ConfigRequest(
        Form.ENVIRONMENT,
        names.application(application),
        names.profile(profiles),
        None if label is None else names.labels(label),
    )


def _suffixed(segment: str, label: str | None, parameters: Mapping[str, str]) -> ConfigRequest | None:
    stem, _, suffix = names.decode_segment(segment).rpartition(".")
    # The last hyphen separates the profiles: `foo-bar-dev.yml` is the application `foo-bar` with the profile `dev`.
    application, dash, profiles = stem.rpartition("-")
    form = _FORMS.get(suffix)
    if not dash or form is None:
        return None
    return ConfigRequest(
        form,
        names.application(application),
        names.profile(profiles),
        None if label is None else names.labels(names.decode_segment(label)),
        resolves=_flag(parameters, "resolvePlaceholders", default=True),
        escapes=form is Form.PROPERTIES and _flag(parameters, "escape", default=False),
    )


def _file(segments: list[str], parameters: Mapping[str, str]) -> ConfigRequest | None:
    # If the parameter is present, the path has no label, however many segments it has.
    label = None if _DEFAULT_LABEL in parameters else segments[2]
    path = names.file_path("/".join(map(names.decode_segment, segments[2 if label is None else 3 :])))
    config_request = _environment(segments[:2], None if label is None else names.decode_segment(label))
    if path is None:
        return None
    resolves = _flag(parameters, "resolvePlaceholders", default=True)
    return attrs.evolve(config_request, form=Form.FILE, path=path, resolves=resolves)


def _flag(parameters: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = parameters.get(name, "").strip().lower()
    if not value:
        return default
    if value not in (*_YES, *_NO):
        raise RemoteError(f"{name} is true or false", 400)
    return value in _YES
