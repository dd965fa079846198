"""The index from files to the keys that read them."""

import attrs

from vortexd.core.model import Key
from vortexd.pipeline.dependencies import Dependencies, is_altered
from vortexd.resolve.alterations import Alterations

from ..fakes import config

SHOP, CART, BOTH = Key("shop", "dev", "main"), Key("cart", "dev", "main"), Key("shop", "dev", "main,other")


def altered(index: Dependencies, **labels: set[str] | None) -> set[Key]:
    """The altered keys by the index, which must be those that are found one by one."""
    found = Alterations({name: None if each is None else frozenset(each) for name, each in labels.items()})
    keys = index.altered(found)
    reads = index._reads.items()
    assert keys == {key for key, each in reads if is_altered(attrs.evolve(config(key, {}), reads=each), found)}
    return keys


def put(index: Dependencies, key: Key, *reads: str) -> None:
    index.put(attrs.evolve(config(key, {}), reads=reads))


def index() -> Dependencies:
    made = Dependencies()
    put(made, SHOP, "application", "shop")
    put(made, CART, "application", "cart")
    put(made, BOTH, "application", "shop")
    return made


def test_the_readers_of_altered_files_are_found() -> None:
    assert {SHOP, BOTH} == altered(index(), main={"shop"})
    assert {SHOP, CART, BOTH} == altered(index(), main={"application"})
    assert {CART, SHOP, BOTH} == altered(index(), main={"cart", "shop", "none"})
    assert {BOTH} == altered(index(), other={"shop"})
    assert set() == altered(index(), main={"none"}, none={"shop"})


def test_if_a_label_cannot_be_told_apart_all_its_keys_are_found() -> None:
    assert {SHOP, CART, BOTH} == altered(index(), main=None)
    assert {BOTH} == altered(index(), other=None, none=None)


def test_a_key_that_reads_other_files_is_found_by_those_alone() -> None:
    found = index()
    put(found, SHOP, "application", "base")

    assert {BOTH} == altered(found, main={"shop"})
    assert {SHOP} == altered(found, main={"base"})
    assert 3 == len(found)


def test_a_key_that_is_discarded_leaves_nothing_behind() -> None:
    found = index()
    for key in (SHOP, CART, BOTH, BOTH):
        found.discard(key)

    assert SHOP not in found
    assert set() == altered(found, main=None, other=None)
    assert not found._labels
    assert 0 == len(found)


def test_a_stem_without_readers_is_forgotten() -> None:
    found = index()
    found.discard(CART)

    assert {"application", "shop"} == found._labels["main"].readers.keys()


def test_a_label_that_is_named_twice_does_no_harm() -> None:
    found, twice = Dependencies(), Key("shop", "dev", "main,main")
    put(found, twice, "shop")
    found.discard(twice)

    assert set() == altered(found, main=None)


def test_a_key_may_be_altered_whatever_its_files_are() -> None:
    found = Alterations({}, frozenset({SHOP, Key("unknown", "default", "main")}))

    assert {SHOP} == index().altered(found)
    assert [True, False] == [is_altered(config(key, {}), found) for key in (SHOP, CART)]
