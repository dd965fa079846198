"""The layers that hold a key, the layer that wins, and the position of the key in its file."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.errors import ResolveError
from vortexd.core.model import Key, PropertySource, Scalar
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.resolve.explain import Cipher, Explanation, Outcome, Place, Profile, explain, is_below
from vortexd.resolve.nest import effective_document, merged, standing_keys
from vortexd.resolve.spring import property_sources

from .support import parsed_files, source

AES = AesEncryptor("foo")
WINS, OVERRIDDEN, REPLACED = Outcome.WINS, Outcome.OVERRIDDEN, Outcome.LIST_REPLACED
SHADOWED, UNREADABLE = Outcome.SHADOWED, Outcome.UNREADABLE


def explained(
    contents: dict[str, str], profile: str = "default", decryptor: Decryptor | None = None, **more: Any
) -> Explanation:
    return explain([parsed_files(contents)], Key("shop", profile, "main"), decryptor, **more)


def held(explanation: Explanation, key: str) -> list[tuple[str, int | None, Scalar, Outcome, str | None]]:
    """By file: line, value, outcome, and which file is in its way."""
    names = [layer.name.removeprefix("file:/c/") for layer in explanation.layers]
    return [
        (names[each.layer], each.line, each.value, each.outcome, None if each.by is None else names[each.by])
        for each in explanation.keys.get(key, ())
    ]


def test_the_strongest_layer_wins_and_the_others_are_named_with_their_lines() -> None:
    found = explained(
        {"application.yml": "a: 1\nb: 1\n", "shop.yml": "x: 0\na: 2\n", "shop-dev.properties": "\n\na=3\n"}, "dev"
    )

    assert [
        ("shop-dev.properties", 3, "3", WINS, None),
        ("shop.yml", 2, 2, OVERRIDDEN, "shop-dev.properties"),
        ("application.yml", 1, 1, OVERRIDDEN, "shop-dev.properties"),
    ] == held(found, "a")
    assert [("application.yml", 2, 1, WINS, None)] == held(found, "b")
    assert ["a", "b", "x"] == list(found.keys)


def test_a_list_is_replaced_as_a_whole() -> None:
    found = explained({"application.yml": "a: [1, 2]", "shop.yml": "a: [3]"})

    assert [("shop.yml", 1, 3, WINS, None), ("application.yml", 1, 1, OVERRIDDEN, "shop.yml")] == held(found, "a[0]")
    assert [("application.yml", 1, 2, REPLACED, "shop.yml")] == held(found, "a[1]")


@pytest.mark.parametrize(
    ("strong", "weak", "key", "by"),
    [
        ("a: x", "a: [1]", "a[0]", "shop.yml"),
        ("a: [1]", "a: x", "a", "shop.yml"),
        ("a[0]: 1\na: x\n", "b: 1", "a[0]", "shop.yml"),
        ("a: x\na[0]: 1\n", "b: 1", "a", "shop.yml"),
        ("a: {b: x}", "a: {b: [{c: 1}]}", "a.b[0].c", "shop.yml"),
    ],
)
def test_a_scalar_and_a_list_of_one_name_shadow_each_other(strong: str, weak: str, key: str, by: str) -> None:
    ((*_, outcome, found),) = held(explained({"application.yml": weak, "shop.yml": strong}), key)

    assert (SHADOWED, by) == (outcome, found)


def test_a_name_with_a_value_and_names_below_it_keeps_both() -> None:
    found = explained({"application.yml": "log.org: WARN", "shop.yml": "log.org.cloud: ERROR"})

    assert [WINS, WINS] == [held(found, key)[0][3] for key in ("log.org", "log.org.cloud")]


def test_overrides_are_the_strongest_layer_and_no_file() -> None:
    overrides = PropertySource("overrides", {"a": "0"}, {})
    found = explained({"shop.yml": "a: 1"}, overrides=overrides)

    assert [("overrides", None, "0", WINS, None), ("shop.yml", 1, 1, OVERRIDDEN, "overrides")] == held(found, "a")
    assert (None, None) == (found.layers[0].source, found.layers[0].file)


def test_nothing_is_decrypted_in_overrides() -> None:
    overrides = PropertySource("overrides", {"a": "{cipher}00"}, {})
    found = explained({"shop.yml": "a: 1"}, decryptor=Decryptor(None), overrides=overrides)

    assert ("overrides", None, "{cipher}00", WINS, None) == held(found, "a")[0]


def test_overrides_are_not_decrypted() -> None:
    overrides = PropertySource("overrides", {"a": "{cipher}" + AES.encrypt("x")}, {})
    found = explained({}, decryptor=Decryptor(OneKey(AES)), overrides=overrides)

    assert [(Cipher.KEPT, overrides.values["a"])] == [(each.cipher, each.value) for each in found.keys["a"]]


def test_documents_that_do_not_count_are_named_and_nothing_of_what_they_hold() -> None:
    text = "a: 1\n---\nspring.config.activate.on-profile: prod & !(eu | us), test\nsecret: 2\n"
    found = explained({"shop.yml": text}, "dev")

    assert [("shop.yml", 1, None, False), ("shop.yml", 0, None, True)] == [
        (layer.file, layer.document, layer.profile, layer.is_active) for layer in found.layers
    ]
    assert "prod & !(eu | us), test" == found.layers[0].on_profile
    assert ["a"] == list(found.keys)


def test_who_has_made_a_profile_active_is_said_with_its_place() -> None:
    text = "spring:\n  profiles:\n    include:\n      - base\n    group:\n      dev: [db, mq]\n"
    found = explained({"shop.yml": text, "shop-mq.yml": "a: 1"}, "dev")

    group = "spring.profiles.group.dev"
    assert (
        Profile("dev"),
        Profile("db", group, Place("file:/c/shop.yml", 6, 13)),
        Profile("mq", group, Place("file:/c/shop.yml", 6, 17)),
        Profile("base", "spring.profiles.include", Place("file:/c/shop.yml", 4, 9)),
    ) == found.sources[0].profiles
    assert ["mq", None] == [layer.profile for layer in found.layers]


def test_a_profile_that_was_asked_for_is_active_for_that_reason() -> None:
    found = explained({"shop.yml": "spring.profiles.include: dev"}, "dev")

    assert (Profile("dev"),) == found.sources[0].profiles


def test_an_encrypted_value_has_its_place_still_and_says_that_it_was_encrypted() -> None:
    cipher = "{cipher}" + AES.encrypt("s3cret")
    found = explained({"shop.yml": f"a: '{cipher}'\n", "application.yml": "a: plain"}, decryptor=Decryptor(OneKey(AES)))

    assert [("shop.yml", 1, "s3cret", WINS, None), ("application.yml", 1, "plain", OVERRIDDEN, "shop.yml")] == held(
        found, "a"
    )
    assert [Cipher.DECRYPTED, None] == [each.cipher for each in found.keys["a"]]


def test_what_cannot_be_decrypted_is_no_hidden_layer() -> None:
    """Its key is another then, and the value of a weaker layer is served in its place, as Spring has it."""
    found = explained({"shop.yml": "\na: '{cipher}00'\n", "application.yml": "a: weaker"}, decryptor=Decryptor(None))

    assert [("shop.yml", 2, None, UNREADABLE, None), ("application.yml", 1, "weaker", WINS, None)] == held(found, "a")
    assert [("shop.yml", 2, "<n/a>", WINS, None)] == held(found, "invalid.a")
    assert [Cipher.FAILED] == [each.cipher for each in found.keys["invalid.a"]]


def test_without_the_prefix_what_cannot_be_decrypted_is_served_as_text() -> None:
    decryptor = Decryptor(None, prefix_invalid=False)
    found = explained({"shop.yml": "a: '{cipher}00'"}, decryptor=decryptor)

    assert [("shop.yml", 1, "00", WINS, None)] == held(found, "a")
    assert [Cipher.FAILED] == [each.cipher for each in found.keys["a"]]


def test_where_nothing_is_decrypted_the_text_is_what_is_served() -> None:
    found = explained({"shop.yml": "a: '{cipher}00'"})

    assert [("shop.yml", 1, "{cipher}00", WINS, None)] == held(found, "a")
    assert [Cipher.KEPT] == [each.cipher for each in found.keys["a"]]


def test_what_cannot_be_combined_cannot_be_explained() -> None:
    with pytest.raises(ResolveError):
        explained({"shop-dev.yml": "spring.profiles.include: x"}, "dev")


@pytest.mark.parametrize("key", ["a", "a.b", "a[0]", "a[0].b"])
def test_what_is_below_a_key(key: str) -> None:
    assert is_below(key, "a")
    assert not is_below("a" + key, "a")


NAMES = st.sampled_from(["a", "a.b", "a[0]", "a[1]", "a[0].b", "a[0][0]", "a.b[0]", "a[00]", "a..b", "b", "b.c"])
LAYERS = st.lists(st.dictionaries(NAMES, st.uuids().map(str), max_size=5), max_size=4)


def leaves(value: object) -> set[str]:
    if isinstance(value, dict):
        return {leaf for each in value.values() for leaf in leaves(each)}
    if isinstance(value, list):
        return {leaf for each in value for leaf in leaves(each)}
    return {value} if isinstance(value, str) else set()


@given(LAYERS)
def test_the_keys_that_stand_are_those_of_the_document(layers: list[dict[str, Scalar]]) -> None:
    """Each value is another one, so that the document tells from where it has it."""
    sources = [source(layer) for layer in layers]
    values = {key: value for key, value, _ in merged(sources)}

    assert leaves(effective_document(sources)) == {str(values[key]) for key in standing_keys(sources)}


@given(LAYERS)
def test_what_wins_is_what_is_served(layers: list[dict[str, Scalar]]) -> None:
    names = ["shop-a", "shop", "application-a", "application"]
    contents = {
        f"{name}.properties": "".join(f"{key}={value}\n" for key, value in layer.items())
        for name, layer in zip(names, layers, strict=False)
    }
    files = parsed_files(contents)
    key = Key("shop", "a", "main")
    found = explain([files], key)
    winners = {str(each.value) for holdings in found.keys.values() for each in holdings if each.outcome is Outcome.WINS}

    served = [(each.name, each.values) for each in property_sources([files], key)]
    assert served == [(each.name, each.values) for each in found.served]
    assert leaves(effective_document(found.served)) == winners
    assert sum(len(each.values) for each in found.served) == sum(map(len, found.keys.values()))
