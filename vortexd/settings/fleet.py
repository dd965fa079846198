"""[fleet] of vortexd.toml. The connected applications, and what they report about the versions that they receive."""

import attrs

from ..core import names
from ..core.constraints import seconds, texts, whole
from ..core.errors import InvalidName


def _is_application(value: object) -> bool:
    try:
        return names.application(str(value)) == value
    except InvalidName:
        return False


@attrs.frozen
class FleetSettings:
    """[fleet]."""

    instances: int = whole(
        100_000,
        0,
        10_000_000,
        doc="The number of connected instances that vortexd tracks one by one. An instance counts once for "
        "every configuration that it has reported on. vortexd counts further instances as silent.",
        more="An instance takes 100 to 300 bytes, or a kilobyte if it gives a long reason for rejecting a version.",
    )
    keys: int = whole(
        100,
        0,
        100_000,
        doc="The number of configurations that one connection may report on, in addition to that of its path. "
        "vortexd does not keep reports on more.",
    )
    gone: int = whole(
        10_000,
        0,
        1_000_000,
        doc="The number of disconnected instances that vortexd remembers. Beyond it vortexd forgets the one "
        "that disconnected first.",
        more="It is also the largest number of instances that each worker remembers across a restart. They are in the "
        "directory `fleet` below `server.state_directory`, with about 150 bytes each. If vortexd runs without a "
        "settings file, and $STATE_DIRECTORY is not set, it remembers none.",
    )
    forget_after: float = seconds(900.0, 0, doc="Seconds after which vortexd forgets a disconnected instance.")
    applications: tuple[str, ...] = texts(
        "the name of an application, as clients ask for it",
        _is_application,
        doc="Applications that have metrics of their own, by the names that clients ask for. vortexd counts all "
        'others as "other".',
    )
