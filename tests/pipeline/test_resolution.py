"""The keys of one publication are resolved without work that changes nothing."""

import attrs
import pytest

from vortexd.core.diff import patch_between
from vortexd.core.errors import UnknownLabel
from vortexd.core.model import Config, Files, Key, Origin, PropertySource, Tree
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.pipeline import resolution
from vortexd.pipeline.resolution import Resolution
from vortexd.pipeline.state import Selected, State
from vortexd.resolve.tree import ParsedTree, parse_tree
from vortexd.settings.formats import FormatSettings

SHOP, CART = Key("shop", "default", "main"), Key("cart", "default", "main")
GOOD = {"application.yml": b"s: '{cipher}a'\nt: 1", "shop.yml": b"a: '{cipher}b'", "cart.yml": b"a: 1"}


class Counting:
    """An encryptor that notes what it decrypts."""

    def __init__(self) -> None:
        self.decrypted: list[str] = []

    public_key = None

    def encrypt(self, text: str) -> str:
        return text

    def decrypt(self, ciphertext: str) -> str:
        self.decrypted.append(ciphertext)
        return ciphertext.upper()


class Opening(Decryptor):
    """A decryptor that notes which sources it is asked about."""

    def __init__(self) -> None:
        super().__init__(OneKey(Counting()))
        self.names: list[str] = []

    def opened(self, sources: tuple[PropertySource, ...]) -> tuple[PropertySource, ...]:
        self.names += [each.name for each in sources]
        return super().opened(sources)


def state(files: dict[str, bytes], before: State | None = None, decryptor: Decryptor | None = None) -> State:
    former = ParsedTree(before.labels, "main") if before else None
    parsed = parse_tree(Tree({"main": Files(files)}), FormatSettings(), former)
    return State(parsed.labels, "main", decryptor)


def body(config: Config) -> str:
    return config.body.decode()


def test_a_file_that_many_keys_read_is_decrypted_once() -> None:
    decryptor = Opening()
    resolving = Resolution(state(GOOD, decryptor=decryptor), None)
    shop, _ = resolving.resolve(SHOP, None)
    cart, _ = resolving.resolve(CART, None)

    assert '{"a":"B","s":"A","t":1}' == body(shop)
    assert '{"a":1,"s":"A","t":1}' == body(cart)
    assert ["file:/shop.yml", "file:/application.yml", "file:/cart.yml"] == decryptor.names
    assert shop.sources[1] is cart.sources[1]


def test_a_file_that_has_not_changed_is_not_decrypted_again() -> None:
    decryptor = Opening()
    before = state(GOOD, decryptor=decryptor)
    old = before.resolve(SHOP)
    decryptor.names.clear()
    now = state(GOOD | {"application.yml": b"s: '{cipher}c'\nt: 1"}, before, decryptor)
    new, difference = Resolution(now, before).resolve(SHOP, old)

    assert ["file:/application.yml"] == decryptor.names
    assert '{"a":"B","s":"C","t":1}' == body(new)
    assert old.sources[0] is new.sources[0]
    assert difference is not None
    assert {"s": "C"} == difference.new


@pytest.mark.parametrize("is_current", [True, False])
@pytest.mark.parametrize("is_same", [True, False])
def test_only_what_this_decryptor_has_decrypted_for_the_last_state_is_taken_over(
    is_current: bool, is_same: bool
) -> None:
    decryptor = Opening()
    before = state(GOOD, decryptor=decryptor if is_same else Opening())
    old = before.resolve(SHOP)
    decryptor.names.clear()
    now = attrs.evolve(before, decryptor=decryptor)
    new, _ = Resolution(now, before).resolve(SHOP, old, is_current=is_current)

    assert (is_current and is_same) == (decryptor.names == [])
    assert old.body == new.body


def test_without_a_former_state_nothing_decrypted_is_taken_over() -> None:
    decryptor = Opening()
    before = state(GOOD, decryptor=decryptor)
    old = before.resolve(SHOP)
    decryptor.names.clear()
    Resolution(before, None).resolve(SHOP, old)

    assert ["file:/shop.yml", "file:/application.yml"] == decryptor.names


def test_a_source_with_another_name_is_not_taken_over() -> None:
    before = state(GOOD)
    old = before.resolve(SHOP)
    files = before.labels["main"]
    renamed = attrs.evolve(files, files=attrs.evolve(files.files, root="file:/elsewhere/"))
    new, _ = Resolution(attrs.evolve(before, labels={"main": renamed}), before).resolve(SHOP, old)

    assert ["file:/elsewhere/shop.yml", "file:/elsewhere/application.yml"] == [each.name for each in new.sources]


def test_the_same_values_under_two_names_are_two_sources() -> None:
    files = state(GOOD).labels["main"]
    other = attrs.evolve(files, files=attrs.evolve(files.files, root="file:/elsewhere/"))
    resolving = Resolution(State({"main": files, "other": other}, "main"), None)
    one, _ = resolving.resolve(SHOP, None)
    two, _ = resolving.resolve(attrs.evolve(SHOP, label="other"), None)

    assert ["file:/shop.yml", "file:/elsewhere/shop.yml"] == [one.sources[0].name, two.sources[0].name]


def test_documents_that_are_the_same_keep_their_body() -> None:
    before = state(GOOD)
    old = before.resolve(SHOP)
    now = state(GOOD | {"shop.yml": b"a:   '{cipher}b' # the same"}, before)
    new, difference = Resolution(now, before).resolve(SHOP, old)

    assert difference is not None
    assert difference.is_none
    assert old.body is new.body


@pytest.mark.parametrize(("is_larger", "is_found"), [(False, True), (True, False)])
def test_a_large_document_is_merged_as_a_whole(
    is_larger: bool, is_found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(GOOD)
    old = before.resolve(SHOP)
    monkeypatch.setattr(resolution, "MOST_BYTES", len(old.body) + (not is_larger))
    now = state(GOOD | {"shop.yml": b"a: 2"}, before)
    new, difference = Resolution(now, before).resolve(SHOP, old)

    assert is_found == (difference is not None)
    assert now.resolve(SHOP).body == new.body


def test_overrides_count_as_a_source() -> None:
    before = state(GOOD)
    old = before.resolve(SHOP)
    now = attrs.evolve(before, overrides=PropertySource("overrides", {"a": "over"}, {}))
    new, difference = Resolution(now, before).resolve(SHOP, old)
    again = attrs.evolve(now, overrides=PropertySource("overrides", {"t": 2}, {}))
    newest, step = Resolution(again, now).resolve(SHOP, new)

    assert difference is None
    assert '{"a":"over","s":"{cipher}a","t":1}' == body(new)
    assert '{"a":"{cipher}b","s":"{cipher}a","t":2}' == body(newest)
    assert step is not None
    assert {"a": "{cipher}b", "t": 2} == step.new


def test_a_patch_is_the_one_of_the_whole_documents() -> None:
    before = state(GOOD)
    old = before.resolve(SHOP)
    now = state(GOOD | {"shop.yml": b"a: {b: 2}\nu: 1"}, before)
    new, difference = Resolution(now, before).resolve(SHOP, old)

    assert difference is not None
    assert patch_between(old, new) == Resolution.patch(old, new, difference) == Resolution.patch(old, new, None)


@pytest.mark.parametrize(("length", "is_sent"), [(4_000, True), (5_000, False)])
def test_a_patch_that_is_too_long_is_none(length: int, is_sent: bool) -> None:
    name = "n" * length
    before = state({"shop.properties": f"{name}=1".encode()})
    old = before.resolve(SHOP)
    new, difference = Resolution(state({"shop.properties": b"x=1"}, before), before).resolve(SHOP, old)
    whole = patch_between(old, new)

    assert is_sent == (whole is not None)
    assert whole == Resolution.patch(old, new, difference)


# Keys that keep their selection of documents.

ONLY_VALUES = GOOD | {"application.yml": b"s: '{cipher}c'\nt: 1\nu: 2"}


@pytest.fixture
def selected(monkeypatch: pytest.MonkeyPatch) -> list[Key]:
    """The keys whose documents are selected."""
    keys: list[Key] = []
    select = State.select

    def selecting(state: State, key: Key) -> Selected:
        keys.append(key)
        return select(state, key)

    monkeypatch.setattr(State, "select", selecting)
    return keys


def test_if_only_values_have_changed_nothing_is_selected_again(selected: list[Key]) -> None:
    decryptor = Opening()
    before = state(GOOD, decryptor=decryptor)
    shop, cart = before.resolve(SHOP), before.resolve(CART)
    now = state(ONLY_VALUES, before, decryptor)
    expected = now.resolve(SHOP)
    selected.clear()
    resolving = Resolution(now, before)
    decryptor.names.clear()
    new, difference = resolving.resolve(SHOP, shop)
    other, _ = resolving.resolve(CART, cart)

    assert [] == selected
    assert ["file:/application.yml"] == decryptor.names
    assert '{"a":"B","s":"C","t":1,"u":2}' == body(new)
    assert expected.body == new.body
    assert ("{cipher}c", "C") == (new.sources[1].raw["s"], new.sources[1].values["s"])
    assert shop.sources[0] is new.sources[0]
    assert new.sources[1] is other.sources[1]
    assert shop.reads is new.reads
    assert (expected.version, expected.revision, expected.origin) == (new.version, new.revision, new.origin)
    assert now.published is new.published
    assert difference is not None


@pytest.mark.parametrize("change", ["not current", "no state before", "decryptor", "overrides", "import", "labels"])
def test_otherwise_the_documents_are_selected_again(change: str, selected: list[Key]) -> None:
    before = state(GOOD)
    key = attrs.evolve(SHOP, label="main,main") if change == "labels" else SHOP
    old = before.resolve(key)
    files = GOOD | {"shop.yml": b"spring.config.import: base.yml"} if change == "import" else ONLY_VALUES
    now = state(files, before)
    if change == "decryptor":
        now = attrs.evolve(now, decryptor=Opening())
    if change == "overrides":
        now = attrs.evolve(now, overrides=PropertySource("overrides", {"t": 2}, {}))
    expected = now.resolve(key)
    selected.clear()
    resolving = Resolution(now, None if change == "no state before" else before)
    new, _ = resolving.resolve(key, old, is_current=change != "not current")

    assert [key] == selected
    assert expected.body == new.body
    assert [(each.name, each.values) for each in expected.sources] == [(each.name, each.values) for each in new.sources]


@pytest.mark.parametrize("when", ["before", "now"])
def test_the_documents_of_a_key_that_is_held_back_are_not_renewed(when: str) -> None:
    before = state(GOOD)
    now = state(ONLY_VALUES, before)
    former = {"main": {SHOP: tuple(before.labels["main"].layers_for(SHOP))}}
    other = {"main": {SHOP: tuple(now.labels["main"].layers_for(SHOP))}}
    one, two = (before, attrs.evolve(now, held=former)) if when == "now" else (attrs.evolve(before, held=other), now)
    new, _ = Resolution(two, one).resolve(SHOP, one.resolve(SHOP))

    assert two.resolve(SHOP).body == new.body


def test_the_overrides_stay_above_the_renewed_sources() -> None:
    overrides = PropertySource("overrides", {"t": 3}, {})
    before = attrs.evolve(state(GOOD), overrides=overrides)
    old = before.resolve(SHOP)
    now = attrs.evolve(state(ONLY_VALUES, before), overrides=overrides)
    new, _ = Resolution(now, before).resolve(SHOP, old)

    assert overrides is new.sources[0]
    assert 3 == len(new.sources)
    assert '{"a":"{cipher}b","s":"{cipher}c","t":3,"u":2}' == body(new)


def test_a_key_keeps_its_commit_and_names_the_one_that_is_served(selected: list[Key]) -> None:
    """A directory may have a commit, although the commits of its files aren't known."""

    def committed(contents: dict[str, bytes], revision: str, before: State | None = None) -> State:
        files = Files(contents, revision=revision, origin=Origin("o", "author", "2024"))
        former = ParsedTree(before.labels, "main") if before else None
        return State(parse_tree(Tree({"main": files}), FormatSettings(), former).labels, "main")

    before = committed(GOOD, "r1")
    old = before.resolve(SHOP)
    selected.clear()
    new, _ = Resolution(committed(ONLY_VALUES, "r2", before), before).resolve(SHOP, old)

    assert [] == selected
    assert ("r2", old.origin) == (new.revision, new.origin)
    assert old.origin is not None


def test_a_label_that_is_gone_is_unknown() -> None:
    before = state(GOOD)
    old = before.resolve(SHOP)
    with pytest.raises(UnknownLabel):
        Resolution(attrs.evolve(before, labels={}), before).resolve(SHOP, old)


# The pieces of documents.


def test_keys_and_versions_share_the_text_of_a_file() -> None:
    before = state(GOOD)
    first = Resolution(before, None)
    shop, cart = first.resolve(SHOP, None)[0], first.resolve(CART, None)[0]
    now = state(ONLY_VALUES | {"application.yml": b"s: 2\nt: 1"}, before)
    resolving = Resolution(now, before)
    new, other = resolving.resolve(SHOP, shop)[0], resolving.resolve(CART, cart)[0]

    assert (b"{", b'"a":"{cipher}b"', b",", b'"s":"{cipher}a","t":1', b"}") == shop.pieces
    assert shop.pieces[3] is cart.pieces[3]
    assert (b"{", b'"a":"{cipher}b"', b",", b'"s":2,"t":1', b"}") == new.pieces
    assert new.pieces[3] is other.pieces[3]
    assert new.pieces[1] is shop.pieces[1]


def test_a_name_that_comes_is_merged_and_shared() -> None:
    before = state(GOOD)
    shop, cart = before.resolve(SHOP), before.resolve(CART)
    now = state(ONLY_VALUES, before)
    resolving = Resolution(now, before)
    new, other = resolving.resolve(SHOP, shop)[0], resolving.resolve(CART, cart)[0]

    assert b'"s":"{cipher}c","t":1,"u":2' == new.pieces[3]
    assert new.pieces[3] is other.pieces[3]


@pytest.mark.parametrize(("is_larger", "is_spliced"), [(False, True), (True, False)])
def test_a_document_that_becomes_large_is_merged_as_a_whole(
    is_larger: bool, is_spliced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(GOOD)
    old = before.resolve(SHOP)
    now = state(GOOD | {"shop.yml": b"a: '{cipher}bcdefgh'"}, before)
    size = now.resolve(SHOP).size
    monkeypatch.setattr(resolution, "MOST_BYTES", size + (not is_larger))
    new, _ = Resolution(now, before).resolve(SHOP, old)

    assert now.resolve(SHOP).body == new.body
    assert (b"{" == new.pieces[0] and len(new.pieces) == 3) == is_spliced
