"""The constraints of settings: what each accepts at its boundary, and the words that complete "must be"."""

import math

import attrs
import pytest

from vortexd.core import constraints
from vortexd.core.constraints import LARGEST, LONGEST, SECONDS_OR_NEVER, Rule, Text


@attrs.frozen
class Section:
    """One field of each kind."""

    plain: str = constraints.setting("x", doc="A plain one.", more="More.", restart=True, example='"y"')
    untold: int = 1
    count: int = constraints.whole(5, 2, 9, doc="A count.")
    size: int = constraints.whole(1, 1)
    wait: float = constraints.seconds(0.5)
    nap: float = constraints.seconds(2.0, 0.0, 2.5)
    share: float = constraints.number(0.5, 0.25, 1)
    word: str = constraints.choice("json", "console", doc="A word.")
    words: tuple[str, ...] = constraints.texts("a short text", lambda value: len(str(value)) < 3, "a", "b")
    file: str = constraints.path(doc="A file.")
    served: tuple[str, ...] = constraints.applications(doc="Patterns.")


def rule(name: str) -> Rule:
    found = attrs.fields_dict(Section)[name].metadata["rule"]
    assert isinstance(found, Rule)
    return found


def test_a_section_begins_with_the_defaults() -> None:
    assert Section("x", 1, 5, 1, 0.5, 2.0, 0.5, "json", ("a", "b"), "", ()) == Section()


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("count", "a whole number from 2 to 9"),
        ("size", "a whole number from 1 to 1099511627776"),
        ("wait", "a number of seconds from 0.001 to 86400"),
        ("nap", "a number of seconds from 0 to 2.5"),
        ("share", "a number from 0.25 to 1"),
        ("word", '"json" or "console"'),
        ("words", "a short text"),
        ("file", "the path of a file, or empty"),
        ("served", "a pattern such as orders, team-* or */prod"),
    ],
)
def test_each_rule_says_what_is_allowed(name: str, allowed: str) -> None:
    assert allowed == rule(name).allowed
    assert {} == rule(name).words


@pytest.mark.parametrize(
    ("name", "value", "is_accepted"),
    [
        ("count", 1, False),
        ("count", 2, True),
        ("count", 9, True),
        ("count", 10, False),
        ("count", 2.0, False),
        ("count", "5", False),
        ("size", 0, False),
        ("size", LARGEST, True),
        ("size", LARGEST + 1, False),
        ("wait", 0.0009, False),
        ("wait", 0.001, True),
        ("wait", LONGEST, True),
        ("wait", 86_400, True),
        ("wait", LONGEST + 0.001, False),
        ("wait", math.nan, False),
        ("wait", math.inf, False),
        ("wait", "1", False),
        ("nap", -0.001, False),
        ("nap", 0, True),
        ("nap", 2.5, True),
        ("nap", 2.501, False),
        ("share", 0.249, False),
        ("share", 0.25, True),
        ("share", 1, True),
        ("share", 1.001, False),
        ("share", "0.5", False),
        ("word", "json", True),
        ("word", "console", True),
        ("word", "JSON", False),
        ("word", "", False),
        ("words", "ab", True),
        ("words", "abc", False),
        ("file", "", True),
        ("file", "/etc/a b", True),
        ("file", "a\0b", False),
        ("served", "orders", True),
        ("served", "team-*", True),
        ("served", "*/prod,a_1.b", True),
        ("served", "", False),
        ("served", "a b", False),
        ("served", "größe", False),
        ("served", "orders\n", False),
    ],
)
def test_each_rule_accepts_its_boundary_and_nothing_beyond(name: str, value: object, is_accepted: bool) -> None:
    assert is_accepted == rule(name).accepts(value)


@pytest.mark.parametrize(
    ("value", "is_accepted"),
    [
        (0, True),
        (0.0, True),
        (LONGEST, True),
        (-0.001, False),
        (LONGEST + 0.001, False),
        (math.inf, False),
        ("1", False),
    ],
)
def test_a_wait_that_may_be_endless_is_within_a_day(value: object, is_accepted: bool) -> None:
    assert is_accepted == SECONDS_OR_NEVER.accepts(value)


def test_the_word_never_stands_for_a_wait_without_end() -> None:
    assert {"never": math.inf} == SECONDS_OR_NEVER.words
    assert 'a number of seconds from 0 to 86400, or "never"' == SECONDS_OR_NEVER.allowed


@pytest.mark.parametrize(
    ("text", "is_label"),
    [("main", True), ("release/1.0", True), ("a(_)b", False), ("", False), ("a,b", False), ("../x", False), (1, False)],
)
def test_a_label_is_one_name_as_it_is_written(text: object, is_label: bool) -> None:
    """`(_)` names a slash only in addresses, not in settings."""
    assert is_label == constraints.is_label(text)


# The texts for people.


def test_the_text_of_a_setting_is_what_it_was_made_with() -> None:
    assert Text("A plain one.", "More.", restart=True, example='"y"') == constraints.text_of(
        attrs.fields_dict(Section)["plain"]
    )


@pytest.mark.parametrize(
    ("name", "doc"), [("count", "A count."), ("word", "A word."), ("file", "A file."), ("served", "Patterns.")]
)
def test_each_kind_of_setting_keeps_its_text(name: str, doc: str) -> None:
    assert Text(doc) == constraints.text_of(attrs.fields_dict(Section)[name])


def test_a_field_without_a_text_has_an_empty_one_and_can_be_reloaded() -> None:
    text = constraints.text_of(attrs.fields_dict(Section)["untold"])

    assert ("", "", False, None) == (text.doc, text.more, text.restart, text.example)


def test_a_setting_without_a_constraint_has_no_rule() -> None:
    assert "rule" not in attrs.fields_dict(Section)["plain"].metadata
    assert {"text": Text("A section.")} == constraints.described(doc="A section.")


def test_a_misspelt_attribute_of_a_text_is_refused() -> None:
    with pytest.raises(TypeError, match="dok"):
        constraints.described(dok="A section.")
