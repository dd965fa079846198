"""Facts about the names of entries."""

import pytest

from vortexd.cluster.keys import ALIVE, HINTS, MEMBERS, Keys

KEYS = Keys("shop")


def test_every_entry_has_its_name_below_the_prefix_of_the_cluster() -> None:
    names = [KEYS.prefix, KEYS.leader, KEYS.member("a.b"), KEYS.alive("a.b"), KEYS.hint("a.b")]
    assert [*names, KEYS.secret, KEYS.summary("a.b", 3)] == [
        "/vortexd/shop/",
        "/vortexd/shop/leader",
        "/vortexd/shop/members/a.b",
        "/vortexd/shop/alive/a.b",
        "/vortexd/shop/hints/a.b",
        "/vortexd/shop/secret",
        "/vortexd/shop/fleet/a.b/3",
    ]


def test_no_cluster_is_below_the_prefix_of_another() -> None:
    assert not Keys("shop-2").prefix.startswith(KEYS.prefix)
    assert KEYS.node_of(Keys("shop-2").member("a"), MEMBERS) == ""


@pytest.mark.parametrize(
    ("key", "kind", "node"),
    [
        (KEYS.member("a"), MEMBERS, "a"),
        (KEYS.alive("a"), ALIVE, "a"),
        (KEYS.hint("a"), HINTS, "a"),
        (KEYS.member("a"), HINTS, ""),
        (KEYS.leader, MEMBERS, ""),
        ("/vortexd/shop/members/", MEMBERS, ""),
        ("/vortexd/shop/members/a/b", MEMBERS, ""),
        ("members/a", MEMBERS, ""),
        (KEYS.member("x" * 64), MEMBERS, "x" * 64),
        (KEYS.member("x" * 65), MEMBERS, ""),
        (KEYS.member("a b"), MEMBERS, ""),
        (KEYS.member("\udcff"), MEMBERS, ""),
    ],
)
def test_an_entry_belongs_to_a_node_only_with_the_name_of_its_kind(key: str, kind: str, node: str) -> None:
    assert KEYS.node_of(key, kind) == node


@pytest.mark.parametrize(
    ("key", "part"),
    [
        (KEYS.summary("a.b", 0), ("a.b", 0)),
        (KEYS.summary("a", 999), ("a", 999)),
        (KEYS.summary("a", 1_000), None),
        ("/vortexd/shop/fleet/a/00", None),
        ("/vortexd/shop/fleet/a/x", None),
        ("/vortexd/shop/fleet/a/\u00b2", None),
        ("/vortexd/shop/fleet/a/", None),
        ("/vortexd/shop/fleet/a", None),
        ("/vortexd/shop/fleet//1", None),
        ("/vortexd/shop/fleet/a b/1", None),
        ("/vortexd/shop/fleet/a/1/2", None),
        ("a/1", None),
        (KEYS.member("a"), None),
    ],
)
def test_a_part_of_a_summary_has_a_node_and_a_number(key: str, part: tuple[str, int] | None) -> None:
    assert KEYS.part_of(key) == part
