"""Documents as environment variables."""

import pytest

from vortexd.agent.environment import flat, name_of, variables_of


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("spring.main.log-startup-info", "SPRING_MAIN_LOGSTARTUPINFO"),
        ("my.service[0].other", "MY_SERVICE_0_OTHER"),
        ("grid[0][12]", "GRID_0_12"),
        ("maxSize", "MAXSIZE"),
        ("already_snake", "ALREADY_SNAKE"),
        ("a b/é", "A_B__"),
    ],
)
def test_names_are_those_that_spring_reads(key: str, name: str) -> None:
    assert name == name_of(key)


def test_values_are_text_as_configuration_writes_it() -> None:
    document = {"a": {"yes": True, "n": 1.5, "none": None, "list": [], "text": "x"}, "hosts": ["one", {"port": 2}]}

    assert {
        "A_YES": "true",
        "A_N": "1.5",
        "A_NONE": "",
        "A_LIST": "",
        "A_TEXT": "x",
        "HOSTS_0": "one",
        "HOSTS_1_PORT": "2",
    } == variables_of(document).values


def test_keys_with_one_name_are_reported_and_none_of_them_is_taken() -> None:
    found = variables_of({"pool-size": 1, "poolsize": 2, "other": 3})

    assert {"POOLSIZE": ("pool-size", "poolsize")} == found.collisions
    assert {"OTHER": "3"} == found.values


@pytest.mark.parametrize(
    "document",
    [{"ld": {"preload": "/tmp/x.so"}}, {"path": "/tmp"}, {"bash_env": "x"}, {"VORTEXD_TOKEN": "x"}, {"-": "x"}],
)
def test_no_key_chooses_what_a_program_loads(document: dict[str, object]) -> None:
    found = variables_of(document)

    assert {} == found.values
    assert 1 == len(found.left_out)


def test_a_prefix_stands_before_every_name_as_it_is() -> None:
    assert {"shop_PATH": "x"} == variables_of({"path": "x"}, "shop_").values


def test_an_empty_document_has_no_keys() -> None:
    assert [] == list(flat({}))
