"""`spring.config.import`: which files a document takes in beside itself. Pure.

In come the flat values of a document and the path of its file; out go paths below the root of the same source. The invariant: nothing else can be
imported, so whoever writes a file of one source reaches no other one, no disk and no network. What can't be followed is a key like any other.
"""

import posixpath
import re

from .activation import canonical
from .flatten import Values

_IMPORT = re.compile(r"spring\.config\.import(?:\[\d+\])?")
_OPTIONAL = "optional:"


def imports_of(path: str, values: Values) -> tuple[str, ...]:
    """The files that a document imports, in order; a relative path starts at the directory of the document's file.

    What isn't there is left out when it is looked for, as Spring's server does, whether it is `optional:` or not.
    """
    found: dict[str, None] = {}
    for key, value in values.items():
        if key[:6].lower() == "spring" and _IMPORT.fullmatch(canonical(key)):
            targets = (_target(path, each) for each in re.split("[,;]", str(value)))
            found |= dict.fromkeys(target for target in targets if target)
    return tuple(found)


def for_profile(path: str, profile: str) -> str:
    """The file of a profile that goes with an imported one."""
    stem, dot, extension = path.rpartition(".")
    return f"{stem}-{profile}{dot}{extension}" if profile else path


def _target(path: str, text: str) -> str:
    """A path below the root; "" for anything else."""
    place = text.strip().removeprefix(_OPTIONAL)
    if not place or place.startswith("/") or ":" in place or place.endswith("/"):
        return ""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), place))
    return "" if target.startswith("..") else target
