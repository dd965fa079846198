"""The served state: overrides, several labels, and broken files."""

import attrs
import pytest

from vortexd.core.errors import FormatError, ResolveError, UnknownLabel
from vortexd.core.model import Edits, Files, Key, Origin, Tree
from vortexd.pipeline.state import State, overrides_of
from vortexd.resolve.tree import ParsedTree, parse_tree
from vortexd.settings.formats import FormatSettings

from ..resolve.support import parsed_files

SHOP = Key("shop", "dev", "main")


def served(parsed: ParsedTree | None) -> State:
    assert parsed is not None
    return State(parsed.labels, parsed.default_label)


# What the operator sets for everybody.


def test_overrides_are_the_strongest_source_of_every_key_whatever_files_there_are() -> None:
    overrides = overrides_of({"a": "over", "b.c": "\\${x} $\\{y}"})
    parsed = parse_tree(Tree({"main": Files({"shop.yml": b"a: 1"})}), FormatSettings())
    state = State(parsed.labels, "main", None, overrides)
    shop, none = (state.resolve(attrs.evolve(SHOP, application=name)) for name in ("shop", "none"))

    assert ["overrides", "file:/shop.yml"] == [source.name for source in shop.sources]
    assert {"a": "over", "b": {"c": "${x} ${y}"}} == shop.document == none.document
    assert shop.version == state.explain(SHOP)[1]


def test_without_overrides_there_is_no_source_for_them() -> None:
    assert overrides_of({}) is None


# Several labels.


def test_several_labels_are_resolved_each_with_its_last_good_content() -> None:
    parsed: ParsedTree | None = None
    for one in (b"a: 1", b"a: [1"):
        labels = {
            name: Files({"shop.yml": text}, revision=name, origin=Origin(name, "Ann", ""))
            for name, text in (("one", one), ("two", b"b: 2"))
        }
        parsed = parse_tree(Tree(labels, "one"), FormatSettings(), parsed)
    state = served(parsed)
    config = state.resolve(attrs.evolve(SHOP, label="two,one"))

    assert ({"a": 1, "b": 2}, "two,one") == (config.document, config.revision)
    with pytest.raises(UnknownLabel, match="^no such label$"):
        state.resolve(attrs.evolve(SHOP, label="one,three"))
    with pytest.raises(UnknownLabel, match="commits = true"):
        state.resolve(attrs.evolve(SHOP, label="one," + "a" * 40))


def test_of_label_directories_that_are_asked_for_together_each_keeps_its_last_good_content() -> None:
    parsed: ParsedTree | None = None
    for one in (b"a: 1", b"a: [1"):
        contents = {"one/shop.yml": one, "two/shop.yml": b"b: 2"}
        labels = {name: Files(contents, locations=("", f"{name}/")) for name in ("one", "two")}
        parsed = parse_tree(Tree(labels, "one"), FormatSettings(), parsed)

    assert {"a": 1, "b": 2} == served(parsed).resolve(attrs.evolve(SHOP, label="two,one")).document


def test_plain_files_are_those_of_the_newest_state_though_configuration_is_broken() -> None:
    parsed: ParsedTree | None = None
    for content in ({"shop.yml": b"a: 0", "x.txt": b"old"}, {"shop.yml": b"a: [1", "x.txt": b"new"}):
        parsed = parse_tree(Tree({"main": Files(content)}), FormatSettings(), parsed)
    state = served(parsed)
    [layer] = state.newest(SHOP)

    assert b"new" == layer.files.contents["x.txt"]
    with pytest.raises(UnknownLabel):
        state.newest(attrs.evolve(SHOP, label="none"))


# What is broken.


def test_what_is_broken_now_is_told_for_each_of_several_labels() -> None:
    labels = {"one": Files({"shop.yml": b"a: 1"}), "two": Files({"shop.yml": b"b: [2"})}
    state = served(parse_tree(Tree(labels, "one"), FormatSettings()))

    found = {
        label: [each.place for each in state.broken(attrs.evolve(SHOP, label=label))]
        for label in ("one", "two", "one,two")
    }
    assert {"one": [], "two": ["shop.yml:1"], "one,two": ["shop.yml:1"]} == found
    assert [] == state.broken(Key("cart", "dev", "two"))
    with pytest.raises(UnknownLabel):
        state.broken(attrs.evolve(SHOP, label="one,three"))


def test_a_key_whose_file_was_never_good_cannot_be_resolved_and_all_others_can() -> None:
    contents = {"application.yml": b"s: 1", "shop.yml": b"a: 1", "shop-dev.yml": b"a: [", "application-qa.yml": b"["}
    state = served(parse_tree(Tree({"main": Files(contents)}), FormatSettings()))

    for profile, file in (("dev", "shop-dev.yml"), ("qa", "application-qa.yml"), ("prod,dev", "shop-dev.yml")):
        for ask in (state.resolve, state.explain):
            with pytest.raises(FormatError, match=file):
                ask(attrs.evolve(SHOP, profile=profile))
    assert {"a": 1, "s": 1} == state.resolve(attrs.evolve(SHOP, profile="prod")).document
    assert {"s": 1} == state.resolve(Key("cart", "dev", "main")).document


def test_only_a_source_that_serves_a_key_can_be_in_its_way() -> None:
    other = Files({"shop.yml": b"a: ["}, root="two/", applications=("cart",))
    files = Files({"shop.yml": b"a: 1"}, root="one/", group=1, others=(other,))
    state = served(parse_tree(Tree({"main": files}), FormatSettings()))

    assert {"a": 1} == state.resolve(SHOP).document
    assert [] == state.broken(SHOP)


# Where a state comes from.


def test_a_configuration_names_the_newest_commit_of_its_sources() -> None:
    old, new = Origin("a", "Ann", "2030-01-01T00:00:00Z"), Origin("b", "Bob", "2031-01-01T00:00:00Z")
    second = Files({}, root="two/", edits=Edits(1, {"shop-dev.yml": (1, new)}), group=1)
    files = Files({"shop.yml": b"a: 1"}, root="one/", edits=Edits(9, {"shop.yml": (9, old)}), others=(second,))
    state = served(parse_tree(Tree({"main": files}), FormatSettings()))

    assert new == state.resolve(SHOP).origin
    assert old == state.resolve(attrs.evolve(SHOP, profile="prod")).origin
    assert state.resolve(Key("cart", "dev", "main")).origin is None


def test_a_configuration_learns_when_its_state_was_committed() -> None:
    state = served(parse_tree(Tree({"main": Files({"shop.yml": b"a: 1"})}), FormatSettings()))
    config = state.resolve(SHOP)
    state.published.seconds = 7.0

    assert 7.0 == config.published.seconds


@pytest.mark.parametrize(
    ("files", "is_possible"),
    [
        ({"shop.yml": b"a: 1"}, True),
        ({"shop.yml": b"a: [1, 2]"}, True),
        ({"shop.properties": b"".join(b"l%d[9999]=x\n" % number for number in range(10))}, True),
        ({"shop.properties": b"".join(b"l%d[9999]=x\n" % number for number in range(11))}, False),
        ({"shop-dev.yml": b"spring.profiles.include: x"}, False),
    ],
)
@pytest.mark.parametrize("overrides", [{}, {"z": "1"}, {"z[10001]": "1"}])
def test_a_check_finds_what_makes_a_key_impossible(
    files: dict[str, bytes], is_possible: bool, overrides: dict[str, str]
) -> None:
    state = attrs.evolve(
        served(parse_tree(Tree({"main": Files(files)}), FormatSettings())), overrides=overrides_of(overrides)
    )
    key, errors = Key("shop", "dev", "main"), []
    for function in (state.resolve, state.check):
        try:
            function(key)
        except ResolveError as error:
            errors.append(str(error))

    assert (is_possible and "z[10001]" not in overrides) == (errors == [])
    assert errors[:1] == errors[1:]


def test_a_key_without_new_files_only_gets_the_new_commit() -> None:
    first = served(parse_tree(Tree({"main": Files({"shop.yml": b"a: 1"}, revision="1")}), FormatSettings()))
    second = served(parse_tree(Tree({"main": Files({"shop.yml": b"a: 1"}, revision="2")}), FormatSettings()))
    config = first.resolve(Key("shop", "dev", "main"))

    assert first.revised(config) is config
    assert "2" == second.revised(config).revision
    assert config.body is second.revised(config).body


def test_what_is_held_back_reads_its_own_files_and_counts_as_altered() -> None:
    key, other = Key("a", "default", "main"), Key("b", "default", "main")
    before = State({"main": parsed_files({"a.yml": "x: 1", "b.yml": "x: 1"}, ("",))}, "main")
    now = State({"main": parsed_files({"a.yml": "x: 2", "b.yml": "x: 2"}, ("",))}, "main")
    keys = {key: tuple(before.layers_in("main", key))}
    held = attrs.evolve(now, held={"main": keys})

    assert [b'{"x":1}', b'{"x":2}'] == [held.resolve(each).body for each in (key, other)]
    assert [True, False, False] == [each.is_apart(key) for each in (held, now, before)]
    assert not held.is_apart(other)
    assert {} == held.altered_from(attrs.evolve(now, held={"main": keys})).stems
    both = {key: keys[key], other: keys[key]}
    for one, two, expected in (
        (held, now, {key}),
        (now, held, {key}),
        (held, attrs.evolve(now, held={"main": dict(keys)}), set()),
        (held, attrs.evolve(now, held={"main": both}), {other}),
        (held, attrs.evolve(now, held={"main": {key: tuple(now.layers_in("main", key))}}), {key}),
    ):
        assert {"main": frozenset()} == one.altered_from(two).stems
        assert expected == set(one.altered_from(two).keys)
    assert {"main": frozenset({"a", "b"})} == held.altered_from(before).stems
    assert {"main": frozenset({"a", "b"})} == now.altered_from(before).stems
    assert held.unpinned.layers(key) == [list(keys[key])]
    with pytest.raises(UnknownLabel):
        attrs.evolve(held, labels={}).layers(key)
