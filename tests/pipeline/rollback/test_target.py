"""The target of a roll-back: by the beginning of an id, or by a version in the history of a key."""

from collections.abc import Mapping, Sequence

import pytest
import trio

from vortexd.core.commits import Commit, PastFiles
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key, Origin
from vortexd.pipeline.rollback import target as module
from vortexd.pipeline.rollback.branch_states import BranchState
from vortexd.pipeline.rollback.target import Reader, find

from .branches import ROOT, SHOP, files_of, id_of, past_of, states_of


class Repository:
    """Commits on one branch, each with all its files. Notes the numbers of those that are read."""

    def __init__(self, *states: Mapping[str, str], locations: tuple[str, ...] = ("",), has_root: bool = True) -> None:
        self.states = states
        self.has_root = has_root
        self.read: list[int] = []
        self.unservable: set[int] = set()
        self._states = states_of({"main": files_of(states[-1], locations=locations)})
        self.reader = Reader(self, ROOT, self._states, trio.CapacityLimiter(1))

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        assert (ROOT, True) == (root, near is not None)
        number = int(commit, 16)
        self.read.append(number)
        return None if number in self.unservable else past_of(self.states[number], number)

    @property
    def steps(self) -> Sequence[Commit]:
        return [self._commit(number) for number in reversed(range(len(self.states)))]

    def _commit(self, number: int) -> Commit:
        before = self.states[number - 1] if number else {}
        now = self.states[number]
        paths = {path for path in (*before, *now) if before.get(path) != now.get(path)}
        parent = id_of(number - 1) if number else None if self.has_root else "f" * 40
        return Commit(Origin(id_of(number), "Ada", ""), parent, paths)

    @property
    def head(self) -> BranchState:
        number = len(self.states) - 1
        return self._states.at(past_of(self.states[number], number), repairs=True)

    def version(self, number: int, key: Key = SHOP) -> str:
        return self._states.at(past_of(self.states[number], number), repairs=False).resolve(key).version

    async def find(self, to: str) -> int:
        """The number of the target."""
        found = await find(self.reader, self.head, SHOP, self.steps, to)
        return int(str(found.past.files.revision), 16)


def value(number: int) -> dict[str, str]:
    return {"shop.yml": f"a: {number}"}


async def test_a_commit_is_named_by_its_id_or_the_beginning_of_it() -> None:
    repository = Repository(value(0), value(1), value(2))

    assert 1 == await repository.find(id_of(1))
    assert [1] == repository.read
    with pytest.raises(RemoteError, match="several commits") as several:
        await repository.find("0" * 7)
    with pytest.raises(RemoteError, match="no such commit") as none:
        await repository.find("abcdef0")
    assert (404, 404) == (several.value.status, none.value.status)


async def test_the_newest_commit_is_not_read_again() -> None:
    repository = Repository(value(0), value(1))

    assert 1 == await repository.find(id_of(1))
    assert [] == repository.read


async def test_a_commit_that_can_not_be_served_is_refused() -> None:
    repository = Repository(value(0), value(1))
    repository.unservable = {0}
    with pytest.raises(RemoteError, match="can't be served") as caught:
        await repository.find(id_of(0))

    assert 409 == caught.value.status


@pytest.mark.parametrize("to", ["abcdef0", "0123456789abcdef"])
@pytest.mark.parametrize("has_root", [True, False])
async def test_an_error_says_if_older_commits_are_not_known(to: str, has_root: bool) -> None:
    """As behind a commit that changes too many files."""
    repository = Repository(value(0), value(1), has_root=has_root)
    repository.unservable = {int("f" * 40, 16)}
    with pytest.raises(RemoteError) as caught:
        await repository.find(to)

    why = (
        "; older commits aren't known, because the server reads the newest 1,000 commits of a branch, "
        "and fewer if one of them changes too many files"
    )
    assert (404, not has_root) == (caught.value.status, caught.value.reason.endswith(why))
    assert has_root != ("older commits" in caught.value.reason)


async def test_if_no_commit_is_known_the_error_says_why() -> None:
    repository = Repository(value(0))
    with pytest.raises(RemoteError, match="among the newest 0 commits .*; older commits aren't known"):
        await find(repository.reader, repository.head, SHOP, (), "abcdef0")


async def test_an_id_that_several_commits_have_does_not_blame_the_history() -> None:
    repository = Repository(*map(value, range(20)), has_root=False)
    with pytest.raises(RemoteError) as caught:
        await repository.find("0" * 7)

    assert "several commits begin with this id; name more of its digits" == caught.value.reason


async def test_a_version_means_the_newest_commit_that_has_it() -> None:
    repository = Repository(value(0), value(1), value(0), value(2), value(3))

    assert 2 == await repository.find(repository.version(0))
    assert 1 == await repository.find(repository.version(1))
    assert 4 == await repository.find(repository.version(4))


async def test_commits_that_change_no_path_of_the_key_are_not_read() -> None:
    others = [{"shop.yml": "a: 1", "cart.yml": f"b: {number}"} for number in range(30)]
    repository = Repository(value(0), *others, value(2))

    assert 30 == await repository.find(repository.version(1))
    assert [30] == repository.read
    repository.read.clear()
    assert 0 == await repository.find(repository.version(0))
    assert [30, 0] == repository.read


async def test_an_id_of_sixteen_digits_is_a_commit_if_there_is_one() -> None:
    repository = Repository(value(0), value(1))
    with pytest.raises(RemoteError, match="several commits"):
        await repository.find("0" * 16)


@pytest.mark.parametrize("has_root", [True, False])
async def test_a_version_that_no_known_commit_has_is_an_error(has_root: bool) -> None:
    repository = Repository(value(0), value(1), value(2), has_root=has_root)
    if not has_root:
        repository.unservable = {int("f" * 40, 16)}
    with pytest.raises(RemoteError, match="no commit that the server knows") as caught:
        await repository.find("f" * 16)

    assert 404 == caught.value.status
    assert [1, 0] == repository.read[:2]


async def test_the_parent_of_the_last_known_commit_counts_too() -> None:
    repository = Repository(value(0), value(1), value(2))
    steps = repository.steps[:2]
    found = await find(repository.reader, repository.head, SHOP, steps, repository.version(0))

    assert id_of(0) == found.past.files.revision


async def test_a_broken_commit_does_not_end_the_search() -> None:
    repository = Repository(value(0), {"shop.yml": "["}, value(2))

    assert 0 == await repository.find(repository.version(0))


async def test_a_commit_that_can_not_be_read_does_not_end_the_search() -> None:
    """The commit before it is read, whatever it changes."""
    repository = Repository(value(0), value(0) | {"cart.yml": "x"}, value(0), value(3))
    repository.unservable = {2}

    assert 1 == await repository.find(repository.version(0))


async def test_a_bounded_number_of_commits_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_READ", 3)
    repository = Repository(*(value(number) for number in range(10)))

    assert 6 == await repository.find(repository.version(6))
    repository.read.clear()
    with pytest.raises(RemoteError, match="isn't among the newest 3 changes") as caught:
        await repository.find(repository.version(5))
    assert (404, [8, 7, 6]) == (caught.value.status, repository.read)


async def test_with_patterns_in_search_paths_every_commit_is_read() -> None:
    repository = Repository(value(0), value(0) | {"x": "1"}, value(2), locations=("", "*/"))

    assert 1 == await repository.find(repository.version(0))
