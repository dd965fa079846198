"""The configuration of one key, as a server has it.

In comes Spring's `Environment`; out goes the nested document, made by the same code as the server's. The invariant: it has the version that the
server names, so no value and no type was lost on the way.
"""

import sys
from typing import Any

import attrs

from ..core.errors import VortexdError
from ..core.model import Json, PropertySource
from ..core.text import printable
from ..core.version import encode, version_of
from ..resolve.nest import effective_document
from .errors import CtlError
from .key import key_path
from .server import Answer, Server


@attrs.frozen
class Configuration:
    """A document and its version.

    Attributes:
        has_files: Whether any file is for it.
    """

    document: dict[str, Json]
    version: str
    has_files: bool


def read_configuration(server: Server, application: str, profile: str, label: str | None) -> Configuration:
    """Ask for the configuration of a key, and say on stderr where it is an old one.

    Raises:
        CtlError: As `Server.get`, or what comes isn't what a vortexd says.
    """
    answer = server.get(key_path(application, profile, label), Accept="application/json")
    version = answer.headers.get("x-vortex-version")
    said = answer.json()
    try:
        sources = [PropertySource(each["name"], _values(each["source"]), {}) for each in said["propertySources"]]
        document = effective_document(sources)
        is_same = version_of(encode(document)) == version
    except (VortexdError, KeyError, TypeError, ValueError, AttributeError):
        is_same = False
    if not is_same or version is None:
        raise CtlError(f"{server.url} answers what no vortexd of this vortexctl's version says; see --server")
    if seconds := answer.headers.get("x-vortex-stale"):
        warn(f"this may be old: the server hasn't been able to read one of its sources for {seconds} s")
    if broken := answer.headers.get("x-vortex-broken"):
        warn(f"this holds old content, or lacks a file: broken on the server: {broken}")
    if sources:
        warn_of_unknown(answer)
    return Configuration(document, version, bool(sources))


def warn_of_unknown(answer: Answer) -> None:
    """Say on stderr that no file is named after an application, which may be misspelt, if the server says so."""
    if unknown := answer.headers.get("x-vortex-without-files"):
        warn(f"no file is named after {unknown.replace(',', ', ')}, so it gets only what is for every application")


def warn(text: str) -> None:
    """Say what needn't be wrong, but is worth a look."""
    print(f"vortexctl: warning: {printable(text)}", file=sys.stderr)


def _values(source: dict[str, Any]) -> dict[str, Any]:
    if not all(isinstance(each, str | int | float | bool | None) for each in source.values()):
        raise TypeError
    return source
