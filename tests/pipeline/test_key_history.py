"""Histories of keys: which commits count, pages and their limits, and which commits need not be read."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import orjson
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.core.commits import Commit, PastFiles
from vortexd.core.errors import RemoteError, SourceError
from vortexd.core.model import Files, Key, Origin, PropertySource, Tree
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.pipeline import key_history as module
from vortexd.pipeline.history_turns import PATIENCE, HistoryTurns
from vortexd.pipeline.key_history import HistoryPage, KeyHistory
from vortexd.pipeline.key_layers import Kind, KnownLayer
from vortexd.pipeline.past_keys import Document, Layers
from vortexd.pipeline.state import State
from vortexd.pipeline.timeline import MOST_LAYERS
from vortexd.resolve.tree import ParsedFiles, parse_tree
from vortexd.settings.formats import FormatSettings

from ..fakes import NoVersions
from ..wiring import served_state

SHOP = Key("shop", "dev", "main")
Changes = Mapping[str, str | None]


def id_of(number: int) -> str:
    return f"{number:040x}"


class Repository(NoVersions):
    """Commits on one label. Each changes some files of the one before.

    Attributes:
        read: The numbers of the commits that were read, in order.
    """

    root = "git:/a/"

    def __init__(self, *changes: Changes, has_root: bool = True) -> None:
        self.states: list[dict[str, bytes]] = []
        self.paths: list[set[str]] = []
        self.has_root = has_root
        self.read: list[int] = []
        self.near: list[int | None] = []
        self.unservable: set[int] = set()
        self.ways: dict[int, dict[str, tuple[str, ...]]] = {}
        self.error: Exception | None = None
        self.wait: Callable[[int], float] = lambda _: 0.0
        state: dict[str, bytes] = {}
        for change in changes:
            state = {path: each for path, each in state.items() if path not in change}
            state |= {path: text.encode() for path, text in change.items() if text is not None}
            self.states.append(state)
            self.paths.append(set(change))

    def commits(self, root: str, commit: str) -> Sequence[Commit]:
        assert self.root == root
        newest = int(commit, 16)
        return [self._commit(number) for number in range(newest, -1, -1)]

    def _commit(self, number: int) -> Commit:
        has_parent = number or not self.has_root
        origin = Origin(id_of(number), f"Ada {number}", f"2026-01-01T00:00:{number:02}Z")
        return Commit(origin, id_of(number - 1) if has_parent else None, self.paths[number])

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        assert self.root == root
        number = int(commit, 16)
        self.read.append(number)
        self.near.append(None if near is None else int(str(near.snapshot), 16))
        if self.error is not None:
            raise self.error
        await trio.sleep(self.wait(number))
        if number in self.unservable:
            return None
        return PastFiles(Files(self.states[number]), self.ways.get(number, {}), commit)

    async def subject(self, root: str, commit: str) -> str:
        return f"commit {int(commit, 16)}"

    def layer(self, **more: Any) -> ParsedFiles:
        head = len(self.states) - 1
        files = Files(self.states[head], root=self.root, revision=id_of(head))
        files = attrs.evolve(files, **more)
        return parse_tree(Tree({"main": files}), FormatSettings()).labels["main"]

    def history(self, layer: ParsedFiles, **more: Any) -> KeyHistory:
        served = served_state(State({"main": layer}, "main", **more))
        return KeyHistory(served, self, HistoryTurns(), trio.CapacityLimiter(1))

    async def page(
        self, part: str = "", limit: int = 100, after: str = "", locations: tuple[str, ...] = ("",), key: Key = SHOP
    ) -> HistoryPage:
        layer = self.layer(locations=locations)
        return await self.history(layer).page([[layer]], key, part, limit, after, "ann")


def numbers(page: HistoryPage) -> list[int]:
    return [int(change.origin.commit, 16) for change in page.changes]


def steps(page: HistoryPage) -> list[tuple[int, bytes, bytes]]:
    return [(int(each.origin.commit, 16), each.old.body, each.new.body) for each in page.changes]


async def test_the_commits_that_changed_the_document_come_newest_first() -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"cart.yml": "b: 1"}, {"shop.yml": "a: 2"}, {"shop-dev.yml": "c: 3"})
    page = await shop.page()

    assert [
        (3, b'{"a":2}', b'{"a":2,"c":3}'),
        (2, b'{"a":1}', b'{"a":2}'),
        (0, b"{}", b'{"a":1}'),
    ] == steps(page)
    assert ("commit 3", "Ada 3", "2026-01-01T00:00:03Z") == (
        page.changes[0].subject,
        page.changes[0].origin.author,
        page.changes[0].origin.time,
    )
    assert (4, None, True) == (page.searched, page.next, page.is_complete)
    assert page.changes[1].old.version == page.changes[2].new.version


async def test_a_commit_that_leaves_the_document_as_it_was_is_none() -> None:
    shop = Repository(
        {"shop.yml": "a: 1"},
        {"shop.yml": "a: 1 # said otherwise"},
        {"shop.yml": None, "shop.json": '{"a": 1}'},
        {"shop-dev.yml": "a: 1"},
    )

    assert [0] == numbers(await shop.page())


async def test_only_commits_that_change_a_path_that_decides_are_read() -> None:
    others = [{"cart.yml": f"a: {number}"} for number in range(20)]
    shop = Repository({"shop.yml": "a: 1"}, *others, {"shop-dev.yml": "a: 2"}, *others)
    page = await shop.page()

    assert [21, 0] == numbers(page)
    # The newest, the one before the change, and none before the first.
    assert [41, 20] == shop.read
    assert 42 == page.searched


async def test_each_commit_is_read_with_the_help_of_the_one_before() -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"}, {"shop.yml": "a: 3"})
    await shop.page()

    assert ([2, 1, 0], [None, 2, 1]) == (shop.read, shop.near)


async def test_a_file_that_did_not_exist_decides_too() -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"application-dev.yml": "b: 1"}, {"application-dev.yml": None})

    assert [2, 1, 0] == numbers(await shop.page())


async def test_what_a_file_imports_decides_at_that_commit() -> None:
    shop = Repository(
        {"shop.yml": "spring.config.import: extra.yml", "extra.yml": "a: 1"},
        {"extra.yml": "a: 2"},
        {"shop.yml": "b: 1"},
        {"extra.yml": "a: 3"},
    )

    assert [2, 1, 0] == numbers(await shop.page())
    assert 3 in shop.read
    assert 2 not in shop.read, "commit 3 changes a file that nothing reads any more"


async def test_with_directories_that_match_a_pattern_each_commit_is_read() -> None:
    shop = Repository({"a/shop.yml": "a: 1"}, {"b/shop.yml": "b: 1"}, {"x.txt": "x"})
    page = await shop.page(locations=("", "*/"))

    assert [1, 0] == numbers(page)
    assert [2, 1, 0] == shop.read


@pytest.mark.parametrize("changed", ["data/real.yml", "data", "link.yml"])
async def test_a_change_on_the_way_of_a_link_decides(changed: str) -> None:
    """The content of a link is that of the file at its end."""
    shop = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"}, {"x.txt": "x"})
    shop.paths[1] = {changed}
    shop.ways[2] = {"shop.yml": ("shop.yml", "link.yml", "data/real.yml"), "cart.yml": ("cart.yml", "far.yml")}

    assert [1, 0] == numbers(await shop.page())


async def test_the_way_of_a_link_that_the_key_does_not_read_decides_nothing() -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"far.yml": "a: 2"})
    shop.ways[1] = {"cart.yml": ("cart.yml", "far.yml")}
    await shop.page()

    assert [1] == shop.read


# Commits at which the key can't be resolved.


async def test_the_next_good_commit_has_the_change_of_a_broken_one() -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: ["}, {"x.txt": "x"}, {"shop.yml": "a: 2"})

    assert [(3, b'{"a":1}', b'{"a":2}'), (0, b"{}", b'{"a":1}')] == steps(await shop.page())


async def test_a_broken_commit_between_two_equal_states_is_none() -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: ["}, {"shop.yml": "a: 1"})

    assert [0] == numbers(await shop.page())


async def test_a_broken_newest_commit_counts_as_the_state_before_it() -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"}, {"shop.yml": "a: ["}, {"shop.yml": "b: ["})

    assert [1, 0] == numbers(await shop.page())


async def test_a_commit_that_can_not_be_served_counts_as_broken() -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"large.txt": "x"}, {"shop.yml": "a: 2", "large.txt": None})
    shop.unservable.add(1)

    assert [(2, b'{"a":1}', b'{"a":2}'), (0, b"{}", b'{"a":1}')] == steps(await shop.page())


async def test_files_that_can_not_be_combined_count_as_broken() -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"shop-dev.yml": "spring.profiles.include: x"}, {"shop-dev.yml": "b: 1"})

    assert [2, 0] == numbers(await shop.page())


# What the key is resolved with.


async def test_decryption_and_overrides_are_those_of_now() -> None:
    aes = AesEncryptor("foo")
    cipher, decryptor = "{cipher}" + aes.encrypt("secret"), Decryptor(OneKey(aes))
    shop = Repository({"shop.yml": f"a: '{cipher}'"}, {"shop.yml": "b: 2"})
    layer = shop.layer()
    history = shop.history(layer, decryptor=decryptor, overrides=PropertySource("o", {"o": 1}, {}))

    assert [(1, b'{"a":"secret","o":1}', b'{"b":2,"o":1}'), (0, b'{"o":1}', b'{"a":"secret","o":1}')] == steps(
        await history.page([[layer]], SHOP, "", 100, "", "ann")
    )


# One flat key.


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("pool.size", [3, 0]),
        ("pool", [4, 3, 0]),
        ("hosts[1]", [2, 0]),
        ("hosts", [2, 0]),
        ("hosts[0]", [0]),
        ("poo", []),
        ("pool.size.x", []),
        ("flag", [1, 0]),
    ],
)
async def test_a_flat_key_narrows_to_the_commits_that_changed_it_or_a_key_below(part: str, expected: list[int]) -> None:
    base = "pool: {size: %s, name: %s}\nhosts: [a, %s]\nflag: %s"
    shop = Repository(
        {"shop.yml": base % (1, "x", "b", "1")},
        {"shop.yml": base % (1, "x", "b", "true")},
        {"shop.yml": base % (1, "x", "c", "true")},
        {"shop.yml": base % (2, "x", "c", "true")},
        {"shop.yml": base % (2, "y", "c", "true")},
    )

    assert expected == numbers(await shop.page(part))


# Pages.


async def whole(shop: Repository, limit: int) -> tuple[list[int], list[HistoryPage]]:
    pages: list[HistoryPage] = []
    after: str | None = ""
    while after is not None:
        assert len(pages) < 20
        pages.append(await shop.page(limit=limit, after=after))
        after = pages[-1].next
    return [number for page in pages for number in numbers(page)], pages


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_together_are_the_whole_history(limit: int) -> None:
    shop = Repository(
        {"shop.yml": "a: 1"},
        {"x.txt": "x"},
        {"shop.yml": "a: 2"},
        {"shop.yml": "a: ["},
        {"x.txt": "y"},
        {"shop.yml": "a: 3"},
        {"x.txt": "z"},
    )
    found, pages = await whole(shop, limit)

    assert [5, 2, 0] == found
    assert [5, 2, 0] == numbers(await shop.page())
    assert 7 == sum(page.searched for page in pages)
    assert [*(False for _ in pages[1:]), True] == [page.is_complete for page in pages]


async def test_a_page_ends_after_a_number_of_commits_that_were_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RESOLVED", 2)
    shop = Repository({"shop.yml": "a: 1"}, *({"shop.yml": f"a: 1 #{number}"} for number in range(6)))
    first = await shop.page()

    assert ([], 2, False) == (numbers(first), first.searched, first.is_complete)
    found, pages = await whole(shop, 100)
    assert ([0], 4) == (found, len(pages))


async def test_broken_commits_do_not_keep_a_page_from_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The place where the next page goes on names the commit whose change is open, and the one that is next."""
    monkeypatch.setattr(module, "MOST_RESOLVED", 1)
    shop = Repository(
        {"shop.yml": "a: 1"}, *({"shop.yml": f"a: [{number}"} for number in range(4)), {"shop.yml": "a: 2"}
    )
    found, pages = await whole(shop, 100)

    assert [5, 0] == found
    assert 6 == len(pages)


async def test_a_page_ends_after_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", len(b'{"a":1}') * 2)
    shop = Repository(*({"shop.yml": f"a: {number}"} for number in range(4)))

    assert [3] == numbers(await shop.page())
    assert [3, 2, 1, 0] == (await whole(shop, 100))[0]


async def test_the_oldest_commit_that_is_known_may_not_be_the_first() -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"}, has_root=False)
    page = await shop.page()

    assert [1] == numbers(page)
    assert (2, None, False) == (page.searched, page.next, page.is_complete)


@pytest.mark.parametrize("has_root", [True, False])
async def test_the_oldest_commits_may_not_change_the_key(has_root: bool) -> None:
    shop = Repository({"x.txt": "1"}, {"x.txt": "2"}, {"shop.yml": "a: 1"}, {"x.txt": "3"}, has_root=has_root)
    page = await shop.page()

    assert [(2, b"{}", b'{"a":1}')] == steps(page)
    assert (4, None, has_root) == (page.searched, page.next, page.is_complete)
    assert [3, 1] == shop.read


@pytest.mark.parametrize("after", ["x", "1-2", f"{1:040x}", "F" * 40 + "-" + "f" * 40, f"{1:040x}-{0:040x}-"])
async def test_what_is_no_place_in_a_history_is_400(after: str) -> None:
    with pytest.raises(RemoteError) as caught:
        await Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"}).page(after=after)

    assert 400 == caught.value.status


@pytest.mark.parametrize(
    "after", [f"{9:040x}-{0:040x}", f"{1:040x}-{9:040x}", f"{0:040x}-{1:040x}", f"{0:064x}-{0:040x}"]
)
async def test_a_place_that_is_not_in_the_history_is_404_and_nothing_is_read(after: str) -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"})
    with pytest.raises(RemoteError) as caught:
        await shop.page(after=after)

    assert (404, []) == (caught.value.status, shop.read)


# Time, and other requests.


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads would let the clock jump, so there are none."""

    async def run_sync(function: Callable[..., object], *arguments: object, **options: object) -> object:
        assert options["abandon_on_cancel"] is True
        limiter = options["limiter"]
        assert isinstance(limiter, trio.CapacityLimiter)
        async with limiter:
            await trio.lowlevel.checkpoint()
            return function(*arguments)

    monkeypatch.setattr("vortexd.aio.threads.run_sync", run_sync)


async def test_a_page_ends_in_time_with_what_it_has(autojump_clock: MockClock, inline: None) -> None:
    shop = Repository(*({"shop.yml": f"a: {number}"} for number in range(5)))
    shop.wait = lambda number: 100.0 if number == 2 else 0.0
    page = await shop.page()
    assert ([4], 1) == (numbers(page), page.searched)
    assert module.SECONDS == trio.current_time()

    shop.wait = lambda number: 0.0
    assert [3, 2, 1, 0] == numbers(await shop.page(after=page.next or ""))


@pytest.mark.parametrize("slow", [1, 0])
async def test_a_page_that_did_not_go_on_at_all_is_503(slow: int, autojump_clock: MockClock, inline: None) -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"})
    shop.wait = lambda number: 100.0 if number == slow else 0.0
    with pytest.raises(RemoteError) as caught:
        await shop.page()

    assert (503, {"Retry-After": "1"}) == (caught.value.status, caught.value.headers)


async def test_one_history_is_read_at_a_time_and_others_wait_for_a_limited_time(
    autojump_clock: MockClock, inline: None
) -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"})
    shop.wait = lambda _: 1.9
    layer = shop.layer()
    history = shop.history(layer)
    answered: list[float] = []
    refused: list[float] = []

    async def ask(client: str) -> None:
        try:
            await history.page([[layer]], SHOP, "", 100, "", client)
            answered.append(trio.current_time())
        except RemoteError as error:
            assert (503, "the server reads other histories; try again") == (error.status, error.reason)
            refused.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for client in ("ann", "bob", "cy", "dan"):
            nursery.start_soon(ask, client)

    assert ([3.8, 7.6, 11.4], [PATIENCE]) == ([round(each, 3) for each in answered], refused)


async def test_a_repository_that_can_not_be_read_is_503_and_logged() -> None:
    shop = Repository({"shop.yml": "a: 1"})
    shop.error = SourceError("/secret/path is broken")
    with capture_logs() as logs, pytest.raises(RemoteError) as caught:
        await shop.page()

    assert 503 == caught.value.status
    assert "secret" not in caught.value.reason
    assert [("history not read", "/secret/path is broken")] == [(each["event"], each["reason"]) for each in logs]
    shop.error = None
    assert [0] == numbers(await shop.page())


async def test_a_client_does_not_wait_for_two_histories_of_another_and_an_act_waits_for_none(
    autojump_clock: MockClock, inline: None
) -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: 2"})
    shop.wait = lambda _: 1.5
    layer = shop.layer()
    history = shop.history(layer)
    ended: list[tuple[str, float]] = []

    async def page(client: str) -> None:
        await history.page([[layer]], SHOP, "", 100, "", client)
        ended.append((client, trio.current_time()))

    async def act() -> None:
        await history.files([[layer]], SHOP, id_of(0), None)
        ended.append(("act", trio.current_time()))

    async def document() -> None:
        await history.document([[layer]], SHOP, id_of(0), "cy")
        ended.append(("cy", trio.current_time()))

    async with trio.open_nursery() as nursery:
        for start in (partial(page, "ann"), partial(page, "ann"), partial(page, "bob"), document, act):
            nursery.start_soon(start)
            await wait_all_tasks_blocked()

    assert [("act", 1.5), ("ann", 3.0), ("bob", 6.0), ("cy", 7.5), ("ann", 10.5)] == ended


# One commit.


async def test_the_document_at_a_commit_is_that_of_its_files() -> None:
    shop = Repository({"shop.yml": "a: 1"}, {"shop.yml": "a: ["}, {"shop.yml": "a: 3"})
    layer = shop.layer()
    history = shop.history(layer)
    found = [await history.document([[layer]], SHOP, id_of(number), "ann") for number in range(3)]

    assert [b'{"a":1}', None, b'{"a":3}'] == [each and each.body for each in found]
    assert isinstance(found[0], Document)


async def test_a_commit_that_is_not_read_in_time_is_503(autojump_clock: MockClock, inline: None) -> None:
    shop = Repository({"shop.yml": "a: 1"})
    shop.wait = lambda _: 100.0
    layer = shop.layer()
    with pytest.raises(RemoteError) as caught:
        await shop.history(layer).document([[layer]], SHOP, id_of(0), "ann")

    assert 503 == caught.value.status


@pytest.mark.parametrize("revision", [None, id_of(0)])
async def test_a_source_without_commits_has_no_history(revision: str | None) -> None:
    class Nothing(Repository):
        def commits(self, root: str, commit: str) -> Sequence[Commit]:
            assert commit is not None
            return ()

    shop = Nothing({"shop.yml": "a: 1"})
    layer = shop.layer(revision=revision)
    with pytest.raises(RemoteError) as caught:
        await shop.history(layer).page([[layer]], SHOP, "", 1, "", "ann")

    assert 404 == caught.value.status
    assert "no history of this key is known" in caught.value.reason


# Several layers: sources, and labels of one source.


class Repositories(NoVersions):
    """Commits of several roots. Each has a second, and changes some files of its parent.

    Attributes:
        read: The commits that were read, in order, as root and second.
    """

    def __init__(self) -> None:
        self.states: dict[tuple[str, int], dict[str, bytes]] = {}
        self.parents: dict[tuple[str, int], int | None] = {}
        self.paths: dict[tuple[str, int], set[str]] = {}
        self.unknown: set[tuple[str, int]] = set()
        self.unservable: set[tuple[str, int]] = set()
        self.read: list[tuple[str, int]] = []
        self.near: list[str | None] = []

    def commit(self, root: str, second: int, changes: Changes, parent: int | None = None) -> None:
        state = {} if parent is None else self.states[root, parent]
        kept = {path: each for path, each in state.items() if path not in changes}
        added = {path: text.encode() for path, text in changes.items() if text is not None}
        self.states[root, second] = kept | added
        self.parents[root, second], self.paths[root, second] = parent, set(changes)

    def line(self, root: str, *changes: tuple[int, Changes]) -> "Repositories":
        parent = None
        for second, each in changes:
            self.commit(root, second, each, parent)
            parent = second
        return self

    def commits(self, root: str, commit: str) -> Sequence[Commit]:
        found: list[Commit] = []
        at: int | None = int(commit, 16)
        while at is not None and (root, at) in self.states:
            parent = self.parents[root, at]
            origin = Origin(id_of(at), root, f"2026-01-01T00:00:{at:02}Z")
            found.append(Commit(origin, None if parent is None else id_of(parent), self.paths[root, at]))
            at = None if (root, at) in self.unknown else parent
        return found

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        place = root, int(commit, 16)
        self.read.append(place)
        self.near.append(None if near is None else str(near.snapshot))
        await trio.lowlevel.checkpoint()
        if place in self.unservable:
            return None
        return PastFiles(attrs.evolve(self.files(*place), root=""), {}, f"{root}{place[1]}")

    async def subject(self, root: str, commit: str) -> str:
        return f"{root}{int(commit, 16)}"

    def files(self, root: str, second: int, **more: Any) -> Files:
        """The files of a source that isn't alone, so that no commit is the version of all."""
        origin = Origin(id_of(second), root, f"2026-01-01T00:00:{second:02}Z")
        return attrs.evolve(Files(self.states[root, second], root=root, origin=origin), **more)

    async def page(
        self, labels: Mapping[str, Sequence[Files]], key: Key = SHOP, limit: int = 100, after: str = ""
    ) -> HistoryPage:
        layers, history = self.opened(labels, key)
        return await history.page(layers, key, "", limit, after, "ann")

    def opened(self, labels: Mapping[str, Sequence[Files]], key: Key = SHOP) -> tuple[Layers, KeyHistory]:
        tree = Tree({label: attrs.evolve(first, others=tuple(others)) for label, (first, *others) in labels.items()})
        parsed = parse_tree(tree, FormatSettings())
        served = served_state(State(parsed.labels, "main"))
        history = KeyHistory(served, self, HistoryTurns(), trio.CapacityLimiter(1))
        return [list(parsed.labels[label].layers_for(key)) for label in key.labels], history


ONE, TWO, BOTH = "git:/one/", "git:/two/", Key("shop", "dev", "main,fix")


def found(page: HistoryPage) -> list[tuple[str, int, bytes, bytes]]:
    return [(each.source, int(each.origin.commit, 16), each.old.body, each.new.body) for each in page.changes]


def two_sources() -> tuple[Repositories, dict[str, Sequence[Files]]]:
    """The first source is the stronger one."""
    made = Repositories()
    made.line(ONE, (2, {"shop.yml": "a: 1"}), (5, {"shop.yml": "a: 2\nb: 2"}))
    made.line(TWO, (1, {"shop.yml": "b: 0"}), (4, {"shop.yml": "b: 1\nc: 1"}), (7, {"x.txt": ""}))
    return made, {"main": [made.files(ONE, 5), made.files(TWO, 7, group=1)]}


async def test_commits_of_two_sources_are_one_history_with_the_other_source_as_it_was_then() -> None:
    made, labels = two_sources()
    page = await made.page(labels)

    assert [
        (ONE, 5, b'{"a":1,"b":1,"c":1}', b'{"a":2,"b":2,"c":1}'),
        (TWO, 4, b'{"a":1,"b":0}', b'{"a":1,"b":1,"c":1}'),
        (ONE, 2, b'{"b":0}', b'{"a":1,"b":0}'),
        (TWO, 1, b"{}", b'{"b":0}'),
    ] == found(page)
    assert [f"{ONE}5", f"{TWO}4", f"{ONE}2", f"{TWO}1"] == [each.subject for each in page.changes]
    assert (5, None, True) == (page.searched, page.next, page.is_complete)
    assert [KnownLayer(ONE, "main", Kind.COMMITS, 2), KnownLayer(TWO, "main", Kind.COMMITS, 3)] == page.layers


async def test_a_commit_is_read_only_in_its_own_source() -> None:
    made, labels = two_sources()
    await made.page(labels)

    assert [(ONE, 5), (TWO, 7), (ONE, 2), (TWO, 1)] == made.read
    assert [None, None, f"{ONE}5", f"{TWO}7"] == made.near


async def test_a_source_that_overrides_all_values_hides_the_commits_of_another() -> None:
    made = Repositories()
    made.line(ONE, (1, {"shop.yml": "a: 9"}))
    made.line(TWO, (2, {"shop.yml": "a: 1"}), (3, {"shop.yml": "a: 2"}))
    page = await made.page({"main": [made.files(ONE, 1), made.files(TWO, 3, group=1)]})

    assert [(ONE, 1, b"{}", b'{"a":9}')] == found(page)


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_of_two_sources_together_are_the_whole_history(limit: int) -> None:
    made, labels = two_sources()
    made.commit(TWO, 8, {"shop.yml": "b: ["}, 7)
    labels["main"] = [labels["main"][0], made.files(TWO, 8, group=1)]
    expected = found(await made.page(labels))
    pages: list[HistoryPage] = []
    after: str | None = ""
    while after is not None:
        assert len(pages) < 20
        pages.append(await made.page(labels, limit=limit, after=after))
        after = pages[-1].next

    assert [(ONE, 5), (TWO, 4), (ONE, 2), (TWO, 1)] == [each[:2] for each in expected]
    assert expected == [each for page in pages for each in found(page)]
    assert 6 == sum(page.searched for page in pages)


async def test_a_page_goes_on_with_the_states_of_all_sources() -> None:
    """Only the source whose commit differs is read again, and the change is that of the newer commit."""
    made, labels = two_sources()
    made.line(ONE, (2, {"shop.yml": "a: 1"}), (3, {"shop.yml": "a: ["}), (5, {"shop.yml": "a: 2\nb: 2"}))
    cursor = f"{id_of(5)}.{id_of(4)}-{id_of(3)}.{id_of(4)}"
    page = await made.page(labels, after=cursor)

    assert (ONE, 5, b'{"a":1,"b":1,"c":1}', b'{"a":2,"b":2,"c":1}') not in found(page)
    assert [(ONE, 5), (TWO, 4), (ONE, 3)] == made.read[:3]
    assert [(ONE, 5), (ONE, 2), (TWO, 1)] == [(each[0], each[1]) for each in found(page)]
    assert (b'{"a":1,"b":0}', b'{"a":2,"b":2,"c":1}') == found(page)[0][2:]


async def test_a_source_without_commits_counts_as_it_is_now() -> None:
    made = Repositories().line(ONE, (1, {"shop.yml": "a: 1"}), (2, {"shop.yml": "a: 2"}))
    directory = Files({"shop.yml": b"a: 9\nd: 1"}, root="file:/d/", group=1)
    page = await made.page({"main": [made.files(ONE, 2), directory]})

    assert [(ONE, 2, b'{"a":1,"d":1}', b'{"a":2,"d":1}'), (ONE, 1, b'{"a":9,"d":1}', b'{"a":1,"d":1}')] == found(page)
    assert [KnownLayer(ONE, "main", Kind.COMMITS, 2), KnownLayer("file:/d/", "main", Kind.NONE, 0)] == page.layers


async def test_several_labels_are_one_history_and_a_commit_that_both_have_is_one_change() -> None:
    made = Repositories().line(ONE, (1, {"shop.yml": "a: 1"}), (3, {"shop.yml": "a: 2\nb: 1"}))
    made.commit(ONE, 4, {"shop.yml": "a: 3"}, 1)
    main, fix = made.files(ONE, 3, revision=id_of(3)), made.files(ONE, 4, revision=id_of(4))
    page = await made.page({"main": [main], "fix": [fix]}, BOTH)

    assert [
        (ONE, 4, b'{"a":1,"b":1}', b'{"a":3,"b":1}'),
        (ONE, 3, b'{"a":1}', b'{"a":1,"b":1}'),
        (ONE, 1, b"{}", b'{"a":1}'),
    ] == found(page)
    assert ["fix", "main", "main,fix"] == [each.label for each in page.changes]
    assert [KnownLayer(ONE, "main", Kind.COMMITS, 2), KnownLayer(ONE, "fix", Kind.COMMITS, 2)] == page.layers


async def test_before_the_first_commit_of_the_last_label_the_order_of_labels_is_the_same() -> None:
    """The last label of a repository is the strongest, and no commit is no other kind of source."""
    made = Repositories().line(ONE, (1, {"shop.yml": "a: 1"}), (3, {"shop.yml": "a: 3"}))
    made.commit(ONE, 2, {"shop.yml": "b: 2"})
    main, fix = made.files(ONE, 3), made.files(ONE, 2)
    page = await made.page({"main": [main], "fix": [fix]}, BOTH)

    assert [3, 2, 1] == [each[1] for each in found(page)]
    assert (b'{"a":1}', b'{"a":1,"b":2}') == found(page)[1][2:]


async def test_a_label_in_which_no_source_serves_the_key_adds_nothing() -> None:
    made = Repositories().line(ONE, (1, {"shop.yml": "a: 1"}), (2, {"shop.yml": "a: 2"}))
    other = Files({"cart.yml": b"a: 9"}, root="git:/c/", applications=("cart",))
    page = await made.page({"main": [made.files(ONE, 2)], "fix": [other]}, BOTH)

    assert [(ONE, 2, b'{"a":1}', b'{"a":2}'), (ONE, 1, b"{}", b'{"a":1}')] == found(page)


async def test_a_history_ends_where_the_commits_of_one_source_are_not_known() -> None:
    made, labels = two_sources()
    made.unknown.add((TWO, 4))
    page = await made.page(labels)

    assert [(ONE, 5)] == [each[:2] for each in found(page)]
    assert (3, None, False) == (page.searched, page.next, page.is_complete)


async def test_a_commit_of_one_source_that_can_not_be_served_counts_as_broken() -> None:
    made, labels = two_sources()
    made.unservable.add((ONE, 2))
    page = await made.page(labels)

    assert [(ONE, 5, b'{"b":0}', b'{"a":2,"b":2,"c":1}'), (TWO, 1, b"{}", b'{"b":0}')] == found(page)


async def test_with_a_pattern_in_one_source_each_of_its_commits_is_read() -> None:
    made, labels = two_sources()
    labels["main"] = [labels["main"][0], attrs.evolve(labels["main"][1], locations=("", "*/"))]
    await made.page(labels)

    assert [(ONE, 5), (TWO, 7), (TWO, 4), (ONE, 2), (TWO, 1)] == made.read


@pytest.mark.parametrize(
    ("commit", "expected"),
    [(7, {"a": 2, "b": 2, "c": 1}), (4, {"a": 1, "b": 1, "c": 1}), (2, {"a": 1, "b": 0}), (1, {"b": 0})],
)
async def test_a_document_at_a_commit_has_the_other_source_as_it_was_then(
    commit: int, expected: dict[str, object]
) -> None:
    made, labels = two_sources()
    layers, history = made.opened(labels)
    document = await history.document(layers, SHOP, id_of(commit), "ann")

    assert [7, 5, 4, 2, 1] == [int(each.id, 16) for each in await history.commits_of(layers, SHOP)]
    assert document is not None
    assert expected == orjson.loads(document.body)


async def test_a_history_has_a_limited_number_of_layers() -> None:
    made = Repositories()
    roots = [f"git:/{number}/" for number in range(MOST_LAYERS + 1)]
    for root in roots:
        made.line(root, (1, {"shop.yml": "a: 1"}))
    files = [made.files(root, 1, group=number) for number, root in enumerate(roots)]

    assert MOST_LAYERS == len((await made.page({"main": files[:-1]})).layers)
    with pytest.raises(RemoteError, match="at most 8 repositories and labels, and this key has 9") as caught:
        await made.page({"main": files})
    assert 404 == caught.value.status


# Versions of directories.


class Directories(Repositories):
    """Has versions in place of commits for roots that begin with `file:`."""

    async def versions(self, files: Files) -> Sequence[Commit]:
        newest = max((second for root, second in self.states if root == files.root), default=None)
        found = [] if newest is None else self.commits(files.root, id_of(newest))
        return [attrs.evolve(each, origin=attrs.evolve(each.origin, author="")) for each in found]

    async def version(self, files: Files, id: str, near: PastFiles | None) -> PastFiles | None:
        found = await self.at(files.root, id, near)
        return None if found is None else attrs.evolve(found, files=attrs.evolve(found.files, origin=None))

    async def subject(self, root: str, commit: str) -> str:
        assert root.startswith("git:")
        return await super().subject(root, commit)


DIRECTORY = "file:/d/"


def now(made: Repositories, second: int, **more: Any) -> Files:
    return Files(made.states[DIRECTORY, second], root=DIRECTORY, **more)


async def test_a_directory_has_versions_without_messages() -> None:
    made = Directories().line(DIRECTORY, (1, {"shop.yml": "a: 1"}), (2, {"x.txt": ""}), (3, {"shop.yml": "a: 2"}))
    made.unknown.add((DIRECTORY, 1))
    made.parents[DIRECTORY, 1] = 0
    page = await made.page({"main": [now(made, 3)]})

    assert [(DIRECTORY, 3, b'{"a":1}', b'{"a":2}')] == found(page)
    assert ("", "", False) == (page.changes[0].subject, page.changes[0].origin.author, page.is_complete)
    assert [KnownLayer(DIRECTORY, "main", Kind.VERSIONS, 3)] == page.layers
    assert [(DIRECTORY, 3), (DIRECTORY, 2)] == made.read


async def test_versions_of_a_directory_and_commits_are_one_history() -> None:
    made = Directories().line(ONE, (1, {"shop.yml": "a: 1"}), (4, {"shop.yml": "a: 2"}))
    made.line(DIRECTORY, (2, {"shop.yml": "d: 1"}), (3, {"shop.yml": "d: 2"}))
    page = await made.page({"main": [made.files(ONE, 4), now(made, 3, group=1)]})

    assert [
        (ONE, 4, b'{"a":1,"d":2}', b'{"a":2,"d":2}'),
        (DIRECTORY, 3, b'{"a":1,"d":1}', b'{"a":1,"d":2}'),
        (DIRECTORY, 2, b'{"a":1}', b'{"a":1,"d":1}'),
        (ONE, 1, b"{}", b'{"a":1}'),
    ] == found(page)
    assert [f"{ONE}4", "", "", f"{ONE}1"] == [each.subject for each in page.changes]


async def test_label_directories_are_searched_together_so_each_version_is_read() -> None:
    made = Directories().line(DIRECTORY, (1, {"fix/shop.yml": "a: 1"}), (2, {"x.txt": ""}), (3, {"y.txt": ""}))
    main, fix = now(made, 3, locations=("", "main/")), now(made, 3, locations=("", "fix/"))
    page = await made.page({"main": [main], "fix": [fix]}, BOTH)

    assert [(DIRECTORY, 1, b"{}", b'{"a":1}')] == found(page)
    assert ["main,fix"] == [each.label for each in page.changes]
    assert [3, 3, 2, 2, 1, 1] == [second for _, second in made.read]


async def test_a_directory_at_a_version_has_the_document_of_its_files() -> None:
    made = Directories().line(DIRECTORY, (1, {"shop.yml": "a: 1"}), (3, {"shop.yml": "a: 2"}))
    layers, history = made.opened({"main": [now(made, 3)]})
    document = await history.document(layers, SHOP, id_of(1), "ann")

    assert [3, 1] == [int(each.id, 16) for each in await history.commits_of(layers, SHOP)]
    assert document is not None
    assert b'{"a":1}' == document.body
