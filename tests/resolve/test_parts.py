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
from vortexd.resolve.parts import Difference, Parts


def source(**values: Any) -> PropertySource:
    return PropertySource("", values, {})


def applied(found: Difference, *pieces: bytes) -> bytes | None:
    """The document after a change, whole, from the one before it."""
    result = found.applied(pieces)
    return None if result is None else b"".join(result)


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
    assert encode(new) == applied(found, encode(old))


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
    ("body", "is_found"),
    [
        ({"a": 1, "b": 1, "c": 1}, True),
        ({"a": 1, "b": 1, "c": {"b": 1}}, False),  # the text of the member occurs twice
        ({"b": 1, "c": [{"b": 1}]}, False),
        ({"a": '"b":1', "b": 1}, True),
        ({"b": 1}, True),
    ],
)
@pytest.mark.parametrize("new", [{"b": 2}, {"b": {"b": 1}}])
def test_a_difference_is_applied_to_the_text_of_a_document(
    body: dict[str, Any], is_found: bool, new: dict[str, Any]
) -> None:
    expected = encode({name: value for name, value in body.items() if name != "b"} | new)

    assert (expected if is_found else None) == applied(Difference({"b": 1}, new), encode(body))


@pytest.mark.parametrize("new", [{}, {"b": 1, "b.x": 2}, {"c": 1}])
def test_other_names_have_no_places_in_the_text(new: dict[str, Any]) -> None:
    assert applied(Difference({"b": 1}, new), b'{"a":1,"b":1}') is None


def test_a_new_text_that_holds_another_old_one_does_no_harm() -> None:
    found = Difference({"a": 1, "b": 1}, {"a": {"b": 1}, "b": 2})

    assert b'{"a":{"b":1},"b":2,"c":3}' == applied(found, b'{"a":1,"b":1,"c":3}')
    assert b'{"a":{"b":1},"b":2,"c":3}' == applied(found, b'{"a":1,', b'"b":1', b',"c":3}')


def test_a_text_that_occurs_in_two_pieces_has_no_place() -> None:
    found = Difference({"b": 1}, {"b": 2})

    assert applied(found, b"{", b'"a":{"b":1}', b",", b'"b":1', b"}") is None
    assert b'{"a":{"c":1},"b":2}' == applied(found, b"{", b'"a":{"c":1}', b",", b'"b":1', b"}")


def test_documents_share_the_new_texts() -> None:
    """A document that is one piece is cut around them. A piece with several members stays one."""
    found = Difference({"b": 1}, {"b": 22})
    one, other = found.applied((b'{"a":1,"b":1}',)), found.applied((b'{"b":1,"z":1}',))
    piece = b'"b":1,"c":1'
    first, second = found.applied((b"{", piece, b"}")), found.applied((b'{"a":3,', piece, b"}"))

    assert (b'{"a":1,', b'"b":22', b"}") == one
    assert (b"{", b'"b":22', b',"z":1}') == other
    assert one is not None
    assert other is not None
    assert one[1] is other[1]
    assert (b"{", b'"b":22,"c":1', b"}") == first
    assert first is not None
    assert second is not None
    assert first[1] is second[1]


def test_the_pieces_that_were_looked_at_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_KEPT", 2)
    found = Difference({"b": 1}, {"b": 2})

    for number in range(5):
        assert b'{"a":%d,"b":2}' % number == applied(found, b'{"a":%d,"b":1}' % number)
    assert len(found._pieces) <= 2


def test_nothing_differs_between_the_same_sources() -> None:
    same = source(a=1)
    found = Parts().difference([same], [same])

    assert found is not None
    assert found.is_none
    assert b'{"a":1}' == applied(found, b'{"a":1}')
    assert b"[]" == found.patch


# Whole documents.


def test_keys_that_read_the_same_file_share_its_text() -> None:
    kept, shared = Parts(), of({"logging.level": "info", "spring.name": "x", "own": 3})
    one = kept.document([of({"m.a": 1}), shared])
    other = kept.document([of({"b": 2}), shared])

    assert b'{"logging":{"level":"info"},"m":{"a":1},"own":3,"spring":{"name":"x"}}' == b"".join(one)
    assert b'{"b":2,"logging":{"level":"info"},"own":3,"spring":{"name":"x"}}' == b"".join(other)
    assert (
        b"{",
        b'"logging":{"level":"info"}',
        b",",
        b'"m":{"a":1}',
        b",",
        b'"own":3,"spring":{"name":"x"}',
        b"}",
    ) == one
    again = kept.document([of({"z": 2}), shared])
    assert again[1] is other[3]


def test_a_part_that_two_files_have_is_merged_from_both() -> None:
    kept, shared = Parts(), of({"a.x": 1, "a.y": 1, "b": 1})

    assert b'{"a":{"x":1,"y":2},"b":1}' == b"".join(kept.document([of({"a.y": 2}), shared]))
    assert b'{"a":{"x":3,"y":1},"b":1}' == b"".join(kept.document([of({"a.x": 3}), shared]))
    assert b'{"a":{"x":1,"y":1},"b":2}' == b"".join(kept.document([of({"b": 2}), shared]))


@pytest.mark.parametrize("sources", [[], [{}], [{}, {}]])
def test_a_document_without_values_is_empty(sources: list[dict[str, Any]]) -> None:
    assert (b"{}",) == Parts().document([of(values) for values in sources])


@pytest.mark.parametrize(("size", "is_whole"), [(20, False), (19, True), (18, True)])
def test_a_large_document_with_lists_is_merged_as_a_whole(
    size: int, is_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only then does the limit on the indexes that lists leave out count for all of it."""
    monkeypatch.setattr(parts, "MOST_BYTES", size)
    pieces = Parts().document([of({"a": "xxx"}), of({"b[0]": 1})])
    others = Parts().document([of({"a": "xxx"}), of({"b": 111})])

    assert b'{"a":"xxx","b":[1]}' == b"".join(pieces)
    assert is_whole == (len(pieces) == 1)
    assert 1 < len(others)


def test_the_error_of_a_document_is_the_one_of_the_whole() -> None:
    gaps = {f"a{number}[9999]": 1 for number in range(11)}
    with pytest.raises(ResolveError, match="a list index above 10000"):
        Parts().document([of(gaps), of({"z[10001]": 1})])
    with pytest.raises(ResolveError, match="leave out more than 100000 indexes"):
        Parts().document([of({f"a{number}[9999]": 1 for number in range(6)}), of({f"b{n}[9999]": 1 for n in range(6)})])


def test_merged_members_are_bounded_and_correct_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_KEPT", 2)
    kept, shared = Parts(), of({"s": 1})

    for number in range(5):
        assert b'{"a":%d,"s":1}' % number == b"".join(kept.document([of({"a": number}), shared]))
    assert len(kept._members) <= 2


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
    kept = Parts()
    pieces = kept.document(old)
    assert encode(before) == b"".join(pieces)
    assert encode(now) == b"".join(kept.document(new))
    for former in (pieces, (encode(before),)):
        assert applied(found, *former) in (None, encode(now))
    assert found.is_none == (encode(before) == encode(now))
    assert orjson.dumps(diff(before, now)) == found.patch


@given(
    LAYERS, st.lists(st.sampled_from(("m", "n", "zz", "\u00e9", "\U0001f600", "\uffff", "A")), max_size=4, unique=True)
)
def test_names_are_in_the_order_of_a_whole_document(layers: list[dict[str, Any]], names: list[str]) -> None:
    sources = [of(values) for values in layers] + [of({name: 1}) for name in names]

    assert encode(effective_document(sources)) == b"".join(Parts().document(sources))
