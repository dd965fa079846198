"""Plain files: the file for a path, and the applications and profiles that it belongs to."""

import attrs
import pytest

from vortexd.core.model import Files, Key, Names, Tree
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.http.spring.resources import Resource, charset, find, needed
from vortexd.resolve.tree import ParsedFiles, parse_tree
from vortexd.settings.formats import FormatSettings
from vortexd.settings.http import HttpSettings

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


# Whose a file is by the beginning of a name.

# `orders-prod` has files of profiles alone, or is an application: nobody knows.
KNOWN = Names(
    frozenset(["billing", "orders", "Orders-x", "stock", "Stock", "team/orders", "pay-eu-west", "shop.v2", "n"]),
    frozenset(["default", "dev", "prod", "prod-eu", "v1.2"]),
)


def wanted(
    path: str, application: str = "billing", names: Names = KNOWN, locations: tuple[str, ...] = ("",)
) -> list[str]:
    resource = find([layer(path, locations=locations)], Key("any", "default", "main"), path)
    if resource is None:
        # It lies where a placeholder stands for something.
        resource = Resource(layer(path, locations=locations), path, b"")
    found = needed(resource, Key(application, "dev", "main"), names)
    return [str(each).removesuffix(":main") for each in found]


@pytest.mark.parametrize(
    "path",
    [
        "orders.tar.gz",
        "orders_key.txt",
        "orders.yml.bak",
        "orders.yml.swp",
        "orders~",
        "orders",
        "orders@home",
        "orders key.txt",
        "orders+1.txt",
        "ORDERS",
        "Orders.TXT",
        "oRDERS_key",
        "orders/key.pem",
        "orders.d/key.pem",
        "orders_old/deep/key.pem",
        "ORDERS/key.pem",
        "static/orders.pem",
        "static/orders/x",
        "static/Orders_1/x",
    ],
)
def test_P14_a_name_is_that_of_the_application_it_begins_with_up_to_no_letter_or_digit(path: str) -> None:
    assert ["orders:dev"] == wanted(path)


@pytest.mark.parametrize(
    ("path", "owners"),
    [
        # The longest, whatever its case is.
        ("orders-x.pem", ["Orders-x:dev"]),
        ("orders-xy.pem", ["orders:dev"]),
        ("orders-x-y.pem", ["Orders-x:dev"]),
        ("shop.v2.key", ["shop.v2:dev"]),
        # The one that is so written, else both.
        ("stock.txt", ["stock:dev"]),
        ("Stock.txt", ["Stock:dev"]),
        ("STOCK.txt", ["*:dev"]),
        ("STOCK/x.txt", ["*:dev"]),
        ("billing/STOCK.txt", ["*:dev"]),
        # Several names deep.
        ("team/orders.key", ["team/orders:dev"]),
        ("team/orders/x", ["team/orders:dev"]),
        ("Team/Orders_key", ["team/orders:dev"]),
        ("team/ordersx", ["*:dev"]),
        ("team/x", ["billing:dev"]),
        # Each directory, and the name.
        ("orders/billing.pem", ["orders:dev", "billing:dev"]),
        ("orders/orders.pem", ["orders:dev"]),
        # Letters alone, or digits.
        ("ordersx.txt", ["*:dev"]),
        ("orders1.txt", ["*:dev"]),
        ("orders\u00e9.txt", ["*:dev"]),
        ("OrdersX", ["*:dev"]),
        ("nginx.conf", ["*:dev"]),
        ("static/ordersx.txt", ["*:dev"]),
        ("ordersx/a.txt", ["*:dev"]),
        ("ordersx/billing.txt", ["*:dev"]),
        # A directory has said whose it is; one that only begins so hasn't.
        ("billing/ordersx.txt", ["billing:dev"]),
        ("billing/nginx/a.txt", ["billing:dev"]),
        ("Billing/ordersx.txt", ["billing:dev"]),
        ("billing.d/ordersx.txt", ["*:dev"]),
        ("application/ordersx.txt", ["*:dev"]),
        # The shared application is everybody's, and its letters are nobody's.
        ("application_key.txt", ["billing:dev"]),
        ("applications.txt", ["billing:dev"]),
        ("APPLICATION.log", ["billing:dev"]),
        # Nobody's.
        ("logback.xml", ["billing:dev"]),
        ("order.txt", ["billing:dev"]),
        ("_orders.txt", ["billing:dev"]),
        ("my-orders.txt", ["billing:dev"]),
    ],
)
def test_P14_the_longest_known_application_owns_a_file_and_what_may_be_of_several_is_for_all(
    path: str, owners: list[str]
) -> None:
    assert owners == wanted(path)


@pytest.mark.parametrize(
    ("path", "application", "owner"),
    [
        # There are only files of `pay-eu-west`, which may be profiles of `pay` or `pay-eu`.
        ("pay_key.txt", "billing", "*"),
        ("pay", "billing", "*"),
        ("PAY.pem", "billing", "*"),
        ("pay-eu.pem", "billing", "*"),
        ("pay-us.pem", "billing", "*"),
        ("pay/x.pem", "billing", "*"),
        ("static/pay.pem", "billing", "*"),
        ("payment.txt", "billing", "billing"),
        ("billing/pay.pem", "billing", "billing"),
        ("pay_key.txt", "pay", "pay"),
        ("pay_key.txt", "Pay-us", "Pay-us"),
        ("pay-eu.pem", "pay-eu-north", "pay-eu-north"),
        ("pay-eu.pem", "pay-us", "*"),
        ("pay_key.txt", "payment", "*"),
    ],
)
def test_P14_what_begins_with_a_part_of_an_application_is_for_all_or_for_who_begins_so_too(
    path: str, application: str, owner: str
) -> None:
    assert [f"{owner}:dev"] == wanted(path, application)


def test_T09_each_application_that_was_asked_for_has_to_begin_with_the_part() -> None:
    assert ["pay:dev", "pay-us:dev"] == wanted("pay_key.txt", "pay,pay-us")
    assert ["*:dev"] == wanted("pay_key.txt", "pay,billing")


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("orders-prod.tar.gz", ["orders:prod"]),
        ("orders-prod_key.txt", ["orders:prod"]),
        ("orders-prod-key.txt", ["orders:prod"]),
        ("orders-PROD.txt", ["orders:prod"]),
        ("orders-prod-eu.tar.gz", ["orders:prod-eu"]),
        ("orders-key-prod.txt", ["orders:prod"]),
        ("orders-prod-default.txt", ["orders:prod", "orders:default"]),
        ("orders_a-prod.txt", ["orders:prod"]),
        ("orders-v1.2.txt", ["orders:v1.2"]),
        ("orders-production.txt", ["orders:dev"]),
        ("orders.prod.txt", ["orders:dev"]),
        ("logback-prod.tar.gz", ["billing:prod"]),
        ("ordersx-prod.txt", ["*:prod"]),
        ("PROD/orders.txt", ["orders:prod"]),
        ("prod.d/orders.txt", ["orders:dev"]),
        ("my-prod/orders.txt", ["orders:dev"]),
    ],
)
def test_T09_a_profile_stands_behind_a_hyphen_up_to_no_letter_or_digit(path: str, keys: list[str]) -> None:
    assert keys == wanted(path)


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        # In no listing: its source is for other applications alone.
        ("ordersx.yml", ["*:*"]),
        ("pay.yml", ["*:*"]),
        ("STOCK.yml", ["*:*"]),
        ("orders.yml", ["orders:*", "orders:default"]),
        ("orders-prod.yml", ["orders:*", "orders:prod"]),
        ("orders.v2-prod.yml", ["orders:*", "orders:default"]),
        ("other-prod.yml", ["billing:*", "billing:prod"]),
        ("ORDERS.yml", ["orders:*", "orders:default"]),
    ],
)
def test_P14_a_configuration_file_is_for_who_may_read_all_profiles_of_its_owner(path: str, keys: list[str]) -> None:
    assert keys == wanted(path)


@pytest.mark.parametrize(
    ("path", "locations", "keys"),
    [
        # What a wildcard stands for is a directory like others, but for configuration, which everybody is served from there.
        ("orders/key.pem", ("", "*/"), ["orders:dev"]),
        ("orders.bak/key.pem", ("*/",), ["orders:dev"]),
        ("conf/orders/key.pem", ("conf/*/",), ["orders:dev"]),
        ("orders/x/key.pem", ("orders/*/",), ["billing:dev"]),
        ("orders/application.yml", ("", "*/"), ["billing:*", "billing:default"]),
        # A location without a placeholder is for everybody.
        ("orders/key.pem", ("", "orders/"), ["billing:dev"]),
        ("orders/key.pem", ("orders/", "*/"), ["billing:dev"]),
        # One of an application is its own; its name is no other's.
        ("orders-y/key.pem", ("", "{application}/"), ["orders-y:dev"]),
        ("orders-y/ordersx.pem", ("", "{application}/"), ["orders-y:dev"]),
        ("orders/key.pem", ("{profile}/",), ["billing:orders"]),
        ("prod/ordersx.pem", ("{profile}/",), ["*:prod"]),
    ],
)
def test_P14_directories_of_search_locations(path: str, locations: tuple[str, ...], keys: list[str]) -> None:
    assert keys == wanted(path, locations=locations)


def test_T09_what_is_for_all_is_so_under_each_label_and_profile() -> None:
    resource = find([layer("ordersx.txt", "ordersx.yml")], Key("a", "default", "main"), "ordersx.txt")
    assert resource is not None
    key = Key("billing", "dev,prod", "main,next")

    expected = [Pattern("*", profile, label) for profile in ("dev", "prod") for label in ("main", "next")]
    assert expected == needed(resource, key, KNOWN)
    resource = attrs.evolve(resource, path="ordersx.yml")
    assert [Pattern("*", "*", "main"), Pattern("*", "*", "next")] == needed(resource, key, KNOWN)


def test_names_that_are_known_to_some_are_known() -> None:
    resource = find([layer("a.txt")], Key("a", "default", "main"), "a.txt")
    assert resource is not None
    names = [Names(), Names(frozenset(["a"])), Names(frozenset(["b"]), frozenset(["x"]))]

    assert [Key("a", "dev", "main")] == needed(resource, Key("b", "dev", "main"), *names)
    assert [Key("b", "dev", "main")] == needed(resource, Key("b", "dev", "main"), Names())


# What is hidden.

HIDDEN = HttpSettings().hidden_files


@pytest.mark.parametrize(
    "path",
    [
        "a.bak",
        "a.yml.bak",
        "a.orig",
        "a.yml.swp",
        "a~",
        "a.yml~",
        "a.rej",
        "a.tmp",
        ".#a",
        "A.BAK",
        "a.Tmp",
        "~",
        "d/a.bak",
        "d.bak/a",
        "d~/e/a",
        ".#d/a",
    ],
)
def test_backups_and_what_editors_leave_behind_are_not_found(path: str) -> None:
    files = layer(path, locations=("", "conf/"))

    assert find([files], Key("a", "dev", "main"), path) is not None
    assert find([files], Key("a", "dev", "main"), path, HIDDEN) is None
    assert find([layer(unreadable=(path,))], Key("a", "dev", "main"), path, HIDDEN) is None


@pytest.mark.parametrize("path", ["a.bak.txt", "bak", "tmp/a", "a.back", "a.tmpl", "a-tmp", "swp", "original.txt"])
def test_what_is_called_nearly_so_is_found(path: str) -> None:
    assert find([layer(path)], Key("a", "dev", "main"), path, HIDDEN) is not None


def test_a_hidden_variant_leaves_the_plain_one_and_other_sources() -> None:
    weak = layer("x.conf")

    resource = find([layer("x-dev.conf", "x.conf"), weak], Key("shop", "dev", "main"), "x.conf", ["x-*"])
    assert resource is not None
    assert "x.conf" == resource.path
    assert find([layer("x-dev.conf"), weak], Key("shop", "dev", "main"), "x.conf", ["x-*"]) is not None
    assert find([layer("x-dev.conf"), weak], Key("shop", "dev", "main"), "x.conf", ["x*"]) is None


def test_a_location_may_be_called_so_but_not_what_a_wildcard_stands_for() -> None:
    key = Key("shop", "dev", "main")

    assert find([layer("conf.tmp/x", locations=("conf.tmp/",))], key, "x", HIDDEN) is not None
    assert find([layer("conf.tmp/x", locations=("*/",))], key, "x", HIDDEN) is None
