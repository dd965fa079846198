"""The file of all pins: what it holds, what is set aside, and what a full or read-only disk changes."""

import errno
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import orjson
import pytest
from structlog.testing import capture_logs

from vortexd.core.errors import RemoteError
from vortexd.core.model import Edits, Files, Key, Origin
from vortexd.core.term import Term
from vortexd.pins.file import FILE, PINS, PinsFile
from vortexd.pins.pin import MOST_BYTES, MOST_PINS, Pin
from vortexd.shelf import file as module
from vortexd.shelf.file import LOCK, GivenUp, TooLarge, encode, parse
from vortexd.state import private_files

ORIGIN = Origin("c1", "Ada", "2026-01-01T00:00:00Z")
FULL = Files(
    {"x/shop.yml": b"a: 1\n", "x/raw.yml": b"\xff\x00"},
    root="git:/a/",
    locations=("x/", "{application}/"),
    revision="c1",
    origin=ORIGIN,
    applications=("shop", "b*:dev"),
    group=2,
    edits=Edits(7, {"x/shop.yml": (5, ORIGIN)}),
)


def pin(id: str = "p1", application: str = "shop", *labels: tuple[Files, ...], until: float | None = 9.5) -> Pin:
    key = Key(application, "dev", "main")
    return Pin(id, key, "0" * 16, "c1", "incident 7", "ada", Term(1.25, until), labels or ((FULL,),))


def put(file: PinsFile, *pins: Pin) -> list[Pin]:
    return file.change(lambda before: [*before, *pins], threading.Event())


def members(pins: Sequence[Pin]) -> list[Any]:
    return [[each.id, each.key, each.version, each.commit, each.reason, each.by, each.term] for each in pins]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "pins"


def test_the_pins_come_back_with_everything_that_they_had(directory: Path) -> None:
    kept = pin("p1"), pin("p2", "other", (), until=None)
    assert [*kept] == put(PinsFile(directory), *kept)
    found = PinsFile(directory).read()

    assert members(kept) == members(found)
    [[layer]] = found[0].labels
    assert ((),) == found[1].labels
    for name in ("contents", "root", "locations", "revision", "origin", "applications", "group"):
        assert getattr(FULL, name) == getattr(layer, name)
    assert layer.edits is not None
    assert {"x/shop.yml": (0, ORIGIN)} == layer.edits.by_path
    assert FULL.edits is not None
    assert FULL.edits.last(["x/shop.yml"]) == layer.edits.last(["x/shop.yml"])


def test_files_without_a_commit_have_none(directory: Path) -> None:
    put(PinsFile(directory), pin("p1", "shop", (Files({"shop.yml": b""}),)))
    [[layer]] = PinsFile(directory).read()[0].labels
    assert (None, None, None, {"shop.yml": b""}) == (layer.revision, layer.origin, layer.edits, layer.contents)


def test_there_are_no_pins_without_a_file(directory: Path) -> None:
    assert [] == PinsFile(directory).read()
    assert not directory.exists()


def test_the_file_is_private_and_no_part_of_it_is_left(directory: Path) -> None:
    put(PinsFile(directory), pin())
    assert 0o600 == stat.S_IMODE((directory / FILE).stat().st_mode)
    assert 0o700 == stat.S_IMODE(directory.stat().st_mode)
    assert {FILE, LOCK} == {each.name for each in directory.iterdir()}
    assert 1 == orjson.loads((directory / FILE).read_bytes())["format"]


def test_a_directory_that_others_may_read_is_refused(directory: Path) -> None:
    file = PinsFile(directory)
    put(file, pin())
    directory.chmod(0o755)
    with pytest.raises(OSError, match="mode 700"):
        file.read()
    with pytest.raises(OSError, match="mode 700"):
        put(file, pin("p2"))


def test_a_change_that_is_refused_changes_nothing(directory: Path) -> None:
    file = PinsFile(directory)
    put(file, pin())
    before = (directory / FILE).read_bytes()

    def refuse(pins: Sequence[Pin]) -> Sequence[Pin]:
        raise RemoteError("taken", 409)

    with pytest.raises(RemoteError):
        file.change(refuse, threading.Event())
    assert before == (directory / FILE).read_bytes()
    put(file)  # the lock is free again


def test_the_same_pins_are_not_written_again(directory: Path) -> None:
    file = PinsFile(directory)
    put(file, pin())
    before = (directory / FILE).stat().st_ino
    assert ["p1"] == [each.id for each in put(file)]
    assert before == (directory / FILE).stat().st_ino


def test_a_caller_that_has_given_up_changes_nothing(directory: Path) -> None:
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(GivenUp):
        PinsFile(directory).change(lambda _: [pin()], given_up)
    assert [] == PinsFile(directory).read()


@pytest.mark.parametrize(("less", "is_right"), [(0, True), (1, False)])
def test_all_pins_together_have_a_limit(directory: Path, less: int, is_right: bool) -> None:
    file = PinsFile(directory, len(encode(PINS, [pin()])) - less)
    if is_right:
        put(file, pin())
        assert ["p1"] == [each.id for each in file.read()]
    else:
        with pytest.raises(TooLarge, match="lift a pin, or pin a key with smaller files") as caught:
            put(file, pin())
        assert 409 == caught.value.status
        assert not (directory / FILE).exists()


def test_the_limit_is_enough_for_all_pins_with_the_most_bytes() -> None:
    files = Files({"a.yml": b"\xff" * (MOST_BYTES - len("a.yml"))})
    one = pin("p1", "shop", (files,))
    assert MOST_BYTES == one.bytes
    assert len(encode(PINS, [one])) * MOST_PINS < PINS.max_bytes


@pytest.mark.parametrize("store", ["", "store 1"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_file_is_json_with_one_pin_a_line(count: int, store: str) -> None:
    content = encode(PINS, [pin(f"p{number}") for number in range(count)], store)
    found = orjson.loads(content)
    assert ([f"p{number}" for number in range(count)], 1, store) == (
        [each["id"] for each in found["pins"]],
        found["format"],
        found.get("store", ""),
    )
    assert (count + 2 if count else 1) == len(content.splitlines())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_file_with_other_lines_is_read_as_well(count: int, directory: Path) -> None:
    content = encode(PINS, [pin(f"p{number}") for number in range(count)], "store 1")
    for other in (
        content,
        orjson.dumps(orjson.loads(content)),
        orjson.dumps(orjson.loads(content), option=orjson.OPT_INDENT_2),
    ):
        found = parse(PINS, other)
        assert not isinstance(found, str)
        assert [f"p{number}" for number in range(count)] == [each.id for each in found]
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / FILE).write_bytes(other)
        assert "store 1" == PinsFile(directory).store()


def test_pins_are_encoded_and_parsed_one_by_one(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """One call for all pins would stop the event loop for a tenth of a second."""
    file, kept = PinsFile(directory), [pin(f"p{number}") for number in range(5)]
    largest = max(len(encode(PINS, [each])) for each in kept)
    sizes: list[int] = []

    def loads(content: bytes | memoryview) -> Any:
        sizes.append(len(content))
        return orjson.loads(content)

    def dumps(value: Any) -> bytes:
        made = orjson.dumps(value)
        sizes.append(len(made))
        return made

    monkeypatch.setattr(module, "orjson", SimpleNamespace(loads=loads, dumps=dumps))
    put(file, *kept)
    put(file, pin("p9"))
    assert 6 == len(file.read())
    file.store()

    assert max(sizes) <= largest


@pytest.mark.parametrize(("size", "count"), [(65_536, 1), (65_535, 0)])
def test_after_a_large_pin_the_thread_lets_others_run(
    size: int, count: int, monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    kept = [attrs.evolve(pin(f"p{number}"), reason="") for number in range(3)]
    kept = [attrs.evolve(each, reason="x" * (size - len(orjson.dumps(PINS.members(each))))) for each in kept]
    pauses: list[float] = []
    monkeypatch.setattr("vortexd.shelf.file.time.sleep", pauses.append)
    content = encode(PINS, kept)
    assert [0.0005] * 3 * count == pauses
    pauses.clear()
    assert 3 == len(parse(PINS, content))

    # The last pin is followed by the end of the work.
    assert [0.0005] * 2 * count == pauses


def test_a_file_that_has_not_changed_is_not_parsed_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = PinsFile(directory), PinsFile(directory)
    parsed: list[bytes] = []

    def parse_it(_: object, content: bytes) -> list[Pin] | str:
        parsed.append(content)
        return parse(PINS, content)

    monkeypatch.setattr(module, "parse", parse_it)
    put(mine, pin("p1"))
    put(mine, pin("p2", "cart"))
    assert (["p1", "p2"], []) == ([each.id for each in mine.read()], parsed)
    for _ in range(2):
        assert ["p1", "p2"] == [each.id for each in other.read()]
    assert 1 == len(parsed)
    put(other, pin("p3", "more"))
    assert ["p1", "p2", "p3"] == [each.id for each in mine.read()]
    assert 2 == len(parsed)


def good() -> Any:
    return orjson.loads(encode(PINS, [pin()]))


def with_(path: str, value: object) -> bytes:
    """The file with another value at a path."""
    found: Any = good()
    at, *names = [found, *path.split("/")]
    for name in names[:-1]:
        at = at[int(name) if isinstance(at, list) else name]
    at[int(names[-1]) if isinstance(at, list) else names[-1]] = value
    return orjson.dumps(found)


# The last second that a date can be written for.
LAST = 253_402_300_799
GARBAGE = [
    with_("pins/0/since", -1),
    with_("pins/0/since", -1e18),
    with_("pins/0/since", LAST + 1),
    with_("pins/0/until", LAST + 1),
    with_("pins/0/until", 1e18),
    with_("pins/0/until", 0.5),
    b"",
    b"{",
    b"[]",
    b"{}",
    b"\x00" * 100,
    b'{"format":2,"pins":[]}',
    b'{"format":1}',
    b'{"format":1,"pins":7}',
    b'{"format":1,"pins":[7]}',
    with_("pins/0/id", 7),
    with_("pins/0/version", None),
    with_("pins/0/reason", None),
    with_("pins/0/by", 1),
    with_("pins/0/commit", 7),
    with_("pins/0/since", "1"),
    with_("pins/0/since", None),
    with_("pins/0/until", True),
    with_("pins/0/key", ["../x", "dev", "main"]),
    with_("pins/0/key", ["shop", "dev"]),
    with_("pins/0/key", ["shop", "dev", "main,x"]),
    with_("pins/0/labels", []),
    with_("pins/0/labels/0", 7),
    with_("pins/0/labels/0/0/root", 7),
    with_("pins/0/labels/0/0/group", "2"),
    with_("pins/0/labels/0/0/locations", [7]),
    with_("pins/0/labels/0/0/applications", [7]),
    with_("pins/0/labels/0/0/revision", 7),
    with_("pins/0/labels/0/0/origin", {"commit": 1, "author": "a", "time": "b"}),
    with_("pins/0/labels/0/0/origin", {}),
    with_("pins/0/labels/0/0/edits", {"x": None}),
    with_("pins/0/labels/0/0/contents", {"x": "?"}),
    with_("pins/0/labels/0/0/contents", {"x": 7}),
    with_("pins/0/labels/0/0/contents", []),
]


@pytest.mark.parametrize(
    "content",
    [
        encode(PINS, [pin()]).replace(b"\n]}", b",\n\n]}"),
        encode(PINS, [pin()]).replace(b'"id"', b'"id'),
        encode(PINS, [pin()]).replace(b"\n]}", b",\n7\n]}"),
        encode(PINS, [pin(), pin()]).replace(b",\n", b"\n"),
        encode(PINS, [pin()]).replace(b'"format":1,', b""),
        encode(PINS, [pin()]).replace(b'"format":1,', b'"format":2,'),
        encode(PINS, [pin()])[:-1],
        encode(PINS, [pin()])[:-3],
        b'{"format":1,"pins":[\n]}',
        b'{"format":1,"pins":[\n\n]}',
    ],
)
def test_lines_that_are_not_right_are_garbage(content: bytes) -> None:
    assert isinstance(parse(PINS, content), str) or orjson.loads(content)["pins"] == parse(PINS, content)


@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_is_set_aside_with_one_warning(directory: Path, content: bytes) -> None:
    assert isinstance(parse(PINS, content), str)
    file = PinsFile(directory)
    put(file)
    (directory / FILE).write_bytes(content)
    with capture_logs() as logs:
        assert [] == file.read()
        assert [] == file.read()
        put(file, pin())

    [event] = logs
    assert ("pins set aside", "warning", str(directory / (FILE + ".unknown"))) == (
        event["event"],
        event["log_level"],
        event["file"],
    )
    assert content == (directory / (FILE + ".unknown")).read_bytes()
    assert ["p1"] == [each.id for each in file.read()]


def test_a_newer_format_is_named(directory: Path) -> None:
    assert "it has format 2, but this version only reads format 1" == parse(PINS, b'{"format":2,"pins":[]}')
    assert "it isn't a file of pins" == parse(PINS, b"7")


def test_a_second_file_that_is_set_aside_does_not_replace_the_first(directory: Path) -> None:
    file = PinsFile(directory)
    put(file)
    for content in (b"first", b"second"):
        (directory / FILE).write_bytes(content)
        with capture_logs() as logs:
            assert [] == file.read()

    assert [str(directory / "pins.json.unknown.1")] == [each["file"] for each in logs]
    names = ("pins.json.unknown", "pins.json.unknown.1")
    assert [b"first", b"second"] == [(directory / each).read_bytes() for each in names]


def test_a_change_sets_garbage_aside_too(directory: Path) -> None:
    file = PinsFile(directory)
    put(file, pin())
    (directory / FILE).write_bytes(b"x")
    with capture_logs() as logs:
        assert ["p2"] == [each.id for each in put(file, pin("p2"))]
    assert ["pins set aside"] == [each["event"] for each in logs]


def test_a_file_that_is_too_large_is_set_aside(directory: Path) -> None:
    put(PinsFile(directory), pin())
    size = (directory / FILE).stat().st_size
    assert ["p1"] == [each.id for each in PinsFile(directory, size).read()]
    with capture_logs() as logs:
        assert [] == PinsFile(directory, size - 1).read()
    assert f"it is larger than {size - 1} bytes" == logs[0]["reason"]


def test_a_link_is_not_followed(directory: Path, tmp_path: Path) -> None:
    put(PinsFile(directory), pin())
    (directory / FILE).rename(tmp_path / "elsewhere")
    (directory / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="."):
        PinsFile(directory).read()


@pytest.mark.parametrize("name", ["replace", "sync"])
def test_a_full_disk_changes_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    file = PinsFile(directory)
    put(file, pin())
    failures = [OSError(errno.ENOSPC, "No space left on device")]
    real = getattr(private_files, name)

    def full(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        real(*arguments)

    monkeypatch.setattr(private_files, name, full)
    with pytest.raises(OSError, match="No space"):
        put(file, pin("p2"))
    assert ["p1"] == [each.id for each in PinsFile(directory).read()]
    assert ["p1", "p2"] == [each.id for each in put(file, pin("p2"))]


def test_a_lock_that_another_process_keeps_is_an_error_after_a_while(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    file = PinsFile(directory)
    put(file)
    lock = private_files.locked(directory / LOCK)
    assert lock is not None
    with pytest.raises(OSError, match="another process has locked it"):
        put(file, pin())
    os.close(lock)
    put(file, pin())
    assert ["p1"] == [each.id for each in file.read()]


def test_the_pins_are_synced_before_the_change_returns(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(private_files, "sync", lambda path: synced.append(path.name))
    put(PinsFile(directory), pin())
    assert ["pins"] == synced
