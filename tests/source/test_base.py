"""The contract of sources: which abilities each kind has, and what a source gets from the daemon by default."""

from collections.abc import Collection
from pathlib import Path
from random import Random

import pytest

from vortexd.core.model import Files, Tree
from vortexd.source.base import (
    FormerReader,
    LabelKeeper,
    LabelLoader,
    LabelsInUse,
    PastReader,
    Refreshable,
    Rememberer,
    Source,
    Surroundings,
)
from vortexd.source.files.settings import FilesSettings
from vortexd.source.git.settings import GitSettings
from vortexd.source.published.settings import PublishedSettings

ABILITIES: tuple[type, ...] = (FormerReader, LabelKeeper, LabelLoader, PastReader, Refreshable, Rememberer)


def abilities(source: object) -> set[type]:
    return {each for each in ABILITIES if isinstance(source, each)}


def surroundings(path: Path) -> Surroundings:
    return Surroundings(Random(1), path)


def test_a_directory_remembers_and_has_no_other_ability(tmp_path: Path) -> None:
    source: Source = FilesSettings(path=str(tmp_path)).open(surroundings(tmp_path))

    assert {Rememberer} == abilities(source)


def test_a_repository_fetches_loads_labels_keeps_them_and_reads_the_past(tmp_path: Path) -> None:
    source: Source = GitSettings(uri="https://git.example/a.git").open(surroundings(tmp_path))

    assert {LabelKeeper, LabelLoader, PastReader, Refreshable} == abilities(source)


def test_a_published_state_reads_former_states_and_has_no_other_ability(tmp_path: Path) -> None:
    settings = PublishedSettings(cluster="c", endpoints=("http://127.0.0.1:9",))
    source: Source = settings.open(surroundings(tmp_path))

    assert {FormerReader} == abilities(source)


class Able:
    """An object with every ability."""

    root = "file:/c/"
    remembered_root: str | None = None

    def fetch_now(self) -> None: ...

    async def wait_looked(self) -> None: ...

    def is_meant(self, addresses: Collection[str], refs: Collection[str]) -> bool:
        return True

    async def load(self, label: str) -> bool:
        return True

    def keep_labels(self, in_use: LabelsInUse) -> None: ...

    async def before(self, commit: str) -> Files | None:
        return None

    async def former(self, before: int = 0) -> tuple[int, Tree] | None:
        return None


def lacking(name: str) -> object:
    """The same object without one member."""
    members = {each: value for each, value in vars(Able).items() if each != name and not each.startswith("__")}
    return type("Lacking", (), members)()


def test_an_object_with_all_members_has_all_abilities() -> None:
    able = Able()
    fetching: Refreshable = able
    loading: LabelLoader = able
    keeping: LabelKeeper = able
    reading: PastReader = able
    remembering: Rememberer = able
    recalling: FormerReader = able

    assert set(ABILITIES) == abilities(able)
    assert {id(able)} == {id(each) for each in (fetching, loading, keeping, reading, remembering, recalling)}


@pytest.mark.parametrize(
    ("name", "ability"),
    [
        ("fetch_now", Refreshable),
        ("wait_looked", Refreshable),
        ("is_meant", Refreshable),
        ("load", LabelLoader),
        ("keep_labels", LabelKeeper),
        ("root", PastReader),
        ("before", PastReader),
        ("former", FormerReader),
        ("remembered_root", Rememberer),
    ],
)
def test_an_object_that_lacks_a_member_lacks_only_its_ability(name: str, ability: type) -> None:
    assert set(ABILITIES) - {ability} == abilities(lacking(name))


def test_by_default_a_source_remembers_nothing_and_knows_no_other_source_or_file_of_the_daemon() -> None:
    found = surroundings(Path("/var/lib/vortexd"))

    assert ((), None, ()) == (found.own, found.memory, found.opened)
