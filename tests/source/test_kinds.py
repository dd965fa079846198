"""The kinds of source: the parts of a kind, shown by an example in this file, and the entries of the table."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Literal

import attrs
import pytest
import trio

from tests.wiring import Wired
from vortexd.core.constraints import applications, whole
from vortexd.core.errors import SettingsError
from vortexd.core.model import Files, Key, Tree
from vortexd.settings import file
from vortexd.settings.root import Settings
from vortexd.settings.source import Kinds, SourceSettings, default_kind, first_of
from vortexd.source.base import (
    LabelKeeper,
    LabelLoader,
    PastReader,
    Publish,
    Refreshable,
    Rememberer,
    Surroundings,
)
from vortexd.source.composite import Sources, open_sources
from vortexd.source.files.settings import FilesSettings
from vortexd.source.git.settings import GitSettings
from vortexd.source.kinds import KINDS
from vortexd.source.memory import directory_for
from vortexd.source.status import SourceStatus

BASE = Path("/etc/vortexd")


# A kind of source: its settings, and the source.


@attrs.frozen
class MemorySettings(SourceSettings):
    """[[source]] of kind "memory": one file, whose text stands in the settings."""

    location_key: ClassVar[str] = "name"
    path_keys: ClassVar[tuple[str, ...]] = ("beside",)
    private_keys: ClassVar[tuple[str, ...]] = ("beside",)

    kind: Literal["memory"] = "memory"
    name: str = "application.yml"
    text: str = ""
    copies: int = whole(1, 1, 3)
    beside: str = ""
    applications: tuple[str, ...] = applications()

    def open(self, surroundings: Surroundings) -> "MemorySource":
        return MemorySource(self, surroundings)

    @classmethod
    def conflicts(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if "text" not in table:
            yield "text", "must be there: the text of the file"

    @classmethod
    def takes(cls, location: str) -> bool:
        return location.startswith("@")


class MemorySource:
    """A `base.Source` without any ability."""

    def __init__(self, settings: MemorySettings, surroundings: Surroundings) -> None:
        self.settings = settings
        self.surroundings = surroundings
        self.name = f"memory:{settings.name}"
        self.status = SourceStatus(self.name, settings.kind)

    async def run(self, publish: Publish) -> None:
        contents = {self.settings.name: self.settings.text.encode()}
        await publish(Tree({"main": Files(contents, root=self.name)}))
        self.status.succeeded()
        await trio.sleep_forever()


WITH_MEMORY: Kinds = {**KINDS, "memory": MemorySettings}
TEXT = '[[source]]\nkind = "memory"\ntext = "a: 1"\n'


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        file.load(text, "vortexd.toml", BASE, WITH_MEMORY)
    return dict(caught.value.problems)


def opened(settings: Settings, **arguments: Any) -> Sources:
    return open_sources(settings, {"STATE_DIRECTORY": "/var/lib/vortexd"}, Random(1), **arguments)


async def test_a_kind_that_is_one_file_is_parsed_and_served_by_the_pipeline() -> None:
    settings = file.load(TEXT + TEXT.replace("a: 1", "b: 2"), "vortexd.toml", BASE, WITH_MEMORY)
    sources, wired = opened(settings), Wired()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wired.publisher.run)
        nursery.start_soon(sources.run, wired.publisher.publish)
        with trio.fail_after(20):
            await wired.publisher.wait_ready()
            config = await wired.reader.read(Key("orders", "dev", "main"))
        nursery.cancel_scope.cancel()

    assert {"a": 1, "b": 2} == config.document
    assert [("memory", False)] * 2 == [(report.kind, report.is_failing) for report in sources.reports()]


def test_a_kind_stands_beside_others_and_has_its_own_defaults_and_paths() -> None:
    text = f'[[source]]\npath = "config"\n{TEXT}beside = "key"\n'
    settings = file.load(text, "vortexd.toml", BASE, WITH_MEMORY)

    assert settings.source == (
        FilesSettings(path="/etc/vortexd/config"),
        MemorySettings(text="a: 1", beside="/etc/vortexd/key"),
    )
    assert ["/etc/vortexd/key"] == file.own_files(settings)


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ('[[source]]\nkind = "memory"\n', "source[0].text", "must be there: the text of the file"),
        (TEXT + "copies = 4\n", "source[0].copies", "must be a whole number from 1 to 3"),
        (TEXT + 'copies = "1"\n', "source[0].copies", "must be a whole number from 1 to 3, not text"),
        (TEXT + 'txt = "b"\n', "source[0].txt", "unknown key; did you mean text?"),
        (TEXT + 'uri = "b"\n', "source[0].uri", 'unknown key here; it is for kind = "git"'),
        (TEXT + 'applications = ["a b"]\n', "source[0].applications[0]", "must be a pattern"),
        ('[[source]]\npath = "a"\ncopies = 1\n', "source[0].copies", 'unknown key here; it is for kind = "memory"'),
        (
            '[[source]]\nkind = "ftp"\n',
            "source[0].kind",
            'must be "files" or "git" or "etcd" or "published" or "memory"',
        ),
        (
            "[[source]]\nkind = 1\n",
            "source[0].kind",
            'must be "files" or "git" or "etcd" or "published" or "memory", not a whole number',
        ),
        (TEXT + TEXT + "copies = 0\n", "source[1].copies", "must be a whole number from 1 to 3"),
    ],
)
def test_a_problem_in_its_settings_is_reported_with_its_path(text: str, key: str, said: str) -> None:
    assert problems(text)[key].startswith(said)


def test_problems_of_several_kinds_come_at_once() -> None:
    found = problems(
        '[[source]]\nkind = "memory"\ncopies = 0\n[[source]]\nkind = "git"\n[[source]]\nscan_interval = 0\n'
    )

    assert {
        "source[0].copies",
        "source[0].text",
        "source[1].uri",
        "source[2].scan_interval",
        "source[2].path",
    } == set(found)


def test_without_its_line_in_the_table_a_kind_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        file.load(TEXT, "vortexd.toml", BASE, KINDS)

    found = dict(caught.value.problems)
    assert 'must be "files" or "git" or "etcd" or "published"' == found["source[0].kind"]
    assert "source[0].path" in found


def test_the_command_line_names_a_location_of_the_kind_that_takes_it() -> None:
    settings = file.load(TEXT + "copies = 2\n", "vortexd.toml", BASE, WITH_MEMORY)

    (found,) = file.override(settings, WITH_MEMORY, source="@b.yml").source
    assert MemorySettings(name="@b.yml", text="a: 1", copies=2) == found
    (found,) = file.override(settings, WITH_MEMORY, source="/srv").source
    assert FilesSettings(path="/srv") == found


def test_a_source_is_opened_with_what_the_daemon_has_for_it_and_knows_those_before_it(tmp_path: Path) -> None:
    random = Random(1)
    settings = Settings(source=(MemorySettings(), MemorySettings(applications=("orders",))))
    sources = open_sources(settings, {"STATE_DIRECTORY": "/s"}, random, ["/own"], tmp_path)
    one, two = sources._sources

    assert isinstance(one, MemorySource)
    assert isinstance(two, MemorySource)
    assert Surroundings(random, Path("/s"), ["/own"], tmp_path, ()) == one.surroundings
    assert (one,) == two.surroundings.opened
    assert [(), ("orders",)] == [each.applications for each in sources._places]


# Abilities that a kind may lack.


async def test_sources_without_abilities_are_left_out_where_one_is_needed() -> None:
    sources = opened(Settings(source=(MemorySettings(),)))
    sources.keep_labels(lambda: {"main"})

    assert not sources.can_fetch
    assert 0 == sources.fetch_now()
    assert 0 == sources.notified([], [])
    await sources.wait_looked([], [])
    assert not await sources.load("dev")
    assert await sources.before("memory:application.yml", "c1") is None


def test_each_kind_has_the_abilities_that_fit_it(tmp_path: Path) -> None:
    abilities = (Refreshable, LabelLoader, LabelKeeper, PastReader, Rememberer)
    settings = Settings(source=(FilesSettings(path="/srv"), GitSettings(uri="https://git.example/a.git")))
    files, git = opened(settings)._sources

    assert [Rememberer] == [each for each in abilities if isinstance(files, each)]
    assert [Refreshable, LabelLoader, LabelKeeper, PastReader] == [each for each in abilities if isinstance(git, each)]
    assert opened(settings).can_fetch
    assert not opened(Settings(source=settings.source[:1])).can_fetch


async def test_a_label_may_be_there_if_one_source_has_it_and_each_is_asked() -> None:
    asked = []

    class Loader(MemorySource):
        async def load(self, label: str) -> bool:
            asked.append((self.settings.text, label))
            return self.settings.text == "yes"

    def loaders(*texts: str) -> Sources:
        made = [Loader(MemorySettings(text=each), Surroundings(Random(1), Path("/s"))) for each in texts]
        return Sources(made, [()] * len(made))

    assert await loaders("yes", "no").load("dev")
    assert [("yes", "dev"), ("no", "dev")] == asked
    assert not await loaders("no").load("dev")


def test_only_what_sources_say_they_remember_stays_in_the_memory(tmp_path: Path) -> None:
    class Remembering(MemorySource):
        @property
        def remembered_root(self) -> str | None:
            return self.settings.text or None

    class Kept(MemorySettings):
        def open(self, surroundings: Surroundings) -> MemorySource:
            return Remembering(self, surroundings)

    for root in ("a/", "b/"):
        directory_for(tmp_path, root).mkdir()
    sources = opened(Settings(source=(Kept(text="a/"), Kept(), MemorySettings())), memory=tmp_path)
    assert sources._begin is not None
    sources._begin()

    assert [directory_for(tmp_path, "a/")] == [*tmp_path.iterdir()]


# The table.


@pytest.mark.parametrize("kinds", [KINDS, WITH_MEMORY])
def test_each_kind_has_the_name_that_it_stands_under_and_fields_with_defaults(kinds: Kinds) -> None:
    assert {name: kind().kind for name, kind in kinds.items()} == {name: name for name in kinds}
    assert all(attrs.has(kind) for kind in kinds.values())


@pytest.mark.parametrize("kind", [*KINDS.values(), MemorySettings])
def test_the_keys_that_a_kind_speaks_of_are_its_own(kind: type[SourceSettings]) -> None:
    assert {kind.location_key, *kind.path_keys} <= attrs.fields_dict(kind).keys()
    assert set(kind.private_keys) <= set(kind.path_keys)


def test_a_directory_is_the_kind_of_a_source_that_names_none() -> None:
    assert FilesSettings is default_kind(KINDS)
    assert ["files", "git", "etcd", "published"] == [*KINDS]


def test_the_first_of_a_kind_is_taken_or_else_its_defaults() -> None:
    sources = (FilesSettings(path="a"), GitSettings(uri="b"), GitSettings(uri="c"))

    assert GitSettings(uri="b") == first_of(sources, GitSettings)
    assert MemorySettings() == first_of(sources, MemorySettings)


def test_the_settings_of_all_kinds_are_there_without_trio() -> None:
    code = "import sys; from vortexd.source import kinds; sys.exit('trio' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode
