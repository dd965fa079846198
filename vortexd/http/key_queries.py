"""Parses requests about one key below `/api/v1`, and makes their responses.

It finds the key in the path, chooses the media type, and checks whether the client has the response already. The owner of
the request must have the right to read the key. This is checked before anything is read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ..auth import Right
from ..core import names
from ..core.errors import RemoteError
from ..core.model import Config, Key, Names
from ..core.text import rfc3339
from ..gate.finding import Refusal, refused_headers
from .endpoint import Request, Response, etag_of, is_known

if TYPE_CHECKING:
    from werkzeug.datastructures import MIMEAccept

    from ..core.term import Term

# A misspelt application gets the configuration that all applications share. This header shows that it has no own files.
WITHOUT_FILES = "X-Vortex-Without-Files"
# The key is pinned, and until when.
PINNED = "Vortexd-Pinned"
# The number of segments before the key: /api/v1/<question>
_BEFORE = 3


class HasDefault(Protocol):
    """Knows the default label."""

    @property
    def default_label(self) -> str | None:
        """The label of a request that names none; None until the first complete state is served."""
        ...


class Labelled(HasDefault, Protocol):
    """The part of the pipeline that every request about a key needs."""

    async def read(self, key: Key) -> Config:
        """The current configuration of a key."""
        ...

    def names_in(self, label: str) -> Names:
        """The applications and the profiles that have files of their own under a label."""
        ...

    def refusals_for(self, key: Key) -> Sequence[Refusal]:
        """The labels of the key that the gate holds back."""
        ...

    def term(self, key: Key) -> "Term | None":
        """The term of the pin that serves a key, or None if none does."""
        ...


def key_of(request: Request, line: HasDefault, right: Right | None = Right.READ) -> Key:
    """Parse the key of `/api/v1/<question>/{application}/{profiles}[/{label}]`, and check that the owner may read it.

    Args:
        right: The right that the owner needs for the key, or None.

    Raises:
        RemoteError: 400, 401, 403, 404 or 503.
    """
    segments = request.segments[_BEFORE:]
    if len(segments) not in (2, 3) or not all(segments):
        raise RemoteError("there is nothing at this path", 404)
    application, profile, *label = (names.decode_segment(segment) for segment in segments)
    if line.default_label is None:
        raise RemoteError("starting", 503, {"Retry-After": "1"})
    labels = names.labels(label[0]) if label else line.default_label
    key = Key(names.application(application), names.profile(profile), labels)
    if right is not None:
        request.owner.authorize(right, key)
    return key


def without_files(key: Key, names_in: Callable[[str], Names]) -> dict[str, str]:
    """Make the header that names the applications of a key without own files under any of its labels.

    If each application has own files, there is no header.

    Args:
        names_in: As `Labelled.names_in`, for the state that the key was read from.
    """
    known = [names_in(label) for label in key.labels]
    found = [name for name in key.applications if not any(names.has_file_of(name) for names in known)]
    return {WITHOUT_FILES: ",".join(found)} if found else {}


def pinned_headers(term: "Term | None") -> dict[str, str]:
    """Make the header of a key that is pinned. If it isn't, there is no header."""
    if term is None:
        return {}
    return {PINNED: "true" if term.until is None else f"until={rfc3339(term.until, 'seconds')}"}


def condition_headers(key: Key, line: Labelled) -> dict[str, str]:
    """Make the headers of a key that may not follow its source: the gate holds back a label, or the key is pinned."""
    return refused_headers(line.refusals_for(key)) | pinned_headers(line.term(key))


def accepted(request: Request, offered: Sequence[str]) -> str:
    """Choose the media type that the Accept header prefers. If it has no preference, choose the first one.

    Raises:
        RemoteError: The client accepts none of the offered media types (406).
    """
    accept = request.headers.get("Accept", "").strip()
    wanted = _parsed(accept, offered).best_match(offered) if accept else offered[0]
    if wanted is None:
        raise RemoteError(f"this is available only as {' or '.join(offered)}", 406)
    return wanted


def _parsed(accept: str, offered: Sequence[str]) -> "MIMEAccept":
    """Parse an Accept header.

    A range such as `application/*+json` is replaced with the offered types that have this suffix. If the header also names
    such a type itself, that entry counts instead.
    """
    # werkzeug imports a web server and a client for tests, which a start doesn't wait for.
    from werkzeug.datastructures import MIMEAccept
    from werkzeug.http import parse_accept_header

    parsed = parse_accept_header(accept, MIMEAccept)
    named = {name.lower() for name, _ in parsed}
    values: list[tuple[str, float]] = []
    for name, quality in parsed:
        kind, _, suffix = name.lower().partition("/*+")
        matched = [each for each in offered if each.startswith(f"{kind}/") and each.endswith(f"+{suffix}")]
        values += [(each, quality) for each in matched if each not in named] if suffix else [(name, quality)]
    return MIMEAccept(values)


def validated(request: Request, body: bytes, content_type: str, headers: Mapping[str, str]) -> Response:
    """Make the response with the body. If the client has the same body already, make a 304 without it."""
    etag = etag_of(body)
    headers = {**headers, "ETag": etag, "Cache-Control": "no-cache, private", "Vary": "Accept, Authorization"}
    if is_known(request.headers.get("If-None-Match"), etag):
        return Response(304, content_type=None, headers=headers)
    return Response(body=body, content_type=content_type, headers=headers)
