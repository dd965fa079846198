import pytest

from vortexd.core.model import Files, Tree
from vortexd.pipeline.trailers import new_trailers


def tree(*layers: dict[str, tuple[str, ...]], label: str = "main") -> Tree:
    first, *others = [Files({}, trailers=each) for each in layers]
    return Tree({label: Files({}, trailers=first.trailers, others=tuple(others))})


def test_the_first_tree_brings_none_because_an_earlier_process_published_its_commits() -> None:
    assert {} == new_trailers(None, tree({"c1": ("5,100",)}))


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ({}, {}, {}),
        ({}, {"c1": ("5,100",)}, {"main": ["5,100"]}),
        ({"c1": ("5,100",)}, {"c1": ("5,100",)}, {}),
        ({"c1": ("5,100",)}, {"c2": ("1,100",), "c1": ("5,100",)}, {"main": ["1,100"]}),
        ({"c1": ("5,100",)}, {}, {}),
        ({}, {"c3": ("1", "2"), "c2": ("3",)}, {"main": ["1", "2", "3"]}),
    ],
)
def test_the_trailers_of_new_commits_are_found(
    before: dict[str, tuple[str, ...]], now: dict[str, tuple[str, ...]], found: dict[str, list[str]]
) -> None:
    assert found == new_trailers(tree(before), tree(now))


def test_all_layers_of_a_label_count() -> None:
    assert {"main": ["1,100"]} == new_trailers(tree({}, {"c1": ("9",)}), tree({}, {"c1": ("9",), "c2": ("1,100",)}))


def test_a_new_label_brings_none_because_nobody_has_it() -> None:
    assert {} == new_trailers(tree({}), tree({"c1": ("5,100",)}, label="other"))


def test_a_label_that_is_the_same_brings_none() -> None:
    one = tree({"c1": ("5,100",)})
    assert {} == new_trailers(one, one)
