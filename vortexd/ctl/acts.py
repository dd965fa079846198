"""Requests that change something at a server, and the errors that only such requests have.

Each of them is sent once. Invariant: if the connection breaks after the request was sent, the error says that it isn't known whether the
server has done it, and how to find out.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from ..core.text import printable
from .errors import CtlError
from .server import Answer, Refused, Server, TooSlow, Unreachable

# Seconds for a request for which the server reads or changes a repository, within its own time limits.
LONG_TIMEOUT = 120.0
# The server's own texts: for a path that it doesn't have, and for a token without the right. The import of vortexd.auth takes long.
MISSING = "there is nothing at this path"
NO_RIGHT = "the token doesn't allow this"
ADMIN = "the right admin"
AT_KEY = "the right admin, and the right read for this configuration"
_T = TypeVar("_T")
# The errors of code that reads an answer which isn't as expected.
MISREAD = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


@contextmanager
def endpoint(server: Server, path: str, rights: str = ADMIN) -> Iterator[None]:
    """Explain why a server refuses a path: it has no such path, or the token lacks a right.

    Args:
        rights: The rights that the path needs.

    Raises:
        CtlError: In place of such a refusal. Other errors stay as they are.
    """
    try:
        yield
    except Refused as error:
        if error.code == 404 and error.reason == MISSING:
            raise CtlError(
                f"{server.url} has no {path}: this vortexd is older than this vortexctl, so update it; or see --server"
            ) from None
        if error.code == 403 and error.reason == NO_RIGHT:
            raise Refused(f"{error}: it needs {rights}; see --token-file", 403, error.reason) from None
        raise


@contextmanager
def unknown_outcome(server: Server, act: str, look: str) -> Iterator[None]:
    """If the server may have acted, but gives no proper answer, say so. Say so, too, if Ctrl-C ends the wait for the answer.

    Args:
        act: What isn't known, such as "the pin was put".
        look: The command that shows it.

    Raises:
        CtlError: In place of such an error. Other errors stay as they are.
    """
    unknown = f"It isn't known whether {act}. To find out, run: {look}"
    try:
        yield
    except KeyboardInterrupt:
        print(f"vortexctl: {printable(unknown)}", file=sys.stderr)
        raise
    except Unreachable as error:
        if not error.may_have_acted:
            raise
        why = f"{server.url} didn't answer within {server.timeout:g} s" if isinstance(error, TooSlow) else str(error)
        raise CtlError(f"{why}. {unknown}") from None


def post(
    server: Server,
    path: str,
    value: Mapping[str, Any],
    read: Callable[[Any], _T],
    *,
    act: str,
    look: str,
    rights: str = ADMIN,
    notice: Callable[[Answer], None] | None = None,
) -> _T:
    """Send one POST request, and return what `read` makes of the JSON of the answer, or of None if the answer has no content.

    Args:
        notice: Called with an answer that `read` has understood, for warnings in its headers.

    Raises:
        CtlError: See `Server.post`, `endpoint` and `unknown_outcome`. If `read` doesn't understand the answer, the outcome is unknown, too.
    """
    with endpoint(server, path, rights), unknown_outcome(server, act, look):
        answer = server.post(path, value)
        try:
            found = read(json.loads(answer.body) if answer.body else None)
        except MISREAD:
            raise Unreachable(str(other(server)), may_have_acted=True) from None
    if notice is not None:
        notice(answer)
    return found


def other(server: Server) -> CtlError:
    """Return the error for an answer that no vortexd of this version gives."""
    return CtlError(f"{server.url} doesn't answer as a vortexd of this version does; see --server")
