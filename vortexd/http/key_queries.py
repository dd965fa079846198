"""Questions about one key below `/api/v1`: which key a path names, in which form the answer is wanted, and whether the client has it already.

In come requests, out go keys that the owner of the request may read, and answers with their validator. The invariant: what a request may have is
asked before anything is read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from ..auth import Right
from ..core import names
from ..core.errors import RemoteError
from ..core.model import Config, Key, Names
from .endpoint import Request, Response, etag_of, is_known

# A misspelt application is served what is for everybody; this says that there is nothing of its own.
WITHOUT_FILES = "X-Vortex-Without-Files"
# /api/v1/<question>
_BEFORE = 3


class Labelled(Protocol):
    """What a question asks of the pipeline first."""

    @property
    def default_label(self) -> str | None:
        """The label of a request that names none; None until the first complete state is served."""
        ...

    async def read(self, key: Key) -> Config:
        """The current configuration of a key."""
        ...

    def names_in(self, label: str) -> Names:
        """The applications and the profiles that have files of their own under a label."""
        ...


def key_of(request: Request, line: Labelled) -> Key:
    """The key of `/api/v1/<question>/{application}/{profiles}[/{label}]`, which the owner of the request may read.

    Raises:
        RemoteError: 400, 401, 403, 404 or 503.
    """
    segments = request.segments[_BEFORE:]
    if len(segments) not in (2, 3) or not all(segments):
        raise RemoteError("there is nothing here", 404)
    application, profile, *label = (names.decode_segment(segment) for segment in segments)
    if line.default_label is None:
        raise RemoteError("starting", 503, {"Retry-After": "1"})
    labels = names.labels(label[0]) if label else line.default_label
    key = Key(names.application(application), names.profile(profile), labels)
    request.owner.authorize(Right.READ, key)
    return key


def without_files(key: Key, names_in: Callable[[str], Names]) -> dict[str, str]:
    """The header that names those applications of a key that no file is named after, under any of its labels; none where there are none.

    Args:
        names_in: As `Labelled.names_in`, of the state that the key was read from.
    """
    known = [names_in(label) for label in key.labels]
    found = [name for name in key.applications if not any(names.has_file_of(name) for names in known)]
    return {WITHOUT_FILES: ",".join(found)} if found else {}


def accepted(request: Request, offered: Sequence[str]) -> str:
    """Which of the media types on offer an Accept header wants most; the first where it doesn't care.

    Raises:
        RemoteError: 406.
    """
    accept = request.headers.get("Accept", "").strip()
    wanted = _parsed(accept, offered).best_match(offered) if accept else offered[0]
    if wanted is None:
        raise RemoteError(f"this comes as {' or '.join(offered)}", 406)
    return wanted


def _parsed(accept: str, offered: Sequence[str]) -> MIMEAccept:
    """An Accept header; a range such as `application/*+json` stands for what is on offer with this suffix, unless that is named itself."""
    parsed = parse_accept_header(accept, MIMEAccept)
    named = {name.lower() for name, _ in parsed}
    values: list[tuple[str, float]] = []
    for name, quality in parsed:
        kind, _, suffix = name.lower().partition("/*+")
        matched = [each for each in offered if each.startswith(f"{kind}/") and each.endswith(f"+{suffix}")]
        values += [(each, quality) for each in matched if each not in named] if suffix else [(name, quality)]
    return MIMEAccept(values)


def validated(request: Request, body: bytes, content_type: str, headers: Mapping[str, str]) -> Response:
    """The answer with a body, or, where the client has that very body, without."""
    etag = etag_of(body)
    headers = {**headers, "ETag": etag, "Cache-Control": "no-cache, private", "Vary": "Accept, Authorization"}
    if is_known(request.headers.get("If-None-Match"), etag):
        return Response(304, content_type=None, headers=headers)
    return Response(body=body, content_type=content_type, headers=headers)
