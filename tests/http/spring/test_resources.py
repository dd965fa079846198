"""Plain files: which one is meant, and whose it is."""

import pytest

from vortexd.http.spring.resources import charset, find, needed
from vortexd.model import Files, Key, Names, Tree
from vortexd.patterns import Pattern, parse_pattern
from vortexd.resolve.tree import ParsedFiles, parse_tree
from vortexd.settings import FormatSettings

NAMES = Names(frozenset(["shop", "shop-admin", "team/orders"]), frozenset(["default", "dev", "prod", "prod-eu"]))


def layer(*paths: str, locations: tuple[str, ...] = ("",), unreadable: tuple[str, ...] = ()) -> ParsedFiles:
    files = Files({path: path.encode() for path in paths}, dict.fromkeys(unreadable, "why"), "file:/c/", locations)
    return parse_tree(Tree({"main": files}), FormatSettings()).labels["main"]


def found(layers: list[ParsedFiles], profile: str = "dev", path: str = "x.conf") -> str | None:
    resource = find(layers, Key("shop", profile, "main"), path)
    return resource.path if resource else None


def test_a_file_of_the_profile_goes_before_the_plain_one_and_the_first_profile_before_others() -> None:
    files = layer("x.conf", "x-dev.conf", "x-prod.conf", "a/b.c/x", "a/b.c/x-dev")

    assert "x-dev.conf" == found([files])
    assert "x-prod.conf" == found([files], "prod,dev")
    assert "x.conf" == found([files], "test")
    assert "x-dev.conf" == found([files], "test,dev")
    assert "x.conf" == found([files], "default,dev")
    assert "a/b.c/x-dev" == found([files], path="a/b.c/x")
    assert found([files], path="y.conf") is None


def test_locations_are_searched_as_listed_and_each_for_all_profiles() -> None:
    files = layer("x.conf", "env/x-dev.conf", "shop/y.conf", locations=("", "env/", "{application}/"))

    assert "x.conf" == found([files])
    assert "shop/y.conf" == found([files], path="y.conf")


def test_a_wildcard_reaches_directories_without_configuration() -> None:
    assert "some/x.conf" == found([layer("some/x.conf", locations=("*/",))])


def test_sources_are_searched_the_strongest_first() -> None:
    weak, strong = layer("x.conf", "x-dev.conf"), layer("x.conf")

    resource = find([strong, weak], Key("shop", "dev", "main"), "x.conf")

    assert resource is not None
    assert strong is resource.layer


def test_what_can_not_be_read_is_there() -> None:
    resource = find([layer(unreadable=("x.conf",))], Key("shop", "dev", "main"), "x.conf")

    assert resource is not None
    assert resource.content is None


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        # Nobody's: whoever may read something here.
        ("nginx.conf", ["shop:dev"]),
        ("static/logo.png", ["shop:dev"]),
        ("application.log", ["shop:dev"]),
        # Named after an application, the longest that is known.
        ("shop.conf", ["shop:dev"]),
        ("shop-admin.conf", ["shop-admin:dev"]),
        ("shop-admin-x.conf", ["shop-admin:dev"]),
        ("certs/shop-admin.p12", ["shop-admin:dev"]),
        ("shop-admin/key.pem", ["shop-admin:dev"]),
        ("team/orders/key.pem", ["team/orders:dev"]),
        ("team/orders.key", ["team/orders:dev"]),
        ("shop-admin/team/orders.key", ["shop-admin:dev", "team/orders:dev"]),
        # Named after a profile.
        ("nginx-prod.conf", ["shop:prod"]),
        ("nginx-prod-eu.conf", ["shop:prod-eu"]),
        ("prod.conf", ["shop:dev"]),
        ("prod/nginx.conf", ["shop:prod"]),
        ("shop-admin-prod.conf", ["shop-admin:prod"]),
        ("shop-admin/x-prod.conf", ["shop-admin:prod"]),
        # Configuration: all profiles of its application, and the key that its name is.
        ("shop.yml", ["shop:*", "shop:default"]),
        ("shop-dev.yml", ["shop:*", "shop:dev"]),
        ("shop-admin.yml", ["shop-admin:*", "shop-admin:default"]),
        ("application.yml", ["shop:*", "shop:default"]),
        ("application-prod.properties", ["shop:*", "shop:prod"]),
        ("other.yml", ["shop:*", "shop:default"]),
    ],
)
def test_P14_what_somebody_must_be_allowed_to_read_to_have_a_file(path: str, wanted: list[str]) -> None:
    key = Key("shop", "dev", "main")
    resource = find([layer(path)], Key("shop", "default", "main"), path)

    assert resource is not None
    actual = {str(each).removesuffix(":main") for each in needed(resource, key, NAMES)}
    assert set(wanted) == actual


def test_P14_a_directory_of_one_application_is_its_own() -> None:
    files = layer("billing/key.pem", locations=("", "{application}/"))
    resource = find([files], Key("shop", "dev", "main"), "billing/key.pem")

    assert resource is not None
    assert [Key("billing", "dev", "main")] == needed(resource, Key("shop", "dev", "main"), Names())


def test_T09_of_several_applications_and_profiles_each_must_be_allowed() -> None:
    key = Key("a,b", "dev,prod", "main,next")
    resource = find([layer("x.conf", "application.yml")], key, "application.yml")

    assert resource is not None
    wanted: list[Key | Pattern] = [parse_pattern(text) for text in ("a:*:main", "a:*:next", "b:*:main", "b:*:next")]
    assert [*wanted, Key("a", "default", key.label), Key("b", "default", key.label)] == needed(resource, key, NAMES)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, "utf-8"),
        ("ISO-8859-1", "iso-8859-1"),
        ("utf-16;q=0.5, utf-8", "utf-16"),
        ("*", "utf-8"),
        ("unicode_escape", "utf-8"),
        ("zlib", "utf-8"),
        ("idna", "utf-8"),
    ],
)
def test_a_charset_is_one_that_is_known_or_utf_8(header: str | None, name: str) -> None:
    assert name == charset(header)
