"""vortexd.toml: TOML text and what the command line says, as one `Settings`.

All problems are found before anything is opened, and raised at once as one SettingsError, each with its key path and what is
allowed. A value never gets into a message, only its type: it may be a secret in the wrong place.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs

from ..core.errors import SettingsError
from .remotes import DEFAULT_SCHEMES, parse_remote
from .sections import (
    AnySource,
    AuthSettings,
    ConsoleSettings,
    EncryptionSettings,
    FormatSettings,
    GitSettings,
    HistorySettings,
    HttpSettings,
    LogSettings,
    MonitorSettings,
    RealtimeSettings,
    ServerSettings,
    Settings,
    SourceSettings,
    TlsSettings,
    TracingSettings,
    parse_address,
)
from .toml_schema import Hook, Hooks, Problem, checked, in_words, key_text, list_hook, parse, structure, without

S = TypeVar("S", AnySource, EncryptionSettings)
_TWICE = "is there twice; remove one"
# Of a list in [overrides], as for files.
_INDEX = re.compile(r"\[0*([0-9]+)\]")
_MAX_INDEX = 10_000
# What git takes for an address, too: a colon before any slash.
_HOST_AND_PATH = re.compile(r"[^/:]+:[^:]")

_SECTIONS: Mapping[str, type] = {
    "server": ServerSettings,
    "tls": TlsSettings,
    "auth": AuthSettings,
    "source": SourceSettings,
    "formats": FormatSettings,
    "history": HistorySettings,
    "realtime": RealtimeSettings,
    "monitor": MonitorSettings,
    "console": ConsoleSettings,
    "encryption": EncryptionSettings,
    "http": HttpSettings,
    "tracing": TracingSettings,
    "log": LogSettings,
}
_PATHS = ("path", "password_file", "ssh_key", "known_hosts", "ca_file")
_KEY_PATHS = ("key_file", "key_store", "key_store_password_file")
# What addresses of a git repository have a use for a key.
_USED_BY: Mapping[str, Sequence[str]] = {
    "username": ("http", "https"),
    "password_file": ("http", "https"),
    "ca_file": ("https",),
    "ssh_key": ("ssh",),
    "known_hosts": ("ssh",),
}


def load(text: str, origin: str, base: Path, *, needs_source: bool = True) -> Settings:
    """Make settings of TOML text. Nothing that they name is opened.

    Args:
        origin: The file's name for messages.
        base: Where relative paths start.
        needs_source: Refuse a text without a [[source]]. False where the command line names one.

    Raises:
        SettingsError: With every problem, in the order of the file where that is known.
    """
    settings, problems = examine(text, origin, base, needs_source=needs_source)
    if problems:
        raise SettingsError(problems, origin)
    return settings


def examine(text: str, origin: str, base: Path, *, needs_source: bool = True) -> tuple[Settings, list[Problem]]:
    """As `load`, but what is wrong is returned, beside the settings without it: a key that can't be used is as if it weren't there.

    So the files that the other keys name can be looked at, too.

    Raises:
        SettingsError: The text isn't TOML.
    """
    whole = table = parse(text, origin)
    settings, problems = _structured(table)
    wrong = problems
    # A key that is taken out leaves its default, which may not go with the others: each round takes out one key at least.
    while settings is None:
        table = without(table, [path for path, _ in wrong])
        settings, wrong = _structured(table)
    return _absolute(settings, base), [*problems, *_across(whole, needs_source=needs_source)]


def _structured(table: Mapping[str, Any]) -> tuple[Settings | None, list[Problem]]:
    return structure(table, Settings, (*_SECTIONS.values(), GitSettings), _HOOKS, _home)


def _absolute(settings: Settings, base: Path) -> Settings:
    """Settings with their paths made absolute."""
    return attrs.evolve(
        settings,
        tls=attrs.evolve(
            settings.tls,
            certificate=_below(base, settings.tls.certificate),
            key=_below(base, settings.tls.key),
            client_ca=_below(base, settings.tls.client_ca),
        ),
        monitor=attrs.evolve(settings.monitor, secret=_below(base, settings.monitor.secret)),
        encryption=_rooted(base, settings.encryption, _KEY_PATHS),
        auth=attrs.evolve(
            settings.auth,
            tokens=tuple(_below(base, path) for path in settings.auth.tokens),
            jwt_secret=_below(base, settings.auth.jwt_secret),
            jwks=_below(base, settings.auth.jwks),
        ),
        source=tuple(_rooted(base, source, _PATHS) for source in settings.source),
        server=attrs.evolve(settings.server, state_directory=_below(base, settings.server.state_directory)),
    )


def _rooted(base: Path, section: S, names: Sequence[str]) -> S:
    """A section with those of its paths made absolute that it has."""
    paths: dict[str, Any] = {name: _below(base, getattr(section, name)) for name in names if hasattr(section, name)}
    return attrs.evolve(section, **paths)


def _below(base: Path, path: str) -> str:
    """A path from the file's directory on. "" is none, and a variable at the beginning stands for an absolute path."""
    return path if not path or path.startswith("$") else str(base / path)


def own_files(settings: Settings) -> list[str]:
    """The files and directories that are for vortexd alone, as settings have them, but for those of systemd."""
    found = [
        *settings.auth.tokens,
        settings.auth.jwt_secret,
        settings.auth.jwks,
        settings.tls.certificate,
        settings.tls.key,
        settings.tls.client_ca,
        settings.monitor.secret,
        *(getattr(settings.encryption, name) for name in _KEY_PATHS),
        settings.server.state_directory,
        *(getattr(source, name, "") for source in settings.source for name in _PATHS if name != "path"),
    ]
    return [path for path in found if path and not path.startswith("$")]


def override(
    settings: Settings, bind: Sequence[str] = (), source: str | None = None, log_format: str | None = None
) -> Settings:
    """Put what the command line says over settings; what is empty or None stays as it is.

    Args:
        source: The path of a directory, or the address of a git repository as `is_address` knows it.

    Raises:
        SettingsError: With every problem, each under its option.
    """
    problems: list[Problem] = []
    if bind:
        problems += [(f"--bind {bind[index]}", problem) for index, problem in _bind_problems(bind)]
        settings = attrs.evolve(settings, server=attrs.evolve(settings.server, bind=tuple(bind)))
    if source is not None and is_address(source):
        problems += _option_problem("--source", source, GitSettings, "uri")
        settings = settings if problems else attrs.evolve(settings, source=(_repository(settings, source),))
    elif source is not None:
        problems += _option_problem("--source", source, SourceSettings, "path")
        first = next((each for each in settings.source if isinstance(each, SourceSettings)), SourceSettings())
        settings = attrs.evolve(settings, source=(attrs.evolve(first, path=source),))
    if log_format is not None:
        problems += _option_problem("--log-format", log_format, LogSettings, "format")
        settings = attrs.evolve(settings, log=attrs.evolve(settings.log, format=log_format))
    if problems:
        raise SettingsError(problems, "command line")
    return settings


def is_address(source: str) -> bool:
    """Whether the source of a command line is the address of a git repository, and not a path: `scheme://…` or `[user@]host:path`."""
    return "://" in source or _HOST_AND_PATH.match(source) is not None


def _repository(settings: Settings, uri: str) -> GitSettings:
    """The first repository of the settings with another address. Credentials stay only where the host is the same."""
    first = next((each for each in settings.source if isinstance(each, GitSettings)), GitSettings())
    remote = parse_remote(uri)
    if _site(first.uri) != remote.site:
        first = attrs.evolve(first, username="", password_file="", ssh_key="", known_hosts="", ca_file="")
    # Whoever writes an address on the command line has asked for its scheme.
    return attrs.evolve(first, uri=uri, schemes=tuple(dict.fromkeys((*first.schemes, remote.scheme))))


def _site(uri: str) -> str:
    try:
        return parse_remote(uri).site
    except ValueError:
        return ""


def _bind_problems(addresses: Sequence[str]) -> Iterator[tuple[int, str]]:
    """What is wrong with a list of addresses, each of them and together, with the index of the address."""
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
    """A table of texts, and of tables of texts, with flat keys."""
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


def _flat_hook(converter: cattrs.Converter, field: "attrs.Attribute[Any]") -> Hook:
    return lambda value, _: _flat(value)


def _kind_of(value: object) -> type[AnySource]:
    """The class of a [[source]]. What has no kind, or no known one, is checked as a directory."""
    return GitSettings if isinstance(value, dict) and value.get("kind") == GitSettings().kind else SourceSettings


def _sources_hook(converter: cattrs.Converter, field: "attrs.Attribute[Any]") -> Hook:
    wanted = f"an array of tables, headed [[{field.name}]]"
    return list_hook(wanted, lambda value: converter.structure(value, _kind_of(value)))


_HOOKS: Hooks = {tuple[AnySource, ...]: _sources_hook, Mapping[str, str]: _flat_hook}


def _home(name: str, section: type) -> str | None:
    """Where a key belongs that a section doesn't have."""
    kinds: tuple[type[AnySource], ...] = (SourceSettings, GitSettings)
    for kind in kinds:
        if section in kinds and name in attrs.fields_dict(kind):
            return f'is for kind = "{kind().kind}"'
    homes = [title for title, each in _SECTIONS.items() if name in attrs.fields_dict(each)]
    return f"belongs to [{homes[0]}]" if homes else None


def _across(table: Mapping[str, Any], *, needs_source: bool) -> Iterator[Problem]:
    """What is wrong between keys. It looks at the text's own table, so that one mistake doesn't hide another."""
    sources = table.get("source", [])
    if isinstance(sources, list):
        if not sources and needs_source:
            yield "source", "must be there: add [[source]] with the path of the directory to serve"
        for index, source in enumerate(sources):
            if isinstance(source, dict):
                yield from _across_source(source, f"source[{index}]")
    server = table.get("server", {})
    bind = server.get("bind") if isinstance(server, dict) else None
    if bind == []:
        yield "server.bind", "must name at least one address"
    if isinstance(bind, list) and all(isinstance(address, str) for address in bind):
        yield from ((f"server.bind[{index}]", text) for index, text in _bind_problems(bind) if text == _TWICE)


def _across_source(source: Mapping[str, Any], path: str) -> Iterator[Problem]:
    if _kind_of(source) is GitSettings:
        yield from ((f"{path}.{name}", problem) for name, problem in _across_git(source))
        return
    if "path" not in source:
        yield f"{path}.path", "must be there: the directory to serve"
    quiet, max_wait = (source.get(name, getattr(SourceSettings(), name)) for name in ("quiet", "max_wait"))
    if type(quiet) in (int, float) and type(max_wait) in (int, float) and quiet > max_wait:
        yield f"{path}.max_wait", "must not be less than quiet"


def _across_git(source: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        remote = parse_remote(source["uri"])
    except KeyError:
        yield "uri", "must be there: the address of the repository to serve"
        return
    except (TypeError, ValueError):
        return  # said of the key itself
    schemes = source.get("schemes", DEFAULT_SCHEMES)
    if isinstance(schemes, list | tuple) and remote.scheme not in schemes:
        yield (
            "uri",
            f'must not begin with {remote.scheme}://, which nothing protects, unless schemes has "{remote.scheme}"',
        )
    if remote.password and source.get("password_file"):
        yield "password_file", "must not be there beside a password in uri; keep the file"
    for name, used in _USED_BY.items():
        if source.get(name) and remote.scheme not in used:
            yield name, f"is of no use to {remote.scheme}://; it is for {' and '.join(used)}"
