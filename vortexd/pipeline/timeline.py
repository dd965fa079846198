"""Orders the commits of all layers of a key by time, the newest first. Pure.

The commits of each layer arrive, the newest first. A `Timeline` of steps leaves: each step is one commit, in one layer or
in several layers with the same repository. The state *at* a step has that commit, and in each other layer the commit that
was the newest one then.

The invariant: a timeline depends only on the commits of the layers. Each layer keeps its own order, whatever the times of
its commits are. Equal times are ordered as the layers are. The timeline ends where the commits of one layer aren't known
any more.
"""

import re
from collections.abc import Iterator, Sequence

import attrs

from ..core.commits import Commit
from ..core.errors import RemoteError

# The most layers with commits. A cursor has two places for each of them.
MOST_LAYERS = 8
# A position in one layer: the id of a commit, or this text for the state before the first commit.
_BEFORE_ALL = "0"
_POSITION = f"(?:[0-9a-f]{{64}}|[0-9a-f]{{40}}|{_BEFORE_ALL})"
_PLACE = rf"{_POSITION}(?:\.{_POSITION}){{0,{MOST_LAYERS - 1}}}"
# A cursor has the positions in all layers at one step, and at the same step or an older one.
CURSOR = f"{_PLACE}-{_PLACE}"
_CURSOR = re.compile(CURSOR)


@attrs.frozen(slots=True, eq=False)
class LayerCommits:
    """The commits of one layer.

    Attributes:
        root: As `Files.root` of the layer.
        commits: The newest first. There is at least one.
    """

    root: str
    commits: Sequence[Commit]


@attrs.frozen(slots=True, eq=False)
class Step:
    """One commit of a timeline.

    Attributes:
        layers: The numbers of the layers that have this commit here.
    """

    commit: Commit
    layers: tuple[int, ...]


@attrs.frozen(slots=True, eq=False)
class Timeline:
    """The commits of all layers of a key; `timeline_of` makes it.

    Attributes:
        layers: The layers that have commits.
        steps: All steps, the newest first.
    """

    layers: Sequence[LayerCommits]
    steps: Sequence[Step]

    @property
    def is_complete(self) -> bool:
        """Whether the last step is a first commit, so that no older commit is unknown."""
        return self.steps[-1].commit.parent is None

    @property
    def commits(self) -> Sequence[Commit]:
        """The commits of all steps, each once."""
        return list({step.commit.id: step.commit for step in self.steps}.values())

    def number_of(self, commit: str) -> int:
        """Return the number of the newest step with a commit of this timeline."""
        return next(number for number, step in enumerate(self.steps) if step.commit.id == commit)

    def commits_at(self, number: int) -> Sequence[str | None]:
        """Return the commit of each layer at a step. None is the state before the first commit."""
        positions = [0] * len(self.layers)
        for step in self.steps[:number]:
            for layer in step.layers:
                positions[layer] += 1
        return self._ids(positions)

    def cursor(self, since: int, at: int) -> str:
        """Return the text that `places` turns into these two numbers of steps."""
        return f"{_text(self.commits_at(since))}-{_text(self.commits_at(at))}"

    def places(self, cursor: str) -> tuple[int, int]:
        """Return the numbers of the two steps that a cursor names. "" is the beginning.

        Raises:
            RemoteError: It is no cursor, or not one of this timeline.
        """
        if not cursor:
            return 0, 0
        if _CURSOR.fullmatch(cursor) is None:
            raise RemoteError("after must be the value of `next` on the page before")
        since, at = (self._number_at(place) for place in cursor.split("-"))
        if since is None or at is None or since > at:
            raise RemoteError("the label's history has changed; begin again without after", 404)
        return since, at

    def _number_at(self, place: str) -> int | None:
        """Return the number of the step at which the layers have these positions, or None if there is none."""
        names = place.split(".")
        if len(names) != len(self.layers):
            return None
        wanted: list[int] = []
        for name, layer in zip(names, self.layers, strict=True):
            ids = [each.id for each in layer.commits]
            if name != _BEFORE_ALL and name not in ids:
                return None
            wanted.append(len(ids) if name == _BEFORE_ALL else ids.index(name))
        positions = [0] * len(self.layers)
        for number, step in enumerate(self.steps):
            if positions == wanted:
                return number
            for layer_number in step.layers:
                positions[layer_number] += 1
        return None

    def _ids(self, positions: Sequence[int]) -> Sequence[str | None]:
        return [
            layer.commits[position].id if position < len(layer.commits) else None
            for layer, position in zip(self.layers, positions, strict=True)
        ]


def timeline_of(layers: Sequence[LayerCommits]) -> Timeline:
    """Order the commits of some layers. With several layers of 1,000 commits that takes milliseconds."""
    return Timeline(layers, list(_merged(layers)))


def _merged(layers: Sequence[LayerCommits]) -> Iterator[Step]:
    """Yield the newest commit among those that the layers have next."""
    positions = [0] * len(layers)
    heads = [layer.commits[0] for layer in layers]
    # A layer without further commits has the time "", which is older than all others.
    times = [head.origin.time for head in heads]
    while newest := max(times):
        # Of several layers with this time, the first counts.
        first = times.index(newest)
        commit = heads[first]
        together: tuple[int, ...] = (first,)
        if times.count(newest) > 1:
            same = layers[first].root, commit.id
            together = tuple(
                number
                for number, time in enumerate(times)
                if time == newest and (layers[number].root, heads[number].id) == same
            )
        yield Step(commit, together)
        for number in together:
            positions[number] += 1
            commits = layers[number].commits
            if positions[number] < len(commits):
                heads[number] = commits[positions[number]]
                times[number] = heads[number].origin.time
            elif commit.parent is not None:
                return
            else:
                times[number] = ""


def _text(ids: Sequence[str | None]) -> str:
    return ".".join(_BEFORE_ALL if each is None else each for each in ids)
