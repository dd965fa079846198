"""The filters of templates."""

import json
import subprocess
from collections.abc import Callable

import pytest
import yaml

from vortexd.agent.filters import FilterError, to_flat, to_json, to_properties, to_shell, to_yaml

from ..resolve.support import values

AWKWARD = ["", " x", "a=b:c#d!e", "back\\slash", "two\nlines\ttab", "é 日 🦊", "no", "1", "it's $HOME `id`"]
DOCUMENT = {"a b:c=d": {"x": AWKWARD}, "n": 1.5, "yes": True, "none": None}


def test_json_and_yaml_read_back_as_the_same() -> None:
    assert DOCUMENT == json.loads(to_json(DOCUMENT)) == json.loads(to_json(DOCUMENT, indent=True))
    assert DOCUMENT == yaml.safe_load(to_yaml(DOCUMENT))
    assert AWKWARD == [yaml.safe_load(to_yaml(each)) for each in AWKWARD]


@pytest.mark.parametrize("value", AWKWARD)
def test_a_scalar_of_yaml_is_one_line(value: str) -> None:
    assert "\n" not in to_yaml(value)


def test_properties_read_back_as_the_same() -> None:
    assert to_flat(DOCUMENT) == values("a.properties", to_properties(DOCUMENT))


@pytest.mark.parametrize("value", AWKWARD)
def test_a_value_of_a_properties_file_reads_back_as_the_same(value: str) -> None:
    assert {"key": value} == values("a.properties", f"key={to_properties(value)}")


@pytest.mark.parametrize("value", AWKWARD)
def test_a_word_stays_one_word_for_a_shell(value: str) -> None:
    said = subprocess.run(["/bin/sh", "-c", f"printf %s {to_shell(value)}"], capture_output=True, check=True)

    assert value == said.stdout.decode()


def test_a_list_is_several_words() -> None:
    assert "a 'b c' 1 true" == to_shell(["a", "b c", 1, True])


@pytest.mark.parametrize(("filter_", "value"), [(to_shell, {"a": 1}), (to_properties, [1]), (to_flat, "text")])
def test_what_cannot_be_written_so_is_refused_without_its_value(
    filter_: Callable[[object], object], value: object
) -> None:
    with pytest.raises(FilterError):
        filter_(value)
