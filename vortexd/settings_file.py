"""vortexd.toml: TOML text and what the command line says, as one `Settings`.

All problems are found before anything is opened, and raised at once as one SettingsError, each with its key path and what is
allowed. A value never gets into a message, only its type: it may be a secret in the wrong place.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn
from cattrs.gen import override as for_attribute

from .errors import SettingsError
from .remotes import DEFAULT_SCHEMES, parse_remote
from .settings import (
    AnySource,
    AuthSettings,
    EncryptionSettings,
    FormatSettings,
    GitSettings,
    HistorySettings,
    LogSettings,
    MonitorSettings,
    RealtimeSettings,
    Rule,
    ServerSettings,
    Settings,
    SourceSettings,
    TlsSettings,
    parse_address,
)

S = TypeVar("S", AnySource, EncryptionSettings)
MAX_BYTES = 1_048_576
_TWICE = "is there twice; remove one"

_Problem = tuple[str, str]
_SECTIONS: Mapping[str, type] = {
    "server": ServerSettings,
    "tls": TlsSettings,
    "auth": AuthSettings,
    "source": SourceSettings,
    "formats": FormatSettings,
    "history": HistorySettings,
    "realtime": RealtimeSettings,
    "monitor": MonitorSettings,
    "encryption": EncryptionSettings,
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
_ANYTHING: Mapping[object, Rule] = {
    bool: Rule("true or false", lambda value: True),
    int: Rule("a whole number", lambda value: True),
    float: Rule("a number", lambda value: True),
    str: Rule("text", lambda value: True),
}
_IN_WORDS: Sequence[tuple[type, str]] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number with a fraction"),
    (str, "text"),
    (list, "a list"),
    (dict, "a table"),
    (date, "a date"),
    (time, "a time"),
)


def load(text: str, origin: str, base: Path, *, needs_source: bool = True) -> Settings:
    """Make settings of TOML text. Nothing that they name is opened.

    Args:
        origin: The file's name for messages.
        base: Where relative paths start.
        needs_source: Refuse a text without a [[source]]. False where the command line names one.

    Raises:
        SettingsError: With every problem, in the order of the file where that is known.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise SettingsError([("", f"must be at most {MAX_BYTES} bytes long")], origin)
    table = _parse(text, origin)
    problems: list[_Problem] = []
    settings = Settings()
    try:
        settings = _converter().structure(table, Settings)
    except cattrs.BaseValidationError as group:
        problems += _problems(group, "")
    problems += _across(table, needs_source=needs_source)
    if problems:
        raise SettingsError(problems, origin)
    return attrs.evolve(
        settings,
        tls=attrs.evolve(
            settings.tls, certificate=_below(base, settings.tls.certificate), key=_below(base, settings.tls.key)
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


def override(
    settings: Settings, bind: Sequence[str] = (), source: str | None = None, log_format: str | None = None
) -> Settings:
    """Put what the command line says over settings; what is empty or None stays as it is.

    Raises:
        SettingsError: With every problem, each under its option.
    """
    problems: list[_Problem] = []
    if bind:
        problems += [(f"--bind {bind[index]}", problem) for index, problem in _bind_problems(bind)]
        settings = attrs.evolve(settings, server=attrs.evolve(settings.server, bind=tuple(bind)))
    if source is not None:
        problems += _option_problem("--source", source, SourceSettings, "path")
        first = next((each for each in settings.source if isinstance(each, SourceSettings)), SourceSettings())
        settings = attrs.evolve(settings, source=(attrs.evolve(first, path=source),))
    if log_format is not None:
        problems += _option_problem("--log-format", log_format, LogSettings, "format")
        settings = attrs.evolve(settings, log=attrs.evolve(settings.log, format=log_format))
    if problems:
        raise SettingsError(problems, "command line")
    return settings


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise SettingsError([("", "isn't TOML that can be read: it is nested too deeply")], origin) from None
    except ValueError as error:
        # tomllib says "(at line 3, column 7)" behind its reason; a number of thousands of digits is a bare ValueError.
        raise SettingsError([("", f"isn't valid TOML: {error}")], origin) from None


# One field.


def _checked(value: object, field: "attrs.Attribute[Any]", kind: type) -> Any:
    """The value itself, if it is of the kind and its field's rule accepts it; ValueError with the sentence otherwise."""
    rule = field.metadata.get("rule") or _ANYTHING[kind]
    if isinstance(value, str) and value in rule.words:
        return rule.words[value]
    # bool is an int to Python, and `port = true` a mistake to everybody else.
    is_kind = type(value) is kind or (kind is float and type(value) is int)
    if not is_kind:
        raise ValueError(f"must be {rule.allowed}, not {_in_words(value)}")
    if not rule.accepts(value):
        raise ValueError(f"must be {rule.allowed}")
    return float(value) if kind is float else value  # type: ignore[arg-type]  # is_kind has looked


def _in_words(value: object) -> str:
    return next((words for kind, words in _IN_WORDS if isinstance(value, kind)), "something else")


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


def _option_problem(option: str, value: str, section: type, name: str) -> list[_Problem]:
    try:
        _checked(value, getattr(attrs.fields(section), name), str)
    except ValueError as error:
        return [(option, str(error))]
    return []


# The whole, by cattrs.


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    for section in (*_SECTIONS.values(), GitSettings, Settings):
        converter.register_structure_hook(section, _table_hook(converter, section))
    return converter


def _table_hook(converter: cattrs.Converter, section: type[Any]) -> Callable[[object, Any], Any]:
    attributes: dict[str, Any] = {
        field.name: for_attribute(struct_hook=_field_hook(converter, field)) for field in attrs.fields(section)
    }
    structure = make_dict_structure_fn(section, converter, _cattrs_forbid_extra_keys=True, **attributes)

    def hook(value: object, kind: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"must be a table, not {_in_words(value)}")
        return structure(value, kind)

    return hook


def _field_hook(converter: cattrs.Converter, field: "attrs.Attribute[Any]") -> Callable[[object, Any], Any]:
    """How one field is structured: a scalar, a list of text, the tables of an array, or a section."""
    kind = field.type
    if kind in _ANYTHING:
        return lambda value, _: _checked(value, field, kind)  # type: ignore[arg-type]  # a key of _ANYTHING is a type
    if kind == tuple[str, ...]:
        return _list_hook("a list of text", lambda value: _checked(value, field, str))
    if kind == tuple[AnySource, ...]:
        wanted = f"an array of tables, headed [[{field.name}]]"
        return _list_hook(wanted, lambda value: converter.structure(value, _kind_of(value)))
    return converter.structure


def _kind_of(value: object) -> type[AnySource]:
    """The class of a [[source]]. What has no kind, or no known one, is checked as a directory."""
    return GitSettings if isinstance(value, dict) and value.get("kind") == GitSettings().kind else SourceSettings


def _list_hook(wanted: str, structure: Callable[[object], Any]) -> Callable[[object, Any], tuple[Any, ...]]:
    def hook(value: object, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"must be {wanted}, not {_in_words(value)}")
        return _each(value, structure)

    return hook


class _At(ValueError):
    """A problem with one item of a list; carries its index and what was raised for it."""

    def __init__(self, index: int, cause: Exception) -> None:
        self.index = index
        self.cause = cause
        super().__init__(str(cause))


def _each(values: Sequence[object], structure: Callable[[object], Any]) -> tuple[Any, ...]:
    made, failed = [], []
    for index, value in enumerate(values):
        try:
            made.append(structure(value))
        except (ValueError, cattrs.BaseValidationError) as error:
            failed.append(_At(index, error))
    if failed:
        raise ExceptionGroup("items", failed)
    return tuple(made)


def _problems(error: Exception, path: str) -> Iterator[_Problem]:
    """Take cattrs' tree of exceptions apart: each leaf with the path that leads to it."""
    if isinstance(error, cattrs.ClassValidationError):
        for each, note in error.group_exceptions()[0]:
            yield from _problems(each, f"{path}.{note.name}" if path else note.name)
        for each in error.group_exceptions()[1]:
            yield from _problems(each, path)
    elif isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _problems(each, path)
    elif isinstance(error, _At):
        yield from _problems(error.cause, f"{path}[{error.index}]")
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            yield f"{path}.{_key(name)}" if path else _key(name), _unknown(name, error.cl)
    else:
        yield path, str(error)


def _unknown(name: str, section: type) -> str:
    known = [field.name for field in attrs.fields(section)]
    for kind in (SourceSettings, GitSettings):
        if section in (SourceSettings, GitSettings) and kind is not section and name in attrs.fields_dict(kind):
            return f'unknown key here; it is for kind = "{kind().kind}"'
    if close := difflib.get_close_matches(name, known, 1):
        return f"unknown key; did you mean {close[0]}?"
    homes = [title for title, each in _SECTIONS.items() if name in attrs.fields_dict(each)]
    if homes:
        return f"unknown key here; it belongs to [{homes[0]}]"
    return f"unknown key; known are {', '.join(known)}"


def _key(name: str) -> str:
    """A key as one would write it in TOML, on one line and not without end."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) else json.dumps(name[:64])


def _across(table: Mapping[str, Any], *, needs_source: bool) -> Iterator[_Problem]:
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


def _across_source(source: Mapping[str, Any], path: str) -> Iterator[_Problem]:
    if _kind_of(source) is GitSettings:
        yield from ((f"{path}.{name}", problem) for name, problem in _across_git(source))
        return
    if "path" not in source:
        yield f"{path}.path", "must be there: the directory to serve"
    quiet, max_wait = (source.get(name, getattr(SourceSettings(), name)) for name in ("quiet", "max_wait"))
    if type(quiet) in (int, float) and type(max_wait) in (int, float) and quiet > max_wait:
        yield f"{path}.max_wait", "must not be less than quiet"


def _across_git(source: Mapping[str, Any]) -> Iterator[_Problem]:
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
