"""Follows the symbolic links of a commit: their targets arrive as git has them, and the files that they lead to leave.

Pure. The invariant: a link leads to a regular file of the same commit that is served by itself, or nowhere. The file
system is never used.
"""

from collections.abc import Collection, Iterator, Mapping

import attrs

# Limits for links that lead to links, and for names on the way. Real links need two or three. Without a limit a loop
# would never end.
MAX_HOPS = 8
MAX_STEPS = 128
MAX_TARGET_BYTES = 1_024

TOO_LONG = "its target is too long, or isn't text"
OUTSIDE = "it leads out of the repository"
HIDDEN = "it leads to a hidden file"
ENDLESS = "it leads through too many links"
DIRECTORY = "it leads to a directory"
DANGLING = "it leads to no file that is served"


@attrs.frozen(slots=True)
class Way:
    """The way from a link to its target.

    Attributes:
        through: The paths that decide where it leads: the link, the links on the way, and the path at the end. If the
            way can't be followed to its end, the last path is the last one that was reached.
        why: The reason why it leads to no file; "" if it leads to one.
    """

    through: tuple[str, ...]
    why: str = ""

    @property
    def end(self) -> str:
        """The path of the file that the link leads to, if there is one."""
        return self.through[-1]


def follow(links: Mapping[str, bytes], files: Collection[str]) -> dict[str, Way]:
    """Follow all links.

    A link may lead through linked directories, as long as it ends at a file.

    Args:
        links: Path to the target as git has it.
        files: The paths of the regular files that clients may ask for.
    """
    ways: dict[str, Way] = {}
    texts = {path: text_of(target) for path, target in links.items()}
    directories: set[str] | None = None
    for path in links:
        way = followed(path, texts, files)
        if not way.why and way.end not in files:
            if directories is None:
                directories = set(_directories(files))
            way = Way(way.through, DIRECTORY if way.end in directories else DANGLING)
        ways[path] = way
    return ways


def followed(path: str, texts: Mapping[str, str | None], files: Collection[str]) -> Way:
    """Follow one link to its end, whether there is a file or not.

    Args:
        texts: The paths of all links to their targets. If a target is None, the way ends at this link as `TOO_LONG`.
    """
    place: list[str] = []
    left = path.split("/")[::-1]
    through: list[str] = []
    steps = 0
    while left:
        steps += 1
        if steps > MAX_STEPS or len(through) > MAX_HOPS:
            return Way(tuple(through), ENDLESS)
        name = left.pop()
        here = "/".join(place)
        if name in ("", "."):
            continue
        if name == "..":
            if not place:
                return Way(tuple(through), OUTSIDE)
            if here in files:
                return Way(tuple(through), DANGLING)  # a file has no parent directory that the way could continue in
            place.pop()
        elif name.startswith("."):
            return Way(tuple(through), HIDDEN)
        elif (there := f"{here}/{name}" if place else name) not in texts:
            place.append(name)
        else:
            through.append(there)
            target = texts[there]
            if target is None:
                return Way(tuple(through), TOO_LONG)
            if target.startswith("/"):
                return Way(tuple(through), OUTSIDE)
            left += target.split("/")[::-1]
    return Way((*through, "/".join(place)))


def text_of(target: bytes) -> str | None:
    """Return a target as text, or None if it is too long or isn't text."""
    if len(target) > MAX_TARGET_BYTES:
        return None
    try:
        return target.decode("utf-8")
    except UnicodeError:
        return None


def _directories(files: Collection[str]) -> Iterator[str]:
    yield ""
    for path in files:
        end = path.rfind("/")
        while end > 0:
            yield path[:end]
            end = path.rfind("/", 0, end)
