"""Installs units, man pages and settings where the system looks for them, and removes them again.

The input is the files that come with vortexd. The output is files below a root, and a result for each. The invariant:
vortexd never touches a file that another author wrote or changed. vortexd records the digest of each installed file. A file that
still has its digest may be replaced and removed. If a file was changed, the new version is written next to it as `NAME.new`.
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
# The directory in the default settings. It is created, so that the first start has a source, even if that is empty.
_SOURCE = "/etc/vortexd/config"
# The programs in the units as they are shipped.
_PROGRAM = "/opt/vortexd/bin/vortexd"
_CTL_PROGRAM = "/opt/vortexd/bin/vortexctl"
# Files whose own names would not be clear enough.
_NAMED = {"vortexd.json": "vortexd.grafana.json"}
_RECORD = "share/vortexd/installed.json"
# The directories that ProtectHome= hides from the service.
_HOMES = ("/home", "/root", "/run/user")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./+@:=,-]+")


class Result(Enum):
    """The result, or the planned result, for one file."""

    INSTALLED = "installed"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    EDITED = "left as it is, because it was changed; there is no newer version"
    NEW_VERSION_SAVED = "left as it is, because it was changed; the new version is next to it with the suffix .new"
    REMOVED = "removed"
    KEPT = "not removed, because it was changed"


@attrs.frozen
class Outcome:
    """A file and its result."""

    path: Path
    result: Result


@attrs.frozen
class Place:
    """The location of an installation.

    Attributes:
        root: The root directory of the target system.
        prefix: The absolute path in it for units and man pages. Settings are always below /etc.
    """

    root: Path = Path("/")
    prefix: str = PREFIX

    def of(self, path: str) -> Path:
        """Return the location of a path of the target system. A relative path is below the prefix."""
        return self.root / os.path.join(self.prefix, path).lstrip("/")


# The files to install.


def program() -> list[str]:
    """Return the command of the running vortexd: the script next to its interpreter, or the interpreter with the module."""
    script = Path(sys.executable).parent / "vortexd"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "vortexd"]


def is_hidden(paths: Sequence[str]) -> bool:
    """Return whether one of these paths is in a home directory, which the service can't read."""
    return any(Path(each).is_relative_to(home) for each in paths for home in _HOMES)


def contents(command: Sequence[str]) -> dict[str, bytes]:
    """Return the files to install by their path, which is absolute or relative to the prefix.

    Args:
        command: The command that the units start.
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
    """Return the examples for other programs, which vortexd itself doesn't read."""
    monitoring = [conf / "prometheus/vortexd.rules.yml", conf / "grafana/vortexd.json"]
    return [*sorted(conf.glob("*.example")), *sorted((conf / "proxies").iterdir()), *monitoring]


def _ctl(command: Sequence[str]) -> list[str]:
    """Return the command for the vortexctl of a vortexd: the script next to it, or the module `vortexd.ctl`."""
    *interpreter, name = command
    return [*interpreter, f"{name}.ctl"] if interpreter else [str(Path(name).with_name("vortexctl"))]


def _data() -> Path:
    """Return the directory of the shipped files: inside an installed package, or next to the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    return package / "data" if (package / "data").is_dir() else package.parent


def _unit_word(word: str) -> str:
    """Quote a word for ExecStart=, as in systemd.service(5)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return word if _PLAIN_WORD.fullmatch(word) else f'"{escaped}"'


# Installing and removing.


def install(place: Place, files: Mapping[str, bytes], *, is_dry: bool = False) -> Iterator[Outcome]:
    """Install or update files one by one, and yield the result for each.

    Args:
        files: The files from `contents`.
        is_dry: Write nothing, and only yield the planned results.

    Raises:
        StartError: A file can't be read or written. The text says why. Earlier files are installed and recorded.
    """
    known = _read_record(place)
    try:
        for path, content in files.items():
            file = place.of(path)
            result = _planned(file, content, known.get(path))
            if not is_dry:
                if result in (Result.INSTALLED, Result.UPDATED):
                    _write(file, content)
                elif result is Result.NEW_VERSION_SAVED:
                    _write(_new_version_of(file), content)
                known[path] = _digest(content)
            yield Outcome(file, result)
        if not is_dry:
            _make_directory(place.of(_SOURCE))
    finally:
        if not is_dry:
            _write(place.of(_RECORD), json.dumps(known, indent=1).encode() + b"\n")


def uninstall(place: Place, *, is_dry: bool = False) -> Iterator[Outcome]:
    """Remove installed files that are unchanged, and yield the result for each. Without a record, nothing happens.

    Raises:
        StartError: A file can't be read or removed. The text says why.
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
                for each in (file, _new_version_of(file)):
                    if (held := _read(each)) is not None and _digest(held) == digest:
                        each.unlink()
        yield Outcome(file, Result.REMOVED if is_ours else Result.KEPT)
    if not is_dry and known:
        record = place.of(_RECORD)
        with _explained(record):
            record.unlink(missing_ok=True)
        for directory in (_SOURCE, os.path.dirname(SETTINGS), "share/doc/vortexd", os.path.dirname(_RECORD)):
            # A directory that isn't empty stays.
            with contextlib.suppress(OSError):
                place.of(directory).rmdir()


def _planned(file: Path, content: bytes, known: str | None) -> Result:
    found = _read(file)
    if found is None:
        return Result.INSTALLED
    if found == content:
        return Result.UNCHANGED
    if _digest(found) == known:
        return Result.UPDATED
    return Result.EDITED if known == _digest(content) else Result.NEW_VERSION_SAVED


def _new_version_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.new")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(file: Path) -> bytes | None:
    """Return the content of a file, or None if it is missing. For a link, the content never equals an installed file's."""
    with _explained(file):
        if file.is_symlink():
            return b"\0" + os.fsencode(os.readlink(file))
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None


def _read_record(place: Place) -> dict[str, str]:
    """Return the digests of installed files by path. A broken record counts as empty, so every file counts as changed."""
    try:
        found = json.loads(_read(place.of(_RECORD)) or b"{}")
    except ValueError:
        return {}
    return {str(path): str(digest) for path, digest in found.items()} if isinstance(found, dict) else {}


def _write(file: Path, content: bytes) -> None:
    """Write a file that every user may read, completely or not at all."""
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
            # Set the mode regardless of the umask, because the service runs as another user.
            each.chmod(0o755)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise StartError(f"no permission for {path}; run it as root, or name another place with --root") from None
    except OSError as error:
        raise StartError(f"{path}: {(error.strerror or 'I/O error').lower()}") from None
