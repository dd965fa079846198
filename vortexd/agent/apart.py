"""Renders templates in a separate process, with limits on memory and time, because a template may loop without end.

`work` runs in that process: it takes a template and a document, and yields the bytes of a file in pieces. `render_apart` runs in the
agent and blocks.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from ..aio.isolated import Exceeded, Isolated, Unavailable
from ..settings.secure_files import OTHERS_WRITE
from .rendering import RenderError, Scope, render
from .trusted import read_trusted

# The most memory and CPU time that one template may use.
MEMORY_BYTES = 268_435_456
CPU_SECONDS = 10
_PIECE = 65_536


def render_apart(source: Path, scope: Scope, max_bytes: int) -> bytes:
    """Render a template and the templates that it includes. No other user may be able to write them.

    Args:
        max_bytes: The largest allowed output, in bytes.

    Raises:
        RenderError: The template is wrong, uses a key that doesn't exist, or exceeds a limit.
    """
    members = attrs.asdict(scope, recurse=False) | {"config": dict(scope.config), "env": dict(scope.env)}
    made = bytearray()
    try:
        with Isolated(__name__, MEMORY_BYTES, CPU_SECONDS) as process:
            for kind, value in process.ask((str(source), max_bytes, members)):
                if kind == "refused":
                    raise RenderError(value)
                made += value
    except Exceeded as error:
        raise RenderError(f"{source}: rendering it {error}") from None
    except Unavailable as error:
        raise RenderError(f"{source}: can't start a process to render it: {error}") from None
    return bytes(made)


def work(request: Any, _: bytes) -> Iterator[Any]:
    """Render a template; runs in the separate process."""
    source, max_bytes, members = request
    try:
        made = render(Path(source), Scope(**members), max_bytes, _read)
    except RenderError as error:
        yield "refused", str(error)
        return
    for at in range(0, len(made), _PIECE):
        yield "made", made[at : at + _PIECE]


def _read(path: Path) -> str:
    return read_trusted(str(path), OTHERS_WRITE)
