"""Runs vortexd and measures each stage. For each publication, it prints a line of JSON with the milliseconds.

python -m tests.bench.git_server --config FILE
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from vortexd.cli.main import main
from vortexd.pipeline import publisher
from vortexd.pipeline.broadcast import Broadcaster
from vortexd.pipeline.publisher import Publisher
from vortexd.source.git.mirror import Mirror
from vortexd.source.git.reader import MirrorReader

spent: Counter[str] = Counter()


def timed(owner: Any, name: str, stage: str) -> None:
    """Add up the time that a function takes."""
    function: Callable[..., Any] = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            spent[stage] += 1_000 * (time.perf_counter() - began)  # type: ignore[assignment]  # a Counter adds floats as well

    setattr(owner, name, wrapped)


def timed_async(owner: Any, name: str, stage: str, inner: str | None = None) -> None:
    """As `timed`, but without the time of the stage inside."""
    function: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def wrapped(*arguments: Any, **named: Any) -> Any:
        began, before = time.perf_counter(), spent[inner] if inner else 0
        try:
            return await function(*arguments, **named)
        finally:
            within = spent[inner] - before if inner else 0
            spent[stage] += 1_000 * (time.perf_counter() - began) - within  # type: ignore[assignment]  # a Counter adds floats as well
            if stage == "read":
                print(json.dumps({"spent": spent}), flush=True)
                spent.clear()

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    timed_async(Mirror, "fetch", "fetch")
    timed_async(Publisher, "publish", "publish")
    timed_async(MirrorReader, "read", "read", "publish")
    for name, stage in (
        ("parse_all", "parse"),
        ("list_keys", "list"),
        ("alterations", "compare"),
        ("stage", "resolve"),
    ):
        timed(publisher, name, stage)
    timed(Broadcaster, "publish", "broadcast")
    sys.exit(main())
