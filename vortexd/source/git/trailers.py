"""The trailers `Vortexd-Rollout` of commits, also of those that merges have brought. Pure.

git finds the trailers in messages, and prints them in `FORMAT`. Values by commit leave with the `Step`s of a history. Strangers
choose the values, so their number and their length are limited.
"""

from collections.abc import Iterable, Mapping, Sequence

import attrs

from .commits import NO_TRAILERS, TRAILER, Step

# With the name, git also prints a trailer without a value.
FORMAT = f"%(trailers:key={TRAILER},unfold,separator=%x0A)"
# The most values of one label, and the most characters of a value.
MOST_VALUES, MOST_CHARACTERS = 64, 200


def values_of(printed: str) -> tuple[str, ...]:
    """Return the values of a commit, from what git prints for it."""
    values = (line.partition(":")[2] for line in printed.split("\n", MOST_VALUES)[:MOST_VALUES] if line)
    return tuple("".join(filter(str.isprintable, value)).strip()[:MOST_CHARACTERS] for value in values)


def own_trailers(commit: str, printed: str) -> Mapping[str, tuple[str, ...]]:
    """Return the trailers of one commit, as in `Step.trailers`."""
    values = values_of(printed)
    return {commit: values} if values else NO_TRAILERS


def trailers_of(steps: Iterable[Step]) -> Mapping[str, tuple[str, ...]]:
    """Return the trailers of steps, from the newest step on, as in `Files.trailers`."""
    return _limited(item for step in steps for item in step.trailers.items())


def with_merged(steps: Sequence[Step], listed: bytes) -> Sequence[Step]:
    """Return steps with the trailers of the commits that each of them has merged.

    Args:
        steps: Steps that follow each other, the newest first.
        listed: The commits since the oldest step's parent, as `Mirror.merged` prints them.
    """
    parents: dict[str, Sequence[str]] = {}
    values: dict[str, tuple[str, ...]] = {}
    fields = iter(listed.decode("utf-8", "replace").split("\0"))
    for commit, line, printed in zip(fields, fields, fields, strict=False):
        parents[commit] = line.split()
        values |= own_trailers(commit, printed)
    seen = {step.origin.commit for step in steps}
    if values.keys() <= seen:
        return steps
    found = []
    for step in reversed(steps):
        merged = _merged(parents.get(step.origin.commit, ())[1:], parents, seen)
        seen |= merged
        added = {commit: each for commit, each in values.items() if commit in merged}
        found.append(attrs.evolve(step, trailers=_limited({**step.trailers, **added}.items())) if added else step)
    return found[::-1]


def _merged(tips: Sequence[str], parents: Mapping[str, Sequence[str]], seen: Iterable[str]) -> set[str]:
    """Return the listed commits that lead to some tips, except for those that were seen before."""
    found, left = set[str](), [*tips]
    while left:
        commit = left.pop()
        if commit in parents and commit not in seen and commit not in found:
            found.add(commit)
            left += parents[commit]
    return found


def _limited(items: Iterable[tuple[str, tuple[str, ...]]]) -> Mapping[str, tuple[str, ...]]:
    """Return the first trailers, with at most `MOST_VALUES` values."""
    found: dict[str, tuple[str, ...]] = {}
    left = MOST_VALUES
    for commit, values in items:
        if left <= 0:
            break
        found[commit] = values[:left]
        left -= len(found[commit])
    return found or NO_TRAILERS
