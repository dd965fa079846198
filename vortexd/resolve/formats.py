"""Bytes to documents, within bounds."""

from collections.abc import Mapping

import attrs

from ..model import Scalar


@attrs.frozen(slots=True, eq=False)
class Document:
    """One document of one configuration file, flattened.

    Attributes:
        values: Flat key to scalar, in file order.
        origins: Flat key to (line, column), from 1.
        profiles: What `spring.config.activate.on-profile` demands, parsed; None where the document is always active.
    """

    values: Mapping[str, Scalar]
    origins: Mapping[str, tuple[int, int]]
