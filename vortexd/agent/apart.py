"""Rendering in a process of its own, within bounds of memory and time: a loop in a template may have no end that anybody lives to see.

`work` is the far side: a template and a document in, the bytes of a file out, in pieces. `render_apart` is the near side; it blocks.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from ..aio.isolated import Exceeded, Isolated, Unavailable
from ..settings.secure_files import OTHERS_WRITE
from .rendering import RenderError, Scope, render
from .trusted import read_trusted

# What one template may take.
MEMORY_BYTES = 268_435_456
CPU_SECONDS = 10
_PIECE = 65_536


def render_apart(source: Path, scope: Scope, max_bytes: int) -> bytes:
    """Render a template that nobody else could have written, and those that it includes.

    Args:
        max_bytes: Size of what comes out.

    Raises:
        RenderError: It is wrong, asks for what isn't there, or takes too much memory or time.
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
        raise RenderError(f"{source}: no process can be started to render it: {error}") from None
    return bytes(made)


def work(request: Any, _: bytes) -> Iterator[Any]:
    """Render a template."""
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
