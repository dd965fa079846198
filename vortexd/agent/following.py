"""Follows a configuration through the client, with the address and token that the settings name.

Every error of the client becomes an `AgentError`, so that the rest of the agent handles only that one.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from .. import client
from ..core.errors import SettingsError
from ..settings.secure_files import OTHERS_READ_OR_WRITE
from .item import Subject
from .loop import AgentError, Watch, Watched
from .record import digest_of
from .trusted import read_trusted


@attrs.frozen
class Origin:
    """The server that configurations come from, and how to reach it.

    Attributes:
        token: Called before each attempt to connect.
        instance: The name under which the server lists this agent. None is host:pid; an agent with "" isn't counted.
        ca_file: The authorities that sign the server's certificate. None: the system's.
        last_known_good: Returns the file that keeps a configuration for a start while no server can be reached. None: keep none.
    """

    urls: tuple[str, ...]
    token: Callable[[], str | None]
    instance: str | None = None
    ca_file: str | None = None
    last_known_good: Callable[[Subject], Path] | None = None


def watch_of(origin: Origin, start_timeout: float | None = None) -> Watch:
    """Make the function that follows configurations of this origin.

    Args:
        start_timeout: Seconds within which the first state must arrive. None: no limit.
    """

    @asynccontextmanager
    async def watch(subject: Subject) -> AsyncIterator[Watched]:
        with _explained(subject):
            watching = client.watch(
                origin.urls,
                subject.application,
                subject.profile,
                subject.label or None,
                token=origin.token,
                instance=origin.instance,
                start_timeout=start_timeout,
                ca_file=origin.ca_file,
                last_known_good=origin.last_known_good(subject) if origin.last_known_good else None,
            )
            config = await watching.__aenter__()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_exit(watching)
            yield config

    return watch


def kept_in(directory: Path) -> Callable[[Subject], Path]:
    """Make the function that names the file in a directory for each configuration."""
    return lambda subject: directory / f"{digest_of(str(subject).encode())[:32]}.configuration"


def token_of(file: str) -> Callable[[], str | None]:
    """Make the function that reads a token file, so that a renewed token is used. If the file is unusable, it returns the last token."""
    last = read_trusted(file, OTHERS_READ_OR_WRITE).strip() if file else None

    def token() -> str | None:
        nonlocal last
        if file:
            with contextlib.suppress(SettingsError):
                last = read_trusted(file, OTHERS_READ_OR_WRITE).strip()
        return last

    return token


@contextlib.contextmanager
def _explained(subject: Subject) -> Iterator[None]:
    try:
        yield
    except (client.WatchFailed, ValueError, OSError) as error:
        raise AgentError(f"{subject}: {error}") from None
