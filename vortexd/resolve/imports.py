"""`spring.config.import`: finds the files that a document imports. Pure.

`imports_of` takes the flat values of a document and the path of its file. It returns paths below the root of the same
source. The invariant: nothing else can be imported. So the author of a file can't reach another source, the disk or
the network. If an import can't be followed, its key is served like any other key.
"""

import posixpath
import re

from .activation import canonical
from .flatten import Values

_IMPORT = re.compile(r"spring\.config\.import(?:\[\d+\])?")
_OPTIONAL = "optional:"


def imports_of(path: str, values: Values) -> tuple[str, ...]:
    """Return the files that a document imports, in order. A relative path starts at the directory of its file.

    Missing files are left out later, as Spring's server does, whether they are `optional:` or not.
    """
    found: dict[str, None] = {}
    for key, value in values.items():
        if key[:6].lower() == "spring" and _IMPORT.fullmatch(canonical(key)):
            targets = (_target(path, each) for each in re.split("[,;]", str(value)))
            found |= dict.fromkeys(target for target in targets if target)
    return tuple(found)


def for_profile(path: str, profile: str) -> str:
    """Return the path of the file that belongs to an imported file and a profile."""
    stem, dot, extension = path.rpartition(".")
    return f"{stem}-{profile}{dot}{extension}" if profile else path


def _target(path: str, text: str) -> str:
    """Return a path below the root, or "" for any other target."""
    place = text.strip().removeprefix(_OPTIONAL)
    if not place or place.startswith("/") or ":" in place or place.endswith("/"):
        return ""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), place))
    return "" if target.startswith("..") else target
