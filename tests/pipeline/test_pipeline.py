"""The whole pipeline: a publication is one moment, reads are shared, and clients catch up."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import jsonpatch
import orjson
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.aio.fair_queue import FairQueue
from vortexd.aio.isolated import Isolated
from vortexd.core.diff import patch_between
from vortexd.core.errors import FormatError, SourceError, UnknownLabel
from vortexd.core.generation import Generation
from vortexd.core.model import Config, Edits, Files, Key, Origin, PropertySource, Tree
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.core.version import version_of
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.observe.publication import Publication
from vortexd.pipeline import key_usage as interests_module
from vortexd.pipeline import parsing
from vortexd.pipeline import pipeline as line_module
from vortexd.pipeline import registry as registry_module
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.pipeline import TooManyKeys
from vortexd.pipeline.state import Selected, State
from vortexd.protocol import messages
from vortexd.settings.formats import FormatSettings
from vortexd.settings.history import HistorySettings

from ..fakes import FakePast, FormerTrees, Rounds
from ..wiring import Wired

SHOP = Key("shop", "dev", "main")
FILLER = b"filler: " + b"x" * 200


def tree(content: bytes, **more: bytes) -> Tree:
    return Tree({"main": Files({"shop.yml": content, **{f"{name}.yml": text for name, text in more.items()}})})


class Subscribed:
    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def deliver(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)


@pytest.fixture
def whole() -> Wired:
    return Wired()


def message(delivery: Delivery) -> dict[str, Any]:
    payload = delivery.payload[delivery.payload.index(b"{") :]
    parsed: dict[str, Any] = orjson.loads(payload)
    return parsed


async def test_H02_a_publication_does_not_wait_for_those_who_read(
    whole: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    await whole.publisher.publish(tree(b"a: 1"))
    resolve, may_end = State.resolve, threading.Event()

    def waiting(state: State, key: Key) -> Config:
        may_end.wait(10)
        return resolve(state, key)

    monkeypatch.setattr(State, "resolve", waiting)
    async with trio.open_nursery() as asking:
        for number in range(8):
            asking.start_soon(whole.pipeline.read, attrs.evolve(SHOP, profile=f"made-up-{number}"))
        await trio.testing.wait_all_tasks_blocked()
        try:
            with trio.fail_after(5):
                await whole.publisher.publish(tree(b"a: 2"))
        finally:
            may_end.set()

    assert {"a": 2} == (await whole.pipeline.read(SHOP)).document


async def test_nothing_is_served_before_the_first_state(whole: Wired) -> None:
    assert whole.pipeline.default_label is None
    with pytest.raises(UnknownLabel) as caught:
        await whole.pipeline.read(SHOP)
    assert 503 == caught.value.status

    await whole.publisher.publish(tree(b"a: 1"))
    await whole.publisher.wait_ready()
    assert {"a": 1} == (await whole.pipeline.read(SHOP)).document


async def test_what_a_publication_took_is_known_when_it_is_done() -> None:
    done: list[Publication] = []
    whole = Wired(on_publication=done.append)
    await whole.publisher.publish(tree(b"a: 1\n" + FILLER))
    whole.pipeline.hold(SHOP)
    whole.registry.add(Subscribed(), SHOP)
    noticed = time.time() - 5
    await whole.publisher.publish(attrs.evolve(tree(b"a: 2\n" + FILLER), noticed=noticed))
    await whole.publisher.publish(attrs.evolve(tree(b"a: 3\n" + FILLER), noticed=time.time() + 3_600))
    _, second, third = done

    assert ["source", "parse", "resolve", "broadcast"] == list(second.phases)
    assert (1, 1, 1, noticed) == (second.labels, second.changes, second.deliveries, second.began)
    assert second.phases["source"] >= 5
    assert 0 < second.diff_seconds <= second.phases["resolve"]
    # A clock that was put back makes no time that is less than none.
    assert 0 == third.phases["source"]


async def test_a_publication_reaches_subscribers_as_one_patch(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1\n" + FILLER))
    subscribed = Subscribed()
    whole.pipeline.hold(SHOP)
    whole.registry.add(subscribed, SHOP)
    await whole.publisher.publish(tree(b"a: 2\n" + FILLER))

    (delivery,) = subscribed.deliveries
    assert [{"op": "replace", "path": "/a", "value": 2}] == message(delivery)["diff"]
    assert whole.pipeline.version_of(SHOP) == delivery.new_version


async def test_a_reader_that_gives_up_leaves_the_others_served(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1"))
    found = []

    async def read() -> None:
        found.append((await whole.pipeline.read(SHOP)).document)

    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()

        async def give_up() -> None:
            with first:
                await whole.pipeline.read(SHOP)

        nursery.start_soon(give_up)
        await trio.lowlevel.checkpoint()
        nursery.start_soon(read)
        first.cancel()

    assert [{"a": 1}] == found


async def test_catching_up_costs_what_was_missed(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1\n" + FILLER))
    whole.pipeline.hold(SHOP)
    old = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(b"a: 2\n" + FILLER))
    await whole.publisher.publish(tree(b"a: 3\n" + FILLER))
    new = whole.pipeline.version_of(SHOP)

    kinds = [message(await whole.pipeline.catch_up(SHOP, version))["type"] for version in (new, old, "unknown", None)]
    assert ["in_sync", "config_change", "config_snapshot", "config_snapshot"] == kinds
    change = message(await whole.pipeline.catch_up(SHOP, old))
    assert (old, new) == (change["old_version"], change["new_version"])
    assert [{"op": "replace", "path": "/a", "value": 3}] == change["diff"]


async def test_clients_that_missed_the_same_share_one_frame(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1\n" + FILLER))
    whole.pipeline.hold(SHOP)
    old = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(b"a: 2\n" + FILLER))

    frames = [(await whole.pipeline.catch_up(SHOP, version)).payload for version in (old, old, None, None)]
    assert frames[0] is frames[1]
    assert frames[2] is frames[3]


@pytest.mark.parametrize(("size", "is_off_the_loop"), [(512, False), (513, True)])
@pytest.mark.parametrize("is_newest", [True, False])
async def test_all_but_small_documents_are_diffed_off_the_loop(
    whole: Wired, monkeypatch: pytest.MonkeyPatch, size: int, is_off_the_loop: bool, is_newest: bool
) -> None:
    sized = b"a: " + b"x" * (size - len(b'{"a":""}'))
    await whole.publisher.publish(tree(b"a: 1" if is_newest else sized))
    whole.pipeline.hold(SHOP)
    old = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(sized if is_newest else b"a: 1"))
    threads: list[threading.Thread] = []

    def noted(old: Config, new: Config) -> bytes | None:
        threads.append(threading.current_thread())
        return patch_between(old, new)

    monkeypatch.setattr(line_module, "patch_between", noted)

    assert "config_change" == message(await whole.pipeline.catch_up(SHOP, old))["type"]
    assert [is_off_the_loop] == [thread is not threading.current_thread() for thread in threads]


async def test_a_key_whose_label_has_gone_is_removed(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1"))
    whole.pipeline.hold(SHOP)
    await whole.publisher.publish(Tree({"next": Files({})}, "next"))

    removed = await whole.pipeline.catch_up(SHOP, version_of(b'{"a":1}'))
    assert ("config_removed", None) == (message(removed)["type"], removed.new_version)


async def test_a_key_of_several_labels_changes_with_each_of_them_and_ends_with_one(whole: Wired) -> None:
    def labels(**contents: bytes) -> Tree:
        names = {"main": "application.yml"}
        return Tree({name: Files({names.get(name, "shop.yml"): content}) for name, content in contents.items()})

    both = Key("shop", "dev", "next,main")
    await whole.publisher.publish(labels(main=b"a: 1\nb: 1", next=b"a: 2", other=b"a: 9"))
    whole.pipeline.hold(both)
    assert {"next", "main"} == whole.key_usage.main_labels()
    subscriber = Subscribed()
    whole.registry.add(subscriber, both)
    first = (await whole.pipeline.read(both)).document
    await whole.publisher.publish(labels(main=b"a: 1\nb: 2", next=b"a: 2"))
    await whole.publisher.publish(labels(main=b"a: 1\nb: 2", next=b"a: 3"))
    await whole.publisher.publish(labels(main=b"a: 1\nb: 2"))

    assert {"a": 2, "b": 1} == first
    assert ["next,main"] * 3 == [message(each)["label"] for each in subscriber.deliveries]
    kinds = [message(each)["type"] for each in subscriber.deliveries]
    assert "config_removed" == kinds[-1]
    assert "config_removed" not in kinds[:-1]
    whole.pipeline.release(both)
    assert frozenset() == whole.key_usage.main_labels()


async def test_a_broken_file_is_logged_once_for_each_reason(whole: Wired) -> None:
    with capture_logs() as logs:
        for content in (b"a: 1", b"a: ]", b"a: ]", b"a: 1\na: 2", b"a: 3"):
            await whole.publisher.publish(tree(content))

    told = [(each["event"], each.get("line")) for each in logs if each["event"] != "configuration published"]
    assert [
        ("configuration file broken", 1),
        ("configuration file broken", 2),
        ("configuration file sound again", None),
    ] == told


async def test_a_broken_file_that_is_deleted_is_gone_and_not_sound(whole: Wired) -> None:
    with capture_logs() as logs:
        await whole.publisher.publish(tree(b"a: 1", cart=b"[", next=b"["))
        await whole.publisher.publish(tree(b"a: 1", next=b"b: 1"))

    told = {each["file"]: each["event"] for each in logs if each["log_level"] == "info" and "file" in each}
    assert {"cart.yml": "broken configuration file gone", "next.yml": "configuration file sound again"} == told


async def test_the_log_and_the_metrics_say_what_a_broken_file_means_for_those_who_read_it(whole: Wired) -> None:
    with capture_logs() as logs:
        await whole.publisher.publish(tree(b"a: 1", old=b"a: ["))
        await whole.publisher.publish(tree(b"a: [", old=b"a: [", new=b"a: ["))
        metrics = whole.metrics.render().decode()
        await whole.publisher.publish(tree(b"a: 1", old=b"a: 1", new=b"a: 1"))

    told = {each["file"]: each["consequence"] for each in logs if each["event"] == "configuration file broken"}
    assert {
        "old.yml": "keys that read it can't be served: no good content of it is known",
        "shop.yml": "keys that read it are served with its last good content",
        "new.yml": "keys that read it are served without it, as before it appeared",
    } == told
    assert "vortexd_broken_files 3.0" in metrics
    assert "vortexd_broken_files_without_good_content 1.0" in metrics
    assert "vortexd_broken_files 0.0" in whole.metrics.render().decode()


async def test_a_broken_file_names_the_commit_of_its_last_good_content(whole: Wired) -> None:
    with capture_logs() as logs:
        for revision, content in (("c1", b"a: 1"), ("c2", b"a: [")):
            await whole.publisher.publish(Tree({"main": Files({"shop.yml": content}, revision=revision)}))

    assert ["c1"] == [each["last_good"] for each in logs if each["event"] == "configuration file broken"]


# Who made a change, and when.


def committed(number: int, content: bytes) -> Tree:
    origin = Origin(f"c{number}", f"Author {number}", "2030-01-01T00:00:00Z")
    edits = Edits(number, {"shop.yml": (number, origin)})
    return Tree({"main": Files({"shop.yml": content}, revision=f"c{number}", origin=origin, edits=edits)})


async def test_four_authors_toggle_a_flag_and_each_message_names_the_one_it_stands_for() -> None:
    moments = iter([1.0, 2.0, 3.0, 2.5, 5.0])
    whole = Wired(now=lambda: next(moments))
    contents = [FILLER + b"\na: %d" % (number % 2) for number in range(5)]
    await whole.publisher.publish(committed(0, contents[0]))
    whole.pipeline.hold(SHOP)
    subscribed = Subscribed()
    whole.registry.add(subscribed, SHOP)
    versions, seen = [whole.pipeline.version_of(SHOP)], []
    for number in range(1, 5):
        await whole.publisher.publish(committed(number, contents[number]))
        live = message(subscribed.deliveries[-1])
        resumed = message(await whole.pipeline.catch_up(SHOP, versions[-1]))
        fresh = message(await whole.pipeline.catch_up(SHOP, None))
        current = message(await whole.pipeline.catch_up(SHOP, whole.pipeline.version_of(SHOP)))
        config = await whole.pipeline.read(SHOP)
        explanation, _ = await whole.reader.explain(SHOP)
        assert ["config_change", "config_change", "config_snapshot", "in_sync"] == [
            each["type"] for each in (live, resumed, fresh, current)
        ]
        authors = [each["origin"]["author"] for each in (live, resumed, fresh)]
        assert [f"Author {number}"] * 3 == authors
        assert f"c{number}" == config.revision == (config.origin and config.origin.commit)
        assert [config.origin] == [each.origin for each in explanation.sources]
        assert 1 == len({each["timestamp"] for each in (live, resumed, fresh, current)})
        seen.append(str(live["timestamp"]))
        versions.append(whole.pipeline.version_of(SHOP))

    assert 2 == len(set(versions))
    # The clock was set back before the third change; no message is older than the one before it.
    assert [f"1970-01-01T00:00:0{second}.000Z" for second in ("2", "3", "3", "5")] == seen


async def test_a_client_that_missed_several_commits_is_told_of_the_last_one(whole: Wired) -> None:
    await whole.publisher.publish(committed(0, FILLER + b"\na: 0"))
    whole.pipeline.hold(SHOP)
    version = whole.pipeline.version_of(SHOP)
    for number in (1, 2, 3):
        await whole.publisher.publish(committed(number, FILLER + b"\na: %d" % number))

    resumed = message(await whole.pipeline.catch_up(SHOP, version))
    assert {"commit": "c3", "author": "Author 3", "time": "2030-01-01T00:00:00Z"} == resumed["origin"]


async def test_a_good_content_that_could_not_be_looked_up_is_published_later(
    whole: Wired, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def inline(function: Callable[..., Any], *arguments: object, **_: object) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    past = FakePast({"shop.yml": [b"a: 1"]}, is_authoritative=True)
    past.failure = SourceError("the mirror is gone")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(whole.publisher.run)
        with capture_logs():
            await whole.publisher.publish(Tree({"main": Files({"shop.yml": b"["}, past=past)}))
            with pytest.raises(FormatError):
                await whole.pipeline.read(SHOP)
            for moment in (5, 15, 35):
                asked = len(past.asked)
                await trio.sleep_until(moment - 0.1)
                assert asked == len(past.asked)
                past.failure = None if moment == 35 else past.failure
                await trio.sleep_until(moment + 0.1)
                assert asked + 1 == len(past.asked)
        assert {"a": 1} == (await whole.pipeline.read(SHOP)).document
        asked = len(past.asked)
        await trio.sleep(1_000)
        assert asked == len(past.asked)
        nursery.cancel_scope.cancel()


async def test_a_source_is_told_what_is_good_and_what_is_broken(whole: Wired) -> None:
    past = FakePast({})
    files = Files({"shop.yml": b"a: 1", "new.yml": b"[", "x.txt": b"text"}, past=past)
    await whole.publisher.publish(Tree({"main": files, "next": attrs.evolve(files, contents={"cart.yml": b"b: 1"})}))

    [good] = past.remembered
    assert {"shop.yml": b"a: 1", "cart.yml": b"b: 1"} == good().contents
    # It was broken from the start: nobody knows what it was.
    assert {"new.yml": False} == good().broken

    broken = attrs.evolve(files, contents={"shop.yml": b"[", "new.yml": b"[", "newer.yml": b"["})
    await whole.publisher.publish(Tree({"main": broken}))
    assert {} == past.remembered[1]().contents
    assert {"shop.yml": False, "new.yml": False, "newer.yml": True} == past.remembered[1]().broken


async def test_a_publication_is_logged_with_its_keys_and_its_commit(whole: Wired) -> None:
    def committed(content: bytes, commit: str) -> Tree:
        return Tree({"main": Files({"shop.yml": content}, origin=Origin(commit, "Ada", "2026-01-01T00:00:00Z"))})

    with capture_logs() as logs:
        await whole.publisher.publish(committed(b"a: 1", "c1"))
        whole.pipeline.hold(SHOP)
        await whole.publisher.publish(committed(b"a: 2", "c2"))
        await whole.publisher.publish(committed(b"a: 2", "c2"))

    counts = {"event": "configuration published", "log_level": "info", "labels": 1, "deliveries": 0}
    assert [
        {**counts, "changes": 0, "commit": "c1", "author": "Ada"},
        {**counts, "changes": 1, "keys": ["shop:dev:main"], "commit": "c2", "author": "Ada"},
        {**counts, "changes": 0},
    ] == logs


async def test_a_source_without_configuration_is_logged_once_until_it_has_some(whole: Wired) -> None:
    def files(*others: Files, **contents: bytes) -> Tree:
        named = {name.replace("_", "."): content for name, content in contents.items()}
        return Tree({"main": Files(named, root="file:/a/", others=others)})

    empty = Files({"README.md": b""}, root="file:/b/")
    with capture_logs() as logs:
        for tree in (
            files(logo_png=b""),
            files(logo_png=b"x"),
            files(a_yml=b""),
            files(empty),
            files(empty, a_yml=b"a: ]"),
        ):
            await whole.publisher.publish(tree)

    said = [each for each in logs if each["event"] == "no configuration"]
    assert ["file:/a/", "file:/a/", "file:/b/"] == [each["source"] for each in said]
    assert {
        "event": "no configuration",
        "log_level": "warning",
        "source": "file:/a/",
        "reason": "no file there is .yml, .yaml, .properties, .json or .toml",
        "consequence": "the source has no values for any application",
    } == said[0]


# Patterns.


def patterns(*texts: str) -> list[Pattern]:
    return [parse_pattern(text) for text in texts]


def told(subscribed: Subscribed) -> list[tuple[object, ...]]:
    """What was delivered, as type, application and profile."""
    found = [message(delivery) for delivery in subscribed.deliveries]
    subscribed.deliveries.clear()
    return [(each["type"], each["app"], each["profile"]) for each in found]


async def test_a_pattern_matches_what_exists_and_is_told_of_its_changes(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1\n" + FILLER, cart=b"b: 1", **{"shop-prod": b"c: 1"}))
    subscribed = Subscribed()
    keys = await whole.pipeline.subscribe(subscribed, patterns("shop"), 10)

    assert {Key("shop", "default", "main"), Key("shop", "prod", "main")} == set(keys)
    assert all(whole.pipeline.version_of(key) for key in keys)
    await whole.publisher.publish(tree(b"a: 2\n" + FILLER, cart=b"b: 2", **{"shop-prod": b"c: 1"}))
    assert {("config_change", "shop", "default"), ("config_change", "shop", "prod")} == set(told(subscribed))


async def test_a_key_that_begins_is_told_whole_and_its_end_too(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1"))
    subscribed = Subscribed()
    await whole.pipeline.subscribe(subscribed, patterns("*:*:main"), 10)
    await whole.publisher.publish(tree(b"a: 1", cart=b"b: 1"))
    assert [("config_snapshot", "cart", "default")] == told(subscribed)

    await whole.publisher.publish(tree(b"a: 1"))
    assert [("config_removed", "cart", "default")] == told(subscribed)
    assert whole.pipeline.version_of(Key("cart", "default", "main")) is None
    await whole.publisher.publish(tree(b"a: 1", cart=b"b: 1"))
    assert [("config_snapshot", "cart", "default")] == told(subscribed)


async def test_a_label_that_ends_ends_its_keys_once(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1"))
    subscribed = Subscribed()
    await whole.pipeline.subscribe(subscribed, patterns("*"), 10)
    await whole.publisher.publish(Tree({"next": Files({"shop.yml": b"a: 1"})}, "next"))

    found = sorted((str(message(each)["type"]), str(message(each)["label"])) for each in subscribed.deliveries)
    assert [("config_removed", "main"), ("config_snapshot", "next")] == found


async def test_a_key_in_use_is_known_to_patterns_for_as_long(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1", application=b"shared: 1"))
    subscribed = Subscribed()
    await whole.pipeline.subscribe(subscribed, patterns("made-up"), 10)
    made_up = Key("made-up", "dev", "main")
    whole.pipeline.hold(made_up)
    assert [("config_snapshot", "made-up", "dev")] == told(subscribed)

    late = Subscribed()
    assert [made_up] == list(await whole.pipeline.subscribe(late, patterns("made-up"), 10))
    whole.pipeline.release(made_up)
    assert [("config_removed", "made-up", "dev")] == told(subscribed) == told(late)


async def test_a_broken_key_that_a_pattern_matches_begins_when_it_is_mended(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: ]", cart=b"b: 1"))
    subscribed = Subscribed()

    assert [Key("cart", "default", "main")] == list(await whole.pipeline.subscribe(subscribed, patterns("*"), 10))
    await whole.publisher.publish(tree(b"a: 1", cart=b"b: 1"))
    assert [("config_snapshot", "shop", "default")] == told(subscribed)


async def test_patterns_that_match_too_much_subscribe_to_nothing(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1", cart=b"b: 1"))
    subscribed = Subscribed()
    with pytest.raises(TooManyKeys):
        await whole.pipeline.subscribe(subscribed, patterns("*"), 1)
    await whole.publisher.publish(tree(b"a: 2", cart=b"b: 2"))

    assert [] == subscribed.deliveries
    assert 2 == len(await whole.pipeline.subscribe(subscribed, patterns("*"), 2))


async def test_a_subscription_that_waits_for_nothing_is_made_at_once(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1\n" + FILLER, cart=b"b: 1"))
    shop, subscribed = Key("shop", "default", "main"), Subscribed()
    # Nobody has resolved the key yet.
    assert whole.pipeline.subscribe_now(subscribed, patterns("shop"), 10) is None
    await whole.pipeline.subscribe(Subscribed(), patterns("shop"), 10)
    assert [shop] == whole.pipeline.subscribe_now(subscribed, patterns("shop", "none"), 1)
    assert whole.pipeline.subscribe_now(other := Subscribed(), patterns("shop"), 0) is None
    await whole.publisher.publish(tree(b"a: 2\n" + FILLER, cart=b"b: 2"))

    assert [("config_change", "shop", "default")] == told(subscribed)
    assert [] == other.deliveries


async def test_a_subscription_whose_matching_takes_long_is_not_made_at_once(whole: Wired) -> None:
    files = {f"shop-{number}": b"a: 1" for number in range(2_000)}
    await whole.publisher.publish(tree(b"a: 1", **files))
    # Each of these keys must be compared with both patterns.
    assert whole.pipeline.subscribe_now(Subscribed(), patterns("*:x*", "*:*:y*"), 10_000) is None
    assert not whole.registry.has_patterns
    assert [] == whole.pipeline.subscribe_now(Subscribed(), patterns("none"), 10_000)


async def test_a_broken_key_that_is_matched_at_once_is_left_out(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: ]", cart=b"b: 1"))
    assert [] != await whole.pipeline.subscribe(Subscribed(), patterns("*"), 10)
    matched = whole.registry.matches(*patterns("*"))

    assert {"cart", "shop"} == {key.application for key in matched}
    assert [Key("cart", "default", "main")] == whole.pipeline.subscribe_now(Subscribed(), patterns("*"), 10)


async def test_what_nobody_wants_any_more_is_released(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1", cart=b"b: 1"))
    one, two = Subscribed(), Subscribed()
    await whole.pipeline.subscribe(one, patterns("*", "shop"), 10)
    await whole.pipeline.subscribe(two, patterns("*"), 10)
    whole.pipeline.unsubscribe(one, patterns("*"))
    whole.pipeline.unsubscribe(two, patterns("*"))
    shop = Key("shop", "default", "main")

    assert (True, None) == (
        whole.pipeline.version_of(shop) is not None,
        whole.pipeline.version_of(Key("cart", "default", "main")),
    )
    whole.pipeline.unsubscribe(one, patterns("shop"))
    assert whole.pipeline.version_of(shop) is None


async def test_what_nobody_wants_any_more_is_held_by_nobody_either() -> None:
    whole = Wired(HistorySettings(idle_keys=0))
    await whole.publisher.publish(tree(b"a: 1", cart=b"b: 1"))
    subscribed = Subscribed()
    await whole.pipeline.subscribe(subscribed, patterns("*", "shop"), 10)
    whole.pipeline.unsubscribe(subscribed, patterns("*"))
    assert ["shop"] == [key.application for key in whole.store]
    whole.pipeline.unsubscribe(subscribed, patterns("shop"))
    assert [] == list(whole.store)


async def test_a_subscription_across_a_publication_begins_at_the_new_state(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1", application=b"x: " + b"y" * 100_000))
    subscribed = Subscribed()
    found: list[Key] = []

    async def subscribe() -> None:
        found.extend(await whole.pipeline.subscribe(subscribed, patterns("*"), 10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(subscribe)
        nursery.start_soon(whole.publisher.publish, tree(b"a: 2"))

    (key,) = found
    newest = version_of(b'{"a":2}')
    seen = [delivery.new_version for delivery in subscribed.deliveries]
    assert newest == whole.pipeline.version_of(key)
    assert seen in ([], [newest])


def flags(count: int, value: str) -> bytes:
    """Flat keys that are short, so that changing them all takes a patch far longer than the document."""
    return b"".join(b"k%d: %s\n" % (number, value.encode()) for number in range(count))


async def test_each_way_to_catch_up_is_what_its_delivery_says(whole: Wired) -> None:
    await whole.publisher.publish(tree(flags(200, "1")))
    whole.pipeline.hold(SHOP)
    far = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(flags(199, "2")))
    near = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(flags(200, "2")))
    newest = whole.pipeline.version_of(SHOP)

    for version, kind in (
        (newest, "in_sync"),
        (near, "config_change"),
        (far, "config_snapshot"),
        ("unknown", "config_snapshot"),
        (None, "config_snapshot"),
    ):
        # The second time it is known what there is to be sent.
        for _ in range(2):
            delivery = await whole.pipeline.catch_up(SHOP, version)

            assert kind == delivery.kind == message(delivery)["type"]
            assert newest == delivery.new_version
            assert delivery.old_version == (None if kind == "config_snapshot" else version)


async def test_a_message_is_ready_as_soon_as_it_is_made_and_is_the_one_of_catch_up(whole: Wired) -> None:
    await whole.publisher.publish(tree(flags(200, "1")))
    assert whole.pipeline.in_use(SHOP) is None
    whole.pipeline.hold(SHOP)
    far = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(flags(199, "2")))
    near = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(flags(200, "2")))
    newest = whole.pipeline.version_of(SHOP)

    assert SHOP == whole.pipeline.in_use(SHOP)
    # These must be made: a snapshot, and a patch or, in place of a long one, a snapshot.
    assert [None] * 4 == [whole.pipeline.ready(SHOP, each) for each in (None, "unknown", near, far)]
    for version in (None, "unknown", near, far, newest):
        made = await whole.pipeline.catch_up(SHOP, version)
        ready = whole.pipeline.ready(SHOP, version)
        assert ready is not None
        assert (made.old_version, made.new_version, made.payload) == (
            ready.old_version,
            ready.new_version,
            ready.payload,
        )


async def test_the_end_of_a_key_is_ready_at_once(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1"))
    delivery = whole.pipeline.ready(SHOP, "some")

    assert delivery is not None
    assert (None, "config_removed") == (delivery.new_version, message(delivery)["type"])


@pytest.mark.parametrize("versions", [[b"{}", b"a: 1"], [b"a: 1", b"{}"], [b"a: 1\nb: 1", b"a: 2\nb: 1"]])
async def test_a_change_of_a_tiny_document_is_a_change(whole: Wired, versions: list[bytes]) -> None:
    await whole.publisher.publish(tree(versions[0]))
    subscribed = Subscribed()
    whole.pipeline.hold(SHOP)
    whole.registry.add(subscribed, SHOP)
    old = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(versions[1]))

    for delivery in (*subscribed.deliveries, await whole.pipeline.catch_up(SHOP, old)):
        assert ("config_change", "config_change", old) == (
            delivery.kind,
            message(delivery)["type"],
            message(delivery)["old_version"],
        )
    assert 1 == len(subscribed.deliveries)


async def test_a_change_whose_patch_is_too_long_is_the_snapshot_that_others_get(whole: Wired) -> None:
    await whole.publisher.publish(tree(flags(200, "1")))
    subscribed = Subscribed()
    whole.pipeline.hold(SHOP)
    whole.registry.add(subscribed, SHOP)
    await whole.publisher.publish(tree(flags(200, "2")))
    (delivery,) = subscribed.deliveries

    assert ("config_snapshot", "config_snapshot", None) == (
        delivery.kind,
        message(delivery)["type"],
        delivery.old_version,
    )
    assert delivery.payload is (await whole.pipeline.catch_up(SHOP, None)).payload


async def test_a_patch_is_made_once_for_clients_that_come_one_after_the_other(
    whole: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    await whole.publisher.publish(tree(b"a: 1"))
    whole.pipeline.hold(SHOP)
    old = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(b"a: 2"))
    made: list[str] = []

    def counted(old: Config, new: Config) -> bytes | None:
        made.append(old.version)
        return patch_between(old, new)

    monkeypatch.setattr(line_module, "patch_between", counted)
    deliveries = [await whole.pipeline.catch_up(SHOP, old) for _ in range(3)]

    assert [old] == made
    assert 1 == len({id(delivery.payload) for delivery in deliveries})
    assert {("config_change", old)} == {(delivery.kind, delivery.old_version) for delivery in deliveries}


async def test_a_patch_that_is_too_long_is_made_once(whole: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "_MOST_REPLACED", 2)
    made: list[str] = []

    def counted(old: Config, new: Config) -> bytes | None:
        made.append(old.version)
        return patch_between(old, new)

    monkeypatch.setattr(line_module, "patch_between", counted)
    versions: list[str | None] = []
    for value in "1234":
        await whole.publisher.publish(tree(flags(200, value)))
        if value == "1":
            whole.pipeline.hold(SHOP)
        versions.append(whole.pipeline.version_of(SHOP))
    one, two, three, _ = versions
    for version in (one, one, two, two, one, three, two, one):
        assert "config_snapshot" == (await whole.pipeline.catch_up(SHOP, version)).kind

    # The oldest is forgotten, and made again.
    assert [one, two, three, one] == made


@pytest.mark.parametrize(("missed", "kind"), [(3, "config_change"), (4, "config_change"), (5, "config_snapshot")])
async def test_a_client_away_for_less_exactly_and_more_than_the_history_ends_right(missed: int, kind: str) -> None:
    whole = Wired(HistorySettings(versions=4))
    await whole.publisher.publish(tree(b"a: 0\n" + FILLER))
    whole.pipeline.hold(SHOP)
    begun = await whole.pipeline.read(SHOP)
    for number in range(missed):
        await whole.publisher.publish(tree(b"a: %d\n" % (number + 1) + FILLER))
    now = await whole.pipeline.read(SHOP)
    told = message(await whole.pipeline.catch_up(SHOP, begun.version))

    assert kind == told["type"]
    document = told["config"] if kind == "config_snapshot" else jsonpatch.apply_patch(begun.document, told["diff"])
    assert now.document == document
    assert now.version == told["new_version" if kind == "config_change" else "version"]


async def test_R22_another_instance_resumes_what_the_first_began_by_content_alone() -> None:
    first, second = Wired(), Wired()
    for whole in (first, second):
        await whole.publisher.publish(tree(b"a: 1\n" + FILLER))
        whole.pipeline.hold(SHOP)
        await whole.pipeline.read(SHOP)
    version = first.pipeline.version_of(SHOP)
    same = message(await second.pipeline.catch_up(SHOP, version))
    await first.publisher.publish(tree(b"a: 2\n" + FILLER))
    ahead = message(await second.pipeline.catch_up(SHOP, first.pipeline.version_of(SHOP)))

    assert "in_sync" == same["type"]
    assert ("config_snapshot", version) == (ahead["type"], ahead["version"])


# Turns: the long work of clients, and what comes between its steps.


def names(count: int) -> dict[str, bytes]:
    return {f"app{number}": b"a: 1" for number in range(count)}


def step(size: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Pattern, Key]]:
    """Make steps so small, and note what is tried from now on."""
    monkeypatch.setattr(registry_module, "STEP", size)
    tried: list[tuple[Pattern, Key]] = []
    matches = Pattern.matches

    def counting(pattern: Pattern, key: Key) -> bool:
        tried.append((pattern, key))
        return matches(pattern, key)

    monkeypatch.setattr(Pattern, "matches", counting)
    return tried


async def test_a_subscription_is_matched_in_steps_and_others_do_theirs_in_between(
    whole: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    await whole.publisher.publish(tree(b"a: 1", **names(100)))
    tried = step(17 * 10, monkeypatch)
    rounds, when = Rounds.counting(), []
    matches = Pattern.matches

    def noting(pattern: Pattern, key: Key) -> bool:
        when.append(rounds.count)
        return matches(pattern, key)

    monkeypatch.setattr(Pattern, "matches", noting)
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(
                whole.pipeline.subscribe, Subscribed(), patterns(f"*p*:*:*{'m' * (number % 2)}ain"), 1_000
            )
    # Ten of them want two patterns; whoever comes first tries, ten pairs in each round of the loop.
    assert 2 * 101 == len(tried) == len(set(tried))
    assert max(Counter(when).values()) <= 11


async def test_nothing_falls_between_the_steps_of_a_subscription(whole: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys begin, change, end and come again while it goes on: each is in what is returned, or delivered, as it is in the end."""
    await whole.publisher.publish(tree(b"a: 1", **names(40)))
    tried = step(17 * 4, monkeypatch)
    subscribed = Subscribed()
    returned: list[Key] = []
    versions: dict[Key, str | None] = {}

    async def subscribe() -> None:
        keys = await whole.pipeline.subscribe(subscribed, patterns("*p*", "*9*", "none"), 1_000)
        # At this moment, before anything else runs.
        returned.extend(keys)
        versions.update({key: whole.pipeline.version_of(key) for key in keys})
        assert [] == subscribed.deliveries

    made_up = Key("app-made-up", "dev", "main")
    some = {name: text for name, text in names(60).items() if name not in ("app0", "app2")}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(subscribe)
        while len(tried) < 20:
            await trio.lowlevel.checkpoint()
        # Whoever has the turn keeps it meanwhile.
        async with whole.pipeline._turns._places:
            before = len(tried)
            await whole.publisher.publish(tree(b"a: 1", **names(41) | {"app1": b"a: 2"}))
            whole.pipeline.hold(made_up)
            await whole.publisher.publish(tree(b"a: 1", **some))
            await whole.publisher.publish(tree(b"a: 1", **some | {"app2": b"a: 3"}))
            assert [] == returned
    assert before < len(tried)
    assert {Key("app59", "default", "main"), made_up} <= set(returned)
    await whole.publisher.publish(tree(b"a: 1", **some | {"app2": b"a: 4", "app5": b"a: 5"}))

    for delivery in subscribed.deliveries:
        assert delivery.old_version in (None, versions.get(delivery.key))
        versions[delivery.key] = delivery.new_version
    expected = {key: whole.pipeline.version_of(key) for key in whole.registry if "p" in key.application}
    assert len(expected) == 61
    assert expected == {key: version for key, version in versions.items() if version is not None}


async def test_a_new_key_is_matched_before_it_is_held_in_turns_and_against_a_part_of_the_patterns(
    whole: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found: a handshake for an application that nobody has heard of tried each pattern of every client, on the loop."""
    await whole.publisher.publish(tree(b"a: 1"))
    subscribed = Subscribed()
    for number in range(100, 200):
        await whole.pipeline.subscribe(subscribed, patterns(*(f"*a{number}*b{each}*c*" for each in range(64))), 10)
    tried = step(17 * 8, monkeypatch)
    rounds, when = Rounds.counting(), []
    keys = [Key(f"a{number}-b7-c", "dev", "main") for number in (110, 120)]
    matches = Pattern.matches

    def noting(pattern: Pattern, key: Key) -> bool:
        when.append(rounds.count)
        return matches(pattern, key)

    monkeypatch.setattr(Pattern, "matches", noting)

    async def arrive(key: Key) -> None:
        async with whole.pipeline.arriving(key):
            before = len(tried)
            whole.pipeline.hold(key)
            assert before == len(tried)

    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(arrive, key)

    assert 2 * 64 == len(tried)
    assert max(Counter(when).values()) <= 9
    assert {("config_snapshot", key.application, "dev") for key in keys} == set(told(subscribed))


async def test_a_key_that_is_known_or_that_no_pattern_can_match_waits_for_no_turn(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1"))
    rounds = Rounds.counting()
    async with whole.pipeline.arriving(SHOP):
        whole.pipeline.hold(SHOP)
    assert 0 == rounds.count
    await whole.pipeline.subscribe(Subscribed(), patterns("*"), 10)
    began = rounds.count
    async with whole.pipeline.arriving(SHOP):
        whole.pipeline.hold(SHOP)
    assert began == rounds.count
    async with whole.pipeline.arriving(Key("made-up", "dev", "main")):
        pass
    assert began < rounds.count


async def test_a_new_key_does_not_wait_for_the_turns_of_those_who_are_connected(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1"))
    await whole.pipeline.subscribe(Subscribed(), patterns("*"), 10)
    async with whole.pipeline._turns._places:
        with trio.fail_after(5):
            async with whole.pipeline.arriving(Key("made-up", "dev", "main")):
                pass
        with trio.move_on_after(0.01) as scope:
            await whole.pipeline.turn()
    assert scope.cancelled_caught


async def test_who_gives_up_on_the_way_leaves_nothing_behind(whole: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    await whole.publisher.publish(tree(b"a: 1", **names(100)))
    step(17, monkeypatch)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(whole.pipeline.subscribe, Subscribed(), patterns("*p*"), 1_000)
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    with pytest.raises(ZeroDivisionError):
        async with whole.pipeline.arriving(Key("made-up", "dev", "main")):
            raise ZeroDivisionError
    with pytest.raises(TooManyKeys):
        await whole.pipeline.subscribe(Subscribed(), patterns("*p*"), 10)

    assert not whole.registry.has_patterns
    assert Key("made-up", "dev", "main") not in set(whole.registry)


async def test_a_publication_does_not_wait_for_the_turns_or_the_threads_of_clients(
    whole: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    await whole.publisher.publish(tree(b"a: 1", cart=b"b: 1"))
    select, begun, may_end, former = State.select, threading.Event(), threading.Event(), whole.store.state

    def waiting(state: State, key: Key) -> Selected:
        if state is former:
            begun.set()
            may_end.wait(10)
        return select(state, key)

    monkeypatch.setattr(State, "select", waiting)
    subscribed = Subscribed()
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(whole.pipeline.subscribe, subscribed, patterns("cart", f"none{number}"), 10)
        assert await trio.to_thread.run_sync(begun.wait, 10)
        await trio.testing.wait_all_tasks_blocked()
        try:
            with trio.fail_after(5):
                await whole.publisher.publish(tree(b"a: 2", cart=b"b: 2", more=b"c: 1"))
        finally:
            may_end.set()

    assert {"b": 2} == (await whole.pipeline.read(Key("cart", "default", "main"))).document


async def test_the_new_keys_of_a_publication_are_matched_in_steps(
    whole: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    await whole.publisher.publish(tree(b"a: 1"))
    subscribed = Subscribed()
    await whole.pipeline.subscribe(subscribed, patterns("*p*"), 10)
    tried = step(17 * 4, monkeypatch)
    rounds, when = Rounds.counting(), []
    matches = Pattern.matches

    def noting(pattern: Pattern, key: Key) -> bool:
        when.append(rounds.count)
        return matches(pattern, key)

    monkeypatch.setattr(Pattern, "matches", noting)
    await whole.publisher.publish(tree(b"a: 1", **names(100)))

    assert 100 == len(tried)
    assert max(Counter(when).values()) <= 4
    assert {f"app{number}" for number in range(100)} == {str(app) for _, app, _ in told(subscribed)}


async def test_a_publication_lets_go_of_whatever_nobody_wants_any_more(
    whole: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interests_module, "_SETTLED_AT_ONCE", 3)
    await whole.publisher.publish(tree(b"a: 1", **names(9)))
    subscribed = Subscribed()
    await whole.pipeline.subscribe(subscribed, patterns("*"), 100)
    served = [key for key in whole.registry if whole.pipeline.version_of(key) is not None]
    assert 10 == len(served)
    whole.pipeline.unsubscribe(subscribed, patterns("*"))
    assert 7 == sum(whole.pipeline.version_of(key) is not None for key in served)
    rounds, when = Rounds.counting(), []
    unmatched = whole.registry.unmatched

    def noting(most: int) -> tuple[list[Key], bool]:
        when.append(rounds.count)
        return unmatched(most)

    monkeypatch.setattr(whole.registry, "unmatched", noting)
    await whole.publisher.publish(tree(b"a: 1", **names(9)))

    assert 0 == sum(whole.pipeline.version_of(key) is not None for key in served)
    # Seven are left, three at a time.
    assert 3 == len(when) == len(set(when))


@pytest.mark.parametrize(("size", "in_turns"), [(line_module._LARGE_BYTES + 100, True), (1_000, False)])
async def test_large_snapshots_are_made_one_in_a_round_of_the_loop_and_once(
    whole: Wired, monkeypatch: pytest.MonkeyPatch, size: int, in_turns: bool
) -> None:
    await whole.publisher.publish(tree(b"a: 1", application=b"x: " + b"y" * size))
    keys = [Key(f"made-up-{number}", "dev", "main") for number in range(8)]
    for key in keys:
        whole.pipeline.hold(key)
    rounds, made = Rounds.counting(), []
    snapshot = messages.config_snapshot

    def making(config: Config, timestamp: str, generation: str | None, *, is_stale: bool) -> bytes:
        made.append((rounds.count, config.key))
        return snapshot(config, timestamp, generation, is_stale=is_stale)

    monkeypatch.setattr(messages, "config_snapshot", making)
    async with trio.open_nursery() as nursery:
        for key in keys * 3:
            nursery.start_soon(whole.pipeline.catch_up, key, None)
    assert set(keys) == {key for _, key in made}
    assert len(keys) == len(made)
    assert (1 if in_turns else len(keys)) == max(Counter(when for when, _ in made).values())
    for key in keys:
        await whole.pipeline.catch_up(key, "unknown")
    assert len(keys) == len(made)


@pytest.mark.parametrize(("size", "in_turns"), [(line_module._LARGE_BYTES + 100, True), (1_000, False)])
async def test_large_snapshots_for_clients_that_are_ahead_are_made_one_in_a_round_of_the_loop_and_once(
    whole: Wired, monkeypatch: pytest.MonkeyPatch, size: int, in_turns: bool
) -> None:
    """After a restart, thousands of clients may wait for a newer state, and all of them until the same moment."""
    await whole.publisher.publish(tree(b"a: 1", application=b"x: " + b"y" * size))
    keys = [Key(f"made-up-{number}", "dev", "main") for number in range(8)]
    for key in keys:
        whole.pipeline.hold(key)
    rounds, made = Rounds.counting(), []
    snapshot = messages.config_snapshot

    def making(config: Config, timestamp: str, generation: str | None, *, is_stale: bool) -> bytes:
        made.append((rounds.count, config.key))
        return snapshot(config, timestamp, generation, is_stale=is_stale)

    monkeypatch.setattr(messages, "config_snapshot", making)
    async with trio.open_nursery() as nursery:
        for key in keys * 3:
            nursery.start_soon(whole.pipeline.stale, key)
    assert set(keys) == {key for _, key in made}
    assert len(keys) == len(made)
    assert (1 if in_turns else len(keys)) == max(Counter(when for when, _ in made).values())
    async with whole.pipeline._turns._places:
        with trio.fail_after(1):
            assert message(await whole.pipeline.stale(keys[0]))["stale"]


async def test_a_snapshot_for_a_client_that_is_ahead_has_the_state_after_its_turn(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1", application=b"x: " + b"y" * line_module._LARGE_BYTES))
    whole.pipeline.hold(SHOP)
    found: list[Delivery] = []

    async def ask() -> None:
        found.append(await whole.pipeline.stale(SHOP))

    async with trio.open_nursery() as nursery:
        async with whole.pipeline._turns._places:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            assert not found
            await whole.publisher.publish(tree(b"a: 2", application=b"x: " + b"y" * line_module._LARGE_BYTES))
    assert whole.pipeline.version_of(SHOP) == found[0].new_version


# What is encrypted.

AES = {password: AesEncryptor(password) for password in ("old", "new")}


def decryptor(password: str) -> Decryptor:
    return Decryptor(OneKey(AES[password]))


def ciphers() -> Tree:
    """One value for each of the two keys."""
    old, new = (AES[password].encrypt(f"by {password}") for password in ("old", "new"))
    return tree(f"o: '{{cipher}}{old}'\nn: '{{cipher}}{new}'\nplain: 1\n".encode() + FILLER)


async def test_encrypted_values_are_served_in_the_open_with_the_version_of_what_is_served() -> None:
    whole = Wired(decryptor=decryptor("old"))
    await whole.publisher.publish(ciphers())
    config = await whole.pipeline.read(SHOP)

    assert ("by old", "<n/a>") == (config.document["o"], config.document["invalid"]["n"])  # type: ignore[call-overload,index]  # a document
    assert version_of(config.body) == config.version
    assert b"by old" in config.body


async def test_without_a_decryptor_they_are_served_as_they_are(whole: Wired) -> None:
    await whole.publisher.publish(ciphers())

    assert str((await whole.pipeline.read(SHOP)).document["o"]).startswith("{cipher}")


async def test_other_keys_publish_what_became_readable_and_unreadable_by_them() -> None:
    whole = Wired(decryptor=decryptor("old"))
    await whole.publisher.publish(ciphers())
    await whole.pipeline.read(Key("shop", "other", "main"))
    subscribed = Subscribed()
    whole.pipeline.hold(SHOP)
    whole.registry.add(subscribed, SHOP)
    await whole.publisher.resolve_by(decryptor("new"))

    (delivery,) = subscribed.deliveries
    expected = {"filler": "x" * 200, "invalid": {"o": "<n/a>"}, "n": "by new", "plain": 1}
    before = {"filler": "x" * 200, "invalid": {"n": "<n/a>"}, "o": "by old", "plain": 1}
    assert expected == jsonpatch.apply_patch(before, message(delivery)["diff"])
    assert delivery.new_version == whole.pipeline.version_of(SHOP)
    # What was read and is in use by nobody is by the new keys, too.
    assert expected == (await whole.pipeline.read(Key("shop", "other", "main"))).document
    await whole.publisher.publish(ciphers())
    assert 1 == len(subscribed.deliveries)


async def test_other_keys_before_the_first_state_are_those_of_the_first_state() -> None:
    whole = Wired(decryptor=decryptor("old"))
    await whole.publisher.resolve_by(decryptor("new"))
    await whole.publisher.publish(ciphers())

    assert "by new" == (await whole.pipeline.read(SHOP)).document["n"]


async def test_what_comes_into_use_while_others_are_decrypted_is_decrypted_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Wired()
    await whole.publisher.publish(ciphers())
    whole.pipeline.hold(SHOP)
    late = Key("shop", "late", "main")
    await whole.pipeline.read(late)
    threads = []

    class Noting(Decryptor):
        def opened(self, sources: tuple[PropertySource, ...]) -> tuple[PropertySource, ...]:
            threads.append(threading.current_thread())
            if len(threads) == 1:
                trio.from_thread.run_sync(whole.pipeline.hold, late)
            return super().opened(sources)

    await whole.publisher.resolve_by(Noting(OneKey(AES["new"])))

    assert 2 == len(threads)
    assert threading.current_thread() not in threads
    assert "by new" == (await whole.pipeline.read(late)).document["n"]


async def test_what_cannot_be_decrypted_is_told_once_by_its_place_and_without_its_text() -> None:
    whole = Wired(decryptor=decryptor("old"))
    with capture_logs() as logs:
        for _ in range(2):
            await whole.publisher.publish(ciphers())
            await whole.pipeline.read(SHOP)
        again = await whole.pipeline.read(Key("shop", "other", "main"))

    told = [each for each in logs if each["event"] == "value not decrypted"]
    assert {"n"} == {each["property"] for each in told}
    assert {"file:/shop.yml"} == {each["source"] for each in told}
    assert again.document["o"] == "by old"
    assert "by old" not in str(logs)


async def test_other_bounds_of_parsing_publish_what_became_readable_by_them(whole: Wired) -> None:
    await whole.publisher.publish(tree(FILLER + b"\nlist: [0]"))
    whole.pipeline.hold(SHOP)
    subscriber = Subscribed()
    whole.registry.add(subscriber, SHOP)
    with capture_logs():
        await whole.publisher.parse_by(FormatSettings(nodes=1))
        assert {("main", "shop.yml")} == whole.reader.broken.keys()
        await whole.publisher.publish(tree(FILLER + b"\nlist: [1]"))
        assert [] == subscriber.deliveries  # the last good state
        await whole.publisher.parse_by(FormatSettings())

    assert {} == whole.reader.broken
    assert ["config_change"] == [message(each)["type"] for each in subscriber.deliveries]
    assert {"filler": "x" * 200, "list": [1]} == (await whole.pipeline.read(SHOP)).document


async def test_a_large_file_is_parsed_in_a_process_of_its_own(whole: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Recording(Isolated):
        def ask(self, request: Any, content: bytes = b"") -> Iterator[Any]:
            asked.append(request[0])
            return super().ask(request, content)

    monkeypatch.setattr(parsing, "Isolated", Recording)
    await whole.publisher.publish(tree(b"list: [0]" + b"\n" * parsing.SMALL_BYTES, small=b"a: 1"))

    assert ["shop.yml"] == asked
    assert {"list": [0]} == (await whole.pipeline.read(SHOP)).document


async def test_other_bounds_before_the_first_state_are_those_it_is_parsed_by(whole: Wired) -> None:
    await whole.publisher.parse_by(FormatSettings(nodes=1))
    with capture_logs():
        await whole.publisher.publish(tree(b"list: [0]"))

    assert {("main", "shop.yml")} == whole.reader.broken.keys()


# Messages that are made at once.


async def test_at_once_is_every_message_of_catch_up_but_a_patch(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1\n" + FILLER))
    whole.pipeline.hold(SHOP)
    first = whole.pipeline.version_of(SHOP)
    made = whole.pipeline.at_once(SHOP, None)
    assert made is not None
    assert ("config_snapshot", first) == (made.kind, made.new_version)
    assert made.payload is whole.encoder.known(None, whole.store.find(SHOP))  # type: ignore[arg-type]  # it is held
    await whole.publisher.publish(tree(b"a: 2\n" + FILLER))
    newest = whole.pipeline.version_of(SHOP)

    assert whole.pipeline.at_once(SHOP, first) is None
    kinds = {version: whole.pipeline.at_once(SHOP, version) for version in (None, "unknown", newest)}
    assert ["config_snapshot", "config_snapshot", "in_sync"] == [each and each.kind for each in kinds.values()]
    change = await whole.pipeline.catch_up(SHOP, first)
    ready = whole.pipeline.at_once(SHOP, first)
    assert ready is not None
    assert change.payload is ready.payload
    removed = whole.pipeline.at_once(Key("cart", "dev", "main"), "1")
    assert removed is not None
    assert "config_removed" == removed.kind


@pytest.mark.parametrize(("more", "is_made"), [(0, True), (1, False)])
async def test_the_snapshot_of_a_large_document_waits_for_its_turn(more: int, is_made: bool, whole: Wired) -> None:
    length = line_module._LARGE_BYTES - len('{"a":""}') + more
    await whole.publisher.publish(tree(b"a: " + b"x" * length))
    whole.pipeline.hold(SHOP)

    assert is_made == (whole.pipeline.at_once(SHOP, None) is not None)
    await whole.pipeline.catch_up(SHOP, None)
    assert whole.pipeline.at_once(SHOP, None) is not None


async def test_a_step_whose_patch_is_too_long_is_a_snapshot_at_once(whole: Wired) -> None:
    await whole.publisher.publish(tree(flags(200, "1")))
    whole.pipeline.hold(SHOP)
    first = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(flags(200, "2")))
    assert whole.pipeline.at_once(SHOP, first) is None
    await whole.pipeline.catch_up(SHOP, first)
    made = whole.pipeline.at_once(SHOP, first)

    assert made is not None
    assert "config_snapshot" == made.kind


# Versions that only a state before the served one has.


async def recalling(*contents: bytes, history: HistorySettings | None = None) -> tuple[Wired, FormerTrees]:
    """Serve the first content with a key in use. The others are former states, the newest first."""
    past = FormerTrees(*(tree(each + b"\n" + FILLER) for each in contents[1:]))
    whole = Wired(sources=past, history=history)
    await whole.publisher.publish(tree(contents[0] + b"\n" + FILLER))
    whole.pipeline.hold(SHOP)
    return whole, past


def body(content: dict[str, object]) -> bytes:
    return orjson.dumps({**content, "filler": "x" * 200}, option=orjson.OPT_SORT_KEYS)


async def test_a_client_with_a_version_of_a_former_state_gets_the_change_from_there() -> None:
    whole, past = await recalling(b"a: 3", b"a: 2", b"a: 1")
    old = body({"a": 1})
    version = version_of(old)
    assert [None, None] == [whole.pipeline.ready(SHOP, version), whole.pipeline.at_once(SHOP, version)]
    delivery = await whole.pipeline.catch_up(SHOP, version)
    change = message(delivery)

    assert ("config_change", version) == (change["type"], change["old_version"])
    assert change["new_version"] == whole.pipeline.version_of(SHOP) == delivery.new_version
    assert orjson.loads(body({"a": 3})) == jsonpatch.apply_patch(orjson.loads(old), change["diff"])
    # From now on it is like any version of the history.
    ready = whole.pipeline.ready(SHOP, version)
    assert ready is not None
    assert ready.payload is delivery.payload
    between = version_of(body({"a": 2}))
    assert "config_change" == (await whole.pipeline.catch_up(SHOP, between)).kind
    assert 2 == len(past.asked)


async def test_a_version_that_no_former_state_has_is_a_snapshot_and_then_one_without_waiting() -> None:
    whole, past = await recalling(b"a: 3", b"a: 2")
    version = "0" * 16
    assert whole.pipeline.at_once(SHOP, version) is None
    assert "config_snapshot" == (await whole.pipeline.catch_up(SHOP, version)).kind
    at_once = [whole.pipeline.ready(SHOP, version), whole.pipeline.at_once(SHOP, "1" * 16)]

    assert ["config_snapshot"] * 2 == [each and each.kind for each in at_once]
    assert 2 == len(past.asked)


async def test_a_version_that_is_known_is_looked_up_in_no_former_state() -> None:
    whole, past = await recalling(b"a: 3", b"a: 2")
    versions = [whole.pipeline.version_of(SHOP), None, "not a version"]
    await whole.publisher.publish(tree(b"a: 4\n" + FILLER))
    versions.append(whole.pipeline.version_of(SHOP))
    kinds = [(await whole.pipeline.catch_up(SHOP, each)).kind for each in versions]
    assert ["config_change", "config_snapshot", "config_snapshot", "in_sync"] == kinds
    assert [each.kind for each in [whole.pipeline.ready(SHOP, version) for version in versions] if each] == kinds
    # A key that isn't held has ended.
    assert "config_removed" == (await whole.pipeline.catch_up(attrs.evolve(SHOP, profile="x"), "0" * 16)).kind

    assert [] == past.asked


async def test_a_message_from_a_version_that_the_history_has_dropped_is_still_made() -> None:
    whole, past = await recalling(b"a: 1", b"a: 0", history=HistorySettings(versions=1))
    first = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(b"a: 2\n" + FILLER))
    made = await whole.pipeline.catch_up(SHOP, first)
    whole.store.replace(HistorySettings(versions=0))
    whole.store.replace(HistorySettings(versions=1))
    ready = whole.pipeline.ready(SHOP, first)

    assert ready is not None
    assert (made.payload, []) == (ready.payload, past.asked)


async def test_a_former_version_whose_patch_is_too_long_is_a_snapshot() -> None:
    past = FormerTrees(tree(flags(200, "1")))
    whole = Wired(sources=past)
    await whole.publisher.publish(tree(flags(200, "2")))
    whole.pipeline.hold(SHOP)
    body = (await whole.pipeline.read(SHOP)).document
    version = version_of(
        orjson.dumps(orjson.loads(orjson.dumps(body).replace(b":2", b":1")), option=orjson.OPT_SORT_KEYS)
    )
    assert "config_snapshot" == (await whole.pipeline.catch_up(SHOP, version)).kind
    assert version in whole.store.history(SHOP)
    # It isn't looked up again when the history has dropped it.
    whole.store.replace(HistorySettings(versions=0))
    whole.store.replace(HistorySettings())
    ready = whole.pipeline.ready(SHOP, version)

    assert ready is not None
    assert "config_snapshot" == ready.kind


async def test_a_change_during_the_lookup_is_in_the_message() -> None:
    whole, past = await recalling(b"a: 3", b"a: 2")
    past.gate = trio.Event()
    version = version_of(body({"a": 2}))
    found: list[Delivery] = []

    async def catch_up() -> None:
        found.append(await whole.pipeline.catch_up(SHOP, version))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(catch_up)
        await trio.testing.wait_all_tasks_blocked()
        await whole.publisher.publish(tree(b"a: 4\n" + FILLER))
        past.gate.set()

    assert ("config_change", whole.pipeline.version_of(SHOP)) == (found[0].kind, found[0].new_version)
    assert [body({"a": 2}), body({"a": 3})] == [*whole.store.history(SHOP).values()]


# Subscriptions to many keys.


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_keys_come_into_use_a_few_at_a_time(count: int, whole: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "_KEYS_AT_ONCE", 2)
    await whole.publisher.publish(tree(b"a: 1", **{f"more{number}": b"b: 1" for number in range(count - 1)}))
    turns: list[int] = []
    take = FairQueue.work

    async def working(queue: FairQueue, steps: Iterator[None]) -> None:
        def counted() -> Iterator[None]:
            for step in steps:
                turns.append(len(whole.store))
                yield step

        await take(queue, counted())

    monkeypatch.setattr(FairQueue, "work", working)
    subscribed = Subscribed()
    keys = await whole.pipeline.subscribe(subscribed, patterns("*"), 10)

    assert count == len(keys) == len(whole.store)
    assert [each for each in (2, 4) if each <= count] == turns
    assert [] == subscribed.deliveries


async def test_a_publication_between_the_steps_of_a_subscription_is_in_its_first_state(
    whole: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys that were resolved before it are resolved again."""
    monkeypatch.setattr(line_module, "_KEYS_AT_ONCE", 1)
    more = {f"more{number}": b"b: 1" for number in range(4)}
    await whole.publisher.publish(tree(b"a: 1", **more))
    resolved: list[int] = []
    resolve_all = line_module._resolve_all

    def resolving(state: State, keys: Any) -> Any:
        resolved.append(len(keys))
        return resolve_all(state, keys)

    monkeypatch.setattr(line_module, "_resolve_all", resolving)
    take, calls = FairQueue.work, 0

    async def working(queue: FairQueue, steps: Iterator[None]) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            next(steps)
            next(steps)
            await whole.publisher.publish(tree(b"a: 2", **dict.fromkeys(more, b"b: 2")))
        await take(queue, steps)

    monkeypatch.setattr(FairQueue, "work", working)
    subscribed = Subscribed()
    keys = await whole.pipeline.subscribe(subscribed, patterns("*"), 10)

    assert [5, 3] == resolved
    assert 5 == len(keys)
    for key in keys:
        config = whole.key_usage.find(key)
        assert config is not None
        assert 2 == sum(config.document.values())  # type: ignore[arg-type]  # numbers
    await whole.publisher.publish(tree(b"a: 3", **dict.fromkeys(more, b"b: 3")))
    assert 5 == len(subscribed.deliveries)


async def test_keys_of_a_subscription_that_is_cancelled_are_not_in_use(
    whole: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "_KEYS_AT_ONCE", 1)
    await whole.publisher.publish(tree(b"a: 1", cart=b"b: 1"))
    used: list[bool] = []
    take = FairQueue.work
    cart = Key("cart", "default", "main")
    with trio.CancelScope() as scope:

        async def working(queue: FairQueue, steps: Iterator[None]) -> None:
            if whole.store.served is not None and next(steps, 0) is None:
                next(steps)
                used.append(whole.key_usage.is_used(cart))
                scope.cancel()
            await take(queue, steps)

        monkeypatch.setattr(FairQueue, "work", working)
        await whole.pipeline.subscribe(Subscribed(), patterns("*"), 10)

    assert [True] == used
    assert not whole.key_usage.is_used(cart)
    assert not whole.registry.has_patterns


# Clients that are ahead.


class Numbering:
    """A cluster that numbers publications as the test says."""

    def __init__(self) -> None:
        self.number = 5
        self.is_late = False

    def begin(self, tree: Tree) -> None:
        self.begun = tree

    async def settle(self, tree: Tree) -> None:
        await trio.lowlevel.checkpoint()
        assert tree is self.begun

    def numbers(self, tree: Tree) -> dict[str, Generation]:
        return {"main": Generation("ab", self.number)}

    def is_behind(self, label: str) -> bool:
        return self.is_late

    def report(self, changed: Callable[[], None]) -> None:
        self.changed = changed


async def test_a_client_with_a_higher_generation_is_ahead_unless_it_has_the_served_version(whole: Wired) -> None:
    numbering = Numbering()
    whole.order.number_by(numbering)
    await whole.publisher.publish(tree(b"a: 1"))
    whole.pipeline.hold(SHOP)
    served, claim = whole.pipeline.version_of(SHOP), Generation("ab", 6)

    assert whole.pipeline.is_ahead(SHOP, "other", claim)
    assert not whole.pipeline.is_ahead(SHOP, served, claim)
    assert not whole.pipeline.is_ahead(SHOP, None, claim)
    assert not whole.pipeline.is_ahead(SHOP, "other", Generation("ab", 5))
    assert not whole.pipeline.is_ahead(Key("shop", "dev", "none"), "other", claim)
    found = message(await whole.pipeline.catch_up(SHOP, None))
    assert "ab.5" == found["generation"]
    stale = message(await whole.pipeline.stale(SHOP))
    assert (served, "ab.5", True) == (stale["version"], stale["generation"], stale["stale"])


async def test_a_version_that_this_server_had_is_not_ahead_of_it_even_if_it_is_behind(whole: Wired) -> None:
    numbering = Numbering()
    whole.order.number_by(numbering)
    await whole.publisher.publish(tree(b"a: 1"))
    whole.pipeline.hold(SHOP)
    former = whole.pipeline.version_of(SHOP)
    await whole.publisher.publish(tree(b"a: 2"))
    numbering.is_late = True

    assert whole.pipeline.is_ahead(SHOP, "unknown", None)
    assert not whole.pipeline.is_ahead(SHOP, former, None)


async def test_without_a_cluster_no_client_is_ahead_and_no_message_has_a_generation(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1"))
    whole.pipeline.hold(SHOP)

    assert not whole.pipeline.is_ahead(SHOP, "other", Generation("ab", 6))
    assert "generation" not in message(await whole.pipeline.catch_up(SHOP, None))


async def test_who_waits_goes_on_with_the_publication_that_it_waits_for(
    whole: Wired, autojump_clock: MockClock
) -> None:
    numbering = Numbering()
    whole.order.number_by(numbering)
    await whole.publisher.publish(tree(b"a: 1"))
    whole.pipeline.hold(SHOP)
    levels: list[int] = []

    async def wait(number: int) -> None:
        await whole.pipeline.wait_level(SHOP, "newer", Generation("ab", number))
        levels.append(number)

    async with trio.open_nursery() as nursery:
        for number in (5, 6, 7):
            nursery.start_soon(wait, number)
        await wait_all_tasks_blocked()
        assert [5] == levels
        numbering.number = 6
        await whole.publisher.publish(tree(b"a: 2"))
        await wait_all_tasks_blocked()
        assert [5, 6] == levels
        numbering.number = 7
        numbering.changed()
        await wait_all_tasks_blocked()
        # The same publication never gets another number.
        assert [5, 6] == levels or [5, 6, 7] == levels
        nursery.cancel_scope.cancel()


async def test_a_key_that_has_ended_is_removed_for_a_client_that_is_ahead_too(whole: Wired) -> None:
    await whole.publisher.publish(tree(b"a: 1"))

    assert "config_removed" == message(await whole.pipeline.stale(Key("shop", "dev", "none")))["type"]
