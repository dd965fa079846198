"""The files in which the accepted state of each label is kept: what is written, what is read, and what is wrong with them."""

import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from structlog.testing import capture_logs

from vortexd.core.model import Files, Origin
from vortexd.state import private_files
from vortexd.state.accepted_files import FORMAT, LOCK, REFUSED, AcceptedFiles, name_of

GIT, FOLDER, SECRET = "https://git.example/a.git/", "file:/c/", "file:/secret/"
ADA = Origin("c1", "Ada", "2030-01-01T00:00:00Z")


class Sources:
    """A repository, and directories, of which one may not be copied."""

    def has_commits(self, root: str) -> bool:
        return root == GIT

    def may_copy(self, root: str) -> bool:
        return root != SECRET


def store(directory: Path, **limits: int) -> AcceptedFiles:
    return AcceptedFiles(directory / "accepted", Sources(), **limits)


def folder(root: str = FOLDER, /, **contents: str) -> Files:
    return Files({f"{name}.yml": text.encode() for name, text in contents.items()}, root=root)


def commit(name: str = "c1") -> Files:
    return Files({"a.yml": b"a: 1"}, root=GIT, revision=name, origin=attrs.evolve(ADA, commit=name))


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in (directory / "accepted").iterdir() if each.name != LOCK)


def test_a_commit_is_kept_by_its_name_and_a_directory_by_its_bytes(tmp_path: Path) -> None:
    kept = store(tmp_path)
    local = attrs.evolve(folder(a="a: 1", b="b: 1"), unreadable={"c.yml": "no permission"}, revision="r", origin=ADA)
    assert kept.write({"main": attrs.evolve(commit(), others=(local,))})

    first, second = store(tmp_path).read("main")
    assert (GIT, "c1") == (first.root, first.commit)
    assert {} == first.files.contents
    assert (FOLDER, None) == (second.root, second.commit)
    assert local.contents == second.files.contents
    assert ({"c.yml": "no permission"}, "r", ADA) == (
        second.files.unreadable,
        second.files.revision,
        second.files.origin,
    )
    index = orjson.loads((tmp_path / "accepted" / name_of("main")).read_bytes())
    assert (FORMAT, "main") == (index["format"], index["label"])
    assert {0o600} == {each.stat().st_mode & 0o777 for each in (tmp_path / "accepted").iterdir()}
    assert 0o700 == (tmp_path / "accepted").stat().st_mode & 0o777
    assert [] == [*store(tmp_path).read("dev")]


def test_what_was_never_written_is_not_known_and_reading_makes_nothing(tmp_path: Path) -> None:
    with capture_logs() as logs:
        assert () == store(tmp_path).read("main")

    assert [] == logs
    assert [] == [*tmp_path.iterdir()]


def test_equal_contents_are_kept_once_and_old_ones_are_removed(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write({"main": folder(a="x: 1", b="x: 1"), "dev": folder(a="x: 1")})
    assert 3 == len(names(tmp_path))
    kept.write({"main": folder(a="x: 2"), "dev": folder(a="x: 1")})
    assert 4 == len(names(tmp_path))
    kept.write({"main": folder(a="x: 2"), "dev": folder(a="x: 2")})

    assert 3 == len(names(tmp_path))
    assert {"a.yml": b"x: 2"} == store(tmp_path).read("dev")[0].files.contents


def test_only_labels_that_have_changed_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, main = store(tmp_path), folder(a="x: 1")
    kept.write({"main": main, "dev": folder(a="y: 1")})
    written: list[str] = []
    replace = private_files.replace

    def noting(file: Path, content: bytes) -> None:
        written.append(file.name)
        replace(file, content)

    monkeypatch.setattr(private_files, "replace", noting)
    kept.write({"main": main, "dev": folder(a="y: 1")})
    assert [] == written
    kept.write({"main": main, "dev": folder(a="y: 2")})
    assert name_of("dev") == written[-1]
    assert 2 == len(written)
    # Another process knows from the disk what is there.
    kept.close()
    written.clear()
    store(tmp_path).write({"main": folder(a="x: 1"), "dev": folder(a="y: 2")})

    assert [] == written


def test_the_index_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a process that is killed meanwhile leaves the former state."""
    kept = store(tmp_path)
    kept.write({"main": folder(a="x: 1")})
    replace = private_files.replace

    def killed(file: Path, content: bytes) -> None:
        if file.suffix == ".json":
            raise KeyboardInterrupt
        replace(file, content)

    monkeypatch.setattr(private_files, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.write({"main": folder(a="x: 2")})
    kept.close()

    assert {"a.yml": b"x: 1"} == store(tmp_path).read("main")[0].files.contents


def test_a_label_that_is_gone_is_forgotten_unless_only_its_commit_is_kept(tmp_path: Path) -> None:
    """A git source reads some labels only when a client asks for them."""
    kept = store(tmp_path, most_absent=2)
    commits = {name: commit(name) for name in ("a", "b", "c")}
    kept.write({**commits, "d": folder(a="x: 1")})
    kept.write({"main": commit()})

    assert [1, 1, 1, 0] == [len(kept.read(each)) for each in ("main", "b", "c", "d")]
    assert () == kept.read("a")
    assert 3 == len(names(tmp_path))


def test_a_label_beyond_the_limit_is_forgotten_and_that_is_logged_once(tmp_path: Path) -> None:
    kept = store(tmp_path, max_bytes=8)
    kept.write({"main": folder(a="x: 1"), "dev": folder(a="y: 1")})
    assert [1, 1] == [len(kept.read(each)) for each in ("main", "dev")]
    with capture_logs() as logs:
        for text in ("z: 12", "z: 13"):
            assert kept.write({"main": folder(a="x: 1"), "dev": folder(a=text)})

    assert [1, 0] == [len(kept.read(each)) for each in ("main", "dev")]
    assert ["1 labels are beyond 8 bytes together"] == [each["reason"] for each in logs]
    assert ["accepted state not remembered"] == [each["event"] for each in logs]
    assert 2 == len(names(tmp_path))
    with capture_logs() as logs:
        kept.write({"main": folder(a="x: 1"), "dev": folder(a="z: 1")})
        kept.write({"main": folder(a="x: 1"), "dev": folder(a="z: 14")})
    assert 1 == len(logs)


def test_a_directory_that_must_not_be_copied_is_not_kept(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write({"main": folder(a="x: 1")})
    with capture_logs() as logs:
        kept.write({"main": attrs.evolve(commit(), others=(folder(SECRET, a="x: 1"),))})

    assert [] == logs
    assert [] == names(tmp_path)


def test_one_process_writes_and_another_one_takes_over_when_it_ends(tmp_path: Path) -> None:
    one, other = store(tmp_path), store(tmp_path)
    assert one.write({"main": commit("c1")})
    assert other.write({"main": commit("c2")})
    assert "c1" == other.read("main")[0].commit
    one.close()
    one.close()
    assert other.write({"main": commit("c2")})

    assert "c2" == one.read("main")[0].commit


def test_everything_is_removed_once_there_is_no_gate(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.forget()
    assert [] == [*tmp_path.iterdir()]
    kept.write({"main": folder(a="x: 1"), "dev": commit()})
    other = store(tmp_path)
    other.forget()
    assert 1 == len(kept.read("main"))
    kept.forget()
    assert [] == names(tmp_path)
    kept.write({"main": folder(a="x: 1")})

    assert 2 == len(names(tmp_path))


def test_states_that_cannot_be_removed_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store(tmp_path)
    kept.write({"main": commit()})

    def denied(path: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "unlink", denied)
    with capture_logs() as logs:
        kept.forget()

    assert [("accepted states not removed", "read-only file system")] == [
        (each["event"], each["reason"]) for each in logs
    ]


def altered(index: dict[str, Any], path: Sequence[Any], value: object) -> bytes:
    place: Any = index
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return orjson.dumps(index)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (["format"], FORMAT + 1, f"it has format {FORMAT + 1}, but this version only reads format {FORMAT}"),
        (["format"], "x", "it isn't an index"),
        (["label"], "dev", "an entry can't be read"),
        (["layers"], {}, "an entry can't be read"),
        (["layers", 0], [], "an entry can't be read"),
        (["layers", 0, "root"], 1, "an entry can't be read"),
        (["layers", 0, "commit"], 1, "an entry can't be read"),
        (["layers", 0, "revision"], 1, "an entry can't be read"),
        (["layers", 0, "origin"], "abc", "an entry can't be read"),
        (["layers", 0, "origin"], ["a", "b"], "an entry can't be read"),
        (["layers", 0, "origin"], ["a", "b", 1], "an entry can't be read"),
        (["layers", 0, "files"], [], "an entry can't be read"),
        (["layers", 0, "files", "a.yml"], "../../etc/passwd", "an entry can't be read"),
        (["layers", 0, "files", "a.yml"], 1, "an entry can't be read"),
        (["layers", 0, "unreadable"], [], "an entry can't be read"),
        (["layers", 0, "unreadable"], {"a": 1}, "an entry can't be read"),
    ],
)
def test_an_index_that_is_wrong_is_not_used_and_set_aside(
    tmp_path: Path, path: Sequence[Any], value: object, reason: str
) -> None:
    kept = store(tmp_path)
    kept.write({"main": folder(a="x: 1")})
    kept.close()
    file = tmp_path / "accepted" / name_of("main")
    file.write_bytes(altered(orjson.loads(file.read_bytes()), path, value))
    garbage = file.read_bytes()
    file.with_name(file.name + ".unknown").write_bytes(b"set aside before")
    again = store(tmp_path)
    with capture_logs() as logs:
        assert () == again.read("main")
        assert () == again.read("main")
    assert [("accepted state unreadable", "main", reason)] == [
        (each["event"], each["label"], each["reason"]) for each in logs
    ]
    again.write({"main": folder(a="x: 2")})

    assert {"a.yml": b"x: 2"} == again.read("main")[0].files.contents
    # An index of another label is as good as any when the disk is examined.
    assert b"set aside before" == file.with_name(file.name + ".unknown").read_bytes()
    aside = file.with_name(file.name + ".unknown.1")
    assert (path == ["label"]) != (aside.exists() and garbage == aside.read_bytes())


@pytest.mark.parametrize("garbage", [b"", b"\0" * 100, b"[1]", b"{", b"null"])
def test_garbage_is_not_used(tmp_path: Path, garbage: bytes) -> None:
    kept = store(tmp_path)
    kept.write({"main": folder(a="x: 1")})
    (tmp_path / "accepted" / name_of("main")).write_bytes(garbage)
    with capture_logs() as logs:
        assert () == kept.read("main")

    assert 1 == len(logs)


@pytest.mark.parametrize("change", ["missing", "other", "link", "folder"])
def test_a_content_that_is_wrong_is_not_used(tmp_path: Path, change: str) -> None:
    kept = store(tmp_path)
    kept.write({"main": folder(a="x: 1")})
    [content] = [each for each in (tmp_path / "accepted").iterdir() if len(each.name) == 64]
    text = content.read_bytes()
    if change == "other":
        content.write_bytes(b"x: 2")
    else:
        content.unlink()
    if change == "link":
        (tmp_path / "x").write_bytes(text)
        content.symlink_to(tmp_path / "x")
    if change == "folder":
        content.mkdir()
    with capture_logs() as logs:
        assert () == kept.read("main")

    assert ["accepted state unreadable"] == [each["event"] for each in logs]


def test_a_state_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store(tmp_path)
    kept.write({"main": folder(a="x: 1")})
    read, other = private_files.read, store(tmp_path)

    def replaced(file: Path, limit: int) -> bytes:
        content = read(file, limit)
        if file.suffix == ".json":
            kept.write({"main": folder(a="x: 2")})
        return content

    monkeypatch.setattr(private_files, "read", replaced)
    with capture_logs() as logs:
        assert {"a.yml": b"x: 2"} == other.read("main")[0].files.contents

    assert [] == logs


def test_a_directory_of_others_is_neither_read_nor_written(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write({"main": commit()})
    (tmp_path / "accepted").chmod(0o755)
    with capture_logs() as logs:
        assert () == kept.read("main")
        assert not store(tmp_path).write({"main": commit("c2")})

    assert ["accepted state unreadable", "accepted state not remembered"] == [each["event"] for each in logs]


def test_a_full_disk_leaves_the_former_state_and_the_write_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store(tmp_path)
    kept.write({"main": folder(a="x: 1")})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "fsync", full)
        assert not kept.write({"main": folder(a="x: 2")})
        assert not kept.write({"main": folder(a="x: 2")})
    assert [("accepted state not remembered", "no space left on device")] == [
        (each["event"], each["reason"]) for each in logs
    ]
    assert {"a.yml": b"x: 1"} == store(tmp_path).read("main")[0].files.contents
    assert kept.write({"main": folder(a="x: 2")})
    assert {"a.yml": b"x: 2"} == store(tmp_path).read("main")[0].files.contents


def test_a_part_that_a_crash_has_left_is_removed(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write({"main": commit()})
    (tmp_path / "accepted" / "x.json.part").write_bytes(b"{")
    kept.write({"main": commit("c2")})

    assert [name_of("main")] == names(tmp_path)


def test_absent_labels_are_forgotten_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write({"new": commit(), "old": commit("c2")})
    kept.close()
    os.utime(tmp_path / "accepted" / name_of("old"), (time.time() - 100, time.time() - 100))
    again = store(tmp_path, most_absent=1)
    again.write({"main": commit()})

    assert [1, 0] == [len(again.read(each)) for each in ("new", "old")]


def test_refused_states_are_kept_beside_the_accepted_ones_and_forgotten_with_them(tmp_path: Path) -> None:
    kept, said = store(tmp_path), {"main": ("c2", 7.5)}
    assert {} == kept.refused()
    assert kept.write({"main": commit()})
    assert kept.write_refused(said)
    assert said == store(tmp_path).refused()
    # Another process that writes leaves them.
    kept.close()
    other = store(tmp_path)
    assert other.write({"main": commit("c3")})
    assert said == other.refused()
    # Only one process writes.
    assert store(tmp_path).write_refused({})
    assert said == other.refused()
    assert other.write_refused({})
    assert [name_of("main")] == names(tmp_path)
    assert other.write_refused(said)
    other.forget()
    assert [] == names(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format":2,"refused":{"main":["c2",7]}}',
        b'{"format":1,"refused":[]}',
        b'{"format":1,"refused":{"main":1}}',
    ],
)
def test_refused_states_that_cannot_be_read_are_none(content: bytes, tmp_path: Path) -> None:
    kept = store(tmp_path)
    assert kept.write_refused({"main": ("c2", 7.0)})
    (tmp_path / "accepted" / REFUSED).write_bytes(content)

    assert {} == kept.refused()


def test_refused_states_that_cannot_be_written_are_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = store(tmp_path)
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(private_files, "replace", full)
        assert not kept.write_refused({"main": ("c2", 7.0)})
    assert ["accepted state not remembered"] == [each["event"] for each in logs]
    assert kept.write_refused({"main": ("c2", 7.0)})
