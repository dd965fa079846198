"""Reads the configuration of one key from a server.

The server sends Spring's `Environment`; the server's own code then makes the nested document from it. Invariant: the document has the version that
the server named, so no value and no type was lost on the way.
"""

import sys
from typing import Any

import attrs

from ..core.errors import VortexdError
from ..core.model import Json, PropertySource
from ..core.text import printable
from ..core.version import encode, version_of
from ..resolve.nest import effective_document
from . import conditions
from .errors import CtlError
from .key import key_path
from .server import Answer, Server


@attrs.frozen
class Configuration:
    """A document and its version.

    Attributes:
        has_files: Whether any file of the server applies to it.
    """

    document: dict[str, Json]
    version: str
    has_files: bool


def read_configuration(server: Server, application: str, profile: str, label: str | None) -> Configuration:
    """Request the configuration of a key, and warn on stderr if it may be old.

    Raises:
        CtlError: See `Server.get`; also, the answer isn't that of a vortexd.
    """
    answer = server.get(key_path(application, profile, label), Accept="application/json")
    version = answer.headers.get("x-vortex-version")
    environment = answer.json()
    try:
        sources = [PropertySource(each["name"], _values(each["source"]), {}) for each in environment["propertySources"]]
        document = effective_document(sources)
        is_same = version_of(encode(document)) == version
    except (VortexdError, KeyError, TypeError, ValueError, AttributeError):
        is_same = False
    if not is_same or version is None:
        raise CtlError(f"{server.url} doesn't answer as a vortexd of this version does; see --server")
    if seconds := answer.headers.get("x-vortex-stale"):
        warn(f"this configuration may be old: the server hasn't been able to read one of its sources for {seconds} s")
    if broken := answer.headers.get("x-vortex-broken"):
        warn(f"this configuration holds old content or lacks a file, because files on the server are broken: {broken}")
    warn_of_conditions(answer)
    if sources:
        warn_of_unknown(answer)
    return Configuration(document, version, bool(sources))


def warn_of_conditions(answer: Answer) -> None:
    """If the server says so, warn on stderr that the configuration is pinned, or that the gate holds back its label."""
    for sentence in conditions.sentences(answer.headers):
        warn(sentence)


def warn_of_unknown(answer: Answer) -> None:
    """If the server says so, warn on stderr that no file is named after an application; its name may be misspelt."""
    if unknown := answer.headers.get("x-vortex-without-files"):
        warn(f"no file is named after {unknown.replace(',', ', ')}; only the files for all applications apply")


def warn(text: str) -> None:
    """Print a warning: this may be intended, but deserves a look."""
    print(f"vortexctl: warning: {printable(text)}", file=sys.stderr)


def _values(source: dict[str, Any]) -> dict[str, Any]:
    if not all(isinstance(each, str | int | float | bool | None) for each in source.values()):
        raise TypeError
    return source
