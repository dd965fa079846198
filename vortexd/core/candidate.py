"""The key of a candidate: a second configuration of the same key, for the instances that a roll-out has reached. Pure.

A key and its candidate have the same names, the same text and the same messages on the wire, but they aren't equal. So the
store, the registry and the parking lot treat them as two keys. Patterns never match a candidate.
"""

import attrs

from .model import Config, Key


@attrs.frozen(slots=True, order=True, cache_hash=True)
class CandidateKey(Key):
    """Names the candidate of a key; see the module."""

    def __str__(self) -> str:
        return f"{self.application}:{self.profile}:{self.label}"


@attrs.frozen(slots=True, eq=False)
class StableConfig(Config):
    """The resolved configuration of a key in a roll-out, from the files of its stable version."""

    @property
    def is_stable(self) -> bool:
        return True


def candidate_of(key: Key) -> CandidateKey:
    """Return the key of a key's candidate."""
    return CandidateKey(key.application, key.profile, key.label)


def plain(key: Key) -> Key:
    """Return the key that clients know. For all keys but a `CandidateKey`, this is the same object."""
    return Key(key.application, key.profile, key.label) if isinstance(key, CandidateKey) else key
