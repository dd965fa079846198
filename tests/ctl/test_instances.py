"""The whole fleet, read page by page."""

import argparse
from typing import Any

import pytest

from vortexd.ctl import instances
from vortexd.ctl.errors import CtlError
from vortexd.ctl.instances import Fleet, add_key_arguments, asked_for, read_fleet
from vortexd.ctl.server import Server

from .answering import Said, answering
from .test_fleet import AWAY, instance, key, node, page


def read(*answers: Said, most: int = 100, **parameters: str) -> tuple[Fleet, list[str]]:
    with answering(*answers) as server:
        return read_fleet(Server(server.url), parameters, most), server.asked


def names(fleet: Fleet) -> list[tuple[str, str]]:
    return [(key["app"], each["name"]) for key, each in fleet.instances]


def some(*named: str) -> list[dict[str, Any]]:
    return [instance(each, "silent") for each in named]


def test_one_page_is_the_fleet() -> None:
    fleet, asked = read(page(key(*some("a", "b"), connected=2), key(app="shop", gone=1)), app="*")

    assert ["/api/v1/fleet?app=%2A&limit=1000"] == asked
    assert ([("billing", "a"), ("billing", "b")], True, False) == (names(fleet), fleet.is_whole, fleet.is_cut)
    assert ["billing", "shop"] == [each["app"] for each in fleet.keys]


def test_a_count_is_the_sum_over_all_keys() -> None:
    fleet, _ = read(page(key(connected=2, applied=1), key(app="shop", connected=3)))

    assert (5, 1, 0) == (fleet.count("connected"), fleet.count("applied"), fleet.count("gone"))


def test_the_instances_of_one_key_on_two_pages_are_joined() -> None:
    fleet, asked = read(
        page(key(*some("a"), connected=2), next="c 1"),
        page(key(*some("b"), connected=2), key(*some("x"), app="shop")),
        state="silent",
    )

    first = "/api/v1/fleet?state=silent&limit=1000"
    assert [first, f"{first}&after=c+1"] == asked
    assert [("billing", "a"), ("billing", "b"), ("shop", "x")] == names(fleet)
    assert 2 == fleet.count("connected")


@pytest.mark.parametrize("part", ["profile", "label"])
def test_keys_that_differ_in_one_part_stay_apart(part: str) -> None:
    fleet, _ = read(page(key(*some("a")), {**key(*some("b")), part: "other"}))

    assert [1, 1] == [len(each["instances"]) for each in fleet.keys]


@pytest.mark.parametrize(
    ("most", "found", "is_cut"),
    [(3, ["a", "b", "c"], False), (2, ["a", "b"], True), (1, ["a"], True), (0, [], True)],
)
def test_the_fleet_is_cut_where_there_are_more_instances_than_the_caller_wants(
    most: int, found: list[str], is_cut: bool
) -> None:
    fleet, _ = read(page(key(*some("a", "b")), key(*some("c"), app="shop")), most=most)

    assert (found, is_cut) == ([name for _, name in names(fleet)], fleet.is_cut)


def test_the_next_page_lists_no_instances_once_there_are_enough() -> None:
    one = page(key(*some("a", "b")), next="c")
    fleet, asked = read(one, page(key(connected=1, app="shop")), most=2, state="silent")

    assert "/api/v1/fleet?state=none&limit=1000&after=c" == asked[1]
    assert (["billing", "shop"], False) == ([each["app"] for each in fleet.keys], fleet.is_cut)
    _, asked = read(one, page(), most=3, state="silent")
    assert "/api/v1/fleet?state=silent&limit=1000&after=c" == asked[1]


def test_a_caller_that_wants_no_instance_asks_for_none() -> None:
    _, asked = read(page(key(connected=1)), most=0)

    assert ["/api/v1/fleet?limit=1000&state=none"] == asked


@pytest.mark.parametrize("silent", [(1, 0), (0, 1), (2, 2)])
def test_one_page_without_a_worker_makes_the_fleet_incomplete(silent: tuple[int, int]) -> None:
    first, second = silent
    fleet, _ = read(page(key(), next="c", workers_silent=first), page(key(), workers_silent=second))

    assert not fleet.is_whole


def test_no_silent_worker_is_a_whole_fleet() -> None:
    assert read(page(key(), workers_silent=0))[0].is_whole


@pytest.mark.parametrize(
    "said",
    [
        {},
        [],
        None,
        7,
        {"keys": []},
        {"keys": 7, "next": None},
        {"keys": [{}], "next": None},
        {"keys": [7], "next": None},
        {"keys": [{**key(), "instances": 7}], "next": None},
        {"keys": [{"app": "a", "profile": "b", "label": "c"}], "next": None},
    ],
)
def test_an_answer_of_another_server_is_an_error(said: object) -> None:
    with pytest.raises(CtlError) as caught:
        read((200, said))

    text = "this vortexctl doesn't understand the server's answer; is it a vortexd?"
    assert (3, text) == (caught.value.status, str(caught.value))


def test_a_list_that_does_not_end_is_an_error_after_the_last_page_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(instances, "_MOST_PAGES", 3)
    more, last = page(next="c"), page()

    assert 3 == len(read(more, more, last)[1])
    with answering(more) as server, pytest.raises(CtlError, match=r"^the server's list of instances doesn't end$"):
        read_fleet(Server(server.url), {}, 1)
    assert 3 == len(server.asked)


def parsed(*arguments: str, is_required: bool = False) -> dict[str, str]:
    parser = argparse.ArgumentParser()
    add_key_arguments(parser, is_required=is_required)
    return asked_for(parser.parse_args(arguments))


def test_only_the_parts_that_are_given_are_asked_for() -> None:
    assert {} == parsed()
    assert {} == parsed("--app", "", "--label", "")
    assert {"app": "a*", "profile": "b"} == parsed("--profile", "b", "--app", "a*")
    assert {"app": "a", "profile": "b", "label": "c"} == parsed("--label", "c", "--app", "a", "--profile", "b")


@pytest.mark.parametrize("arguments", [[], ["--app", "a"], ["--profile", "b"]])
def test_a_command_may_require_an_application_and_a_profile(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*arguments, is_required=True)
    assert "label" not in parsed("--app", "a", "--profile", "b", is_required=True)


def test_a_node_that_was_silent_on_any_page_is_silent() -> None:
    nodes = [node("a"), node("b")], [AWAY, node("a")], [node("b"), node("c")]
    pages = [page(key(), next=str(number) if number < 2 else None, nodes=each) for number, each in enumerate(nodes)]
    fleet, _ = read(*pages)

    assert (node("a"), AWAY, node("c")) == fleet.nodes
    assert (True, False) == (fleet.is_whole, fleet.is_complete)


def test_without_a_cluster_there_are_no_nodes() -> None:
    fleet, _ = read(page(key()))
    assert ((), True) == (fleet.nodes, fleet.is_complete)


def test_a_worker_that_is_silent_leaves_the_fleet_incomplete() -> None:
    assert not read(page(key(), nodes=[node("a")], workers_silent=1))[0].is_complete
