"""The keys of one publication are resolved without work that changes nothing."""

import attrs
import pytest

from vortexd.core.diff import patch_between
from vortexd.core.model import Config, Files, Key, PropertySource, Tree
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.pipeline import resolution
from vortexd.pipeline.resolution import Resolution
from vortexd.pipeline.state import State
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
