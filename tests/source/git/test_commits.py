"""The own step of a commit: it is the one that `git log` prints, or none."""

from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from vortexd.core.model import Origin
from vortexd.source.git.commits import NO_FILE, Step, former_blob, own_step, parent_of
from vortexd.source.git.history import Histories
from vortexd.source.git.mirror import Mirror
from vortexd.source.git.objects import Object, Objects
from vortexd.source.git.remotes import Remote
from vortexd.source.git.settings import GitSettings
from vortexd.source.git.snapshots import Snapshots

from ...repository import Repository

SETTINGS = GitSettings(uri="https://git.example/x")
PERSON = b"Ada Lovelace <ada@example.org> 1700000000 +0100"
ID, OTHER = "a" * 40, "b" * 40
FIRST = {
    "a.yml": "1",
    "run.yml": "1",
    "link.yml": "a.yml",
    "deep/er/c.yml": "1",
    "gone/d.yml": "1",
    ".hidden.yml": "1",
    "sub": ID,
    "sp ace \xe9.yml": "1",
    ":colon.yml": "1",
}
MODES = {"link.yml": "120000", "run.yml": "100755", "sub": "160000"}


@attrs.define
class Both:
    """A repository whose newest commit is read in both ways."""

    repository: Repository
    objects: Objects
    mirror: Mirror

    def raw(
        self,
        tree: str,
        parents: list[str],
        author: bytes,
        committer: bytes,
        more: bytes = b"",
        message: bytes = b"message\n",
    ) -> str:
        """Write a commit with exactly this header and message, and return its id."""
        lines = [f"tree {tree}\n".encode(), *(f"parent {each}\n".encode() for each in parents)]
        content = b"".join([*lines, b"author ", author, b"\ncommitter ", committer, b"\n", more, b"\n", message])
        given = ("hash-object", "-t", "commit", "-w", "--literally", "--stdin")
        return self.repository.git(*given, input=content).strip()

    async def steps(self, commit: str, before: str) -> tuple[Step | None, Step]:
        """The own step of a commit that is read after another, and the step that git prints."""
        snapshots = Snapshots(self.mirror, self.objects, SETTINGS)
        near = await snapshots.read(before, None, ())
        found = await snapshots.read(commit, near, ())
        history = await Histories(self.mirror).read(commit)
        return found.step, history.steps[0]


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    repository = Repository(tmp_path / "config.git")
    mirror = Mirror(repository.path, Remote(str(repository.path), "none", "", ""), SETTINGS)
    async with Objects(mirror.git, 10) as objects:
        yield Both(repository, objects, mirror)


def plain(step: Step | None) -> object:
    return step and (step.parent, step.origin, dict(step.before), step.is_merge)


@pytest.mark.parametrize(
    ("files", "modes"),
    [
        ({"a.yml": "2"}, {}),
        ({"a.yml": "2", "new/b.yml": "1", "gone/d.yml": None}, {}),
        ({"run.yml": "1"}, {}),
        ({"a.yml": "1"}, {"a.yml": "100755"}),
        ({"link.yml": "run.yml"}, {"link.yml": "120000"}),
        ({"link.yml": "1"}, {}),
        ({"a.yml": "run.yml"}, {"a.yml": "120000"}),
        ({"sub": OTHER}, {"sub": "160000"}),
        ({"sub": None, "sub/e.yml": "1"}, {}),
        ({"deep/er/c.yml": None, "deep/er": "1"}, {}),
        ({".hidden.yml": "2", "a.yml": "3", "bad\nname.yml": "1"}, {}),
        ({"sp ace \xe9.yml": "2", ":colon.yml": "2", ":100644 new.yml": "1"}, {}),
    ],
)
async def test_the_own_step_is_the_one_that_git_prints(
    files: dict[str, str | None], modes: dict[str, str], both: Both
) -> None:
    first = both.repository.commit(FIRST, modes=MODES)
    quoted = {(f'"{path}"'.replace("\n", "\\n") if "\n" in path else path): text for path, text in files.items()}
    own, printed = await both.steps(both.repository.commit(quoted, modes=modes), first)

    assert own is not None
    assert plain(printed) == plain(own)


SIGNED = b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n author Eve <e@example.org> 1 +0000\n -----END PGP SIGNATURE-----\n"


@pytest.mark.parametrize(
    ("author", "committer", "more", "is_known"),
    [
        (PERSON, PERSON, b"", True),
        (PERSON, b"Bob <b@example.org> 1700000009 -0730", b"", True),
        (PERSON, PERSON, SIGNED, True),
        ("J\xf6rg \u674e <j@example.org> 1700000000 +0000".encode(), PERSON, b"", True),
        (b"A <> 1700000000 +0000", b"<b@example.org> 9999999999 +0000", b"", True),
        (b"<a@example.org> 1700000000 +0000", PERSON, b"", True),
        ("J\xf6rg <j@example.org> 1700000000 +0000".encode("latin-1"), PERSON, b"encoding ISO-8859-1\n", False),
        ("J\xf6rg <j@example.org> 1700000000 +0000".encode("latin-1"), PERSON, b"", False),
        (PERSON, PERSON, SIGNED + b"encoding ISO-8859-1\n", False),
        (PERSON, PERSON, b"encoding UTF-8\n", False),
        (PERSON, PERSON, b"mergetag object " + ID.encode() + b"\n", False),
        (b" A <a@example.org> 1700000000 +0000", PERSON, b"", False),
        (b"A  <a@example.org> 1700000000 +0000", PERSON, b"", False),
        (b"A <a@example.org> b> 1700000000 +0000", PERSON, b"", False),
        (b"A <a@example.org>1700000000 +0000", PERSON, b"", False),
        (b"A a@example.org 1700000000 +0000", PERSON, b"", False),
        (PERSON, b"B <b@example.org> 0 +0000", b"", False),
        (PERSON, b"B <b@example.org> 99999999999 +0000", b"", False),
        (PERSON, b"B <b@example.org> 1700000000 +01:00", b"", False),
        (PERSON, b"B <b@example.org>", b"", False),
    ],
)
async def test_the_header_of_a_commit_is_read_as_git_reads_it_or_left_to_git(
    author: bytes, committer: bytes, more: bytes, is_known: bool, both: Both
) -> None:
    first = both.repository.commit({"a.yml": "1"})
    tree = both.repository.git("rev-parse", f"{both.repository.commit({'a.yml': '2'})}^{{tree}}").strip()
    commit = both.raw(tree, [first], author, committer, more)
    own, printed = await both.steps(commit, first)

    assert is_known == (own is not None)
    assert own is None or plain(printed) == plain(own)


@pytest.mark.parametrize(("order", "is_known"), [((0, 1), True), ((1, 0), False)])
async def test_a_merge_follows_its_first_parent(order: tuple[int, int], is_known: bool, both: Both) -> None:
    repository = both.repository
    base = repository.commit({"a.yml": "1", "b.yml": "1"})
    main, side = repository.commit({"a.yml": "2"}), repository.commit({"b.yml": "2"}, "side", parent=base)
    tree = repository.git("rev-parse", f"{repository.commit({'b.yml': '2'})}^{{tree}}").strip()
    parents = [(main, side)[each] for each in order]
    own, printed = await both.steps(both.raw(tree, parents, PERSON, PERSON), main)

    assert is_known == (own is not None)
    assert own is None or plain(printed) == plain(own)
    assert printed.is_merge


@pytest.mark.parametrize(
    ("message", "values"),
    [
        (b"x\n\nVortexd-Rollout: 5,100\n", ("5,100",)),
        (b"x\n\nvortexd-ROLLOUT: 5,100\n", ("5,100",)),
        (b"x\n\nVortexd-Rollout: 5,100\n\nend\n", ()),
    ],
)
async def test_only_git_reads_trailers(message: bytes, values: tuple[str, ...], both: Both) -> None:
    first = both.repository.commit({"a.yml": "1"})
    tree = both.repository.git("rev-parse", f"{both.repository.commit({'a.yml': '2'})}^{{tree}}").strip()
    commit = both.raw(tree, [first], PERSON, PERSON, message=message)
    own, printed = await both.steps(commit, first)

    assert own is None
    assert values == printed.trailers.get(commit, ())


async def test_a_commit_without_a_parent_has_no_own_step(both: Both) -> None:
    first = both.repository.commit({"a.yml": "1"})
    tree = both.repository.git("rev-parse", f"{both.repository.commit({'a.yml': '2'})}^{{tree}}").strip()
    own, printed = await both.steps(both.raw(tree, [], PERSON, PERSON), first)

    assert own is None
    assert printed.parent is None


def commit(parent: str = ID, person: bytes = PERSON) -> Object:
    content = b"tree %s\nparent %s\nauthor %s\ncommitter %s\n\nparent x\n" % (
        OTHER.encode(),
        parent.encode(),
        person,
        person,
    )
    return Object("c" * 40, "commit", len(content), content)


def entry(path: bytes) -> bytes:
    return b":100644 100644 %s %s M\0%s\0" % (ID.encode(), OTHER.encode(), path)


@pytest.mark.parametrize(("size", "is_known"), [(1_048_576, True), (1_048_577, False)])
def test_a_long_listing_is_left_to_git(size: int, is_known: bool) -> None:
    listed = entry(b"a" * (size - len(entry(b""))))
    assert size == len(listed)
    assert is_known == (own_step(commit(), ID, listed) is not None)


def test_the_own_step_has_the_parent_the_origin_and_what_was_before() -> None:
    step = own_step(commit(), ID, entry(b"a.yml") + entry(b".git/x"))

    assert (ID, Origin("c" * 40, "Ada Lovelace", "2023-11-14T22:13:20Z"), {"a.yml": ID}, False) == plain(step)
    assert own_step(commit(), OTHER, entry(b"a.yml")) is None


@pytest.mark.parametrize(
    ("mode", "blob"),
    [(b"000000", None), (b"100644", ID), (b"100755", ID), (b"100664", ID), (b"120000", NO_FILE), (b"160000", NO_FILE)],
)
def test_only_regular_files_had_content_before(mode: bytes, blob: str | None) -> None:
    assert blob == former_blob(mode, ID.encode())


def test_the_first_parent_is_in_the_header_and_not_in_the_message() -> None:
    orphan = b"tree %s\nauthor %s\n\nparent %s\n" % (ID.encode(), PERSON, OTHER.encode())
    assert ID == parent_of(commit())
    assert parent_of(Object(ID, "commit", len(orphan), orphan)) is None
