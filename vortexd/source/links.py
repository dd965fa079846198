"""Symbolic links of a commit: in come their targets as git has them, out goes the file that each leads to. Pure.

The invariant: a link leads to a regular file of the same commit that is served by itself, or nowhere. Nothing is looked up in a file system.
"""

from collections.abc import Collection, Iterator, Mapping

# Links that lead to links, and the names on the way. Real ones need two or three; without a bound a loop would never end.
MAX_HOPS = 8
MAX_STEPS = 128
MAX_TARGET_BYTES = 1_024

TOO_LONG = "its target is too long, or isn't text"
OUTSIDE = "it leads out of the repository"
HIDDEN = "it leads to a hidden file"
ENDLESS = "it leads through too many links"
DIRECTORY = "it leads to a directory"
DANGLING = "it leads to no file that is served"


def follow(links: Mapping[str, bytes], files: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Follow all links. Returns the file that each leads to, and, for those that lead to none, why.

    A link may lead through linked directories, as long as it ends at a file.

    Args:
        links: Path to the target as git has it.
        files: The paths of the regular files, as they may be asked for.
    """
    targets: dict[str, str] = {}
    refused: dict[str, str] = {}
    texts = {path: _text(target) for path, target in links.items()}
    directories: set[str] | None = None
    for path in links:
        end, why = _followed(path, texts, files)
        if not why and end not in files:
            if directories is None:
                directories = set(_directories(files))
            why = DIRECTORY if end in directories else DANGLING
        if why:
            refused[path] = why
        else:
            targets[path] = end
    return targets, refused


def _followed(path: str, texts: Mapping[str, str | None], files: Collection[str]) -> tuple[str, str]:
    """Where a link ends, and why it isn't followed, or ""."""
    place: list[str] = []
    left = path.split("/")[::-1]
    hops = steps = 0
    while left:
        steps += 1
        if steps > MAX_STEPS or hops > MAX_HOPS:
            return "", ENDLESS
        name = left.pop()
        here = "/".join(place)
        if name in ("", "."):
            continue
        if name == "..":
            if not place:
                return "", OUTSIDE
            if here in files:
                return "", DANGLING  # a file has no parent to go on from
            place.pop()
        elif name.startswith("."):
            return "", HIDDEN
        elif (there := f"{here}/{name}" if place else name) not in texts:
            place.append(name)
        else:
            target = texts[there]
            if target is None:
                return "", TOO_LONG
            if target.startswith("/"):
                return "", OUTSIDE
            hops += 1
            left += target.split("/")[::-1]
    return "/".join(place), ""


def _text(target: bytes) -> str | None:
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
