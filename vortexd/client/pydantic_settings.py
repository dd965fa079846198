"""A source for pydantic-settings: the values of a configuration, beside environment variables and files.

It takes a configuration that a program follows, and returns the values of the fields that it has. It needs pydantic-settings, and no other module
imports it. A settings object is a snapshot: to follow changes, make a new object, or use `config.bound`.
"""

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from .fields import fields_of
from .paths import NotFound, find
from .relaxed import Fitting
from .view import View


class VortexSettingsSource(PydanticBaseSettingsSource):
    """Takes values from a configuration. Return it from `settings_customise_sources`, before the sources that it takes precedence over.

    Names match as in `config.bind`. Keys that aren't fields of the class are left out, because settings classes forbid unknown names.

    Args:
        config: What `watch` returns, on Trio, on asyncio or in threads.
        prefix: The path of the mapping that holds the fields. Default: the whole document.
    """

    def __init__(self, settings_cls: type[BaseSettings], config: View, prefix: str = "") -> None:
        super().__init__(settings_cls)
        try:
            content = find(config.document, prefix) if prefix else config.document
        except NotFound:
            content = {}
        if content in ("", None):
            content = {}
        if not isinstance(content, dict):
            raise ValueError(f"{prefix}: isn't a mapping")
        fitting = Fitting()
        fitted = fitting.fit(settings_cls, content)
        if fitting.problems:
            # pydantic names what it expects there, so it gets the document's own value.
            fitted |= {path[0]: find_own(content, fitting, path[0]) for path, _ in fitting.problems}
        own = {field.key for field in fields_of(settings_cls).values()}
        self._values = {name: value for name, value in fitted.items() if name in own}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the value of a field, and the name by which the class takes it."""
        key = fields_of(self.settings_cls)[field_name].key
        return self._values.get(key), key, False

    def __call__(self) -> dict[str, Any]:
        """Return the values of all fields that the configuration has."""
        return dict(self._values)


def find_own(content: dict[str, Any], fitting: Fitting, name: Any) -> Any:
    """Return the value in the document of a field."""
    return content[str(fitting.document_path((name,))[0])]
