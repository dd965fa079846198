"""Generations order the publications of one label, also between the nodes of a cluster. Versions alone have no order. Pure.

Only generations of one epoch compare. As text, a generation is `EPOCH.NUMBER`.
"""

import re
from typing import Self

import attrs

HIGHEST_NUMBER = 2**53
"""The highest number. Every JSON and JavaScript implementation still reads it exactly."""

_TEXT = re.compile(r"([0-9a-f]{1,32})\.([1-9][0-9]{0,15})")


@attrs.frozen(slots=True)
class Generation:
    """The place of a publication in the order of its label.

    Attributes:
        epoch: Names the series of numbers: 1 to 32 characters of [0-9a-f].
        number: The place in the series, from 1 to HIGHEST_NUMBER.
    """

    epoch: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `EPOCH.NUMBER`. Returns None if the text isn't exactly that."""
        if (found := _TEXT.fullmatch(text)) is None or (number := int(found[2])) > HIGHEST_NUMBER:
            return None
        return cls(found[1], number)

    def is_ahead_of(self, other: "Generation") -> bool:
        """Whether this generation is newer. False if the epochs differ, because their numbers don't compare."""
        return self.epoch == other.epoch and self.number > other.number

    def __str__(self) -> str:
        return f"{self.epoch}.{self.number}"
