"""What a path and a query ask for: Spring's routes.

In come the path and the query as they were sent; out goes what is wanted, decoded once and validated by the gate of names, or nothing
where no route is meant. Paths are taken apart before they are decoded: `%2F` is part of a name.
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
    """In which form a configuration is wanted, or that a plain file is; the value is the route's template, for the metrics."""

    ENVIRONMENT = "/{application}/{profiles}"
    PROPERTIES = "/{application}-{profiles}.properties"
    YAML = "/{application}-{profiles}.yml"
    JSON = "/{application}-{profiles}.json"
    FILE = "/{application}/{profile}/{label}/{path}"


@attrs.frozen(slots=True)
class ConfigRequest:
    """What is asked for.

    Attributes:
        label: None where none is named.
        path: Of a plain file; else "".
        resolves: Whether placeholders are to be resolved.
        escapes: Whether `.properties` is to be written so that it can be read back.
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


# Spring's own expression for what can't be profiles in a path.
_LOOKS_SUFFIXED = re.compile(r".*\b\.(?:ya?ml|properties|json)\b", re.DOTALL)
_FORMS = {"properties": Form.PROPERTIES, "yml": Form.YAML, "yaml": Form.YAML, "json": Form.JSON}
_YES, _NO = ("true", "on", "yes", "1"), ("false", "off", "no", "0")
_DEFAULT_LABEL = "useDefaultLabel"


def parse_path(path: str, query: str = "") -> ConfigRequest | None:
    """Take a request apart; None where the path is no route of Spring's.

    Raises:
        RemoteError: 400: one of the names can't be one, or a parameter isn't true or false.
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
    # The last one counts: `foo-bar-dev.yml` is the application `foo-bar`.
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
    # With the parameter there is no label, however deep the path.
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
