"""Patches are applied here with jsonpatch, and compared byte for byte: 0.0 and -0.0, 1 and 1.0 and true are different bytes."""

from types import SimpleNamespace
from typing import Any

import jsonpatch
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vortexd import diff as diff_module
from vortexd.diff import MAX_LIST_LENGTH, diff, is_same, patch_between, steps
from vortexd.model import Config, Key
from vortexd.version import encode, version_of

NAMES = st.sampled_from(["", "a", "b", "/", "~", "~1", "~0", "a/b", "0", "-", "é", "\U0001f600", "a.b[0]"]) | st.text(
    max_size=3
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e300])
    | st.sampled_from(["", "1", "true", "null", "1.0"])
    | st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=25
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=6)


def config(document: dict[str, Any]) -> Config:
    body = encode(document)
    return Config(Key("app", "dev", "main"), version_of(body), document, body, ())


def applied(old: dict[str, Any], operations: list[dict[str, Any]]) -> bytes:
    wire = orjson.loads(orjson.dumps(operations))
    return encode(jsonpatch.JsonPatch(wire).apply(orjson.loads(encode(old))))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(old=DOCUMENTS, new=DOCUMENTS)
def test_R21_the_patch_leads_to_the_new_document_exactly(old: dict[str, Any], new: dict[str, Any]) -> None:
    operations = diff(old, new)

    assert encode(new) == applied(old, operations)
    assert operations == diff(old, new)
    assert (encode(old) == encode(new)) == (operations == [])


@settings(max_examples=200, deadline=None)
@given(data=st.data(), old=st.lists(SCALARS, max_size=12))
def test_R21_an_edited_list_is_led_to_exactly(data: st.DataObject, old: list[Any]) -> None:
    new = list(old)
    for _ in range(data.draw(st.integers(1, 4))):
        match data.draw(st.sampled_from(["insert", "remove", "move", "change"])):
            case "insert":
                new.insert(data.draw(st.integers(0, len(new))), data.draw(SCALARS))
            case "remove" if new:
                new.pop(data.draw(st.integers(0, len(new) - 1)))
            case "move" if new:
                value = new.pop(data.draw(st.integers(0, len(new) - 1)))
                new.insert(data.draw(st.integers(0, len(new))), value)
            case "change" if new:
                new[data.draw(st.integers(0, len(new) - 1))] = data.draw(SCALARS)

    assert encode({"list": new}) == applied({"list": old}, diff({"list": old}, {"list": new}))


@settings(max_examples=200, deadline=None)
@given(old=DOCUMENTS, new=DOCUMENTS)
def test_M19_operations_hold_new_values_only(old: dict[str, Any], new: dict[str, Any]) -> None:
    for operation in diff(old, new):
        members = {"add": {"value"}, "replace": {"value"}, "remove": set(), "move": {"from"}}[str(operation["op"])]

        assert {"op", "path"} | members == operation.keys()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": "SECRET", "b": 1}, {"b": 1}),
        ({"a": "SECRET"}, {"a": "x"}),
        ({"a": ["x", "SECRET", "y"]}, {"a": ["x", "y"]}),
        ({"a": ["SECRET", 1, 2, 3]}, {"a": [3, 2, 1]}),
        ({"a": [{"b": "SECRET", "c": 1}, {"d": 1}]}, {"a": [{"c": 2}, {"d": 2}]}),
        ({"a": {"b": {"c": "SECRET"}}}, {"a": {"b": None}}),
    ],
)
def test_M19_a_removed_secret_is_nowhere_in_the_patch(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert b"SECRET" not in orjson.dumps(diff(old, new))


FIVE = [1, 1.0, True, "1", None]


@pytest.mark.parametrize("new", FIVE)
@pytest.mark.parametrize("old", FIVE)
def test_M18_types_count(old: Any, new: Any) -> None:
    expected = [] if old is new else [{"op": "replace", "path": "/a", "value": new}]

    assert encode({"operations": expected}) == encode({"operations": diff({"a": old}, {"a": new})})
    assert (old is new) == is_same(old, new)
    assert (old is new) == is_same({"a": [old]}, {"a": [new]})


def test_a_change_of_sign_alone_is_a_change() -> None:
    """The two have different versions, so the patch between them mustn't be empty."""
    operations = diff({"a": 0.0, "b": [0.0, 1]}, {"a": -0.0, "b": [-0.0, 1]})

    assert ["/a", "/b/0"] == [operation["path"] for operation in operations]
    assert encode({"a": -0.0, "b": [-0.0, 1]}) == applied({"a": 0.0, "b": [0.0, 1]}, operations)


def test_M18_names_are_escaped_and_in_order() -> None:
    old: dict[str, Any] = {"a/b": {"~": 1}, "": {"": 1}, "~1": 0}
    new: dict[str, Any] = {"a/b": {"~": 2}, "": {"": 2}, "ü": 1}

    assert [
        {"op": "replace", "path": "//", "value": 2},
        {"op": "replace", "path": "/a~1b/~0", "value": 2},
        {"op": "remove", "path": "/~01"},
        {"op": "add", "path": "/ü", "value": 1},
    ] == diff(old, new)


LONG = list(range(5_000))


def edited(change: str) -> list[Any]:
    new: list[Any] = list(LONG)
    match change:
        case "insert":
            new.insert(2_500, "x")
        case "remove":
            del new[2_500]
        case "move":
            new.insert(2_600, new.pop(2_500))
        case "change":
            new[2_500] = "x"
    return new


@pytest.mark.parametrize(
    ("change", "operation"),
    [
        ("insert", {"op": "add", "path": "/l/2500", "value": "x"}),
        ("remove", {"op": "remove", "path": "/l/2500"}),
        ("move", {"op": "move", "from": "/l/2500", "path": "/l/2600"}),
        ("change", {"op": "replace", "path": "/l/2500", "value": "x"}),
    ],
)
def test_M18_one_edit_in_a_long_list_is_one_operation(
    change: str, operation: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And jsonpatch, which is slow on lists, sees only what changed: never more than the way of the move."""
    lengths = []
    make = diff_module.jsonpatch.make_patch

    def measured(old: list[Any], new: list[Any]) -> Any:
        lengths.append(max(len(old), len(new)))
        return make(old, new)

    monkeypatch.setattr(diff_module.jsonpatch, "make_patch", measured)

    assert [operation] == diff({"l": LONG}, {"l": edited(change)})
    assert all(length <= 101 for length in lengths)


def test_two_distant_changes_in_a_long_list_are_two_operations() -> None:
    new = [*LONG]
    new[3] = new[4_000] = -1

    assert [
        {"op": "replace", "path": "/l/3", "value": -1},
        {"op": "replace", "path": "/l/4000", "value": -1},
    ] == diff({"l": LONG}, {"l": new})


@pytest.mark.parametrize(
    "new",
    [[-1, *range(1, MAX_LIST_LENGTH + 10), -2, -3], [*range(MAX_LIST_LENGTH + 50, 0, -1)]],
    ids=["longer", "turned"],
)
def test_M18_a_list_that_changed_beyond_the_bound_is_replaced(new: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    old = list(range(MAX_LIST_LENGTH + 50))
    monkeypatch.setattr(diff_module.jsonpatch, "make_patch", None)

    assert [{"op": "replace", "path": "/l", "value": new}] == diff({"l": old}, {"l": new})


@pytest.mark.parametrize("path", ["/0", "/9", "0"], ids=["leads elsewhere", "no such place", "no pointer"])
def test_a_patch_of_a_list_that_fails_its_proof_is_not_used(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = SimpleNamespace(patch=[{"op": "remove", "path": path}])
    monkeypatch.setattr(diff_module.jsonpatch, "make_patch", lambda old, new: wrong)
    old, new = {"l": [1, 2, 3]}, {"l": [3, 1]}

    assert [{"op": "replace", "path": "/l", "value": [3, 1]}] == diff(old, new)


@given(old=DOCUMENTS, new=DOCUMENTS)
def test_each_step_knows_what_it_takes_away(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = encode([old, new])
    made = steps(old, new)
    state = orjson.loads(encode(old))
    for step in made:
        operation = orjson.loads(orjson.dumps(step.operation))
        if operation["op"] != "add":
            place = operation.get("from", operation["path"])
            assert is_same(jsonpatch.JsonPointer(place).resolve(state), step.old)
        state = jsonpatch.apply_patch(state, [operation], in_place=True)

    assert [step.operation for step in made] == diff(old, new)
    assert before == encode([old, new])


def test_a_patch_that_is_no_shorter_than_the_document_is_none() -> None:
    old, new = config({f"name{index}": 0 for index in range(20)}), config({"a": 1})

    assert patch_between(old, new) is None


def test_a_short_patch_is_compact_json() -> None:
    old, new = config({"a": 1, "b": "x" * 100}), config({"a": 2, "b": "x" * 100})

    assert b'[{"op":"replace","path":"/a","value":2}]' == patch_between(old, new)


def test_a_patch_as_long_as_the_document_is_none() -> None:
    """One byte makes the difference."""
    old = config({"a": 1, "b": ""})
    patch = b'[{"op":"replace","path":"/a","value":2}]'
    filling = len(patch) - len(encode({"a": 2, "b": ""}))
    equal, longer = (
        (config({"a": 1, "b": "x" * size}), config({"a": 2, "b": "x" * size})) for size in (filling, filling + 1)
    )

    assert len(patch) == len(equal[1].body)
    assert patch_between(*equal) is None
    assert patch == patch_between(*longer)
    assert old.version != equal[0].version
