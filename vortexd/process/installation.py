"""Units, man pages and settings put where the system looks for them, and taken away again.

In comes what vortexd brings along, out go files below a root, and a list of what became of each. The invariant: a file that somebody
else wrote or changed is never touched. What was installed is remembered by its digest: a file that still has it is ours to replace and to
remove; beside any other a new one is put as `NAME.new`.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path

import attrs

from ..core.errors import StartError

PREFIX = "/usr/local"
SETTINGS = "/etc/vortexd/vortexd.toml"
# The directory that the settings name as they come: the first start has something to serve, if nothing is in it.
_SOURCE = "/etc/vortexd/config"
# What the units name as they come.
_PROGRAM = "/opt/vortexd/bin/vortexd"
_CTL_PROGRAM = "/opt/vortexd/bin/vortexctl"
# What would say too little by its own name.
_NAMED = {"vortexd.json": "vortexd.grafana.json"}
_RECORD = "share/vortexd/installed.json"
# What ProtectHome= takes out of the service's sight.
_HOMES = ("/home", "/root", "/run/user")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./+@:=,-]+")


class Fate(Enum):
    """What became, or would become, of a file."""

    INSTALLED = "installed"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    EDITED = "left as it is, for it was changed; there is nothing new in it"
    BESIDE = "left as it is, for it was changed; the new one is beside it as .new"
    REMOVED = "removed"
    KEPT = "left there, for it was changed"


@attrs.frozen
class Outcome:
    """One file, and what became of it."""

    path: Path
    fate: Fate


@attrs.frozen
class Place:
    """Where to install.

    Attributes:
        root: The root of the system that is installed into.
        prefix: The absolute path in it below which units and man pages go; settings go below /etc.
    """

    root: Path = Path("/")
    prefix: str = PREFIX

    def of(self, path: str) -> Path:
        """Where a path of that system is; one that isn't absolute is below the prefix."""
        return self.root / os.path.join(self.prefix, path).lstrip("/")


# What there is to install.


def program() -> list[str]:
    """The command that starts the vortexd that is running: the script beside its interpreter, or the interpreter with the module."""
    script = Path(sys.executable).parent / "vortexd"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "vortexd"]


def is_hidden(paths: Sequence[str]) -> bool:
    """Whether one of these is in a home directory, of which the service sees nothing."""
    return any(Path(each).is_relative_to(home) for each in paths for home in _HOMES)


def contents(command: Sequence[str]) -> dict[str, bytes]:
    """What is installed, by its path: absolute, or from the prefix on.

    Args:
        command: What the units start.
    """
    data = _data()
    starts = {_PROGRAM: command, _CTL_PROGRAM: _ctl(command)}
    words = {program.encode(): " ".join(map(_unit_word, each)).encode() for program, each in starts.items()}
    found = {}
    for unit in sorted((data / "systemd").glob("vortex*.*")):
        text = unit.read_bytes()
        for program, start in words.items():
            text = text.replace(program, start)
        found[f"lib/systemd/system/{unit.name}"] = text
    for page in sorted((data / "man").glob("*.[1-9]")):
        found[f"share/man/man{page.suffix[1:]}/{page.name}"] = page.read_bytes()
    for example in _examples(data / "conf"):
        found[f"share/doc/vortexd/{_NAMED.get(example.name, example.name)}"] = example.read_bytes()
    found[SETTINGS] = (data / "conf/vortexd.toml").read_bytes()
    return found


def _examples(conf: Path) -> list[Path]:
    """What is no file of ours to read, but for others to be set up by."""
    monitoring = [conf / "prometheus/vortexd.rules.yml", conf / "grafana/vortexd.json"]
    return [*sorted(conf.glob("*.example")), *sorted((conf / "proxies").iterdir()), *monitoring]


def _ctl(command: Sequence[str]) -> list[str]:
    """The command that starts the vortexctl of a vortexd: beside it, or a module as it is."""
    *interpreter, name = command
    return [*interpreter, f"{name}.ctl"] if interpreter else [str(Path(name).with_name("vortexctl"))]


def _data() -> Path:
    """What comes with vortexd: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    return package / "data" if (package / "data").is_dir() else package.parent


def _unit_word(word: str) -> str:
    """A word of ExecStart=, by systemd.service(5)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return word if _PLAIN_WORD.fullmatch(word) else f'"{escaped}"'


# Putting it in place, and taking it away.


def install(place: Place, files: Mapping[str, bytes], *, is_dry: bool = False) -> Iterator[Outcome]:
    """Install or update files one by one, and say what became of each.

    Args:
        files: As `contents` returns them.
        is_dry: Write nothing, and only say what would happen.

    Raises:
        StartError: One can't be read or written; says why. Those before it are in place and remembered.
    """
    known = _read_record(place)
    try:
        for path, content in files.items():
            file = place.of(path)
            fate = _fate(file, content, known.get(path))
            if not is_dry:
                if fate in (Fate.INSTALLED, Fate.UPDATED):
                    _write(file, content)
                elif fate is Fate.BESIDE:
                    _write(_beside(file), content)
                known[path] = _digest(content)
            yield Outcome(file, fate)
        if not is_dry:
            _make_directory(place.of(_SOURCE))
    finally:
        if not is_dry:
            _write(place.of(_RECORD), json.dumps(known, indent=1).encode() + b"\n")


def uninstall(place: Place, *, is_dry: bool = False) -> Iterator[Outcome]:
    """Remove what was installed and is unchanged, and say what became of each file. Nothing was installed: nothing happens.

    Raises:
        StartError: A file can't be read or removed; says why.
    """
    known = _read_record(place)
    for path, digest in known.items():
        file = place.of(path)
        found = _read(file)
        if found is None:
            continue
        is_ours = _digest(found) == digest
        if not is_dry:
            with _explained(file):
                for each in (file, _beside(file)):
                    if (held := _read(each)) is not None and _digest(held) == digest:
                        each.unlink()
        yield Outcome(file, Fate.REMOVED if is_ours else Fate.KEPT)
    if not is_dry and known:
        record = place.of(_RECORD)
        with _explained(record):
            record.unlink(missing_ok=True)
        for directory in (_SOURCE, os.path.dirname(SETTINGS), "share/doc/vortexd", os.path.dirname(_RECORD)):
            # What is in use, or somebody else's, stays.
            with contextlib.suppress(OSError):
                place.of(directory).rmdir()


def _fate(file: Path, content: bytes, known: str | None) -> Fate:
    found = _read(file)
    if found is None:
        return Fate.INSTALLED
    if found == content:
        return Fate.UNCHANGED
    if _digest(found) == known:
        return Fate.UPDATED
    return Fate.EDITED if known == _digest(content) else Fate.BESIDE


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.new")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(file: Path) -> bytes | None:
    """What a file holds; None where there is none. What is no plain file, such as a link, holds what nobody has installed."""
    with _explained(file):
        if file.is_symlink():
            return b"\0" + os.fsencode(os.readlink(file))
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None


def _read_record(place: Place) -> dict[str, str]:
    """The digests of what was installed, by path. A record that is broken is none: then everything counts as changed."""
    try:
        found = json.loads(_read(place.of(_RECORD)) or b"{}")
    except ValueError:
        return {}
    return {str(path): str(digest) for path, digest in found.items()} if isinstance(found, dict) else {}


def _write(file: Path, content: bytes) -> None:
    """Write a file for everybody to read, whole or not at all."""
    _make_directory(file.parent)
    temporary = file.with_name(f".{file.name}.part")
    with _explained(file):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
            with open(descriptor, "wb") as opened:
                os.fchmod(descriptor, 0o644)
                opened.write(content)
                opened.flush()
                os.fsync(descriptor)
            temporary.replace(file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _make_directory(directory: Path) -> None:
    with _explained(directory):
        missing = [each for each in (directory, *directory.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            # Whatever the umask is: the service reads it as a user of its own.
            each.chmod(0o755)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise StartError(f"no permission for {path}; run it as root, or name another place with --root") from None
    except OSError as error:
        raise StartError(f"{path}: {(error.strerror or 'I/O error').lower()}") from None
