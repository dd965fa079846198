"""Commits as immutable files: links, LFS pointers, submodules, and files that one commit takes over from another."""

from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from vortexd.source.git.links import DANGLING, OUTSIDE, TOO_LONG, Way
from vortexd.source.git.mirror import Mirror
from vortexd.source.git.objects import Objects
from vortexd.source.git.remotes import Remote
from vortexd.source.git.settings import GitSettings
from vortexd.source.git.snapshots import SUBMODULE, LabelError, Snapshot, Snapshots
from vortexd.source.lfs import POINTER

from ...repository import Repository

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
LINK = {"link.yml": "120000"}
SETTINGS = GitSettings(uri="https://git.example/x")


@attrs.define
class Reader:
    """Reads the commits of a repository as of a mirror."""

    repository: Repository
    objects: Objects
    mirror: Mirror
    before: Snapshot | None = None

    async def read(
        self, commit: str, *, file_bytes: int = SETTINGS.file_bytes, files: int = SETTINGS.files
    ) -> Snapshot:
        """The commit from scratch, which must be what it is as a change of the one read before."""
        snapshots = Snapshots(self.mirror, self.objects, attrs.evolve(SETTINGS, file_bytes=file_bytes, files=files))
        found = await snapshots.read(commit, None, ())
        if self.before is not None:
            changed = await snapshots.read(commit, self.before, ())
            assert attrs.asdict(found) == attrs.asdict(attrs.evolve(changed, step=None))
        self.before = found
        return found


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    repository = Repository(tmp_path / "config.git")
    mirror = Mirror(repository.path, Remote(str(repository.path), "none", "", ""), SETTINGS)
    async with Objects(mirror.git, 10) as objects:
        yield Reader(repository, objects, mirror)


async def test_a_link_has_the_content_of_the_file_it_leads_to(reader: Reader) -> None:
    commit = reader.repository.commit({"app.yml": "a: 1\n", "link.yml": "app.yml"}, modes=LINK)
    found = await reader.read(commit)

    assert {"app.yml": b"a: 1\n", "link.yml": b"a: 1\n"} == found.contents
    assert found.contents["link.yml"] is found.contents["app.yml"]
    assert {"link.yml": Way(("link.yml", "app.yml"))} == found.ways
    assert ({}, {}) == (found.not_followed, found.unreadable)
    assert {"app.yml"} == set(found.blobs)
    assert {"link.yml"} == set(found.links)


async def test_a_link_changes_with_the_file_it_leads_to(reader: Reader) -> None:
    first = reader.repository.commit({"app.yml": "a: 1\n", "link.yml": "app.yml"}, modes=LINK)
    await reader.read(first)
    second = reader.repository.commit({"app.yml": "a: 2\n"})

    assert b"a: 2\n" == (await reader.read(second)).contents["link.yml"]


async def test_a_link_is_missing_once_its_file_has_gone_and_there_again_with_it(reader: Reader) -> None:
    repository = reader.repository
    await reader.read(repository.commit({"app.yml": "a: 1\n", "b.yml": "", "link.yml": "app.yml"}, modes=LINK))
    gone = await reader.read(repository.commit({"app.yml": None}))
    back = await reader.read(repository.commit({"app.yml": "a: 3\n"}))

    assert ({"b.yml"}, {"link.yml": DANGLING}, {}) == (set(gone.contents), gone.not_followed, gone.unreadable)
    assert (b"a: 3\n", {}) == (back.contents["link.yml"], back.not_followed)


async def test_a_link_may_become_a_file_and_a_file_a_link(reader: Reader) -> None:
    repository = reader.repository
    await reader.read(repository.commit({"app.yml": "a: 1\n", "link.yml": "app.yml"}, modes=LINK))
    file = await reader.read(repository.commit({"link.yml": "b: 1\n"}))
    link = await reader.read(repository.commit({"link.yml": "app.yml"}, modes=LINK))
    other = await reader.read(repository.commit({"new.yml": "c: 1\n", "link.yml": "new.yml"}, modes=LINK))
    gone = await reader.read(repository.commit({"link.yml": None}))

    assert [b"b: 1\n", b"a: 1\n", b"c: 1\n"] == [each.contents["link.yml"] for each in (file, link, other)]
    assert ({}, {}) == (file.links, file.ways)
    assert ({"app.yml", "new.yml"}, {}, {}) == (set(gone.contents), gone.links, gone.ways)


async def test_a_link_that_leads_elsewhere_is_missing_and_not_broken(reader: Reader) -> None:
    files = {"app.yml": "a: 1\n", "link.yml": "/etc/passwd", "long.yml": "x" * 2_000}
    commit = reader.repository.commit(files, modes={"link.yml": "120000", "long.yml": "120000"})
    found = await reader.read(commit, file_bytes=1_500)

    assert ({"app.yml"}, {}) == (set(found.contents), found.unreadable)
    assert {"link.yml": OUTSIDE, "long.yml": TOO_LONG} == found.not_followed


async def test_a_link_to_a_file_that_is_broken_is_broken_for_the_same_reason(reader: Reader) -> None:
    files = {"large.yml": "x" * 3_000, "link.yml": "large.yml", "lfs.yml": LFS, "to-lfs.yml": "lfs.yml"}
    commit = reader.repository.commit(files, modes={**LINK, "to-lfs.yml": "120000"})
    found = await reader.read(commit, file_bytes=2_000)

    assert {} == found.contents
    assert found.unreadable["large.yml"] == found.unreadable["link.yml"]
    assert "larger than 2000" in found.unreadable["link.yml"]
    assert (POINTER, POINTER) == (found.unreadable["lfs.yml"], found.unreadable["to-lfs.yml"])


async def test_a_link_is_whole_again_once_its_file_is(reader: Reader) -> None:
    repository = reader.repository
    await reader.read(repository.commit({"app.yml": LFS, "link.yml": "app.yml"}, modes=LINK))
    found = await reader.read(repository.commit({"app.yml": "a: 1\n"}))

    assert {} == found.unreadable
    assert b"a: 1\n" == found.contents["link.yml"]


async def test_an_lfs_pointer_is_a_broken_file_whatever_it_is_called(reader: Reader) -> None:
    found = await reader.read(reader.repository.commit({"app.yml": LFS, "cert.bin": LFS, "b.yml": "a: 1\n"}))

    assert {"b.yml"} == set(found.contents)
    assert {"app.yml": POINTER, "cert.bin": POINTER} == found.unreadable


async def test_a_submodule_is_broken_as_a_file(reader: Reader) -> None:
    first = reader.repository.commit({"app.yml": ""})
    found = await reader.read(reader.repository.commit({"sub": first}, modes={"sub": "160000"}))

    assert {"sub": SUBMODULE} == found.unreadable
    assert {} == found.not_followed


@pytest.mark.parametrize(("files", "is_read"), [(3, True), (2, False)])
async def test_links_count_among_the_files(files: int, is_read: bool, reader: Reader) -> None:
    texts = {"app.yml": "", "link.yml": "app.yml", "lost.yml": "/x"}
    commit = reader.repository.commit(texts, modes={**LINK, "lost.yml": "120000"})
    if is_read:
        await reader.read(commit, files=files)
    else:
        with pytest.raises(LabelError, match=f"more than {files} files"):
            await reader.read(commit, files=files)


async def test_the_same_tree_under_another_commit_is_the_same_files(reader: Reader) -> None:
    texts = {"app.yml": "a: 1\n", "link.yml": "app.yml", "lost.yml": "/x"}
    first = reader.repository.commit(texts, modes={**LINK, "lost.yml": "120000"})
    second = reader.repository.commit({})
    snapshots = Snapshots(reader.mirror, reader.objects, SETTINGS)
    one = await snapshots.read(first, None, ())
    other = await snapshots.read(second, one, [one])

    assert (first, second) == (one.origin.commit, other.origin.commit)
    for name in ("blobs", "links", "ways", "contents", "unreadable"):
        assert getattr(one, name) is getattr(other, name)


async def test_the_targets_of_links_in_use_are_read_once(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = reader.repository
    snapshots = Snapshots(reader.mirror, reader.objects, SETTINGS)
    texts = {"app.yml": "a: 1\n", "link.yml": "app.yml", "old.yml": "x", "older.yml": "y", "oldest.yml": "z"}
    one = await snapshots.read(repository.commit(texts, modes=LINK), None, ())
    two = await snapshots.read(repository.commit(dict.fromkeys(["old.yml", "older.yml", "oldest.yml"])), one, ())
    snapshots.forget_all_but([two])
    asked: list[str] = []
    read = reader.objects.read

    async def counted(names: list[str]) -> object:
        asked.extend(names)
        return await read(names)

    third = repository.commit({"app.yml": "a: 2\n"})
    monkeypatch.setattr(reader.objects, "read", counted)
    found = await snapshots.read(third, two, ())

    assert b"a: 2\n" == found.contents["link.yml"]
    assert [third, found.blobs["app.yml"]] == asked


# The own step of a commit.


async def test_a_commit_after_the_one_before_has_its_own_step(reader: Reader) -> None:
    snapshots = Snapshots(reader.mirror, reader.objects, SETTINGS)
    first = reader.repository.commit({"a.yml": "1", "b.yml": "1"})
    before = await snapshots.read(first, None, ())
    second = reader.repository.commit({"a.yml": "2", "c.yml": "1"})
    found = await snapshots.read(second, before, ())

    assert before.step is None
    assert found.step is not None
    assert (first, found.origin) == (found.step.parent, found.step.origin)
    assert {"a.yml": before.blobs["a.yml"], "c.yml": None} == found.step.before


async def test_the_step_of_another_commit_is_not_taken_over_with_its_files(reader: Reader) -> None:
    snapshots = Snapshots(reader.mirror, reader.objects, SETTINGS)
    first = await snapshots.read(reader.repository.commit({"a.yml": "1"}), None, ())
    second = await snapshots.read(reader.repository.commit({"a.yml": "2"}), first, ())
    again = await snapshots.read(reader.repository.commit({"a.yml": "2"}), second, [second])

    assert second.step is not None
    assert again.contents is second.contents
    assert again.step is None


async def test_a_commit_that_does_not_follow_the_one_before_has_no_own_step(reader: Reader) -> None:
    snapshots = Snapshots(reader.mirror, reader.objects, SETTINGS)
    first = await snapshots.read(reader.repository.commit({"a.yml": "1"}), None, ())
    reader.repository.commit({"a.yml": "2"})
    third = await snapshots.read(reader.repository.commit({"a.yml": "3"}), first, ())

    assert {"a.yml": b"3"} == third.contents
    assert third.step is None
