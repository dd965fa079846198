"""Finds the layers of a key, and what the server knows of the past of each.

The layers that serve a key now arrive. The timeline of their commits and versions leaves. A layer without either counts as
it is now.
"""

import enum
from collections.abc import Mapping, Sequence

import attrs
import trio

from ..aio import threads
from ..core.commits import Commit
from ..core.errors import RemoteError
from ..core.model import Files, Key
from .past_keys import Commits, Layers, commit_of
from .timeline import MOST_LAYERS, LayerCommits, Timeline, timeline_of


class Kind(enum.Enum):
    """What the server knows of the past of a layer.

    Attributes:
        COMMITS: The commits of a repository.
        VERSIONS: The versions that this server has published. They have no author and no message.
        NONE: Nothing, so the layer counts as it is now.
    """

    COMMITS = "commits"
    VERSIONS = "versions"
    NONE = "none"


@attrs.frozen(slots=True)
class KnownLayer:
    """A layer that serves a key.

    Attributes:
        source: As `Files.root`.
        count: The number of its commits or versions that the server knows.
    """

    source: str
    label: str
    kind: Kind
    count: int


@attrs.frozen(eq=False)
class KeyLayers:
    """The layers of a key.

    Attributes:
        timeline: The commits of those that have commits.
        numbers: The numbers of these in the timeline, by label and position.
        labels: For each number, the name of its label.
        kinds: For each number, what its commits are.
        known: All layers.
    """

    timeline: Timeline
    numbers: Mapping[tuple[int, int], int]
    labels: Sequence[str]
    kinds: Sequence[Kind]
    known: Sequence[KnownLayer]


async def key_layers(sources: Commits, layers: Layers, key: Key, ordering: trio.CapacityLimiter) -> KeyLayers:
    """Find the commits and versions of each layer.

    Args:
        layers: The layers of each label of the key, as they are now.
        ordering: Limits the threads that order the commits.

    Raises:
        RemoteError: No layer has any, or too many have some.
    """
    found: list[LayerCommits] = []
    numbers: dict[tuple[int, int], int] = {}
    labels: list[str] = []
    kinds: list[Kind] = []
    known: list[KnownLayer] = []
    for label, (name, stack) in enumerate(zip(key.labels, layers, strict=True)):
        for position, layer in enumerate(stack):
            root = layer.files.root
            kind, commits = await _commits_of(sources, layer.files)
            known.append(KnownLayer(root, name, kind, len(commits)))
            if commits:
                numbers[label, position] = len(found)
                labels.append(name)
                kinds.append(kind)
                found.append(LayerCommits(root, commits))
    if not found:
        raise no_history()
    if len(found) > MOST_LAYERS:
        reason = f"a history needs at most {MOST_LAYERS} repositories and labels, and this key has {len(found)}"
        raise RemoteError(reason, 404)
    timeline = await threads.run_sync(timeline_of, found, abandon_on_cancel=True, limiter=ordering)
    return KeyLayers(timeline, numbers, labels, kinds, known)


async def _commits_of(sources: Commits, files: Files) -> tuple[Kind, Sequence[Commit]]:
    commit = commit_of(files)
    if commit is not None:
        kind, found = Kind.COMMITS, sources.commits(files.root, commit)
    else:
        kind, found = Kind.VERSIONS, await sources.versions(files)
    return (kind, found) if found else (Kind.NONE, ())


def no_history() -> RemoteError:
    """Return the error for a key of which nothing is known but its present files."""
    return RemoteError(
        "no history of this key is known; a git source has one, and so has a directory with remember = true if vortexd "
        "has a settings file or a state directory",
        404,
    )
