"""Parts of a document that are merged by themselves."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.diff import diff
from vortexd.core.errors import ResolveError
from vortexd.core.model import PropertySource, part_of
from vortexd.core.version import encode
from vortexd.resolve import parts
from vortexd.resolve.nest import effective_document
from vortexd.resolve.parts import Parts


def source(**values: Any) -> PropertySource:
    return PropertySource("", values, {})


def of(values: dict[str, Any]) -> PropertySource:
    return PropertySource("", values, {})


@pytest.mark.parametrize(
    ("key", "part"),
    [("a", "a"), ("a.b", "a"), ("a[0].b", "a"), ("a[x.y]", "a"), ("", ""), (".a", ""), ("[0]", ""), ("a..b", "a")],
)
def test_a_part_ends_at_the_first_dot_or_bracket(key: str, part: str) -> None:
    assert part == part_of(key)
    assert frozenset({part}) == of({key: 1}).parts


def test_only_the_names_of_changed_parts_differ() -> None:
    shared = of({"a.x": 1, "b": 1})
    found = Parts().difference([of({"a.y": 1, "c": 1}), shared], [of({"a.y": 2, "c": 1}), shared])

    assert found is not None
    assert {"a": {"x": 1, "y": 1}} == found.old
    assert {"a": {"x": 1, "y": 2}} == found.new


@pytest.mark.parametrize(
    ("old", "new"),
    [({"a": 1}, {"a": "1"}), ({"a": 1}, {"a": True}), ({"a": 1}, {"a": 1.0}), ({"a": 0.0}, {"a": -0.0})],
)
def test_types_count(old: dict[str, Any], new: dict[str, Any]) -> None:
    found = Parts().difference([of(old)], [of(new)])

    assert found is not None
    assert (old, new) == (found.old, found.new)
    assert not found.is_none
    assert encode(new) == found.applied(encode(old))


@pytest.mark.parametrize(
    ("old", "new", "is_none"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a.x": 1, "a.y": 2}, {"a.y": 2, "a.x": 1}, True),
        ({"a": 1, "a[0]": 2}, {"a[0]": 2, "a": 1}, False),  # within one source the later wins
    ],
)
def test_order_counts_only_where_it_decides(old: dict[str, Any], new: dict[str, Any], is_none: bool) -> None:
    found = Parts().difference([of(old)], [of(new)])

    assert found is not None
    assert is_none == found.is_none


def test_lists_of_other_lengths_cannot_be_compared() -> None:
    assert Parts().difference([source(a=1)], []) is None


def test_keys_that_read_the_same_files_share_one_difference() -> None:
    kept, old, new = Parts(), of({"s.a": 1}), of({"s.a": 2})
    first = kept.difference([of({"x": 1}), old], [of({"x": 2}), new])
    one, other = of({"y": 1}), of({"z": 1})
    second, third = (kept.difference([each, old], [each, new]) for each in (one, other))
    own = of({"s.b": 1})

    assert first is not second is third
    assert kept.difference([own, old], [own, new]) is not third


def test_the_same_sources_with_other_changes_have_another_difference() -> None:
    """Which parts have changed depends on which source has replaced which."""
    kept, a, b = Parts(), of({"p": 1, "q": 1}), of({"p": 1, "q": 2})
    x, y = of({"r": 1}), of({"r": 1})
    one = kept.difference([a], [b])
    other = kept.difference([a, x], [y, b])

    assert one is not None
    assert other is not None
    assert {"q": 1} == one.old
    assert {"p": 1, "q": 1, "r": 1} == other.old


def test_results_are_bounded_and_correct_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_KEPT", 2)
    kept = Parts()
    for number in range(5):
        found = kept.difference([of({"a": 0})], [of({"a": number + 1})])
        assert found is not None
        assert {"a": number + 1} == found.new
    assert len(kept._found) <= 2
    assert len(kept._changed) <= 2


def test_an_error_of_a_part_is_raised() -> None:
    with pytest.raises(ResolveError, match="list index"):
        Parts().difference([source(a=1)], [of({"a[10001]": 1})])


@pytest.mark.parametrize(
    "body",
    [
        {"a": 1, "b": 1, "c": 1},
        {"a": 1, "b": 1, "c": {"b": 1}},  # the text of the member occurs twice
        {"a": '"b":1', "b": 1},
        {"b": 1},
    ],
)
@pytest.mark.parametrize("new", [{"b": 2}, {"b": {"b": 1}}, {}, {"b": 1, "b.x": 2}])
def test_a_difference_is_applied_to_the_text_of_a_document(body: dict[str, Any], new: dict[str, Any]) -> None:
    found = parts.Difference({"b": 1}, new)

    assert encode({name: value for name, value in body.items() if name != "b"} | new) == found.applied(encode(body))


def test_a_new_text_that_holds_another_old_one_does_no_harm() -> None:
    found = parts.Difference({"a": 1, "b": 1}, {"a": {"b": 1}, "b": 2})

    assert b'{"a":{"b":1},"b":2,"c":3}' == found.applied(b'{"a":1,"b":1,"c":3}')


def test_nothing_differs_between_the_same_sources() -> None:
    same = source(a=1)
    found = Parts().difference([same], [same])

    assert found is not None
    assert found.is_none
    assert b'{"a":1}' == found.applied(b'{"a":1}')
    assert b"[]" == found.patch


NAMES = st.sampled_from(
    ("a", "b", "a.b", "a[0]", "a[1]", "a[0].b", "a.b.c", ".a", "[0]", "a[", "a..b", "b[x]", "b[0].c")
)
LAYERS = st.lists(st.dictionaries(NAMES, st.sampled_from((1, 2, "1", True, None))), min_size=1, max_size=3)


@given(LAYERS, st.integers(0, 2), st.dictionaries(NAMES, st.sampled_from((1, 2, 1.0, "1", None))))
def test_a_difference_and_its_patch_lead_to_the_whole_document(
    layers: list[dict[str, Any]], at: int, changed: dict[str, Any]
) -> None:
    old = [of(values) for values in layers]
    new = [*old]
    new[at % len(new)] = of(changed)
    before, now = effective_document(old), effective_document(new)
    found = Parts().difference(old, new)

    assert found is not None
    assert encode(now) == found.applied(encode(before))
    assert found.is_none == (encode(before) == encode(now))
    assert orjson.dumps(diff(before, now)) == found.patch
