"""The choice of the labels that are read, if there are many."""

from typing import Any

import pytest

from vortexd.source.git.refs import Ref
from vortexd.source.git.settings import GitSettings
from vortexd.source.git.wanted_labels import MOST_REFUSED, WantedLabels

COMMIT = "a" * 40
OTHER = "b" * 40


def refs(*labels: str, generation: str = "1") -> dict[str, Ref]:
    return {label: ref(label, generation) for label in labels}


def ref(label: str, generation: str = "1") -> Ref:
    return Ref(f"refs/heads/{label}", f"{label}-{generation}")


def wanted(*labels: str, **settings: Any) -> WantedLabels:
    found = WantedLabels(GitSettings(uri="https://x/y", **settings))
    found.update(refs(*labels))
    return found


def names(found: WantedLabels, *loaded: str, default: str = "main", newest: tuple[str, ...] = ()) -> list[str]:
    return [*found.to_read(default, [f"refs/heads/{each}" for each in newest], loaded)]


def test_as_long_as_labels_are_few_all_are_read_with_their_objects() -> None:
    found = wanted("main", "dev", loaded_labels=2)

    assert not found.are_many
    assert {"main": "main-1", "dev": "dev-1"} == found.to_read("main", (), ())


def test_of_many_labels_the_default_one_and_the_newest_are_read() -> None:
    found = wanted("a", "b", "c", "main", loaded_labels=3)

    assert found.are_many
    assert ["main", "c", "a"] == names(found, newest=("c", "a", "main", "b"))


def test_a_label_that_a_client_has_asked_for_is_read_once_behind_the_first_ones() -> None:
    found = wanted("a", "b", "main", loaded_labels=2)
    for label in ("b", "a"):
        found.ask(label)

    assert ["main", "a", "b"] == names(found, newest=("main", "a", "b"))


def test_labels_that_were_asked_for_longest_ago_give_way() -> None:
    found = wanted("a", "b", "c", "main", loaded_labels=2)
    for label in ("a", "b", "a", "c"):
        found.ask(label)

    assert ["main", "a", "c"] == names(found, newest=("main",))


def test_a_label_in_use_does_not_give_way() -> None:
    found = wanted("a", "b", "c", "main", loaded_labels=1)
    found.in_use = lambda: {"a"}
    for label in ("a", "b", "c"):
        found.ask(label)

    assert ["main", "a", "c"] == names(found, newest=("main",))


def test_the_label_that_is_asked_for_now_is_kept_though_all_others_are_in_use() -> None:
    found = wanted("a", "b", "main", loaded_labels=1)
    found.in_use = lambda: {"a"}
    for label in ("a", "b"):
        found.ask(label)

    assert ["main", "a", "b"] == names(found, newest=("main",))


def test_a_label_in_use_is_read_as_long_as_it_is_read_and_there() -> None:
    found = wanted("a", "b", "main", loaded_labels=1)
    found.in_use = lambda: {"a", "gone"}

    assert ["main", "a"] == names(found, "main", "a", "b", "gone", newest=("main",))
    assert ["main"] == names(found, newest=("main",))


# What the repository has.


def test_labels_that_are_new_or_have_moved_are_counted() -> None:
    found = wanted("main", "dev")
    known = {"main": ref("main", "2"), "dev": ref("dev"), "new": ref("new")}

    assert (2, []) == found.update(known)
    assert known == found.known
    assert (0, []) == found.update(dict(known))


def test_commits_that_clients_have_asked_for_are_named_when_something_has_changed() -> None:
    found = wanted("main", "dev", commits=True)
    for label in (COMMIT, "dev", OTHER):
        found.ask(label)

    assert (0, []) == found.update(refs("main", "dev"))
    assert (1, [COMMIT, OTHER]) == found.update({**refs("main", "dev"), "new": ref("new")})
    found.forget(COMMIT)
    assert ["main", "dev", "new", OTHER] == names(found)


def test_a_commit_is_its_own_object() -> None:
    found = wanted("main", commits=True)
    found.ask(COMMIT)

    assert {"main": "main-1", COMMIT: COMMIT} == found.to_read("main", (), ())


# What may be asked for.


@pytest.mark.parametrize(
    ("label", "commits", "is_commit"),
    [
        (COMMIT, True, True),
        ("a" * 64, True, True),
        (COMMIT, False, False),
        (COMMIT[1:], True, False),
        ("A" * 40, True, False),
        ("c" * 40, True, False),
    ],
)
def test_a_commit_is_asked_for_by_its_full_name_where_commits_are_served(
    label: str, commits: bool, is_commit: bool
) -> None:
    found = wanted("main", "c" * 40, commits=commits)

    assert is_commit == found.is_commit(label)
    assert found.may_exist(label) == (is_commit or label in found.known)


def test_a_commit_that_was_refused_may_not_exist_until_something_has_changed() -> None:
    found = wanted("main", commits=True)
    found.refuse(COMMIT)

    assert not found.may_exist(COMMIT)
    assert found.may_exist(OTHER)
    found.update(refs("main"))
    assert not found.may_exist(COMMIT)
    found.update(refs("main", generation="2"))
    assert found.may_exist(COMMIT)


def test_a_label_that_is_there_may_exist_though_it_was_refused_before() -> None:
    found = wanted("main")
    found.refuse("main")

    assert found.may_exist("main")
    assert not found.may_exist("dev")


def test_a_bounded_number_of_refusals_is_remembered() -> None:
    found = wanted("main", commits=True)
    for number in range(MOST_REFUSED + 1):
        found.refuse(f"{number:040x}")

    assert found.may_exist(f"{0:040x}")
    assert not found.may_exist(f"{1:040x}")
    assert not found.may_exist(f"{MOST_REFUSED:040x}")
