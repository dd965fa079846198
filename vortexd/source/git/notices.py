"""Logs facts about one git source, each fact once: the current facts arrive, and a line leaves for the new facts.

A line names a few items and counts the others, because a repository may have thousands.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import structlog

from .refs import shown

log = structlog.get_logger()

_NAMED = 10


class Notices:
    """Logs facts once; see the module.

    Args:
        source: The name of the source.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._said: dict[str, frozenset[tuple[str, ...]]] = {}
        self._left_out: Sequence[str] = ()

    def left_out(self, names: Sequence[str]) -> None:
        """Log branches and tags whose names can't be labels."""
        if names == self._left_out:
            return  # there may be a hundred thousand names
        self._left_out = names
        new = self._new("left out", ((shown(name),) for name in names))
        if new:
            log.warning(
                "labels left out",
                source=self._source,
                labels=[name for (name,) in new[:_NAMED]],
                more=len(new[_NAMED:]),
                reason="a label has at most 128 letters, digits, dots, hyphens, underscores, slashes, + and @, and no "
                "part of it begins or ends with a dot",
            )

    def not_followed(self, links: Iterable[Mapping[str, str]]) -> None:
        """Log symbolic links that lead to no file, with the reasons, for each label."""
        new = self._new("not followed", ((path, why) for each in links for path, why in each.items()))
        if new:
            log.warning(
                "links not followed",
                source=self._source,
                links=[f"{path}: {why}" for path, why in new[:_NAMED]],
                more=len(new[_NAMED:]),
                consequence="they count as missing",
            )

    def obstructed(self, found: Iterable[tuple[str, str]]) -> None:
        """Log search paths, each with the submodule that it leads into."""
        for location, submodule in self._new("obstructed", found)[:_NAMED]:
            log.warning(
                "search path leads into a submodule",
                source=self._source,
                search_path=location,
                submodule=submodule,
                consequence="nothing below it is served",
                remedy="name the submodule's repository as a source of its own",
            )

    def refused(self, refs: Mapping[str, str], kept: Iterable[str]) -> list[str]:
        """Log branches and tags of the remote that git refuses, with the reasons.

        Return a sentence for each that is new.

        Args:
            kept: The refs that the mirror has in a former state.
        """
        held = frozenset(kept)
        new = self._new("refused", refs.items())
        for name, why in new[:_NAMED]:
            consequence = "it stays as it was" if name in held else "it isn't served"
            log.warning("label skipped", source=self._source, label=shown(name), reason=why, consequence=consequence)
        if len(new) > _NAMED:
            log.warning("labels skipped", source=self._source, more=len(new) - _NAMED)
        return [f"{shown(name)} can't be fetched: {why}" for name, why in new]

    def default_label(self, label: str, is_set: bool, labels: Collection[str]) -> str:
        """Log the label for requests that name none.

        If it is new and there is no such label, return the problem, else "".

        Args:
            is_set: Whether the settings name it.
        """
        if not self._new("default label", [(label, str(label in labels))]):
            return ""
        if label in labels:
            because = "default_label is set" if is_set else "default_label isn't set, so the remote's HEAD decides"
            log.info("default label", source=self._source, label=label, reason=because)
            return ""
        known = sorted(labels)
        there_are = ", ".join(known[:_NAMED]) + (f" and {len(known) - _NAMED} more" if len(known) > _NAMED else "")
        remedy = f"set default_label to an existing branch or tag: {there_are}"
        log.warning(
            "no default label",
            source=self._source,
            label=label,
            consequence="requests without a label are answered 404",
            remedy=remedy,
        )
        return f"there is no branch or tag {label} for requests without a label; {remedy}"

    def _new(self, kind: str, found: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Return the facts that weren't true at the last call."""
        now = frozenset(found)
        before, self._said[kind] = self._said.get(kind, frozenset()), now
        return sorted(now - before)
