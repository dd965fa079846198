"""Reads agent.toml: returns `Settings`, or raises all problems at once, as for vortexd.toml. Pure; opens none of the named files."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs

from ..core.errors import SettingsError
from ..settings.log import LogSettings
from ..settings.toml_schema import Hook, Hooks, Problem, list_hook, parse, structure
from .settings import AgentSettings, HookSettings, ServerSettings, Settings, TemplateSettings

_Section = TypeVar("_Section", ServerSettings, AgentSettings, HookSettings, TemplateSettings)
_SECTIONS: Mapping[str, type] = {
    "server": ServerSettings,
    "agent": AgentSettings,
    "hook": HookSettings,
    "template": TemplateSettings,
    "log": LogSettings,
}
_PATHS = ("token_file", "ca_file", "state_directory", "pid_file", "authorization_file", "source", "target")
_ACTIONS = ("reload", "signal", "post")


def load(text: str, origin: str, base: Path) -> Settings:
    """Make settings from TOML text.

    Args:
        origin: The file's name for messages.
        base: The directory where relative paths start.

    Raises:
        SettingsError: All problems, in the order of the file if their positions are known.
    """
    table = parse(text, origin)
    settings, problems = structure(table, Settings, _SECTIONS.values(), _HOOKS, _home)
    problems += _across(table, base)
    if settings is None or problems:
        raise SettingsError(problems, origin)
    return attrs.evolve(
        settings,
        server=_rooted(base, settings.server),
        agent=_rooted(base, settings.agent),
        template=tuple(_rooted(base, each) for each in settings.template),
        hook=tuple(_rooted(base, each) for each in settings.hook),
    )


def _rooted(base: Path, section: _Section) -> _Section:
    paths: dict[str, Any] = {name: _below(base, getattr(section, name)) for name in _PATHS if hasattr(section, name)}
    return attrs.evolve(section, **paths)


def _below(base: Path, path: str) -> str:
    """Resolve a path from the file's directory. "" means none. A path that begins with a variable is absolute and stays as it is."""
    return path if not path or path.startswith("$") else os.path.normpath(base / path)


def _array_hook(kind: type) -> Any:
    def make(converter: cattrs.Converter, field: "attrs.Attribute[Any]") -> Hook:
        return list_hook(f"an array of tables, headed [[{field.name}]]", lambda value: converter.structure(value, kind))

    return make


_HOOKS: Hooks = {
    tuple[TemplateSettings, ...]: _array_hook(TemplateSettings),
    tuple[HookSettings, ...]: _array_hook(HookSettings),
}


def _home(name: str, section: type) -> str | None:
    homes = [title for title, each in _SECTIONS.items() if name in attrs.fields_dict(each)]
    if not homes:
        return None
    return f"belongs to [[{homes[0]}]]" if homes[0] in ("hook", "template") else f"belongs to [{homes[0]}]"


# Problems between keys. These checks read the raw table, so that one mistake doesn't hide another.


def _across(table: Mapping[str, Any], base: Path) -> Iterator[Problem]:
    if not table.get("template") and not table.get("hook"):
        yield "", "must have a [[template]] or a [[hook]]; without one the agent has nothing to do"
    if isinstance(table.get("server"), dict) and table["server"].get("url") == []:
        yield "server.url", "must name at least one address"
    targets: set[str] = set()
    for title in ("template", "hook"):
        entries = table.get(title, [])
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict):
                problems = [
                    *_across_item(entry),
                    *(_across_template(entry) if title == "template" else _across_hook(entry)),
                ]
                if isinstance(target := entry.get("target"), str) and target:
                    if (whole := os.path.normpath(base / target)) in targets:
                        problems.append(("target", "occurs twice; each file may have one template only"))
                    targets.add(whole)
                yield from ((f"{title}[{index}].{name}", text) for name, text in problems)


def _across_item(item: Mapping[str, Any]) -> Iterator[Problem]:
    if not item.get("application"):
        yield "application", "is required: the application whose configuration to follow"
    actions = [name for name in _ACTIONS if item.get(name)]
    if len(actions) > 1:
        yield actions[1], f"can't be combined with {actions[0]}; keep one"
    if item.get("signal") and not item.get("pid_file"):
        yield "pid_file", "is required with signal"
    if item.get("pid_file") and not item.get("signal"):
        yield "pid_file", "has no effect without signal"
    if item.get("authorization_file") and not item.get("post"):
        yield "authorization_file", "has no effect without post"
    for name in ("reload", "check"):
        words = item.get(name)
        if isinstance(words, list) and words and words[0] == "":
            yield f"{name}[0]", "must not be empty; it names the program"
        if item.get("shell") is True and isinstance(words, list) and len(words) > 1:
            yield name, "must be a single text if shell = true"
        if item.get("shell") is True and isinstance(words, list) and "{file}" in str(words[:1]):
            yield f"{name}[0]", 'must not contain {file} in a text for the shell; write "$VORTEXD_FILE"'
    quiet, longest = (item.get(name, getattr(HookSettings(), name)) for name in ("quiet_period", "max_wait"))
    if type(quiet) in (int, float) and type(longest) in (int, float) and quiet > longest:
        yield "max_wait", "must not be less than quiet_period"


def _across_template(template: Mapping[str, Any]) -> Iterator[Problem]:
    if not template.get("source"):
        yield "source", "is required: the template to render"
    if not template.get("target"):
        yield "target", "is required: the file to write"


def _across_hook(hook: Mapping[str, Any]) -> Iterator[Problem]:
    if not any(hook.get(name) for name in _ACTIONS):
        yield "reload", "is required, or signal or post: the action to run"
