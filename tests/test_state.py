"""What is served at one moment: overrides, several labels, and what is broken."""

import attrs
import pytest

from vortexd.errors import UnknownLabel
from vortexd.model import Files, Key, Origin, Tree
from vortexd.resolve.tree import parse_tree
from vortexd.settings import FormatSettings
from vortexd.state import State, next_state, overrides_of

SHOP = Key("shop", "dev", "main")


# What the operator sets for everybody.


def test_overrides_are_the_strongest_source_of_every_key_whatever_files_there_are() -> None:
    overrides = overrides_of({"a": "over", "b.c": "\\${x} $\\{y}"})
    state = next_state(
        parse_tree(Tree({"main": Files({"shop.yml": b"a: 1"})}), FormatSettings()), None, overrides=overrides
    )
    shop, none = (state.resolve(attrs.evolve(SHOP, application=name)) for name in ("shop", "none"))

    assert ["overrides", "file:/shop.yml"] == [source.name for source in shop.sources]
    assert {"a": "over", "b": {"c": "${x} ${y}"}} == shop.document == none.document
    assert shop.version == state.explain(SHOP)[1]


def test_without_overrides_there_is_no_source_for_them() -> None:
    assert overrides_of({}) is None


# Several labels.


def test_several_labels_are_resolved_from_the_sound_generation_of_each() -> None:
    state: State | None = None
    for one in (b"a: 1", b"a: [1"):
        labels = {
            name: Files({"shop.yml": text}, revision=name, origin=Origin(name, "Ann", ""))
            for name, text in (("one", one), ("two", b"b: 2"))
        }
        state = next_state(parse_tree(Tree(labels, "one"), FormatSettings()), state)
    assert state
    config = state.resolve(attrs.evolve(SHOP, label="two,one"))

    assert ({"a": 1, "b": 2}, "two,one") == (config.document, config.revision)
    with pytest.raises(UnknownLabel):
        state.resolve(attrs.evolve(SHOP, label="one,three"))


def test_plain_files_are_those_of_the_newest_state_though_configuration_is_broken() -> None:
    state: State | None = None
    for content in ({"shop.yml": b"a: 0", "x.txt": b"old"}, {"shop.yml": b"a: [1", "x.txt": b"new"}):
        state = next_state(parse_tree(Tree({"main": Files(content)}), FormatSettings()), state)
    assert state
    [layer] = state.newest(SHOP)

    assert b"new" == layer.files.contents["x.txt"]
    with pytest.raises(UnknownLabel):
        state.newest(attrs.evolve(SHOP, label="none"))


def test_what_is_broken_now_is_told_for_each_of_several_labels() -> None:
    state: State | None = None
    for two in (b"b: 2", b"b: [2"):
        labels = {"one": Files({"shop.yml": b"a: 1"}), "two": Files({"shop.yml": two})}
        state = next_state(parse_tree(Tree(labels, "one"), FormatSettings()), state)
    assert state

    found = {label: state.fault_of(attrs.evolve(SHOP, label=label)) for label in ("one", "two", "one,two")}
    assert [None, "shop.yml", "shop.yml"] == [fault and fault.path for fault in found.values()]
    assert state.fault_of(Key("cart", "dev", "two")) is None
