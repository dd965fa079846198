"""A node that publishes starts from the published state while its own sources can't be read, and never after that."""

from random import Random

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.cluster.published.trees import tree
from vortexd.core.errors import SourceError
from vortexd.core.model import Tree
from vortexd.settings.cluster import ClusterSettings
from vortexd.source.base import Publish
from vortexd.source.composite import Sources
from vortexd.source.etcd.settings import EtcdSettings
from vortexd.source.files.settings import FilesSettings
from vortexd.source.git.settings import GitSettings
from vortexd.source.published.settings import PublishedSettings
from vortexd.source.published.source import PublishedSource
from vortexd.source.published.stand_in import PATIENCE, StandIn, open_history, open_stand_in, settings_of
from vortexd.source.status import SourceStatus

CLUSTER = ClusterSettings(
    name="c", endpoints=("http://etcd:2379",), user="u", password_file="/p", ca_file="/ca", certificate="/c", key="/k"
)
LOGGED = {
    "event": "published state stands in",
    "log_level": "warning",
    "source": "by hand",
    "consequence": "the content may be old until all sources of this node have been read",
}


class Hand:
    """A source that a test publishes with."""

    name = "by hand"

    def __init__(self) -> None:
        self.status = SourceStatus(self.name, "files")
        self.publish: Publish | None = None
        self.is_over = False

    async def run(self, publish: Publish) -> None:
        self.publish = publish
        try:
            await trio.sleep_forever()
        finally:
            self.is_over = True

    async def say(self, made: Tree) -> None:
        assert self.publish is not None
        await self.publish(made)


class Play:
    """A node with one source of its own, and its stand-in."""

    def __init__(self) -> None:
        self.own, self.published = Hand(), Hand()
        self.sources = Sources([self.own], [()])
        self.stand_in = StandIn(self.sources, self.published)
        self.here: list[object] = []
        self.in_cluster: list[object] = []
        self.is_over = False

    async def publish_here(self, made: Tree) -> None:
        self.here.append(made.labels["main"].contents["a"])

    async def publish(self, made: Tree) -> None:
        await self.publish_here(made)
        self.in_cluster.append(made.labels["main"].contents["a"])

    async def run(self) -> None:
        await self.stand_in.run(self.publish_here)
        self.is_over = True

    def begin(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self.sources.run, self.publish)
        nursery.start_soon(self.run)


async def test_if_the_sources_are_read_in_time_nothing_stands_in(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    play = Play()
    play.begin(nursery)
    await trio.sleep(PATIENCE - 0.01)
    assert play.published.publish is None
    await play.own.say(tree(a="own"))
    await trio.sleep(1)

    assert ([b"own"], [b"own"], True, None) == (play.here, play.in_cluster, play.is_over, play.published.publish)


async def test_the_published_state_stands_in_until_the_sources_are_read_and_is_not_published_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    play = Play()
    play.begin(nursery)
    with capture_logs() as logs:
        await trio.sleep(PATIENCE + 0.01)
        assert not logs
        assert not play.stand_in.is_serving
        for text in ("1", "2"):
            await play.published.say(tree(a=text))
            assert play.stand_in.is_serving
        assert ([b"1", b"2"], [], [LOGGED]) == (play.here, play.in_cluster, logs)
    await play.own.say(tree(a="own"))
    await wait_all_tasks_blocked()
    assert not play.stand_in.is_serving

    assert ([b"1", b"2", b"own"], [b"own"]) == (play.here, play.in_cluster)
    assert (True, True) == (play.published.is_over, play.is_over)


async def test_what_the_sources_have_given_is_never_replaced(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    play = Play()
    play.begin(nursery)
    await trio.sleep(PATIENCE + 1)
    await play.own.say(tree(a="own"))
    await play.published.say(tree(a="old"))

    assert [b"own"] == play.here


async def test_a_state_of_the_sources_waits_for_the_one_that_stands_in(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    play = Play()
    nursery.start_soon(play.sources.run, play.publish)
    going_on = trio.Event()

    async def slow(made: Tree) -> None:
        await going_on.wait()
        await play.publish_here(made)

    nursery.start_soon(play.stand_in.run, slow)
    await trio.sleep(PATIENCE + 1)
    nursery.start_soon(play.published.say, tree(a="1"))
    await wait_all_tasks_blocked()
    nursery.start_soon(play.own.say, tree(a="own"))
    await wait_all_tasks_blocked()
    assert [] == play.here
    going_on.set()
    await wait_all_tasks_blocked()

    assert [b"1", b"own"] == play.here


def test_the_published_state_is_read_as_the_cluster_is_and_within_the_limits_of_the_sources() -> None:
    sources = (
        GitSettings(uri="https://git.example/a.git", file_bytes=2_000, total_bytes=30_000, files=4),
        FilesSettings(path="/a", file_bytes=3_000, total_bytes=20_000, files=5),
        EtcdSettings(prefix="/a/", file_bytes=1_024, total_bytes=1_024, files=1),
    )
    assert settings_of(CLUSTER, sources) == PublishedSettings(
        cluster="c",
        endpoints=("http://etcd:2379",),
        user="u",
        password_file="/p",
        ca_file="/ca",
        certificate="/c",
        key="/k",
        file_bytes=3_000,
        total_bytes=51_024,
        files=10,
    )


def test_the_stand_in_and_the_history_read_the_same_state(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr("vortexd.source.published.stand_in.open_etcd", lambda access, _: opened.append(access))
    settings = attrs.evolve(settings_of(CLUSTER, [FilesSettings(path="/a")]), endpoints=("http://other:2379",))
    sources = Sources([], [])
    stand_in, history = open_stand_in(settings, sources, Random()), open_history(settings, sources.present)

    assert sources.present == history._present
    assert (sources, "published:c") == (stand_in._sources, stand_in._published.name)
    assert isinstance(stand_in._published, PublishedSource)
    with pytest.raises(SourceError, match="^cluster c has published nothing; this node serves once its own sources"):
        stand_in._published._parsed(None)
    for each in (history, stand_in._published._history):
        each._open()
    assert [settings] * 2 == opened
