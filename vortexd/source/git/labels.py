"""Decides which refs of a repository are labels, and which labels are read. Pure.

The invariant: a label is found only by its whole name among the branches and tags that may be served. git's own
notation for revisions (`HEAD~1`, `main^{/text}`, `:/text`) never reaches git (ATTACKS G02).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate

from ...core import names
from ...core.errors import InvalidName
from .refs import BRANCH, TAG, Ref

_ANYTHING = re.compile(r"\{\w+\}|\*")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def labels_of(refs: Mapping[str, Ref], patterns: Sequence[str]) -> tuple[dict[str, Ref], list[str]]:
    """Return the labels of a repository, and the refs that are left out because their names can't be labels.

    A branch takes precedence over a tag of the same name.

    Args:
        patterns: The patterns, as in `GitSettings.labels`.
    """
    allowed = _compiled(patterns)
    labels: dict[str, Ref] = {}
    left_out = []
    for name, ref in refs.items():
        if not _is_allowed(name, allowed):
            continue
        label = short(name)
        if not _is_label(label):
            left_out.append(name)
        elif label not in labels or name.startswith(BRANCH):
            labels[label] = ref
    return labels, left_out


def may_be_served(ref: str, patterns: Sequence[str]) -> bool:
    """Return whether a branch or tag, by its full name, could be a label."""
    return ref.startswith((BRANCH, TAG)) and _is_allowed(ref, _compiled(patterns))


_Compiled = list[tuple[bool, re.Pattern[str]]]


def _compiled(patterns: Sequence[str]) -> _Compiled:
    return [(pattern.startswith("refs/"), re.compile(translate(pattern))) for pattern in patterns]


def _is_allowed(name: str, allowed: _Compiled) -> bool:
    return any(pattern.match(name if is_whole else short(name)) for is_whole, pattern in allowed)


def short(name: str) -> str:
    """Return the name of a branch or tag without its prefix."""
    return name.removeprefix(BRANCH) if name.startswith(BRANCH) else name.removeprefix(TAG)


def default_label(setting: str, head: str, labels: Mapping[str, Ref]) -> str:
    """Return the label for requests that name none.

    It is the label in the settings, else the branch of the remote's HEAD, else main. If there is no main, it is master.

    Args:
        head: The full name of that branch. The branch may not exist or may not be served.
    """
    if setting:
        return setting
    label = short(head)
    if label in labels and labels[label].name == head:
        return label
    return "master" if "main" not in labels and "master" in labels else "main"


def obstructed(locations: Iterable[str], submodules: Iterable[str]) -> list[tuple[str, str]]:
    """Return the locations that lead into a submodule, each with the submodule.

    Args:
        locations: The locations, as in `Files.locations`.
    """
    ways = [(location, [_name(part) for part in location.split("/")[:-1]]) for location in locations]
    return [(location, path) for path in submodules for location, parts in ways if _leads_into(parts, path.split("/"))]


def _leads_into(parts: Sequence[re.Pattern[str]], submodule: Sequence[str]) -> bool:
    return len(parts) >= len(submodule) and all(
        part.fullmatch(name) for part, name in zip(parts, submodule, strict=False)
    )


def _name(part: str) -> re.Pattern[str]:
    """Make a pattern of one name of a location. `*` and placeholders match anything."""
    return re.compile(".*".join(map(re.escape, _ANYTHING.split(part))))


def first_labels(labels: Mapping[str, Ref], newest: Sequence[str], default: str, count: int) -> list[str]:
    """Return the labels that are read even if no client asks for them.

    These are the default label and then those with the newest commits.

    Args:
        newest: The full names of refs, the newest first.
    """
    by_name = {ref.name: label for label, ref in labels.items()}
    ordered = [default] if default in labels else []
    ordered += [by_name[name] for name in newest if name in by_name and by_name[name] != default]
    return ordered[:count]


def locations_of(search_paths: Sequence[str], label: str) -> tuple[str, ...]:
    """Return search paths as `Files.locations`: the top first, and each location once."""
    locations = [path.replace("{label}", label).strip("/") + "/" for path in search_paths]
    return tuple(dict.fromkeys(["", *("" if each == "/" else each for each in locations)]))


def _is_label(text: str) -> bool:
    try:
        return names.label(text) == text
    except InvalidName:
        return False
