"""Holds labels back, or single applications of a label. Pure.

A prepared state arrives, with the refusals of the gate and the state before it. The same state leaves, in which refused
labels have their former files, and the keys of refused applications keep the files that they were served from. The
invariant: a key that is held back reads the same files as before, whatever else of its label is published.
"""

from collections.abc import Collection, Mapping, Sequence

import attrs

from ..core.model import Key
from ..gate.finding import Refusal
from ..resolve.listing import Listing, list_keys, with_former
from ..resolve.tree import ParsedFiles, ParsedTree
from .served import ServedState
from .state import State


def is_of(key: Key, applications: Collection[str]) -> bool:
    """Return whether a key belongs to one of these applications. If the key has several names, one of them is enough."""
    return key.application in applications or any(each in applications for each in key.applications)


def without(
    prepared: ServedState, refused: Mapping[str, Refusal], before: ServedState, used: Collection[Key]
) -> ServedState:
    """Return a state without what is refused.

    Args:
        refused: The refusals by label. Those of earlier calls are in `prepared` already.
        before: The served state.
        used: The keys in use.
    """
    whole = {label for label, each in refused.items() if not each.applications}
    former = before.state.labels
    labels = {label: former.get(label) if label in whole else files for label, files in prepared.state.labels.items()}
    kept = {label: files for label, files in labels.items() if files is not None}
    trees = {
        label: before.tree.labels.get(label, files) if label in whole else files
        for label, files in prepared.tree.labels.items()
        if label in kept
    }
    held = {label: keys for label, keys in prepared.state.held.items() if label in kept and label not in whole}
    held |= {label: keys for label, keys in before.state.held.items() if label in kept and label in whole}
    for label, refusal in refused.items():
        if label not in whole:
            held[label] = _held(label, refusal, prepared, before, used)
    # The moment stays the same object, because configurations of other labels refer to it already.
    state = attrs.evolve(prepared.state, labels=kept, held=held)
    tree = attrs.evolve(prepared.tree, labels=trees)
    return ServedState(tree, state, listing_of(state, before.listing, before), prepared.formats)


def _held(
    label: str, refusal: Refusal, prepared: ServedState, before: ServedState, used: Collection[Key]
) -> Mapping[Key, Sequence[ParsedFiles]]:
    """Return the keys that a refusal holds back, with their former layers."""
    known = before.state.held.get(label)
    if known is not None and before.refusals.get(label) is refusal:
        # The same object means that nothing has changed.
        return known
    keys = {*prepared.listing.keys, *before.listing.keys, *used}
    return {
        key: tuple(before.state.layers_in(label, key))
        for key in keys
        if label in key.labels and is_of(key, refusal.applications)
    }


def listing_of(state: State, near: Listing, before: ServedState | None) -> Listing:
    """List the keys of a state. Keys that are held back are listed as in the state before it.

    Args:
        near: A listing of similar files.
    """
    listing = list_keys(ParsedTree(state.labels, state.default_label), near)
    for label, keys in state.held.items():
        if before is not None:
            listing = with_former(listing, before.listing, label, keys.__contains__)
    return listing
