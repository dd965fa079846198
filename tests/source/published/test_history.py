"""Former versions of a published state: verified like new ones, within the same limits, and gone without harm."""

from collections.abc import Callable, Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.cluster.memory_engine import MemoryEngine, MemoryStore
from tests.cluster.published.trees import rich, seen, tree
from vortexd.cluster.engine import Delete, Denied, Put, Reading
from vortexd.cluster.published.head import Head, Places
from vortexd.cluster.published.packing import digest_of
from vortexd.cluster.published.version import version_of
from vortexd.core.errors import SourceError
from vortexd.core.model import Files, Tree
from vortexd.source.published.history import PublishedHistory
from vortexd.source.published.settings import PublishedSettings

SETTINGS = PublishedSettings(cluster="c", endpoints=("http://etcd:2379",))
PLACES = Places("c")


class Play:
    """A history on a store in memory, with the engines that it has made."""

    def __init__(self, settings: PublishedSettings = SETTINGS) -> None:
        self.store = MemoryStore()
        self.engines: list[NotingEngine] = []
        self.history = PublishedHistory(settings, self.open)
        self.before_read: Callable[[str], None] = lambda key: None

    def open(self) -> "NotingEngine":
        self.engines.append(NotingEngine(self))
        return self.engines[-1]

    def write(self, *trees: Tree) -> list[Head]:
        """Write versions from 1 on. The last one is the newest."""
        heads = []
        for number, each in enumerate(trees, 1):
            version = version_of(each)
            head = version.head(number, 1e9, "a")
            self.store.change([Put(PLACES.chunk(name), chunk.data) for name, chunk in version.chunks.items()])
            self.store.change([Put(PLACES.version(number), head.encoded()), Put(PLACES.head, head.encoded())])
            heads.append(head)
        return heads

    @property
    def read(self) -> list[str]:
        return [key for engine in self.engines for key in engine.keys]


class NotingEngine(MemoryEngine):
    """Notes which keys are read."""

    def __init__(self, play: Play) -> None:
        super().__init__(play.store)
        self.play = play
        self.keys: list[str] = []

    async def read(
        self,
        keys: Sequence[str] = (),
        *,
        prefix: str = "",
        revision: int = 0,
        most_bytes: int = 0,
        most_entries: int = 0,
    ) -> Reading:
        for key in keys:
            self.play.before_read(key)
        self.keys += keys
        return await super().read(
            keys, prefix=prefix, revision=revision, most_bytes=most_bytes, most_entries=most_entries
        )


# The clock would not wait for a real thread.
@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_sync(function: Callable[..., object], *arguments: object, **options: object) -> object:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr("vortexd.aio.threads.run_sync", run_sync)


async def test_versions_are_read_from_the_newest_to_the_oldest() -> None:
    play = Play()
    play.write(tree(a="1"), rich(), tree(a="3"))
    found, number = [], 0
    while (former := await play.history.former(number)) is not None:
        number, made = former
        found.append((number, seen(made)))

    assert [(3, seen(tree(a="3"))), (2, seen(rich())), (1, seen(tree(a="1")))] == found
    # There is no version before the first one, so nothing is read for it.
    assert (3, True) == (len(play.engines), all(each.is_closed for each in play.engines))


@pytest.mark.parametrize("before", [0, 7])
async def test_without_such_a_version_there_is_nothing(before: int) -> None:
    play = Play()
    assert await play.history.former(before) is None
    assert [PLACES.version(6) if before else PLACES.head] == play.read
    assert play.engines[0].is_closed


async def test_known_contents_are_not_fetched() -> None:
    play = Play()
    contents = [bytes([number]) * 500_000 for number in (1, 2)]
    play.write(Tree({"main": Files({"a": contents[0], "b": contents[1]})}), tree(a="2"))
    found = await play.history.read(2, {digest_of(contents[0]): contents[0]})

    assert found is not None
    assert found[1].labels["main"].contents["a"] is contents[0]
    assert contents[1] == found[1].labels["main"].contents["b"]
    count = len(play.read)
    await play.history.read(2, {})
    # Each content has a chunk of its own.
    assert count + 1 == len(play.read) - count


async def test_contents_that_are_served_now_are_not_fetched() -> None:
    play = Play()
    first, second, third, new = (bytes([number]) * 500_000 for number in range(4))
    layer = Files({"c": third})
    play.write(Tree({"main": Files({"a": first, "b": second}, others=(layer,)), "x": Files({"d": new})}))
    present = [Files({"a": first, "b": first}), Files({"z": second}, others=(layer,))]
    history = PublishedHistory(SETTINGS, play.open, lambda: present)
    found = await history.former()
    assert found is not None
    main = found[1].labels["main"]

    assert main.contents["a"] is first
    assert main.contents["b"] is second
    assert main.others[0].contents["c"] is third
    assert new == found[1].labels["x"].contents["d"]


@pytest.mark.parametrize("is_damaged", [True, False])
async def test_nothing_of_a_version_leaves_if_a_chunk_goes_or_changes_meanwhile(is_damaged: bool) -> None:
    # Two contents, the page and the root.
    for number in range(4):
        play = Play()
        made = Tree({"main": Files({name: name.encode() * 500_000 for name in "ab"})})
        play.write(made, tree(a="2"))
        name = [*version_of(made).chunks][number]

        def lose(key: str, play: Play = play, name: str = name) -> None:
            if key == PLACES.chunk(name):
                play.store.change([Put(key, b"other") if is_damaged else Delete(key)])

        play.before_read = lose
        with pytest.raises(SourceError, match="is damaged" if is_damaged else "which etcd doesn't have"):
            await play.history.former(2)
        assert play.engines[0].is_closed


async def test_the_limits_of_the_settings_hold() -> None:
    play = Play(attrs.evolve(SETTINGS, files=1))
    play.write(tree(a="1", b="2"), tree(a="2"))
    with pytest.raises(SourceError, match="has more files than 1"):
        await play.history.former(2)


async def test_a_version_that_can_not_be_read_is_an_error() -> None:
    play = Play()
    play.store.change([Put(PLACES.version(1), b"x")])
    with pytest.raises(
        SourceError, match=r"the version /vortexd-published/c/versions/\d*1 can't be read: it isn't JSON"
    ):
        await play.history.former(2)
    assert play.engines[0].is_closed


async def test_an_etcd_that_is_away_or_can_not_be_opened_is_an_error(autojump_clock: MockClock) -> None:
    play = Play()
    play.write(tree(a="1"))
    play.store.set_away(True)
    with pytest.raises(SourceError, match="the store is away"):
        await play.history.former(2)
    assert play.engines[0].is_closed

    def refuse() -> NotingEngine:
        raise Denied("no certificate")

    with pytest.raises(SourceError, match="no certificate"):
        await PublishedHistory(SETTINGS, refuse).former(2)


async def test_a_client_that_leaves_closes_the_connections_in_a_bounded_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play()
    closing: list[float] = []

    async def hang(*_: object, **__: object) -> Reading:
        await trio.sleep_forever()
        raise AssertionError

    async def aclose(self: NotingEngine) -> None:
        closing.append(trio.current_time())
        await trio.sleep_forever()

    monkeypatch.setattr(NotingEngine, "read", hang)
    monkeypatch.setattr(NotingEngine, "aclose", aclose)
    began = trio.current_time()
    with trio.move_on_after(1):
        await play.history.former(2)

    assert ([began + 1], began + 2) == (closing, trio.current_time())
