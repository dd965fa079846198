import base64

import attrs
import pytest

from tests.fakes import KEY
from vortexd.core.model import Key
from vortexd.core.patterns import parse_pattern
from vortexd.realtime.events.cursor import MOST_BYTES, Cursors, Owner

OTHER = Key("billing", "dev", "main")
OWNER = Owner(KEY, (parse_pattern("b*"), parse_pattern("orders:dev")), ("digest", "ci"))
VERSIONS = {KEY: "00ff00ff00ff00ff", OTHER: "1234567890abcdef"}
SECRET = b"s" * 32


def cursors(*secrets: bytes) -> Cursors:
    return Cursors(lambda: secrets or (SECRET,))


def test_a_cursor_has_the_version_of_each_key() -> None:
    found = cursors().read(OWNER, cursors().make(OWNER, VERSIONS).decode())

    assert found is not None
    assert [VERSIONS[KEY], VERSIONS[OTHER], None] == [
        found.version_of(each) for each in (KEY, OTHER, Key("billing", "dev", "next"))
    ]


def test_a_key_without_a_version_is_left_out() -> None:
    made = cursors().make(OWNER, {**VERSIONS, OTHER: None})
    found = cursors().read(OWNER, made.decode())

    assert made == cursors().make(OWNER, {KEY: VERSIONS[KEY]})
    assert found is not None
    assert found.version_of(OTHER) is None


def test_a_cursor_without_keys_is_valid() -> None:
    assert cursors().read(OWNER, cursors().make(OWNER, {}).decode()) is not None


def test_a_cursor_is_one_word_of_a_header() -> None:
    made = cursors().make(OWNER, VERSIONS)

    assert made.replace(b"-", b"").replace(b"_", b"").isalnum()


@pytest.mark.parametrize(
    "version", ["1", "1234567890ABCDEF", "1234567890abcde", "x" * 16, "1234567890 bcdef", "12 34567890abcdef"]
)
def test_versions_of_another_form_make_no_cursor(version: str) -> None:
    assert b"" == cursors().make(OWNER, {KEY: version})


def test_the_longest_cursor_has_the_limit_and_a_longer_one_is_none() -> None:
    versions: dict[Key, str | None] = {Key(f"a{number}", "dev", "main"): "0" * 16 for number in range(218)}
    made = cursors().make(OWNER, versions)

    assert 4_091 == len(made) <= MOST_BYTES
    assert cursors().read(OWNER, made.decode()) is not None
    versions[KEY] = "0" * 16
    assert b"" == cursors().make(OWNER, versions)


def test_a_cursor_carries_the_versions_that_a_client_has_resumed_with() -> None:
    """The versions that are known now take precedence, also if a key has been removed."""
    third = Key("shop", "dev", "main")
    had = cursors().read(OWNER, cursors().make(OWNER, VERSIONS | {third: "1" * 16}).decode())
    made = cursors().make(OWNER, {KEY: "2" * 16, third: None}, had)
    found = cursors().read(OWNER, made.decode())

    assert found is not None
    assert ["2" * 16, VERSIONS[OTHER], None] == [found.version_of(each) for each in (KEY, OTHER, third)]
    assert made == cursors().make(OWNER, {KEY: "2" * 16, OTHER: VERSIONS[OTHER]})


def test_a_cursor_with_carried_versions_has_the_same_limit() -> None:
    versions: dict[Key, str | None] = {Key(f"a{number}", "dev", "main"): "0" * 16 for number in range(217)}
    had = cursors().read(OWNER, cursors().make(OWNER, versions).decode())

    assert 4_091 == len(cursors().make(OWNER, {KEY: "0" * 16}, had))
    assert b"" == cursors().make(OWNER, VERSIONS, had)
    assert b"" == cursors().make(OWNER, {KEY: "1"}, had)


@pytest.mark.parametrize(
    "other",
    [
        attrs.evolve(OWNER, key=OTHER),
        attrs.evolve(OWNER, patterns=OWNER.patterns[:1]),
        attrs.evolve(OWNER, patterns=()),
        attrs.evolve(OWNER, identity=("digest", "cd")),
        attrs.evolve(OWNER, identity=("other", "ci")),
        attrs.evolve(OWNER, identity=("", "")),
    ],
    ids=["key", "pattern", "no pattern", "name", "token", "nobody"],
)
def test_a_cursor_of_another_stream_or_client_is_invalid(other: Owner) -> None:
    assert cursors().read(OWNER, cursors().make(other, VERSIONS).decode()) is None


def test_the_order_of_the_patterns_does_not_matter() -> None:
    turned = attrs.evolve(OWNER, patterns=OWNER.patterns[::-1])

    assert cursors().make(OWNER, VERSIONS) == cursors().make(turned, VERSIONS)


def test_a_name_cannot_stand_for_other_parts_of_an_owner() -> None:
    first = Owner(KEY, (), ("a", "b\nc"))
    second = Owner(KEY, (), ("a\n3\nb", "c"))

    assert first.to_bytes() != second.to_bytes()
    assert Owner(KEY, (), ("a", "\ud800")).to_bytes()


def test_the_first_secret_signs_and_each_known_one_is_accepted() -> None:
    first, second = b"1" * 32, b"2" * 32
    made = cursors(first, second).make(OWNER, VERSIONS).decode()

    assert cursors(first).read(OWNER, made) is not None
    assert cursors(second, first).read(OWNER, made) is not None
    assert cursors(second).read(OWNER, made) is None


def forged(position: int) -> str:
    data = bytearray(base64.urlsafe_b64decode(cursors().make(OWNER, VERSIONS) + b"==="))
    data[position] ^= 1
    return base64.urlsafe_b64encode(bytes(data)).rstrip(b"=").decode()


@pytest.mark.parametrize("position", [0, 15, 16, 22, -1])
def test_a_cursor_with_another_byte_is_invalid(position: int) -> None:
    assert cursors().read(OWNER, forged(position)) is None


@pytest.mark.parametrize(
    "text",
    ["", "1f3a", "!", "a", "=", "ä", "x" * 4_097, "A" * 21, "A" * 24, "1234567890abcdef", "A B", "\ud800"],
)
def test_any_other_text_is_invalid(text: str) -> None:
    assert cursors().read(OWNER, text) is None


def test_a_part_of_an_entry_is_invalid_even_if_it_is_signed() -> None:
    made = base64.urlsafe_b64decode(cursors().make(OWNER, VERSIONS) + b"===")

    assert cursors().read(OWNER, base64.urlsafe_b64encode(made[:-1]).decode().rstrip("=")) is None
