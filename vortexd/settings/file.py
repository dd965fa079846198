"""vortexd.toml: makes one `Settings` of TOML text and the options of the command line.

All problems are found before anything is opened. They are raised at once as one SettingsError, each with its key path
and the allowed values. A message never contains a value, only its type, because the value may be a secret in the wrong
place.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from ..core.constraints import Rule
from ..core.errors import SettingsError
from .cluster import ClusterSettings, cluster_conflicts
from .encryption import EncryptionSettings
from .gate import GateSettings, gate_conflicts
from .log import LogSettings
from .rollout import RolloutSettings, rollout_conflicts
from .root import SECTIONS, TABLES, Settings
from .server import parse_address
from .source import Kinds, SourceSettings, default_kind, first_of
from .toml_schema import (
    Hook,
    Hooks,
    Problem,
    accepted,
    checked,
    in_words,
    key_text,
    list_hook,
    parse,
    structure,
    without,
)

if TYPE_CHECKING:
    import cattrs

S = TypeVar("S", SourceSettings, EncryptionSettings, ClusterSettings)
_TWICE = "is listed twice; remove one"
# The index of a list in [overrides]. The limits are the same as in files.
_INDEX = re.compile(r"\[0*([0-9]+)\]")
_MAX_INDEX = 10_000
_KEY_PATHS = ("key_file", "key_store", "key_store_password_file")


def load(text: str, origin: str, base: Path, kinds: Kinds, *, needs_source: bool = True) -> Settings:
    """Make settings of TOML text. Nothing that they name is opened.

    Args:
        origin: The file's name, for messages.
        base: The directory at which relative paths start.
        kinds: The existing kinds of source.
        needs_source: Whether to refuse a text without a [[source]]. False if the command line names a source.

    Raises:
        SettingsError: The text has problems. They are in the order of the file, as far as that is known.
    """
    settings, problems = examine(text, origin, base, kinds, needs_source=needs_source)
    if problems:
        raise SettingsError(problems, origin)
    return settings


def examine(
    text: str, origin: str, base: Path, kinds: Kinds, *, needs_source: bool = True
) -> tuple[Settings, list[Problem]]:
    """Make settings like `load`, but return the problems together with the settings that are left without them.

    A key that can't be used counts as missing. So the caller can also check the files that the other keys name.

    Raises:
        SettingsError: The text isn't TOML.
    """
    whole = table = parse(text, origin)
    settings, problems = _structured(table, kinds)
    wrong = problems
    # If a key is removed, its default applies. The default may conflict with other keys, so this repeats. Each round
    # removes at least one key.
    while settings is None:
        table = without(table, [path for path, _ in wrong])
        settings, wrong = _structured(table, kinds)
    return _absolute(settings, base), [*problems, *_across(whole, kinds, needs_source=needs_source)]


def _structured(table: Mapping[str, Any], kinds: Kinds) -> tuple[Settings | None, list[Problem]]:
    hooks: Hooks = {
        tuple[SourceSettings, ...]: partial(_sources_hook, kinds),
        tuple[GateSettings, ...]: partial(_tables_hook, GateSettings),
        tuple[RolloutSettings, ...]: partial(_tables_hook, RolloutSettings),
        Mapping[str, str]: _flat_hook,
        **{attrs.fields_dict(kind)["kind"].type: _kind_hook(kinds, name) for name, kind in kinds.items()},
    }
    return structure(
        table, Settings, (*SECTIONS.values(), *TABLES.values(), *kinds.values()), hooks, partial(_home, kinds)
    )


def _absolute(settings: Settings, base: Path) -> Settings:
    """Return settings with absolute paths."""
    return attrs.evolve(
        settings,
        tls=attrs.evolve(
            settings.tls,
            certificate=_below(base, settings.tls.certificate),
            key=_below(base, settings.tls.key),
            client_ca=_below(base, settings.tls.client_ca),
        ),
        monitor=attrs.evolve(settings.monitor, secret=_below(base, settings.monitor.secret)),
        cluster=_rooted(base, settings.cluster, settings.cluster.access_paths),
        encryption=_rooted(base, settings.encryption, _KEY_PATHS),
        auth=attrs.evolve(
            settings.auth,
            tokens=tuple(_below(base, path) for path in settings.auth.tokens),
            jwt_secret=_below(base, settings.auth.jwt_secret),
            jwks=_below(base, settings.auth.jwks),
        ),
        source=tuple(_rooted(base, source, source.path_keys) for source in settings.source),
        gate=tuple(
            attrs.evolve(
                gate,
                schemas=tuple(_below(base, path) for path in gate.schemas),
                command=(*(_program(base, name) for name in gate.command[:1]), *gate.command[1:]),
            )
            for gate in settings.gate
        ),
        server=attrs.evolve(settings.server, state_directory=_below(base, settings.server.state_directory)),
    )


def _rooted(base: Path, section: S, names: Sequence[str]) -> S:
    """Return a section with absolute paths."""
    paths: dict[str, Any] = {name: _below(base, getattr(section, name)) for name in names}
    return attrs.evolve(section, **paths)


def _below(base: Path, path: str) -> str:
    """Return a path below the file's directory.

    An empty path stays empty. A variable at the beginning means an absolute path.
    """
    return path if not path or path.startswith("$") else str(base / path)


def _program(base: Path, name: str) -> str:
    """Return the path of a program below the file's directory. A name without a slash is looked up in PATH instead."""
    return str(base / name) if "/" in name else name


def own_files(settings: Settings) -> list[str]:
    """Return the files and directories of vortexd itself that settings name, except credentials of systemd."""
    found = [
        *settings.auth.tokens,
        settings.auth.jwt_secret,
        settings.auth.jwks,
        settings.tls.certificate,
        settings.tls.key,
        settings.tls.client_ca,
        settings.monitor.secret,
        *(getattr(settings.encryption, name) for name in _KEY_PATHS),
        *(getattr(settings.cluster, name) for name in settings.cluster.access_paths),
        settings.server.state_directory,
        *(getattr(source, name) for source in settings.source for name in source.private_keys),
    ]
    return [path for path in found if path and not path.startswith("$")]


def override(
    settings: Settings,
    kinds: Kinds,
    bind: Sequence[str] = (),
    source: str | None = None,
    log_format: str | None = None,
) -> Settings:
    """Replace settings by those of the command line. If an option is empty or None, its setting stays.

    Args:
        kinds: The existing kinds of source.
        source: A location of the first kind that accepts it, or else of the default kind.

    Raises:
        SettingsError: Options have problems. The error lists each under its option.
    """
    problems: list[Problem] = []
    if bind:
        problems += [(f"--bind {bind[index]}", problem) for index, problem in _bind_problems(bind)]
        settings = attrs.evolve(settings, server=attrs.evolve(settings.server, bind=tuple(bind)))
    if source is not None:
        kind = next((each for each in kinds.values() if each.takes(source)), default_kind(kinds))
        if wrong := _option_problem("--source", source, kind, kind.location_key):
            problems += wrong
        else:
            settings = attrs.evolve(settings, source=(first_of(settings.source, kind).at(source),))
    if log_format is not None:
        problems += _option_problem("--log-format", log_format, LogSettings, "format")
        settings = attrs.evolve(settings, log=attrs.evolve(settings.log, format=log_format))
    if problems:
        raise SettingsError(problems, "command line")
    return settings


def _bind_problems(addresses: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the problems of a list of addresses, with the index of the address. They concern one address or several."""
    seen = set()
    for index, text in enumerate(addresses):
        try:
            address = parse_address(text)
        except ValueError as error:
            yield index, str(error)
            continue
        if address in seen and (address.port or address.path):
            yield index, _TWICE
        seen.add(address)


def _option_problem(option: str, value: str, section: type, name: str) -> list[Problem]:
    try:
        checked(value, getattr(attrs.fields(section), name), str)
    except ValueError as error:
        return [(option, str(error))]
    return []


def _flat(table: object) -> Mapping[str, str]:
    """Flatten a table of texts and of such tables: `a = {b = "c"}` becomes `"a.b" = "c"`."""
    if not isinstance(table, dict):
        raise ValueError(f"must be a table, not {in_words(table)}")
    flat: dict[str, str] = {}
    problems: list[Problem] = []
    _flatten(table, "", flat, problems)
    if problems:
        raise ValueError("; ".join(f"{key_text(name)} {problem}" for name, problem in problems))
    return flat


def _flatten(table: Mapping[str, object], prefix: str, flat: dict[str, str], problems: list[Problem]) -> None:
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict):
            _flatten(value, name + ".", flat, problems)
        elif not isinstance(value, str):
            problems.append((name, "must be text; put its value in quotes"))
        elif any(len(index) > 5 or int(index) > _MAX_INDEX for index in _INDEX.findall(name)):
            problems.append((name, f"must have no index above {_MAX_INDEX}"))
        else:
            flat[name] = value


def _flat_hook(converter: "cattrs.Converter", field: "attrs.Attribute[Any]") -> Hook:
    return lambda value, _: _flat(value)


def _kind_of(value: object, kinds: Kinds) -> type[SourceSettings]:
    """Return the class of a [[source]]. If the table has no known kind, it is checked as the default kind."""
    name = value.get("kind") if isinstance(value, dict) else None
    return kinds.get(name, default_kind(kinds)) if isinstance(name, str) else default_kind(kinds)


def _sources_hook(kinds: Kinds, converter: "cattrs.Converter", field: "attrs.Attribute[Any]") -> Hook:
    wanted = f"an array of tables, headed [[{field.name}]]"
    return list_hook(wanted, lambda value: converter.structure(value, _kind_of(value, kinds)))


def _tables_hook(kind: type, converter: "cattrs.Converter", field: "attrs.Attribute[Any]") -> Hook:
    wanted = f"an array of tables, headed [[{field.name}]]"
    return list_hook(wanted, lambda value: converter.structure(value, kind))


def _kind_hook(kinds: Kinds, own: str) -> Callable[["cattrs.Converter", "attrs.Attribute[Any]"], Hook]:
    """Make the function that checks the name of a kind. If the name is wrong, the message lists all kinds."""
    rule = Rule(" or ".join(f'"{name}"' for name in kinds), lambda value: value == own)
    return lambda converter, field: lambda value, _: accepted(value, rule, str)


def _home(kinds: Kinds, name: str, section: type) -> str | None:
    """Return where a key belongs if a section doesn't have it."""
    if section in kinds.values():
        for title, kind in kinds.items():
            if name in attrs.fields_dict(kind):
                return f'is for kind = "{title}"'
    homes = [title for title, each in {**SECTIONS, **TABLES}.items() if name in attrs.fields_dict(each)]
    if name in attrs.fields_dict(default_kind(kinds)):
        homes.append("source")
    return f"belongs to [{homes[0]}]" if homes else None


def _across(table: Mapping[str, Any], kinds: Kinds, *, needs_source: bool) -> Iterator[Problem]:
    """Yield the conflicts between keys. This reads the original table, so that one mistake doesn't hide another."""
    sources = table.get("source", [])
    if isinstance(sources, list):
        if not sources and needs_source:
            yield "source", "is missing; add [[source]] with the path of the directory to serve"
        for index, source in enumerate(sources):
            if isinstance(source, dict):
                conflicts = _kind_of(source, kinds).conflicts(source)
                yield from ((f"source[{index}].{name}", problem) for name, problem in conflicts)
    for title, conflicts_of in (("gate", gate_conflicts), ("rollout", rollout_conflicts)):
        several = table.get(title, [])
        for index, each in enumerate(several if isinstance(several, list) else []):
            if isinstance(each, dict):
                yield from ((f"{title}[{index}].{name}", problem) for name, problem in conflicts_of(each))
    cluster = table.get("cluster", {})
    if isinstance(cluster, dict):
        yield from ((f"cluster.{name}", problem) for name, problem in cluster_conflicts(cluster))
        tables = [each for each in sources if isinstance(each, dict)] if isinstance(sources, list) else []
        if cluster.get("publish") is True and any(_kind_of(each, kinds).reads_published for each in tables):
            yield "cluster.publish", "must be false at a node that serves a published state; it would publish it again"
    server = table.get("server", {})
    bind = server.get("bind") if isinstance(server, dict) else None
    if bind == []:
        yield "server.bind", "must name at least one address"
    if isinstance(bind, list) and all(isinstance(address, str) for address in bind):
        yield from ((f"server.bind[{index}]", text) for index, text in _bind_problems(bind) if text == _TWICE)
