import jsonpatch
import pytest

from vortexd.client.change import Change
from vortexd.core.model import Key

KEY = Key("orders", "dev", "main")
A, B, C = {"a": 1, "l": [1, 2]}, {"a": 2, "l": [1, 2]}, {"a": 2, "l": [2]}
A_TO_B = [{"op": "replace", "path": "/a", "value": 2}]


def test_the_patch_is_the_servers_where_it_sent_one() -> None:
    received = [{"op": "test", "path": "/a", "value": 1}, *A_TO_B]

    assert received == Change(KEY, "1", "2", B, None, A, received).patch


@pytest.mark.parametrize(("old", "new"), [(A, B), (A, C), ({}, A), (A, {}), (None, A)])
def test_else_it_is_made_and_leads_from_the_old_document_to_the_new(old: object, new: dict[str, object]) -> None:
    patch = Change(KEY, "1", "2", new, None, old).patch  # type: ignore[arg-type]  # the parameter is a document or None

    assert patch is not None
    assert new == jsonpatch.apply_patch(old, patch)


def test_of_a_key_that_ended_there_is_none() -> None:
    assert Change(KEY, "1", None, None, None, A).patch is None


def test_two_steps_are_one_from_the_first_to_the_last() -> None:
    both = Change(KEY, "1", "2", B, None, A, A_TO_B).followed_by(Change(KEY, "2", "3", C, {"commit": "c"}, B))

    assert both == Change(KEY, "1", "3", C, {"commit": "c"})
    assert both.patch is not None
    assert C == jsonpatch.apply_patch(A, both.patch)


def test_there_and_back_is_no_step() -> None:
    assert Change(KEY, "1", "2", B, None, A).followed_by(Change(KEY, "2", "1", A, None, B)) is None


def test_nesting_beyond_the_stack_is_a_patch_all_the_same() -> None:
    old: dict[str, object] = {}
    new: dict[str, object] = {"a": 1}
    for _ in range(2_000):
        old, new = {"n": old}, {"n": new}

    assert [{"op": "add", "path": "", "value": new}] == Change(KEY, "1", "2", new, None, old).patch


def test_documents_are_not_in_what_is_printed() -> None:
    assert "hunter2" not in repr(Change(KEY, "1", "2", {"p": "hunter2"}, None, A, A_TO_B))
