"""Patches are applied here with jsonpatch, and compared byte for byte: 0.0 and -0.0, 1 and 1.0 and true are different bytes."""

import copy
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import jsonpatch
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vortexd.core import diff as diff_module
from vortexd.core.alignment import Alignment
from vortexd.core.diff import diff, is_same, patch_between, steps
from vortexd.core.effort import Effort
from vortexd.core.model import Config, Json, Key
from vortexd.core.version import encode, version_of

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
    return Config(Key("app", "dev", "main"), version_of(body), body, ())


def applied(old: dict[str, Any], operations: list[dict[str, Any]]) -> bytes:
    wire = orjson.loads(orjson.dumps(operations))
    return encode(jsonpatch.JsonPatch(wire).apply(orjson.loads(encode(old))))


@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(old=DOCUMENTS, new=DOCUMENTS)
def test_R21_the_patch_leads_to_the_new_document_exactly(old: dict[str, Any], new: dict[str, Any]) -> None:
    operations = diff(old, new)

    assert encode(new) == applied(old, operations)
    assert operations == diff(old, new)
    assert (encode(old) == encode(new)) == (operations == [])


def edit(data: st.DataObject, value: Any, elements: st.SearchStrategy[Any]) -> Any:
    """A value with something else in it."""
    if isinstance(value, dict) and value:
        name = data.draw(st.sampled_from(sorted(value)))
        return {**value, name: edit(data, value[name], elements)}
    if isinstance(value, list) and value:
        return edited_list(data, value, elements)
    return data.draw(elements)


def edited_list(data: st.DataObject, old: list[Any], elements: st.SearchStrategy[Any]) -> list[Any]:
    """A list after a few edits: elements that come, go, move, come twice, and become others."""
    new = list(old)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(new) - 1, 0)))
        match data.draw(st.sampled_from(["insert", "remove", "move", "repeat", "change"])):
            case "insert":
                new.insert(at, data.draw(elements))
            case "remove" if new:
                new.pop(at)
            case "move" if new:
                value = new.pop(at)
                new.insert(data.draw(st.integers(0, len(new))), value)
            case "repeat" if new:
                new.insert(data.draw(st.integers(0, len(new))), new[at])
            case "change" if new:
                new[at] = edit(data, new[at], elements)
    return new


@settings(max_examples=examples(200), deadline=None)
@given(data=st.data(), old=st.lists(SCALARS, max_size=12))
def test_R21_an_edited_list_is_led_to_exactly(data: st.DataObject, old: list[Any]) -> None:
    new = edited_list(data, old, SCALARS)

    assert encode({"list": new}) == applied({"list": old}, diff({"list": old}, {"list": new}))


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), old=st.lists(VALUES, max_size=12))
def test_R21_a_list_with_edits_within_its_elements_is_led_to_exactly(data: st.DataObject, old: list[Any]) -> None:
    new = edited_list(data, old, VALUES)
    operations = diff({"list": old}, {"list": new})

    assert encode({"list": new}) == applied({"list": old}, operations)
    assert (encode(old) == encode(new)) == (operations == [])


@settings(max_examples=examples(200), deadline=None)
@given(old=st.lists(st.sampled_from("abcdefgh"), max_size=40), new=st.permutations("aabbcdefghhhij"))
def test_R21_elements_that_move_between_repeated_ones_are_led_to_exactly(old: list[str], new: list[str]) -> None:
    # Long, so that a move pays.
    before: list[Json] = [text * 40 for text in old]
    after: list[Json] = [text * 40 for text in new]

    assert encode({"list": after}) == applied({"list": before}, diff({"list": before}, {"list": after}))


@settings(max_examples=examples(200), deadline=None)
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


LONG: list[Json] = list(range(5_000))


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
def test_M18_one_edit_in_a_long_list_is_one_operation(change: str, operation: dict[str, Any]) -> None:
    assert [operation] == diff({"l": LONG}, {"l": edited(change)})


def test_two_distant_changes_in_a_long_list_are_two_operations() -> None:
    new = [*LONG]
    new[3] = new[4_000] = -1

    assert [
        {"op": "replace", "path": "/l/3", "value": -1},
        {"op": "replace", "path": "/l/4000", "value": -1},
    ] == diff({"l": LONG}, {"l": new})


def test_distant_edits_of_every_kind_in_a_long_list_are_as_many_operations() -> None:
    new: list[Any] = [*LONG]
    new[4_500] = "changed"
    new.insert(4_000, "new")
    new.insert(3_500, new.pop(3_000))
    del new[2_000]
    del new[1_000]

    assert [
        {"op": "remove", "path": "/l/2000"},
        {"op": "remove", "path": "/l/1000"},
        {"op": "move", "from": "/l/2998", "path": "/l/3498"},
        {"op": "add", "path": "/l/3998", "value": "new"},
        {"op": "replace", "path": "/l/4499", "value": "changed"},
    ] == diff({"l": LONG}, {"l": new})


def package(number: int, **more: Any) -> dict[str, Any]:
    """An element such as lock files have."""
    return {
        "name": f"package-{number}",
        "version": f"1.{number % 100}.0",
        "resolved": f"https://packages.example/{number}.tgz",
        "dependencies": {"left": f"^{number % 9}.0.0", "right": "^2.0.0"},
        "os": ["linux", "darwin"],
        **more,
    }


PACKAGES: list[Any] = [package(number) for number in range(500)]


def test_an_edited_element_of_a_long_list_is_a_patch_within_it() -> None:
    new = copy.deepcopy(PACKAGES)
    new[3]["dependencies"]["left"] = "^99.0.0"
    new[400]["os"].insert(0, "win32")

    assert [
        {"op": "replace", "path": "/l/3/dependencies/left", "value": "^99.0.0"},
        {"op": "add", "path": "/l/400/os/0", "value": "win32"},
    ] == diff({"l": PACKAGES}, {"l": new})


def test_an_edited_element_that_moved_is_a_move_and_a_patch_within_it() -> None:
    new = copy.deepcopy(PACKAGES)
    new[100]["version"] = "2.0.0"
    new.insert(50, new.pop(100))

    assert [
        {"op": "move", "from": "/l/100", "path": "/l/50"},
        {"op": "replace", "path": "/l/50/version", "value": "2.0.0"},
    ] == diff({"l": PACKAGES}, {"l": new})


def test_elements_that_move_over_each_other_are_a_move_each() -> None:
    new = copy.deepcopy(PACKAGES)
    for source, target in ((10, 400), (30, 20), (300, 5), (200, 450), (480, 0)):
        new.insert(target, new.pop(source))
    operations = diff({"l": PACKAGES}, {"l": new})

    assert ["move"] * 5 == [operation["op"] for operation in operations]
    assert encode({"l": new}) == applied({"l": PACKAGES}, operations)


def test_an_element_that_is_another_one_is_replaced_and_not_edited() -> None:
    new: list[Any] = copy.deepcopy(PACKAGES)
    new[7] = {"alpha": 1, "beta": 2}

    assert [{"op": "replace", "path": "/l/7", "value": {"alpha": 1, "beta": 2}}] == diff({"l": PACKAGES}, {"l": new})


# A list as a whole.


@pytest.mark.parametrize("longer", [127, 128, 129, 130])
def test_edits_of_a_list_may_be_longer_than_the_list_by_128_bytes(longer: int) -> None:
    """Three replacements of one letter each take 127 bytes around what is in the list, too."""
    edits = [{"op": "replace", "path": f"/list/{index}", "value": "b"} for index in range(4)]
    stays = "x" * (len(orjson.dumps(edits)) - len(orjson.dumps(["b", "b", "b", "b", ""])) - longer)
    old: dict[str, Json] = {"list": [*"aaaa", stays]}
    new: dict[str, Json] = {"list": [*"bbbb", stays]}
    whole = [{"op": "replace", "path": "/list", "value": new["list"]}]

    assert longer == len(orjson.dumps(edits)) - len(orjson.dumps(new["list"]))
    assert diff(old, new) == (edits if longer <= 128 else whole)


def element_of(text: str, stays: str) -> dict[str, Json]:
    return {**dict.fromkeys("abcd", text), "e": stays}


@pytest.mark.parametrize("longer", [127, 128, 129, 130])
def test_edits_of_an_element_may_be_longer_than_the_element_by_128_bytes(longer: int) -> None:
    edits = [{"op": "replace", "path": f"/list/1/{name}", "value": "b"} for name in "abcd"]
    element = dict.fromkeys("abcd", "b")
    stays = "x" * (len(orjson.dumps(edits)) - len(orjson.dumps({**element, "e": ""})) - longer)
    old, new = (element_of(text, stays) for text in "ab")
    whole = [{"op": "replace", "path": "/list/1", "value": new}]

    assert diff({"list": [0, old, 9]}, {"list": [0, new, 9]}) == (edits if longer <= 128 else whole)


@pytest.mark.parametrize(
    "new",
    [[*range(5_000, 10_000)], [*range(5_000, 0, -1)], Random(1).sample(range(5_000), 5_000), [*range(0, 5_000, 2)], []],
    ids=["others", "turned", "shuffled", "half", "none"],
)
def test_M18_a_list_that_changed_everywhere_is_replaced(new: list[Json]) -> None:
    assert [{"op": "replace", "path": "/l", "value": new}] == diff({"l": LONG}, {"l": new})


def test_a_list_from_nothing_is_one_operation() -> None:
    assert [{"op": "replace", "path": "/l", "value": LONG}] == diff({"l": []}, {"l": LONG})


def test_more_edits_than_can_be_afforded_replace_the_list() -> None:
    new: list[Json] = [package(number, version="9") for number in range(3_000)]
    old: list[Json] = [package(number) for number in range(3_000)]

    assert [{"op": "replace", "path": "/l", "value": new}] == diff({"l": old}, {"l": new})


def test_a_list_that_takes_too_much_leaves_enough_for_others() -> None:
    old: list[Json] = [package(number) for number in range(3_000)]
    new: list[Json] = [package(number, version="9") for number in range(3_000)]
    few = copy.deepcopy(PACKAGES)
    few[3]["version"] = few[400]["version"] = "9"
    operations = diff({"a": old, "b": PACKAGES}, {"a": new, "b": few})

    assert ["/a", "/b/3/version", "/b/400/version"] == [operation["path"] for operation in operations]


def test_equal_lists_are_no_operation_where_nothing_is_looked_into_any_more() -> None:
    old: Any = {"a": 1}
    new: Any = {"a": 2}
    for number in range(40):
        old, new = ({"l": [number, value, 0], "same": [1, 2, 3]} for value in (old, new))
    (operation,) = diff(old, new)

    assert "/l/1" * 16 + "/l" == operation["path"]
    assert encode(new) == applied(old, [operation])


def test_many_lists_beside_each_other_are_not_within_each_other() -> None:
    old: dict[str, Json] = {f"{number:02}": [0, 1, 2, 3] for number in range(40)}
    new: dict[str, Json] = {name: [4, 1, 2, 5] for name in old}

    assert [f"/{name}/{index}" for name in old for index in (0, 3)] == [each["path"] for each in diff(old, new)]


def test_an_element_that_is_in_its_place_once_others_have_moved_is_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = Alignment(0, [1, 2], [2, 1], moved=((1, 0), (0, 1)))
    monkeypatch.setattr(diff_module, "align", lambda old, new, effort: moved)

    assert [{"op": "move", "from": "/l/1", "path": "/l/0"}] == diff({"l": [1, 2]}, {"l": [2, 1]})


@pytest.mark.parametrize("length", [100, 300, 1_500])
@pytest.mark.parametrize("seed", range(8))
def test_R21_long_lists_of_every_kind_are_led_to_exactly(length: int, seed: int) -> None:
    random = Random(seed)
    kinds: list[Callable[[int], Any]] = [
        lambda number: number,
        lambda number: random.choice([True, False, 0, 1, 1.0]),
        lambda number: random.choice("ab") * 50,
        lambda number: package(number),
        lambda number: [number, [random.randrange(3)] * 3],
    ]
    make = kinds[seed % len(kinds)]
    old = [make(number) for number in range(length)]
    new = copy.deepcopy(old)
    for number in range(random.choice([2, 20, length // 5])):
        at = random.randrange(len(new))
        match random.randrange(4):
            case 0:
                new.insert(at, make(length + number))
            case 1:
                del new[at]
            case 2:
                new.insert(random.randrange(len(new)), new.pop(at))
            case 3:
                new[at] = make(length + number)

    assert encode({"l": new}) == applied({"l": old}, diff({"l": old}, {"l": new}))


# The size beside that of jsonpatch, which takes as long as it takes.


def histories() -> list[tuple[str, list[Any], list[Any]]]:
    """Lists such as there are, before and after edits such as there are."""
    catalogue: list[dict[str, Any]] = [
        {"title": f"Schema {number}", "url": f"https://schemas.example/{number}.json", "files": [f"*.s{number}"]}
        for number in range(1_400)
    ]
    edited_catalogue = copy.deepcopy(catalogue)
    edited_catalogue[100]["url"] += "?v=2"
    edited_catalogue[1_300]["files"].append("*.more")
    packages = copy.deepcopy(PACKAGES)
    for number in (30, 31, 32, 200, 390):
        packages[number] |= {"version": "9.9.9", "resolved": "https://packages.example/new.tgz"}
    packages.insert(150, package(1_000))
    packages.insert(300, package(1_001))
    del packages[410]
    hosts = [f"host-{number}.example" for number in range(800)]
    edited_hosts = [*hosts[400:405], *hosts[:400], *hosts[405:]]
    edited_hosts[700] = "other.example"
    return [
        ("catalogue", catalogue, edited_catalogue),
        ("packages", PACKAGES, packages),
        ("hosts", hosts, edited_hosts),
    ]


@pytest.mark.parametrize(("old", "new"), [each[1:] for each in histories()], ids=[each[0] for each in histories()])
def test_patches_of_long_lists_are_no_longer_than_those_of_jsonpatch(old: list[Any], new: list[Any]) -> None:
    ours, theirs = diff({"l": old}, {"l": new}), jsonpatch.make_patch({"l": old}, {"l": new}).patch

    assert encode({"l": new}) == applied({"l": old}, ours)
    assert len(orjson.dumps(ours)) <= len(orjson.dumps(theirs))
    assert len(orjson.dumps(ours)) < len(orjson.dumps(new)) / 20


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), old=st.lists(st.builds(package, st.integers(0, 10**6)), max_size=10))
def test_patches_of_short_lists_are_not_twice_as_long_as_those_of_jsonpatch(
    data: st.DataObject, old: list[Any]
) -> None:
    new = edited_list(data, old, st.builds(package, st.integers(0, 10**6)))
    ours, theirs = diff({"l": old}, {"l": new}), jsonpatch.make_patch({"l": old}, {"l": new}).patch

    assert len(orjson.dumps(ours)) <= 2 * len(orjson.dumps(theirs))


# The time, as the number of calls: it doesn't depend on the machine. A call takes about a tenth of a microsecond.


def calls(work: Callable[[], object]) -> int:
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def ten_thousand(make: Callable[[int], Any], start: int = 0) -> list[Any]:
    return [make(number) for number in range(start, start + 10_000)]


NUMBERS = ten_thousand(int)
MANY = ten_thousand(package)


def pieces(elements: list[Any], length: int) -> tuple[list[Any], list[Any]]:
    """Lists of so many elements, and the same turned round."""
    lists = [elements[at : at + length] for at in range(0, len(elements), length)]
    return lists, [each[::-1] for each in lists]


def numbered(*sides: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Each list as an object whose names are the indices."""
    old, new = ({str(at): each for at, each in enumerate(side)} for side in sides)
    return old, new


WORST: list[tuple[str, Any, Any]] = [
    ("equal", NUMBERS, [*NUMBERS]),
    ("all different", NUMBERS, ten_thousand(int, 10_000)),
    ("reversed", NUMBERS, NUMBERS[::-1]),
    ("shuffled", NUMBERS, Random(1).sample(NUMBERS, 10_000)),
    ("other types", NUMBERS, [float(number) for number in NUMBERS]),
    ("repeated", ten_thousand(lambda number: number * number % 7), ten_thousand(lambda number: number**3 % 11)),
    ("two values", ten_thousand(lambda number: Random(number).random() < 0.5), ten_thousand(lambda n: n % 3 == 0)),
    ("blocks", [0] * 5_000 + [1] * 5_000, [1] * 5_000 + [0] * 5_000),
    ("objects equal", MANY, copy.deepcopy(MANY)),
    ("objects all different", MANY, ten_thousand(package, 10_000)),
    ("objects reversed", MANY, MANY[::-1]),
    ("objects shuffled", MANY, Random(1).sample(MANY, 10_000)),
    ("objects all edited", MANY, [{**each, "version": "9"} for each in MANY]),
    (
        "objects edited here and there",
        MANY,
        [{**each, "on": True} if n % 11 == 0 else each for n, each in enumerate(MANY)],
    ),
    ("many lists", *pieces(NUMBERS, 10)),
    ("many lists of objects", *pieces(MANY, 100)),
    ("many lists in an object", *numbered(*pieces(NUMBERS, 10))),
]


@pytest.mark.parametrize(("old", "new"), [each[1:] for each in WORST], ids=[each[0] for each in WORST])
def test_a_diff_of_ten_thousand_elements_takes_a_bounded_number_of_calls(old: Any, new: Any) -> None:
    assert calls(lambda: diff({"l": old}, {"l": new})) < 200_000


def nested(depth: int, wrap: Callable[[int, Any], Any], value: Any) -> Any:
    for level in range(depth):
        value = wrap(level, value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda level, value: [value],
        lambda level, value: [level, value, *MANY[:150], level],
        lambda level, value: [*MANY[:150], value, 1],
        lambda level, value: [{"n": level}, value, {"v": value if level < 2 else 0}],
        lambda level, value: [{"name of a member, which makes paths long": value}],
    ],
)
def test_lists_within_lists_are_gone_over_a_bounded_number_of_times(
    wrap: Callable[[int, Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    class Counting(Effort):
        def read(self, count: int) -> None:
            counts.append(count)
            super().read(count)

    monkeypatch.setattr(diff_module, "Effort", Counting)
    old, new = ({"l": nested(60, wrap, value)} for value in (MANY[:1_000], MANY[1_000:0:-1]))
    operations = diff(old, new)

    assert encode(new) == applied(old, operations)
    assert sum(counts) < 8 * (len(encode(old)) + len(encode(new)))
    assert len(counts) < 200


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


def test_a_short_patch_is_compact_json() -> None:
    old, new = config({"a": 1, "b": "x" * 100}), config({"a": 2, "b": "x" * 100})

    assert b'[{"op":"replace","path":"/a","value":2}]' == patch_between(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [({}, {"a": 1}), ({"a": 1}, {}), ({"a": 1, "b": 1}, {"a": 2, "b": 1}), ({"a": [1]}, {"b": {"c": 1}})],
)
def test_a_change_of_a_tiny_document_is_a_patch(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert orjson.dumps(diff(old, new)) == patch_between(config(old), config(new))


def test_a_patch_may_be_longer_than_the_document_by_4096_bytes() -> None:
    """One byte makes the difference."""
    old: dict[str, Json] = {f"name{index}": 0 for index in range(100)}
    new: dict[str, Json] = {"a": ""}
    filling = 4_096 - (len(orjson.dumps(diff(old, new))) - len(encode(new)))
    patches = {}
    for size in (filling, filling + 1):
        # A name that is removed is only in the patch.
        before: dict[str, Json] = {**old, "x" * (size - len('{"op":"remove","path":"/"},')): 0}
        patches[size] = patch_between(config(before), config(new))
        assert len(orjson.dumps(diff(before, new))) == len(encode(new)) + 4_096 + size - filling

    assert patches[filling] is not None
    assert patches[filling + 1] is None
