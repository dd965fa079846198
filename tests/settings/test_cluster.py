"""[cluster]: its defaults, its rules, the keys that need each other, and the name of the node."""

from typing import Any

import attrs
import pytest

from vortexd.settings.cluster import ClusterSettings, cluster_conflicts, node_name

from .sections import assert_seconds, problems, read, waiting


def test_by_default_there_is_no_cluster() -> None:
    expected = ClusterSettings(
        endpoints=(),
        user="",
        password_file="",
        ca_file="",
        certificate="",
        key="",
        name="",
        node="",
        engine="etcd",
        advertise="",
        forget_after=600.0,
        publish=False,
        published_versions=5,
    )

    assert expected == read(ClusterSettings)
    assert next(iter(attrs.fields_dict(ClusterSettings))) == "name"


@pytest.mark.parametrize("name", ["", "a", "Shop-2_x", "x" * 64])
def test_a_cluster_has_a_name_of_letters_digits_hyphens_and_underscores(name: str) -> None:
    assert name == read(ClusterSettings, f'name = "{name}"').name


@pytest.mark.parametrize("name", ["a/b", "a.b", "a b", "größe", "x" * 65, "a\\n"])
def test_other_names_of_clusters_are_refused(name: str) -> None:
    expected = {"name": "must be at most 64 letters, digits, hyphens and underscores"}

    assert expected == problems(ClusterSettings, f'name = "{name}"')


@pytest.mark.parametrize("node", ["", "node-1.example_x", "x" * 64])
def test_a_node_has_a_name_that_a_host_can_have(node: str) -> None:
    assert node == read(ClusterSettings, f'node = "{node}"').node


@pytest.mark.parametrize("node", ["a/b", "a b", "größe", "x" * 65])
def test_other_names_of_nodes_are_refused(node: str) -> None:
    expected = {"node": "must be at most 64 letters, digits, dots, hyphens and underscores"}

    assert expected == problems(ClusterSettings, f'node = "{node}"')


@pytest.mark.parametrize("address", ["", "https://a.example:8888", "http://[::1]:1"])
def test_an_address_for_other_nodes_is_a_url_of_a_server(address: str) -> None:
    assert address == read(ClusterSettings, f'advertise = "{address}"').advertise


@pytest.mark.parametrize("address", ["a:1", "https://a/path", "ftp://a", "https://u@a"])
def test_other_addresses_are_refused(address: str) -> None:
    expected = {"advertise": "must be an address, as https://host:port, or empty"}

    assert expected == problems(ClusterSettings, f'advertise = "{address}"')


def test_etcd_is_the_only_engine() -> None:
    assert {"engine": 'must be "etcd"'} == problems(ClusterSettings, 'engine = "redis"')


def test_a_node_is_forgotten_after_a_second_or_within_a_day() -> None:
    assert_seconds(ClusterSettings, "forget_after", 1, 86_400)


def test_the_identity_of_a_node_waits_for_a_restart_and_the_way_to_etcd_does_not() -> None:
    assert {"name", "node", "engine"} == waiting(ClusterSettings)


ETCD = ["http://a"]


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({}, []),
        ({"name": ""}, []),
        ({"name": "c", "endpoints": ETCD}, []),
        ({"name": "c"}, [("endpoints", "is missing; name the client addresses of etcd's members")]),
        (
            {"name": "c", "endpoints": ETCD, "user": "u"},
            [("password_file", "is missing; name the file with the user's password")],
        ),
        # The check of the name itself reports this.
        ({"name": 7, "endpoints": ETCD}, []),
        ({"name": 7}, []),
        (
            {"forget_after": 5, "node": "a", "endpoints": ETCD},
            [(key, "has no effect without name") for key in ("node", "endpoints", "forget_after")],
        ),
        ({"name": "", "user": "u"}, [("user", "has no effect without name")]),
        ({"advertise": "http://a", "key": "k"}, [(key, "has no effect without name") for key in ("advertise", "key")]),
        # The defaults, as conf/vortexd.toml lists them.
        ({"engine": "etcd", "endpoints": [], "forget_after": 600, "node": "", "user": ""}, []),
    ],
)
def test_conflicts_are_named_with_their_key(table: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert found == [*cluster_conflicts(table)]


@pytest.mark.parametrize(
    ("node", "host", "name"),
    [
        ("", "node-1.example", "node-1.example"),
        ("own", "node-1.example", "own"),
        ("", "a b/ü", "a-b--"),
        ("", "x" * 70, "x" * 64),
        ("", "", "localhost"),
    ],
)
def test_a_node_without_a_name_is_called_like_its_machine(node: str, host: str, name: str) -> None:
    found = node_name(ClusterSettings(node=node), host)

    assert name == found
    assert attrs.fields(ClusterSettings).node.metadata["rule"].accepts(found)


@pytest.mark.parametrize(("advertise", "count"), [("https://a:1", 0), ("http://a:1", 2), ("", 2)])
def test_certificates_also_have_an_effect_on_questions_between_nodes(advertise: str, count: int) -> None:
    table = {"name": "c", "endpoints": ["http://e"], "advertise": advertise, "ca_file": "x", "certificate": "y"}
    assert count == len(list(cluster_conflicts(table)))
