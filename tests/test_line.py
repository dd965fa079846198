"""The line in motion: publications are one moment, reads are shared, clients are brought up to date."""

import orjson
import pytest
import trio
from structlog.testing import capture_logs

from vortexd import line as line_module
from vortexd.broadcast import Broadcaster, Delivery, Subscriber
from vortexd.errors import FormatError, UnknownLabel
from vortexd.line import Line
from vortexd.metrics import Metrics
from vortexd.model import Files, Key, Tree
from vortexd.realtime.encoder import Encoder
from vortexd.registry import Registry
from vortexd.settings import FormatSettings, HistorySettings
from vortexd.store import Store, version_of

from .fakes import timestamp

SHOP = Key("shop", "dev", "main")
FILLER = b"filler: " + b"x" * 200


def tree(content: bytes, **more: bytes) -> Tree:
    return Tree({"main": Files({"shop.yml": content, **{f"{name}.yml": text for name, text in more.items()}})})


class Subscribed:
    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def deliver(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)


class Whole:
    """A line and its neighbours."""

    def __init__(self) -> None:
        self.store = Store(HistorySettings())
        self.registry: Registry[Subscriber] = Registry()
        encoder = Encoder(timestamp)
        self.line = Line(FormatSettings(), self.store, Broadcaster(self.registry, encoder.change), encoder, Metrics())


@pytest.fixture
def whole() -> Whole:
    return Whole()


def message(delivery: Delivery) -> dict[str, object]:
    payload = delivery.frame[delivery.frame.index(b"{") :]
    parsed: dict[str, object] = orjson.loads(payload)
    return parsed


async def test_nothing_is_served_before_the_first_state(whole: Whole) -> None:
    assert whole.line.default_label is None
    with pytest.raises(UnknownLabel) as caught:
        await whole.line.read(SHOP)
    assert 503 == caught.value.status

    await whole.line.publish(tree(b"a: 1"))
    await whole.line.wait_ready()
    assert {"a": 1} == (await whole.line.read(SHOP)).document


async def test_a_publication_reaches_subscribers_as_one_patch(whole: Whole) -> None:
    await whole.line.publish(tree(b"a: 1\n" + FILLER))
    subscribed = Subscribed()
    whole.line.hold(SHOP)
    whole.registry.add(subscribed, SHOP)
    await whole.line.publish(tree(b"a: 2\n" + FILLER))

    (delivery,) = subscribed.deliveries
    assert [{"op": "replace", "path": "/a", "value": 2}] == message(delivery)["diff"]
    assert whole.line.version_of(SHOP) == delivery.new_version


async def test_concurrent_reads_of_a_key_resolve_it_once(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    await whole.line.publish(tree(b"a: 1"))
    resolved = []
    real = line_module.trio.to_thread.run_sync

    async def counting(function: object, *arguments: object, **options: object) -> object:
        resolved.append(arguments)
        return await real(function, *arguments, **options)

    monkeypatch.setattr(line_module.trio.to_thread, "run_sync", counting)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(whole.line.read, SHOP)

    assert [(SHOP,)] == resolved


async def test_a_reader_that_gives_up_leaves_the_others_served(whole: Whole) -> None:
    await whole.line.publish(tree(b"a: 1"))
    found = []

    async def read() -> None:
        found.append((await whole.line.read(SHOP)).document)

    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()

        async def give_up() -> None:
            with first:
                await whole.line.read(SHOP)

        nursery.start_soon(give_up)
        await trio.lowlevel.checkpoint()
        nursery.start_soon(read)
        first.cancel()

    assert [{"a": 1}] == found


async def test_catching_up_costs_what_was_missed(whole: Whole) -> None:
    await whole.line.publish(tree(b"a: 1\n" + FILLER))
    whole.line.hold(SHOP)
    old = whole.line.version_of(SHOP)
    await whole.line.publish(tree(b"a: 2\n" + FILLER))
    await whole.line.publish(tree(b"a: 3\n" + FILLER))
    new = whole.line.version_of(SHOP)

    kinds = [message(await whole.line.catch_up(SHOP, version))["type"] for version in (new, old, "unknown", None)]
    assert ["in_sync", "config_change", "config_snapshot", "config_snapshot"] == kinds
    change = message(await whole.line.catch_up(SHOP, old))
    assert (old, new) == (change["old_version"], change["new_version"])
    assert [{"op": "replace", "path": "/a", "value": 3}] == change["diff"]


async def test_clients_that_missed_the_same_share_one_frame(whole: Whole) -> None:
    await whole.line.publish(tree(b"a: 1\n" + FILLER))
    whole.line.hold(SHOP)
    old = whole.line.version_of(SHOP)
    await whole.line.publish(tree(b"a: 2\n" + FILLER))

    frames = [(await whole.line.catch_up(SHOP, version)).frame for version in (old, old, None, None)]
    assert frames[0] is frames[1]
    assert frames[2] is frames[3]


async def test_a_large_document_is_diffed_off_the_loop(whole: Whole) -> None:
    large = b"".join(b"key%d: %s\n" % (number, b"x" * 100) for number in range(1_000))
    await whole.line.publish(tree(large + b"a: 1"))
    whole.line.hold(SHOP)
    old = whole.line.version_of(SHOP)
    await whole.line.publish(tree(large + b"a: 2"))

    assert "config_change" == message(await whole.line.catch_up(SHOP, old))["type"]


async def test_a_key_whose_label_has_gone_is_removed(whole: Whole) -> None:
    await whole.line.publish(tree(b"a: 1"))
    whole.line.hold(SHOP)
    await whole.line.publish(Tree({"next": Files({})}, "next"))

    removed = await whole.line.catch_up(SHOP, version_of(b'{"a":1}'))
    assert ("config_removed", None) == (message(removed)["type"], removed.new_version)


async def test_a_broken_file_is_logged_once_for_each_reason(whole: Whole) -> None:
    with capture_logs() as logs:
        for content in (b"a: 1", b"a: ]", b"a: ]", b"a: 1\na: 2", b"a: 3"):
            await whole.line.publish(tree(content))

    told = [(each["event"], each.get("line")) for each in logs if each["event"] != "configuration published"]
    assert [
        ("configuration file broken", 1),
        ("configuration file broken", 2),
        ("configuration file sound again", None),
    ] == told


async def test_a_key_that_was_never_sound_says_so_to_its_reader(whole: Whole) -> None:
    await whole.line.publish(tree(b"a: ["))

    with pytest.raises(FormatError):
        await whole.line.read(SHOP)


async def test_names_from_the_network_fill_no_more_than_the_cache(whole: Whole) -> None:
    """L04."""
    await whole.line.publish(tree(b"a: 1", application=b"shared: 1"))
    for number in range(line_module._READ_CACHE_KEYS + 50):
        await whole.line.read(Key(f"made-up-{number}", "dev", "main"))

    assert line_module._READ_CACHE_KEYS == len(whole.line._reads)
    assert 0 == len(whole.store)
