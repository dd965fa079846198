from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.client.replica import OutOfSync, Replica, version_of
from vortexd.core import version
from vortexd.core.generation import Generation

OLD, NEW = {"a": 1, "b": {"c": "x"}}, {"a": 1.0, "b": {"c": "y"}}
CHANGE = {
    "type": "config_change",
    "old_version": version_of(OLD),
    "new_version": version_of(NEW),
    "diff": [{"op": "replace", "path": "/a", "value": 1.0}, {"op": "replace", "path": "/b/c", "value": "y"}],
}


def replica() -> Replica:
    held = Replica()
    assert held.receive({"type": "config_snapshot", "version": version_of(OLD), "config": OLD})
    return held


def test_versions_are_those_of_the_server() -> None:
    assert version.version_of(version.encode(NEW)) == version_of(NEW)


def test_a_change_is_applied_once_and_leaves_the_former_document_alone() -> None:
    held = replica()
    former = held.document
    assert held.receive(CHANGE)
    assert (version_of(NEW), NEW) == (held.version, held.document)
    assert {"a": 1, "b": {"c": "x"}} == former
    assert not held.receive(CHANGE)


@pytest.mark.parametrize(
    "message",
    [
        CHANGE | {"old_version": "0" * 16},
        CHANGE | {"new_version": "0" * 16},
        CHANGE | {"diff": [{"op": "remove", "path": "/nowhere"}]},
        {"type": "in_sync", "version": "0" * 16},
        {"type": "config_snapshot", "version": "0" * 16, "config": {}},
    ],
)
def test_what_does_not_lead_to_its_version_is_refused_and_changes_nothing(message: dict[str, object]) -> None:
    held = replica()
    with pytest.raises(OutOfSync):
        held.receive(message)
    assert (version_of(OLD), OLD) == (held.version, held.document)


@pytest.mark.parametrize("old_version", [version_of(OLD), "0" * 16, None])
def test_a_removed_key_has_no_document_whatever_it_had(old_version: str | None) -> None:
    held = replica()
    assert held.receive({"type": "config_removed", "old_version": old_version})
    assert (None, None) == (held.version, held.document)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "config_snapshot"},
        {"type": "config_snapshot", "config": {}},
        {"type": "config_snapshot", "config": {"a": 2**70}, "version": "x"},
        {"type": "config_snapshot", "config": [], "version": version_of([])},
        {"type": "config_change", "new_version": "x"},
        {"type": "config_change", "new_version": "x", "old_version": version_of({"a": 1}), "diff": 7},
        {"type": "in_sync"},
    ],
)
def test_a_message_that_is_not_whole_changes_nothing(message: dict[str, object]) -> None:
    replica = Replica()
    replica.receive({"type": "config_snapshot", "config": {"a": 1}, "version": version_of({"a": 1})})

    with pytest.raises(OutOfSync):
        replica.receive(message)
    assert ({"a": 1}, version_of({"a": 1})) == (replica.document, replica.version)


def test_a_message_without_a_type_is_ignored() -> None:
    assert not Replica().receive({})


def changing(*diff: object) -> dict[str, object]:
    return {**CHANGE, "diff": list(diff)}


@pytest.mark.parametrize(
    "message",
    [
        changing(*[{"op": "copy", "from": "", "path": "/x"}] * 17),
        changing({"op": "add", "path": "/x", "value": "y" * 2**20}, *[{"op": "copy", "from": "", "path": "/x"}] * 16),
        changing({"op": "copy", "from": "/a", "path": "/x"}),
        {"type": "config_snapshot", "version": "0" * 16, "config": {"a": [[]] * 10}},
    ],
)
def test_a_small_patch_makes_no_large_document(message: dict[str, object]) -> None:
    held = replica()
    with pytest.raises(OutOfSync):
        held.receive(message)
    assert OLD == held.document


def test_a_patch_that_copies_within_reason_is_applied() -> None:
    held, new = replica(), OLD | {"x": 1}
    copy = {"op": "copy", "from": "/a", "path": "/x"}
    assert held.receive(CHANGE | {"new_version": version_of(new), "diff": [copy]})
    assert new == held.document


def test_nesting_beyond_the_stack_is_refused() -> None:
    nested: object = 1
    for _ in range(900):
        nested = {"n": nested}
    with pytest.raises(OutOfSync):
        replica().receive(
            changing({"op": "add", "path": "/x", "value": nested}, {"op": "test", "path": "/x", "value": 1})
        )


# Generations.

SNAPSHOT = {"type": "config_snapshot", "version": version_of(OLD), "config": OLD}
IN_SYNC = {"type": "in_sync", "version": version_of(OLD)}
REMOVED = {"type": "config_removed", "old_version": version_of(OLD)}


def at(generation: str | None) -> Replica:
    """A replica of OLD, at a generation."""
    return Replica(version_of(OLD), OLD, Generation.parse(generation) if generation else None)


def generation_after(held: Replica, message: Mapping[str, object]) -> str | None:
    held.receive(message)
    return None if held.generation is None else str(held.generation)


def test_at_first_no_generation_is_known() -> None:
    assert Replica().generation is None
    assert Generation("a", 7) == Replica(version_of(OLD), OLD, Generation("a", 7)).generation


@pytest.mark.parametrize("message", [SNAPSHOT, CHANGE, CHANGE | {"new_version": version_of(OLD)}])
@pytest.mark.parametrize(
    ("held", "named", "kept"),
    [
        (None, "a.7", "a.7"),
        ("a.7", "a.8", "a.8"),
        ("a.7", "a.6", "a.6"),
        ("a.7", "b.1", "b.1"),
        ("a.7", None, None),
        ("a.7", "a.07", None),
        (None, None, None),
    ],
)
def test_a_document_has_the_generation_that_came_with_it(
    message: dict[str, object], held: str | None, named: str | None, kept: str | None
) -> None:
    assert kept == generation_after(at(held), message if named is None else message | {"generation": named})


@pytest.mark.parametrize(
    ("held", "named", "kept"),
    [
        (None, "a.7", "a.7"),
        ("a.7", "a.8", "a.8"),
        ("a.7", "a.7", "a.7"),
        ("a.7", "a.6", "a.7"),
        ("a.7", "b.1", "b.1"),
        ("a.7", None, "a.7"),
        ("a.7", "a.07", "a.7"),
        (None, None, None),
    ],
)
def test_in_sync_raises_the_generation_and_never_lowers_it(
    held: str | None, named: str | None, kept: str | None
) -> None:
    assert kept == generation_after(at(held), IN_SYNC if named is None else IN_SYNC | {"generation": named})


def test_without_a_version_there_is_no_generation() -> None:
    assert generation_after(at("a.7"), REMOVED | {"generation": "a.8"}) is None
    assert generation_after(Replica(), {"type": "in_sync", "version": None, "generation": "a.8"}) is None


def test_a_message_of_another_type_keeps_the_generation() -> None:
    assert "a.7" == generation_after(at("a.7"), {"type": "subscribed"})


@pytest.mark.parametrize("generation", [7, 7.5, None, True, [], ["a.7"], {}, {"a": 7}, "", "a", "\ud800.1"])
@pytest.mark.parametrize("message", [SNAPSHOT, CHANGE, IN_SYNC])
def test_a_malformed_generation_is_ignored_and_breaks_nothing(message: dict[str, object], generation: object) -> None:
    held, expected = at("a.7"), at("a.7")
    expected.receive(message)

    assert not held.is_ahead_of(message | {"generation": generation})
    held.receive(message | {"generation": generation})
    assert (expected.version, expected.document, expected.generation) == (held.version, held.document, held.generation)


@pytest.mark.parametrize(
    "message",
    [
        CHANGE | {"old_version": "0" * 16},
        {"type": "config_snapshot", "version": "0" * 16, "config": {}},
        {"type": "in_sync", "version": "0" * 16},
    ],
)
def test_a_message_that_does_not_apply_keeps_the_generation(message: dict[str, object]) -> None:
    held = at("a.7")
    with pytest.raises(OutOfSync):
        held.receive(message | {"generation": "a.8"})
    assert Generation("a", 7) == held.generation


@pytest.mark.parametrize("message", [SNAPSHOT, CHANGE])
@pytest.mark.parametrize(
    ("held", "members", "is_ahead"),
    [
        ("a.7", {"generation": "a.6"}, True),
        ("a.7", {"generation": "a.7"}, False),
        ("a.7", {"generation": "a.8"}, False),
        ("a.7", {"generation": "b.6"}, False),
        ("a.7", {}, False),
        (None, {"generation": "a.6"}, False),
        ("a.7", {"generation": "a.6", "stale": True}, False),
        ("a.7", {"generation": "a.6", "stale": False}, True),
        ("a.7", {"generation": "a.6", "stale": 1}, True),
        ("a.7", {"generation": "a.6", "stale": "true"}, True),
    ],
)
def test_a_document_is_older_if_its_generation_is_lower_and_it_is_not_marked_as_stale(
    message: dict[str, object], held: str | None, members: dict[str, object], is_ahead: bool
) -> None:
    assert is_ahead == at(held).is_ahead_of(message | members)


@pytest.mark.parametrize("message", [IN_SYNC, REMOVED, {}, {"type": None}])
def test_a_message_without_a_document_is_never_older(message: dict[str, object]) -> None:
    assert not at("a.7").is_ahead_of(message | {"generation": "a.6"})


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["", "/a", "/b/c", "/b/-", "/x/9"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["op", "path", "from", "value", "a"]), inner),
    max_leaves=6,
)
_operations = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]) | _json,
        "path": st.sampled_from(["", "/a", "/b", "/b/c", "/x", "/-"]) | _json,
        "from": st.sampled_from(["", "/a", "/b", "/b/c"]) | _json,
        "value": _json,
    },
)


@given(st.lists(_operations | _json) | _json)
def test_no_patch_does_more_than_be_refused(diff: object) -> None:
    held = replica()
    with pytest.raises(OutOfSync):
        held.receive(CHANGE | {"diff": diff, "new_version": "0" * 16})
    assert (version_of(OLD), OLD) == (held.version, held.document)
