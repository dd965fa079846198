"""The files of the product test, changed at random, and the expected document of each key, resolved without the product.

The layout is simple: `{name}.yml` and `{name}-{profile}.yml`, each with one document of JSON, which is also YAML.
"""

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from vortexd.core.model import Files, Key, Tree

APPLICATIONS = ("orders", "billing", "search")
PROFILES = ("default", "dev")
MAIN, NEXT = "main", "next"
KEYS = tuple(Key(name, profile, label) for label in (MAIN, NEXT) for name in APPLICATIONS for profile in PROFILES)
# Files of everybody and of each application, for all profiles and for one.
PATHS = tuple(f"{name}{suffix}.yml" for name in ("application", *APPLICATIONS) for suffix in ("", "-default", "-dev"))
BROKEN = b'{"server": {"port": '


class World:
    """All labels' files. `main` always exists, `next` comes and goes.

    Args:
        random: Where the edits come from.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._labels: dict[str, dict[str, bytes]] = {MAIN: {}, NEXT: {}}
        self._documents: dict[Key, dict[str, Any] | None] = {}
        # What stands for each path: its content, or its last good content while it is broken.
        self._good: dict[str, dict[str, bytes]] = {}
        for files in self._labels.values():
            for path in PATHS:
                files[path] = self._content(path)
        self._resolve()

    # Edits.

    def edit(self) -> None:
        """Do what people do to files between two publications."""
        for _ in range(self._random.choice((1, 1, 1, 2, 5))):
            self._edit_one()
        self._resolve()

    def _edit_one(self) -> None:
        label = self._random.choice((MAIN, MAIN, NEXT))
        match self._random.random():
            case chance if chance < 0.05:
                if NEXT in self._labels:
                    del self._labels[NEXT]
                else:
                    self._labels[NEXT] = {path: self._content(path) for path in PATHS}
            case chance if chance < 0.15:
                self._write(label, None)
            case chance if chance < 0.25:
                # What was broken from a label's start has no good content: another story than this one.
                if self._documents[Key(APPLICATIONS[0], PROFILES[0], label)] is not None:
                    self._write(label, BROKEN)
            case chance if chance < 0.35:
                self._heal()
            case _:
                path = self._random.choice(PATHS)
                if label in self._labels:
                    self._labels[label][path] = self._content(path)

    def _write(self, label: str, content: bytes | None) -> None:
        files = self._labels.get(label)
        if files is None:
            return
        path = self._random.choice(PATHS)
        if content is None:
            files.pop(path, None)
        else:
            files[path] = content

    def _heal(self) -> None:
        for files in self._labels.values():
            for path, content in files.items():
                if content is BROKEN:
                    files[path] = self._content(path)

    def finish(self) -> None:
        """Leave the files sound and all labels there, and no document as it was: the last publication reaches everybody."""
        self._labels.setdefault(NEXT, {})
        self._heal()
        for files in self._labels.values():
            files["application.yml"] = self._content("application.yml", mark="last")
        self._resolve()

    def _content(self, path: str, mark: str = "") -> bytes:
        # Few values, so that documents come back; a list that is in one file alone, for lists aren't merged; a value
        # that a more specific file overrides; some bulk, so that a diff is shorter than a snapshot.
        random = self._random
        # Without its dot, which would make levels of it.
        own = path.removesuffix(".yml")
        document = {
            "server": {"port": random.randrange(3), own: random.choice((True, 1, 1.5, "1", "ä\u2028"))},
            own: {"list": [random.randrange(2) for _ in range(random.randrange(1, 4))], "a/b~c": random.randrange(3)},
            "bulk": {own: "b" * 100},
            "mark": mark,
        }
        return json.dumps(document).encode()

    # What is.

    def tree(self) -> Tree:
        """The files as a source would hand them over."""
        return Tree({label: Files(dict(files), root="file:/config/") for label, files in self._labels.items()}, MAIN)

    def documents(self) -> dict[str, dict[str, Any] | None]:
        """What every key must be now; None where its label is gone."""
        return {str(key): document for key, document in self._documents.items()}

    def document(self, key: Key) -> dict[str, Any] | None:
        return self._documents[key]

    def _resolve(self) -> None:
        self._good = {label: dict(self._stand_ins(label, files)) for label, files in self._labels.items()}
        for key in KEYS:
            good = self._good.get(key.label)
            self._documents[key] = None if good is None else _merged(good, key)

    def _stand_ins(self, label: str, files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """A broken file is replaced by what it was at the publication before, and left out if it wasn't there then."""
        before = self._good.get(label, {})
        for path, content in files.items():
            if content is not BROKEN:
                yield path, content
            elif path in before:
                yield path, before[path]


def _merged(files: dict[str, bytes], key: Key) -> dict[str, Any]:
    """Lowest first: everybody's, the application's, everybody's in this profile, the application's in this profile."""
    document: dict[str, Any] = {}
    for name in ("application", key.application, f"application-{key.profile}", f"{key.application}-{key.profile}"):
        if content := files.get(f"{name}.yml"):
            _merge(document, json.loads(content))
    return document


def _merge(document: dict[str, Any], stronger: dict[str, Any]) -> None:
    for name, value in stronger.items():
        if isinstance(value, dict) and isinstance(document.get(name), dict):
            _merge(document[name], value)
        else:
            document[name] = copy.deepcopy(value)
