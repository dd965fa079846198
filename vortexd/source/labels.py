"""Which refs of a repository are labels, and which of them are read. Pure.

The invariant: a label is found by its whole name among the branches and tags that may be served, and in no other way. git's own notation for
revisions (`HEAD~1`, `main^{/text}`, `:/text`) never reaches git (ATTACKS G02).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate

from .. import names
from ..errors import InvalidName
from .mirror import Ref

_BRANCH, _TAG = "refs/heads/", "refs/tags/"
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def labels_of(refs: Mapping[str, Ref], patterns: Sequence[str]) -> dict[str, Ref]:
    """The labels that refs make; a branch goes before a tag of the same name. What can't be a label is left out.

    Args:
        patterns: As `GitSettings.labels`.
    """
    allowed = _compiled(patterns)
    labels: dict[str, Ref] = {}
    for name, ref in refs.items():
        label = _short(name)
        if not _is_allowed(name, allowed):
            continue
        if _is_label(label) and (label not in labels or name.startswith(_BRANCH)):
            labels[label] = ref
    return labels


def may_be_served(ref: str, patterns: Sequence[str]) -> bool:
    """Whether a branch or tag, by its full name, could be a label."""
    return ref.startswith((_BRANCH, _TAG)) and _is_allowed(ref, _compiled(patterns))


_Compiled = list[tuple[bool, re.Pattern[str]]]


def _compiled(patterns: Sequence[str]) -> _Compiled:
    return [(pattern.startswith("refs/"), re.compile(translate(pattern))) for pattern in patterns]


def _is_allowed(name: str, allowed: _Compiled) -> bool:
    return any(pattern.match(name if is_whole else _short(name)) for is_whole, pattern in allowed)


def _short(name: str) -> str:
    return name.removeprefix(_BRANCH) if name.startswith(_BRANCH) else name.removeprefix(_TAG)


def default_label(setting: str, labels: Iterable[str]) -> str:
    """The label of a request that names none: what is set, else main, and master where there is no main."""
    if setting:
        return setting
    return "master" if "main" not in labels and "master" in labels else "main"


def first_labels(labels: Mapping[str, Ref], newest: Sequence[str], default: str, count: int) -> list[str]:
    """The labels that are read without being asked for: the default label, then those with the newest commits.

    Args:
        newest: Full names of refs, the newest first.
    """
    by_name = {ref.name: label for label, ref in labels.items()}
    ordered = [default] if default in labels else []
    ordered += [by_name[name] for name in newest if name in by_name and by_name[name] != default]
    return ordered[:count]


def locations_of(search_paths: Sequence[str], label: str) -> tuple[str, ...]:
    """Search paths as `Files.locations` has them: the top first, and each once."""
    locations = [path.replace("{label}", label).strip("/") + "/" for path in search_paths]
    return tuple(dict.fromkeys(["", *("" if each == "/" else each for each in locations)]))


def _is_label(text: str) -> bool:
    try:
        return names.label(text) == text
    except InvalidName:
        return False
