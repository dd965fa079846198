"""Former documents of keys: found in the states before the served one, within bounds of time, memory and lookups."""

import gc
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.core.errors import SourceError
from vortexd.core.model import Edits, Files, Key, PropertySource, Tree
from vortexd.core.version import version_of
from vortexd.pipeline import former_states as module
from vortexd.pipeline.former_states import AGAIN, FILE_BYTES, MOST_KEYS, PARSED, PATIENCE, FormerStates, Limits, Place
from vortexd.pipeline.served import ServedState
from vortexd.pipeline.state import State
from vortexd.pipeline.store import Store, stage
from vortexd.resolve.listing import list_keys
from vortexd.resolve.tree import parse_tree
from vortexd.settings.formats import FormatSettings
from vortexd.settings.history import HistorySettings

from ..fakes import FormerTrees

SHOP, CART = Key("shop", "dev", "main"), Key("cart", "dev", "main")
UNKNOWN = "0" * 16
UNREADABLE = {
    "event": "former states unreadable",
    "log_level": "info",
    "consequence": "clients that resume from a state before the start get a snapshot",
}


def tree(label: str = "main", **contents: bytes) -> Tree:
    return Tree({label: Files({f"{name}.yml": content for name, content in contents.items()})})


def version(**document: int) -> str:
    body = ",".join(f'"{name}":{value}' for name, value in document.items())
    return version_of(f"{{{body}}}".encode())


class Play:
    """A store that serves a tree and has keys in use, and the states before."""

    def __init__(
        self,
        served: Tree,
        *states: Tree,
        keys: Sequence[Key] = (SHOP,),
        history: HistorySettings | None = None,
        formats: FormatSettings | None = None,
        overrides: PropertySource | None = None,
    ) -> None:
        self.store = Store(history or HistorySettings())
        self.past = FormerTrees(*states)
        parsed = parse_tree(served, FormatSettings())
        state = State(parsed.labels, "main", overrides=overrides)
        self.served = ServedState(served, state, list_keys(parsed), formats or FormatSettings())
        self.store.commit(stage(self.served, {}))
        for key in keys:
            self.store.add(key)
        self.limits = Limits()
        self.states = FormerStates(self.served, self.store, self.past, self.limits)

    def known(self, key: Key = SHOP) -> list[bytes]:
        return [*self.store.history(key).values()]


# The clock would not wait for a real thread.
@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_sync(function: Callable[..., object], *arguments: object, **options: object) -> object:
        assert options["abandon_on_cancel"] is True
        limiter = options["limiter"]
        assert isinstance(limiter, trio.CapacityLimiter)
        async with limiter:
            await trio.lowlevel.checkpoint()
            return function(*arguments)

    monkeypatch.setattr("vortexd.aio.threads.run_sync", run_sync)


# What is found.


async def test_a_version_is_found_in_a_former_state_and_those_on_the_way_are_known_too() -> None:
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"), tree(shop=b"a: 1"), tree(shop=b"a: 0"))
    await play.states.find(SHOP, version(a=1))

    assert [b'{"a":1}', b'{"a":2}'] == play.known()
    assert [(0, 0), (7, 1)] == play.past.asked


async def test_a_later_lookup_goes_on_where_the_last_one_has_ended() -> None:
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"), tree(shop=b"a: 1"))
    for each in (2, 2, 1):
        await play.states.find(SHOP, version(a=each))

    assert [b'{"a":1}', b'{"a":2}'] == play.known()
    assert [(0, 0), (7, 1)] == play.past.asked


async def test_a_version_that_no_state_has_is_looked_up_once() -> None:
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"), tree(shop=b"a: 1"))
    assert play.states.may_know(SHOP, UNKNOWN)
    await play.states.find(SHOP, UNKNOWN)
    assert not play.states.may_know(SHOP, UNKNOWN)
    assert not play.states.may_know(SHOP, "1" * 16)
    await play.states.find(SHOP, "1" * 16)

    assert [(0, 0), (7, 1), (7, 2)] == play.past.asked


async def test_a_state_is_read_once_for_all_keys() -> None:
    states = [tree(shop=b"a: %d" % each, cart=b"b: %d" % each) for each in (3, 2, 1)]
    play = Play(*states, keys=(SHOP, CART))
    await play.states.find(SHOP, UNKNOWN)
    assert play.states.may_know(CART, version(b=1))
    await play.states.find(CART, version(b=1))

    assert [b'{"b":1}', b'{"b":2}'] == play.known(CART)
    assert 3 == len(play.past.asked)


async def test_a_key_that_was_forgotten_is_looked_up_again_and_holds_no_memory() -> None:
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"))
    await play.states.find(SHOP, UNKNOWN)
    play.store.drop(SHOP)
    assert play.store.note_of(SHOP) is None
    play.store.add(SHOP)
    assert play.states.may_know(SHOP, version(a=2))
    await play.states.find(SHOP, version(a=2))

    assert ([b'{"a":2}'], 2) == (play.known(), len(play.past.asked))


async def test_states_before_another_served_state_are_looked_up_anew() -> None:
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"))
    await play.states.find(SHOP, UNKNOWN)
    other = FormerStates(play.served, play.store, FormerTrees(tree(shop=b"a: 1")), Limits())
    await other.find(SHOP, version(a=1))
    assert [b'{"a":1}', b'{"a":2}'] == play.known()
    states = weakref.ref(play.states)
    play.states = other
    gc.collect()

    assert states() is None


@pytest.mark.parametrize("text", ["", "0" * 15, "0" * 17, "A" * 16, "0" * 15 + "\n", "main"])
async def test_a_text_that_is_no_version_is_never_looked_up(text: str) -> None:
    play = Play(tree(shop=b"a: 1"), tree(shop=b"a: 0"))
    assert not play.states.may_know(SHOP, text)
    await play.states.find(SHOP, text)

    assert not play.past.asked


async def test_a_document_is_decided_by_what_is_in_force_today() -> None:
    overrides = PropertySource("overrides", {"b": 9}, {})
    play = Play(tree(shop=b"a: 1"), tree(shop=b"a: 0"), overrides=overrides)
    await play.states.find(SHOP, version(a=0, b=9))

    assert [b'{"a":0,"b":9}'] == play.known()


async def test_a_key_of_several_labels_is_found_where_only_one_of_them_differs() -> None:
    def both(content: bytes) -> Tree:
        return Tree({"main": Files({"application.yml": b"a: 1"}), "next": Files({"shop.yml": content})})

    key = Key("shop", "dev", "next,main")
    play = Play(both(b"b: 2"), both(b"b: 1"), keys=(key,))
    await play.states.find(key, version(a=1, b=1))

    assert [b'{"a":1,"b":1}'] == play.known(key)


async def test_the_second_layer_of_a_label_counts_and_the_same_layers_are_no_difference() -> None:
    def layers(content: bytes) -> Tree:
        other = Files({"shop.yml": content}, root="file:/two/", group=1)
        return Tree({"main": Files({"shop.yml": b"a: 1"}, root="file:/one/", others=(other,))})

    play = Play(layers(b"b: 2"), layers(b"b: 2"), layers(b"b: 1"))
    await play.states.find(SHOP, version(a=1, b=1))

    assert [b'{"a":1,"b":1}'] == play.known()


# What isn't found.


async def test_a_key_of_a_label_that_is_the_same_takes_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(content: bytes) -> Tree:
        return Tree({"main": Files({"shop.yml": b"a: 1"}), "next": Files({"shop.yml": content})})

    def resolved(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(module, "_resolved", resolved)
    play = Play(both(b"b: 2"), both(b"b: 1"))
    await play.states.find(SHOP, UNKNOWN)

    assert (2, []) == (len(play.past.asked), play.known())


@pytest.mark.parametrize(
    ("state", "formats"),
    [
        (tree(shop=b"a: ["), FormatSettings()),
        (tree(shop=b"a: [1, 2, 3]"), FormatSettings(nodes=2)),
        (tree("other", shop=b"a: 2"), FormatSettings()),
    ],
)
async def test_a_state_in_which_a_key_can_not_be_resolved_is_passed_over(state: Tree, formats: FormatSettings) -> None:
    play = Play(tree(shop=b"a: 3"), state, tree(shop=b"a: 1"), formats=formats)
    await play.states.find(SHOP, version(a=1))

    assert [b'{"a":1}'] == play.known()


async def test_the_content_of_today_does_not_replace_a_file_that_was_broken_then() -> None:
    play = Play(tree(shop=b"a: 3", application=b"b: 3"), tree(shop=b"a: [", application=b"b: 2"))
    await play.states.find(SHOP, version(a=3, b=2))

    assert [] == play.known()


async def test_a_label_that_is_gone_today_is_not_kept() -> None:
    play = Play(tree(shop=b"a: 3"), tree("gone", shop=b"a: 2"))
    await play.states.find(SHOP, UNKNOWN)

    assert [{}] == [each.labels for each in play.states._states]


# Bounds.


async def test_a_history_without_room_is_not_looked_up() -> None:
    states = [tree(shop=b"a: %d" % each) for each in (3, 2, 1)]
    assert not Play(*states, history=HistorySettings(versions=0)).states.may_know(SHOP, UNKNOWN)
    play = Play(*states, history=HistorySettings(versions=1))
    await play.states.find(SHOP, version(a=1))

    assert ([b'{"a":2}'], [(0, 0)]) == (play.known(), play.past.asked)


async def test_a_key_that_is_not_kept_is_not_looked_up() -> None:
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"))
    assert not play.states.may_know(CART, UNKNOWN)
    play.past.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play.states.find, SHOP, UNKNOWN)
        await wait_all_tasks_blocked()
        play.store.drop(SHOP)
        play.past.gate.set()

    assert [(0, 0)] == play.past.asked


async def test_states_are_read_one_after_the_other_and_each_once() -> None:
    keys = [Key("shop", f"p{number}", "main") for number in range(5)]
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"), tree(shop=b"a: 1"), keys=keys)
    async with trio.open_nursery() as nursery:
        for key in (*keys, *keys):
            nursery.start_soon(play.states.find, key, version(a=1))

    assert ([(0, 0), (7, 1)], 1) == (play.past.asked, play.past.most)
    assert [[b'{"a":1}', b'{"a":2}']] * 5 == [play.known(key) for key in keys]


async def test_a_bounded_number_of_keys_is_looked_up_at_a_time() -> None:
    keys = [Key("shop", f"p{number}", "main") for number in range(MOST_KEYS + 1)]
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"), keys=keys)
    play.past.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        for key in keys[:-1]:
            nursery.start_soon(play.states.find, key, version(a=2))
        await wait_all_tasks_blocked()
        # Another client of the same key waits. Another key doesn't.
        nursery.start_soon(play.states.find, keys[0], version(a=2))
        await play.states.find(keys[-1], version(a=2))
        assert [] == play.known(keys[-1])
        play.past.gate.set()
    assert all(play.known(key) for key in keys[:-1])
    await play.states.find(keys[-1], version(a=2))

    assert play.known(keys[-1])


async def test_if_the_first_client_leaves_the_next_one_gets_the_document() -> None:
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"))
    play.past.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as leaving:
            async with trio.open_nursery() as first:
                first.start_soon(play.states.find, SHOP, version(a=2))
                await wait_all_tasks_blocked()
                nursery.start_soon(play.states.find, SHOP, version(a=2))
                await wait_all_tasks_blocked()
                leaving.cancel()
        await wait_all_tasks_blocked()
        assert ([(0, 0), (0, 0)], 1) == (play.past.asked, play.past.most)
        play.past.gate.set()

    assert [b'{"a":2}'] == play.known()
    assert not play.states._waiting


async def test_a_client_waits_for_a_limited_time_and_then_nobody_waits_for_some_time(
    autojump_clock: MockClock,
) -> None:
    play = Play(tree(shop=b"a: 3", cart=b"b: 3"), tree(shop=b"a: 2", cart=b"b: 2"), keys=(SHOP, CART))
    play.past.gate = trio.Event()
    began = trio.current_time()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            for key in (SHOP, SHOP, CART):
                nursery.start_soon(play.states.find, key, version(a=2))
    assert PATIENCE == trio.current_time() - began
    assert [{**UNREADABLE, "reason": "no further one within 2 s"}] == logs
    assert not play.states.may_know(SHOP, version(a=2))
    await trio.sleep(AGAIN - 0.01)
    assert not play.states.may_know(SHOP, version(a=2))
    await trio.sleep(0.01)
    play.past.gate.set()
    await play.states.find(SHOP, version(a=2))

    assert [b'{"a":2}'] == play.known()


async def test_a_lookup_that_waits_for_a_thread_does_not_stop_others(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(tree(shop=b"a: 3", cart=b"b: 3"), tree(shop=b"a: 2", cart=b"b: 2"), keys=(SHOP, CART))
    await play.states.find(SHOP, UNKNOWN)
    with capture_logs() as logs:
        play.limits.resolving.acquire_on_behalf_of_nowait(play)
        await play.states.find(CART, version(b=2))
        play.limits.resolving.release_on_behalf_of(play)
    assert ([], []) == (logs, play.known(CART))
    await play.states.find(CART, version(b=2))

    assert [b'{"b":2}'] == play.known(CART)


async def test_after_a_slow_state_the_next_client_goes_on(autojump_clock: MockClock) -> None:
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"), tree(shop=b"a: 1"))
    read = play.past.former

    async def slow(before: Place) -> tuple[Place, Tree] | None:
        await trio.sleep(PATIENCE * 0.75)
        return await read(before)

    play.past.former = slow  # type: ignore[method-assign]
    with capture_logs() as logs:
        await play.states.find(SHOP, version(a=1))
        assert [b'{"a":2}'] == play.known()
        await play.states.find(SHOP, version(a=1))

    assert ([b'{"a":1}', b'{"a":2}'], []) == (play.known(), logs)


async def test_states_that_can_not_be_read_now_are_read_later(autojump_clock: MockClock) -> None:
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"), tree(shop=b"a: 1"))
    play.past.states[1] = SourceError("etcd is away")
    with capture_logs() as logs:
        await play.states.find(SHOP, version(a=1))
        await play.states.find(SHOP, version(a=1))
    assert [{**UNREADABLE, "reason": "etcd is away"}] == logs
    assert [(0, 0), (7, 1)] == play.past.asked
    play.past.states[1] = tree(shop=b"a: 1")
    await trio.sleep(AGAIN)
    await play.states.find(SHOP, version(a=1))

    assert ([b'{"a":1}', b'{"a":2}'], (7, 1)) == (play.known(), play.past.asked[-1])


async def test_walks_have_a_pause_between_them_however_often_another_state_is_served(
    autojump_clock: MockClock,
) -> None:
    play = Play(tree(shop=b"a: 3"), tree(shop=b"a: 2"), tree(shop=b"a: 1"))
    await play.states.find(SHOP, version(a=2))
    await trio.sleep(4)
    # The walk that has begun goes on.
    assert play.states.may_know(SHOP, UNKNOWN)
    other = FormerStates(play.served, play.store, play.past, play.limits)
    await trio.sleep(AGAIN - 4.01)
    assert not other.may_know(SHOP, UNKNOWN)
    await other.find(SHOP, UNKNOWN)
    assert 1 == len(play.past.asked)
    await trio.sleep(0.01)
    assert other.may_know(SHOP, UNKNOWN)
    await other.find(SHOP, UNKNOWN)
    assert 4 == len(play.past.asked)
    last = FormerStates(play.served, play.store, play.past, play.limits)

    assert not last.may_know(SHOP, UNKNOWN)


def test_a_state_keeps_the_served_objects_and_its_size_is_that_of_what_differs() -> None:
    same = b"a: 1 # the same"
    other = Files({"c.yml": b"c: 1"}, root="file:/two/")
    edits = Edits(1, {}, 1)
    served = Tree({"main": Files({"a.yml": same, "b.yml": b"b: 1"}, others=(other,)), "same": Files({"a.yml": same})})
    past = Files({"a.yml": bytes([*same]), "b.yml": b"b: 22"}, edits=edits, others=(attrs.evolve(other, edits=edits),))
    former = module._different(Tree({"main": past, "same": Files({"a.yml": bytes([*same])})}), served)

    assert ["main"] == [*former.labels]
    kept = former.labels["main"]
    assert kept.contents["a.yml"] is same
    assert kept.others[0].contents["c.yml"] is other.contents["c.yml"]
    assert (None, None) == (kept.edits, kept.others[0].edits)
    assert FILE_BYTES * 3 + PARSED * 5 == former.bytes


@pytest.mark.parametrize(
    "changed",
    [
        {"unreadable": {"b.yml": "too large"}},
        {"root": "file:/other/"},
        {"locations": ("", "prod/")},
        {"applications": ("shop",)},
        {"group": 1},
    ],
)
def test_labels_differ_by_everything_that_documents_depend_on(changed: dict[str, Any]) -> None:
    files = Files({"a.yml": b"a: 1"})
    different = partial(module._different, served=Tree({"main": files}))

    assert not different(Tree({"main": attrs.evolve(files, revision="c2")})).labels
    assert different(Tree({"main": attrs.evolve(files, **changed)})).labels


@pytest.mark.parametrize("fits", [True, False])
async def test_states_beyond_the_limit_are_left_out(monkeypatch: pytest.MonkeyPatch, fits: bool) -> None:
    size = FILE_BYTES + PARSED * 4
    monkeypatch.setattr(module, "MOST_BYTES", 2 * size - (not fits))
    play = Play(tree(shop=b"a: 3"), *(tree(shop=b"a: %d" % each) for each in (2, 1, 0)))
    with capture_logs() as logs:
        await play.states.find(SHOP, version(a=0))

    assert [b'{"a":1}', b'{"a":2}'][1 - fits :] == play.known()
    assert [(0, 0), (7, 1), (7, 2)][: 2 + fits] == play.past.asked
    assert [
        {
            "event": "former states left out",
            "log_level": "info",
            "reason": f"they take more than {module.MOST_BYTES} bytes",
            "read": 1 + fits,
        }
    ] == logs
    assert not play.states.may_know(SHOP, version(a=0))


# The files of a version.


def contents(found: Sequence[Sequence[Any]] | None) -> list[dict[str, bytes]]:
    assert found is not None
    return [dict(layer.files.contents) for layers in found for layer in layers]


async def test_the_files_of_a_version_are_those_of_the_newest_state_that_has_it() -> None:
    """The key needn't be in use, and its history in the store doesn't change."""
    play = Play(tree(shop=b"a: 4"), tree(shop=b"a: 3", x=b"n: 2"), tree(shop=b"a: 2"), tree(shop=b"a: 3"), keys=())

    assert [{"shop.yml": b"a: 3", "x.yml": b"n: 2"}] == contents(await play.states.find_files(SHOP, version(a=3)))
    assert 1 == len(play.past.asked)
    assert [{"shop.yml": b"a: 2"}] == contents(await play.states.find_files(SHOP, version(a=2)))
    assert None is await play.states.find_files(SHOP, UNKNOWN)
    assert (4, []) == (len(play.past.asked), play.known())


async def test_states_in_which_the_key_can_not_be_resolved_are_passed_over() -> None:
    play = Play(tree(shop=b"a: 4"), tree(shop=b"["), tree("dev", shop=b"a: 3"), tree(shop=b"a: 3"))
    assert [{"shop.yml": b"a: 3"}] == contents(await play.states.find_files(SHOP, version(a=3)))


async def test_the_files_of_an_unknown_label_are_not_found() -> None:
    play = Play(tree(shop=b"a: 4"), tree(shop=b"a: 3"), keys=())
    assert None is await play.states.find_files(attrs.evolve(SHOP, label="gone"), version(a=3))


async def test_files_are_searched_for_a_limited_time(autojump_clock: MockClock) -> None:
    play = Play(tree(shop=b"a: 4"), tree(shop=b"a: 3"))
    play.past.gate = trio.Event()
    assert None is await play.states.find_files(SHOP, version(a=3))
    assert PATIENCE == trio.current_time()


async def test_a_state_that_can_not_be_read_ends_the_search() -> None:
    play = Play(tree(shop=b"a: 4"), tree(shop=b"a: 3"))
    play.past.states = [SourceError("gone")]
    with capture_logs():
        assert None is await play.states.find_files(SHOP, version(a=3))
