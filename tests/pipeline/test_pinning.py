"""Pins in the pipeline: what a key reads while it is pinned, and what is published when a pin is put, lifted or can't be used."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from vortexd.core.errors import FormatError, UnknownLabel
from vortexd.core.model import Config, Edits, Files, Former, Key, Origin, Tree
from vortexd.core.patterns import parse_pattern
from vortexd.core.term import Term
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.gate import validation
from vortexd.gate.decision import Person
from vortexd.gate.gate import Rules
from vortexd.gate.schemas import Schema
from vortexd.pins.pin import Pin
from vortexd.pipeline.gated import state_of
from vortexd.pipeline.pinning import files_of, parse_pin, parse_pins, resolves_to
from vortexd.pipeline.state import State, overrides_of
from vortexd.pipeline.store import stage
from vortexd.resolve.tree import Fallback, ParsedFiles, parse_tree
from vortexd.settings.formats import FormatSettings

from ..wiring import Wired

SHOP = Key("shop", "default", "main")
OTHER = Key("other", "default", "main")
LIMITS = FormatSettings()


def files(texts: Mapping[str, str], **more: Any) -> Files:
    return Files({path: text.encode() for path, text in texts.items()}, **{"root": "file:/c/", **more})


def parsed(*layers: Files) -> ParsedFiles:
    joined = attrs.evolve(layers[0], others=tuple(layers[1:]))
    return parse_tree(Tree({"main": joined}), LIMITS).labels["main"]


def tree(text: str = "a: 1", **labels: Files) -> Tree:
    return Tree({"main": files({"shop.yml": text, "other.yml": text}, revision=text), **labels}, "main")


def pin_of(key: Key = SHOP, *labels: tuple[Files, ...], id: str = "p1", until: float | None = None) -> Pin:
    return Pin(id, key, "0" * 16, None, "incident 7", "ada", Term(1.0, until), labels)


def at(text: str, key: Key = SHOP, **more: Any) -> Pin:
    """A pin at a text of its only file."""
    layer = files({f"{key.application}.yml": text}, revision="pinned")
    return pin_of(key, *([(layer,)] * len(key.labels)), **more)


class Subscribed:
    """Notes the changes that it gets."""

    name = "reader"

    def __init__(self) -> None:
        self.deliveries: list[Any] = []

    def deliver(self, delivery: Any) -> None:
        self.deliveries.append(delivery)


async def document(whole: Wired, key: Key = SHOP) -> Any:
    return (await whole.reader.read(key)).document


def events(logs: Any, name: str) -> list[Any]:
    return [each for each in logs if each["event"] == name]


# The files of a pin.


def test_a_pin_has_the_files_that_the_key_reads_and_no_others() -> None:
    layer = parsed(files({"shop.yml": "a: 1", "application.yml": "b: 1", "other.yml": "c: 1", "shop-prod.yml": "d: 1"}))

    [[found]] = files_of([[layer]], SHOP)

    assert {"shop.yml": b"a: 1", "application.yml": b"b: 1"} == found.contents


def test_a_pin_keeps_the_place_of_its_files_and_the_last_commit_of_the_key() -> None:
    last, newest = Origin("c2", "Ada", "2026"), Origin("c9", "Bob", "2027")
    edits = Edits(7, {"shop.yml": (5, last), "other.yml": (7, newest)})
    layer = parsed(
        files(
            {"x/shop.yml": "a: 1"},
            locations=("x/",),
            applications=("shop",),
            group=3,
            revision="c9",
            origin=newest,
            edits=attrs.evolve(edits, by_path={"x/shop.yml": (5, last), "x/other.yml": (7, newest)}),
        )
    )

    [[found]] = files_of([[layer]], SHOP)

    kept = found.root, found.locations, found.applications, found.group, found.revision, found.origin
    assert ("file:/c/", ("x/",), ("shop",), 3, "c9", newest) == kept
    assert found.edits is not None
    assert [(0, last)] == [*found.edits.by_path.values()]
    state = State({"main": parsed(files({}))}, "main", pinned={SHOP: parse_pin(pin_of(SHOP, (found,)), LIMITS)})
    assert last == state.resolve(SHOP).origin


def test_a_key_without_a_known_commit_has_none_in_its_pin_either() -> None:
    layer = parsed(files({"shop.yml": "a: 1"}, origin=Origin("c9", "Bob", "2027"), edits=Edits(7, {})))

    [[found]] = files_of([[layer]], SHOP)

    assert found.edits is not None
    assert {} == found.edits.by_path
    state = State({"main": parsed(files({}))}, "main", pinned={SHOP: parse_pin(pin_of(SHOP, (found,)), LIMITS)})
    assert None is state.resolve(SHOP).origin


def test_a_broken_file_is_pinned_at_its_last_good_content() -> None:
    layer = parsed(files({"shop.yml": "a: [", "application.yml": "b: ["}))
    good = parsed(files({"shop.yml": "a: 1"})).documents["shop.yml"]
    layer = layer.with_fallbacks(
        {"shop.yml": Fallback(good, Former(b"a: 1", "c1")), "application.yml": Fallback((), Former(None, "c1"))}
    )

    assert {"shop.yml": b"a: 1"} == files_of([[layer]], SHOP)[0][0].contents


def test_a_broken_file_without_good_content_can_not_be_pinned() -> None:
    with pytest.raises(FormatError):
        files_of([[parsed(files({"shop.yml": "a: ["}))]], SHOP)


def test_all_layers_of_all_labels_are_pinned_in_their_order() -> None:
    strong, weak = (
        files({"shop.yml": "a: 1"}, root="file:/s/"),
        files({"shop.yml": "a: 2\nb: 2"}, root="file:/w/", group=1),
    )
    key = attrs.evolve(SHOP, label="x,main")
    state = State({"main": parsed(strong, weak), "x": parsed(files({"shop.yml": "c: 3"}, root="file:/s/"))}, "main")

    labels = files_of(state.layers(key), key)
    pin = pin_of(key, *labels)

    assert [["file:/s/"], ["file:/s/", "file:/w/"]] == [[layer.root for layer in each] for each in labels]
    assert state.resolve(key).version == resolves_to(pin, LIMITS, state)
    pinned = attrs.evolve(state, pinned={key: parse_pin(pin, LIMITS)})
    sources = [[(each.name, each.values) for each in one.resolve(key).sources] for one in (state, pinned)]
    assert sources[0] == sources[1]
    assert {"a": 2, "b": 2, "c": 3} == pinned.resolve(key).document


def test_the_directories_of_a_pattern_are_those_of_the_pinned_files() -> None:
    layer = parsed(files({"a/shop.yml": "a: 1", "b/shop.yml": "b: 1", "c/x.yml": "c: 1"}, locations=("*/",)))
    state = State({"main": layer}, "main")
    pin = pin_of(SHOP, *files_of(state.layers(SHOP), SHOP))

    assert {"a/shop.yml", "b/shop.yml"} == {*pin.labels[0][0].contents}
    assert state.resolve(SHOP).version == resolves_to(pin, LIMITS, state)


def test_files_that_give_no_document_have_no_version() -> None:
    state = State({"main": parsed(files({}))}, "main")
    assert None is resolves_to(at("a: ["), LIMITS, state)
    assert None is resolves_to(at("a[0]: 1\na[99999999]: 1"), LIMITS, state)


# Parsed pins.


def test_the_files_of_pins_are_parsed_within_the_limits() -> None:
    usable, unusable = parse_pins([at("a: 1"), at("a: {b: {c: 1}}", OTHER)], attrs.evolve(LIMITS, depth=2), {})

    assert [SHOP] == [*usable]
    assert [OTHER] == [*unusable]
    assert "other.yml" in unusable[OTHER]


def test_a_pin_in_force_keeps_its_documents_within_stricter_limits() -> None:
    pin = at("a: {b: {c: 1}}")
    former, _ = parse_pins([pin], LIMITS, {})
    usable, unusable = parse_pins([pin], attrs.evolve(LIMITS, depth=2), former)

    assert {} == unusable
    state = State({"main": parsed(files({}))}, "main", pinned=usable)
    assert {"a": {"b": {"c": 1}}} == state.resolve(SHOP).document


def test_the_documents_of_another_pin_of_the_key_do_not_count() -> None:
    former, _ = parse_pins([at("a: 1")], LIMITS, {})
    usable, unusable = parse_pins([at("a: [", id="p2")], LIMITS, former)

    assert ({}, [SHOP]) == (usable, [*unusable])


# The state.


def test_a_pinned_key_reads_its_pin_in_every_question() -> None:
    pinned = parse_pins([at("a: 7")], LIMITS, {})[0]
    state = State(
        {"main": parsed(files({"shop.yml": "a: [", "other.yml": "a: 1"}, revision="now"))}, "main", pinned=pinned
    )

    config = state.resolve(SHOP)
    assert {"a": 7} == config.document
    assert ("pinned", Term(1.0)) == (config.revision, config.pinned)
    assert config is state.revised(config)
    assert config.version == state.explain(SHOP)[1]
    assert [] == state.broken(SHOP)
    assert ["pinned"] == [layer.files.revision for layer in state.newest(SHOP)]
    assert (Term(1.0), None) == (state.term(SHOP), state.term(OTHER))
    assert (None, "now") == (state.resolve(OTHER).pinned, state.resolve(OTHER).revision)
    with pytest.raises(FormatError):
        state.unpinned.resolve(SHOP)
    assert state.published is state.unpinned.published


def test_only_the_very_key_is_pinned() -> None:
    pinned = parse_pins([at("a: 7")], LIMITS, {})[0]
    state = State({"main": parsed(files({"shop.yml": "a: 1"}))}, "main", pinned=pinned)

    for key in (attrs.evolve(SHOP, profile="prod"), attrs.evolve(SHOP, profile="default,prod")):
        assert ({"a": 1}, None) == (state.resolve(key).document, state.resolve(key).pinned)


def test_a_pinned_key_ends_with_any_of_its_labels() -> None:
    key = attrs.evolve(SHOP, label="x,main")
    pinned = parse_pins([at("a: 7", key)], LIMITS, {})[0]
    state = State({"main": parsed(files({}))}, "main", pinned=pinned)

    assert None is state.term(key)
    for ask in (state.resolve, state.newest, state.check, state.broken, state.explain):
        with pytest.raises(UnknownLabel):
            ask(key)


def test_a_state_without_pins_shares_what_it_has() -> None:
    state, other = State({}, "main"), State({}, "main")
    assert state.pinned is other.pinned
    assert state is state.unpinned
    assert state is state.with_pins({})
    assert Config is type(State({"main": parsed(files({}))}, "main").resolve(SHOP))


def test_the_overrides_and_the_decryptor_are_those_of_the_server() -> None:
    encryptor = AesEncryptor("k" * 16, "deadbeef")
    cipher = encryptor.encrypt("secret")
    pinned = parse_pins([at(f"a: '{{cipher}}{cipher}'\nb: 1")], LIMITS, {})[0]
    decryptor = Decryptor(OneKey(encryptor))
    state = State({"main": parsed(files({}))}, "main", decryptor, overrides_of({"b": "2"}), pinned=pinned)

    assert {"a": "secret", "b": "2"} == state.resolve(SHOP).document
    assert b"secret" not in b"".join(pinned[SHOP].pin.labels[0][0].contents.values())


# Publications.


async def held(whole: Wired, key: Key = SHOP) -> Subscribed:
    """Bring a key into use, and subscribe to it."""
    await whole.reader.read(key)
    whole.pipeline.hold(key)
    subscribed = Subscribed()
    whole.registry.add(subscribed, key)
    return subscribed


async def test_a_client_sees_nothing_while_its_key_is_pinned_and_one_change_afterwards() -> None:
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    subscribed = await held(whole)
    await whole.publisher.pin_by([at("a: 1")])
    for text in ("a: 2", "a: 3"):
        await whole.publisher.publish(tree(text))
    assert ([], {"a": 1}) == (subscribed.deliveries, await document(whole))
    assert {"a": 3} == await document(whole, OTHER)
    await whole.publisher.pin_by([])

    [delivery] = subscribed.deliveries
    message = json.loads(delivery.payload)
    assert [{"op": "replace", "path": "/a", "value": 3}] == message["diff"]
    assert "pinned" not in message
    assert {"a": 3} == await document(whole)


@pytest.mark.parametrize("is_held", [True, False])
async def test_a_key_is_pinned_at_another_document(is_held: bool) -> None:
    """The store doesn't keep a key that no client has asked for."""
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    subscribed = await held(whole) if is_held else None
    await whole.publisher.pin_by([at("a: 7", until=9.0)])

    config = await whole.reader.read(SHOP)
    assert ({"a": 7}, Term(1.0, 9.0), "pinned") == (config.document, config.pinned, config.revision)
    assert (True, False) == (whole.reader.is_pinned(SHOP), whole.reader.is_pinned(OTHER))
    assert Term(1.0, 9.0) == whole.reader.term(SHOP)
    if subscribed is not None:
        [delivery] = subscribed.deliveries
        pinned = {"since": "1970-01-01T00:00:01.000Z", "until": "1970-01-01T00:00:09.000Z"}
        assert pinned == json.loads(delivery.payload)["pinned"]
    await whole.publisher.publish(tree("a: 2"))
    assert {"a": 7} == await document(whole)
    await whole.publisher.pin_by([])
    assert ({"a": 2}, None) == (await document(whole), whole.reader.term(SHOP))


async def test_a_pin_at_what_is_served_changes_no_version_and_is_in_the_next_messages() -> None:
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    await held(whole)
    before = whole.key_usage.find(SHOP)
    assert before is not None
    unpinned = whole.encoder.in_sync(before)
    await whole.publisher.pin_by([at("a: 1")])
    config = whole.key_usage.find(SHOP)
    assert config is not None

    assert before.version == config.version
    assert "pinned" not in json.loads(unpinned)
    assert {"since": "1970-01-01T00:00:01.000Z", "until": None} == json.loads(whole.encoder.in_sync(config))["pinned"]


async def test_pins_that_are_there_before_the_first_publication_count_from_it_on() -> None:
    whole = Wired()
    await whole.publisher.pin_by([at("a: 7")])
    assert None is whole.store.served
    assert None is whole.reader.term(SHOP)
    await whole.publisher.publish(tree("a: 1"))

    assert {"a": 7} == await document(whole)


async def test_only_the_keys_whose_pins_differ_are_resolved_again() -> None:
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    for key in (SHOP, OTHER):
        await held(whole, key)
    pins = [at("a: 7"), at("a: 8", OTHER)]
    await whole.publisher.pin_by(pins)
    shop = whole.store.find(SHOP)
    pinned = whole.store.state.pinned[SHOP] if whole.store.state else None
    await whole.publisher.pin_by(pins[:1])

    assert pinned is (whole.store.state.pinned[SHOP] if whole.store.state else None)
    found = whole.store.find(SHOP)
    assert shop is not None
    assert found is not None
    assert shop.pieces is found.pieces
    assert {"a": 1} == await document(whole, OTHER)


async def test_without_pins_nothing_is_published_and_no_module_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    state = whole.store.state
    monkeypatch.setitem(__import__("sys").modules, "vortexd.pipeline.pinning", None)
    await whole.publisher.pin_by([])
    await whole.publisher.parse_by(LIMITS)

    assert state is not None
    assert state.pinned is (whole.store.state and whole.store.state.pinned)


async def test_a_pin_that_can_not_be_used_is_logged_and_its_key_is_served_from_the_sources() -> None:
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    with capture_logs() as logs:
        await whole.publisher.pin_by([at("a: [")])

    assert {"a": 1} == await document(whole)
    assert None is whole.reader.term(SHOP)
    [event] = events(logs, "pin not usable")
    assert ("shop:default:main", "warning") == (event["key"], event["log_level"])
    assert "shop.yml" in event["reason"]


async def test_stricter_limits_change_nothing_about_a_pin_and_wider_ones_make_it_usable() -> None:
    deep = "a: {b: {c: 1}}"
    narrow = attrs.evolve(LIMITS, depth=2)
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    await whole.publisher.pin_by([at(deep)])
    await whole.publisher.parse_by(narrow)
    assert {"a": {"b": {"c": 1}}} == await document(whole)

    strict = Wired(formats=narrow)
    await strict.publisher.publish(tree("a: 1"))
    await held(strict)
    await strict.publisher.pin_by([at(deep)])
    assert {"a": 1} == await document(strict)
    await strict.publisher.parse_by(LIMITS)
    assert {"a": {"b": {"c": 1}}} == await document(strict)


async def test_other_overrides_count_for_pinned_keys() -> None:
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    await held(whole)
    await whole.publisher.pin_by([at("a: 7")])
    await whole.publisher.resolve_by(None, overrides_of({"x": "y"}))
    assert {"a": 7, "x": "y"} == await document(whole)
    await whole.publisher.resolve_by(None, None)
    assert {"a": 7} == await document(whole)


async def test_a_pinned_key_ends_with_its_label_and_is_pinned_again_when_it_comes_back() -> None:
    whole = Wired()
    dev = attrs.evolve(SHOP, label="dev")
    with_dev = tree("a: 1", dev=files({"shop.yml": "a: 2"}))
    await whole.publisher.publish(with_dev)
    subscribed = await held(whole, dev)
    await whole.publisher.pin_by([at("a: 7", dev)])
    with capture_logs() as logs:
        await whole.publisher.publish(tree("a: 1"))
        await whole.publisher.publish(tree("a: 2"))

    with pytest.raises(UnknownLabel):
        await whole.reader.read(dev)
    assert None is whole.reader.term(dev)
    [event] = events(logs, "pin not usable")
    assert (str(dev), "its label is gone") == (event["key"], event["reason"])
    assert "config_removed" == json.loads(subscribed.deliveries[-1].payload)["type"]
    await whole.publisher.publish(with_dev)
    assert {"a": 7} == await document(whole, dev)


async def test_a_label_that_was_not_read_yet_is_not_gone() -> None:
    whole = Wired()
    await whole.publisher.pin_by([at("a: 7", attrs.evolve(SHOP, label="dev"))])
    with capture_logs() as logs:
        await whole.publisher.publish(tree("a: 1"))
        await whole.publisher.publish(tree("a: 2"))

    assert [] == events(logs, "pin not usable")


async def test_pins_wait_for_the_publication_that_is_under_way() -> None:
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    async with trio.open_nursery() as nursery:
        async with whole.publisher._publishing:
            nursery.start_soon(whole.publisher.pin_by, [at("a: 7")])
            await trio.testing.wait_all_tasks_blocked()
            assert {"a": 1} == await document(whole)
    assert {"a": 7} == await document(whole)


async def test_a_key_that_comes_into_use_while_it_is_pinned_gets_its_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    in_thread = whole.publisher._in_thread

    async def late(function: Any, *arguments: object) -> Any:
        made = await in_thread(function, *arguments)
        if function is stage and SHOP not in whole.store:
            whole.pipeline.hold(SHOP)
        return made

    monkeypatch.setattr(whole.publisher, "_in_thread", late)
    await whole.publisher.pin_by([at("a: 7")])

    found = whole.key_usage.find(SHOP)
    assert found is not None
    assert {"a": 7} == found.document


async def test_plain_files_and_histories_of_a_pinned_key_are_those_of_its_label() -> None:
    whole = Wired()
    await whole.publisher.publish(tree("a: 1"))
    await whole.publisher.pin_by([at("a: 7")])

    assert ["a: 1"] == [layer.files.revision for layer in await whole.reader.files(SHOP)]


# The gate judges the documents without pins.


class InProcess:
    """Validates in this process."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def ask(self, request: Any, content: bytes = b"") -> Iterator[Any]:
        return validation.work(request, content)

    def close(self) -> None:
        pass

    kill = close


NUMBERS = Rules(
    (parse_pattern("*"),), {"s.json": Schema("s.json", '{"properties": {"a": {"type": "integer"}}}', "/etc/s.json")}
)


def gated(monkeypatch: pytest.MonkeyPatch) -> Wired:
    """A pipeline whose gate wants numbers."""
    monkeypatch.setattr("vortexd.gate.judge.Isolated", InProcess)
    return Wired(rules=[NUMBERS])


@pytest.mark.parametrize("is_held", [True, False])
async def test_a_pin_hides_no_refusal_and_lifting_it_serves_no_refused_document(
    monkeypatch: pytest.MonkeyPatch, is_held: bool
) -> None:
    whole = gated(monkeypatch)
    await whole.publisher.publish(tree("a: 1"))
    if is_held:
        await held(whole)
    await whole.publisher.pin_by([at("a: 7")])
    with capture_logs():
        await whole.publisher.publish(tree("a: bad"))
        assert {"a": 7} == await document(whole)
        assert ["main"] == [*whole.reader.refusals]
        await whole.publisher.pin_by([])
        assert {"a": 1} == await document(whole)
        await whole.publisher.publish(tree("a: 2"))
    assert ({"a": 2}, {}) == (await document(whole), whole.reader.refusals)


async def test_a_pin_that_breaks_the_rules_is_served_and_the_sources_are_judged_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = gated(monkeypatch)
    await whole.publisher.publish(tree("a: 1"))
    await held(whole)
    await whole.publisher.pin_by([at("a: old")])
    assert {"a": "old"} == await document(whole)
    # The same document as that of the pin is refused, too.
    with capture_logs():
        await whole.publisher.publish(tree("a: old"))
    assert ["main"] == [*whole.reader.refusals]
    await whole.publisher.publish(tree("a: 2"))
    assert ({"a": "old"}, {}) == (await document(whole), whole.reader.refusals)
    await whole.publisher.pin_by([])
    assert {"a": 2} == await document(whole)


async def test_what_breaks_the_rules_already_is_reported_of_the_sources_only(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gated(monkeypatch)
    await whole.publisher.pin_by([at("a: old")])
    await whole.publisher.publish(tree("a: 1"))
    assert {} == whole.publisher.standing
    await held(whole)
    await whole.publisher.judge_by([NUMBERS])
    assert ({}, {"a": "old"}) == (whole.publisher.standing, await document(whole))


async def test_a_let_through_state_is_published_without_its_pinned_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gated(monkeypatch)
    await whole.publisher.publish(tree("a: 1"))
    await held(whole)
    await whole.publisher.pin_by([at("a: 7")])
    with capture_logs():
        bad = tree("a: bad")
        await whole.publisher.publish(bad)
        await whole.publisher.let_through("main", state_of(bad.labels["main"]), Person("ada", "token", ""), "why")
    assert ({"a": 7}, {"a": "bad"}) == (await document(whole), await document(whole, OTHER))
    await whole.publisher.pin_by([])
    assert {"a": "bad"} == await document(whole)


LISTED_NOWHERE = Key("shop", "late", "main")


async def test_a_pinned_key_outside_the_listing_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gated(monkeypatch)
    await whole.publisher.publish(tree("b: 1"))
    await whole.publisher.pin_by([at("a: old", LISTED_NOWHERE)])

    assert not whole.reader.is_unjudged(LISTED_NOWHERE)
    assert {"a": "old"} == await document(whole, LISTED_NOWHERE)
    await held(whole, LISTED_NOWHERE)
    await whole.publisher.publish(tree("b: 2"))
    assert {"a": "old"} == await document(whole, LISTED_NOWHERE)
    assert whole.store.served is not None
    assert {} == whole.store.served.failures


@pytest.mark.parametrize(("text", "after"), [("a: 2", {"a": 2}), ("a: bad", {"a": 7})])
async def test_a_key_that_no_publication_has_judged_is_judged_when_its_pin_is_lifted(
    monkeypatch: pytest.MonkeyPatch, text: str, after: dict[str, Any]
) -> None:
    """While the gate refuses it, the key keeps the document of the pin."""
    whole = gated(monkeypatch)
    await whole.publisher.publish(Tree({"main": files({"x.yml": "b: 1"}, revision="c1")}, "main"))
    await whole.publisher.pin_by([at("a: 7", LISTED_NOWHERE)])
    subscribed = await held(whole, LISTED_NOWHERE)
    # The first state of the process isn't refused.
    fresh = gated(monkeypatch)
    later = Tree({"main": files({"shop.yml": text}, revision="c2")}, "main")
    await fresh.publisher.pin_by([at("a: 7", LISTED_NOWHERE)])
    with capture_logs():
        await fresh.publisher.publish(later)
        subscribed = await held(fresh, LISTED_NOWHERE)
        assert {"a": 7} == await document(fresh, LISTED_NOWHERE)
        await fresh.publisher.pin_by([])

        found = fresh.key_usage.find(LISTED_NOWHERE)
        assert found is not None
        assert after == found.document
        assert (1 if after == {"a": 2} else 0) == len(subscribed.deliveries)
        await fresh.publisher.publish(attrs.evolve(later, labels={"main": files({"shop.yml": "a: 3"}, revision="c3")}))
    assert {"a": 3} == await document(fresh, LISTED_NOWHERE)


@pytest.mark.parametrize("is_held", [True, False])
async def test_a_new_document_is_judged_even_if_it_is_that_of_the_pin(
    monkeypatch: pytest.MonkeyPatch, is_held: bool
) -> None:
    """No other key has it, so only the pinned key decides about the label."""
    whole = gated(monkeypatch)
    await whole.publisher.publish(Tree({"main": files({"shop.yml": "a: 1"}, revision="c1")}, "main"))
    if is_held:
        await held(whole)
    await whole.publisher.pin_by([at("a: old")])
    with capture_logs():
        await whole.publisher.publish(Tree({"main": files({"shop.yml": "a: old"}, revision="c2")}, "main"))

    assert ["main"] == [*whole.reader.refusals]
    await whole.publisher.pin_by([])
    assert {"a": 1} == await document(whole)


async def test_a_key_that_waits_for_a_verdict_is_judged_with_the_files_that_its_label_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gate refuses it with the new files and, for another reason, with the former files."""
    whole = gated(monkeypatch)
    await whole.publisher.pin_by([at("a: 7", LISTED_NOWHERE)])
    with capture_logs():
        await whole.publisher.publish(Tree({"main": files({"shop.yml": "a: bad"}, revision="c1")}, "main"))
        await held(whole, LISTED_NOWHERE)
        await whole.publisher.pin_by([])
        assert {"a": 7} == await document(whole, LISTED_NOWHERE)
        await whole.publisher.publish(Tree({"main": files({"shop.yml": "a: worse"}, revision="c2")}, "main"))

    assert ["main"] == [*whole.reader.refusals]
    assert {"a": 7} == await document(whole, LISTED_NOWHERE)
