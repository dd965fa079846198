"""Rights over patterns: the keys for which a right holds, the end of a principal, and the lists of a grant from outside."""

import pytest

from vortexd.auth.principal import (
    ALL_RIGHTS,
    CHALLENGE,
    MAX_PATTERNS,
    Forbidden,
    Grant,
    Kind,
    Principal,
    Right,
    Unauthorized,
    grant_problems,
    make_grant,
    names_of,
)
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key, Names
from vortexd.core.patterns import Pattern, parse_pattern

from .conftest import NOW

RIGHTS_ARE = "read, subscribe, report, admin"
ONE_PATTERN = 'must be a list with at least one pattern such as "myapp:*", or "*" for everything'
A_PATTERN = "must be application:profile:label, each a name or a glob with *"


def principal(*grants: tuple[str, str], expires_at: float | None = None) -> Principal:
    """A principal with grants: rights and patterns, each separated by spaces."""
    made = tuple(make_grant(rights.split(), patterns.split()) for rights, patterns in grants)
    return Principal("ci", Kind.TOKEN, made, expires_at, "secret-identity", frozenset({"secret-authority"}))


def key(text: str) -> Key:
    return Key(*text.split(":"))


# The refusals.


def test_T04_a_client_without_a_valid_token_is_challenged() -> None:
    error = Unauthorized()

    assert isinstance(error, RemoteError)
    assert (401, "a valid token is required") == (error.status, error.reason)
    assert {"WWW-Authenticate": 'Bearer realm="vortexd", Basic realm="vortexd", charset="UTF-8"'} == error.headers
    assert CHALLENGE == error.headers["WWW-Authenticate"]


def test_a_refusal_has_one_text_unless_its_caller_gives_another() -> None:
    assert (403, "the token doesn't allow this") == (Forbidden().status, Forbidden().reason)
    assert (403, "the Host isn't allowed") == (Forbidden.status, Forbidden("the Host isn't allowed").reason)


# A principal.


@pytest.mark.parametrize(
    ("expires_at", "now", "expected"),
    [(NOW, NOW - 0.001, False), (NOW, NOW, True), (NOW, NOW + 1, True), (0.0, 0.0, True), (None, 1e12, False)],
)
def test_W16_a_principal_expires_at_its_second(expires_at: float | None, now: float, expected: bool) -> None:
    assert expected == principal(expires_at=expires_at).is_expired(now)


def test_T02_a_principal_does_not_show_its_identity() -> None:
    text = repr(principal())

    assert "ci" in text
    assert "secret" not in text


def test_a_right_of_any_grant_counts() -> None:
    found = principal(("read", "shop"), ("report admin", "cart"))

    assert {Right.READ, Right.REPORT, Right.ADMIN} == {right for right in ALL_RIGHTS if found.has(right)}
    assert not any(principal().has(right) for right in ALL_RIGHTS)


@pytest.mark.parametrize("right", ["read", "subscribe", "report", "admin"])
def test_M12_no_right_implies_another(right: str) -> None:
    found = principal((right, "*"))

    assert {Right(right)} == {each for each in ALL_RIGHTS if found.may(each, key("shop:dev:main"))}
    assert {Right(right)} == {each for each in ALL_RIGHTS if found.may(each, Pattern())}


def test_M12_a_right_holds_for_the_patterns_of_its_own_grant_only() -> None:
    found = principal(("read", "shop"), ("report", "cart"))

    assert found.may(Right.READ, key("shop:dev:main"))
    assert found.may(Right.REPORT, key("cart:dev:main"))
    assert not found.may(Right.READ, key("cart:dev:main"))
    assert not found.may(Right.REPORT, key("shop:dev:main"))


@pytest.mark.parametrize(
    ("patterns", "where", "expected"),
    [
        ("shop:dev", "shop:dev", True),
        ("shop:*", "shop:d*", True),
        ("sh*", "shop", True),
        ("shop:dev", "shop:*", False),
        ("shop:a* shop:*", "shop:*", True),
        ("shop:dev shop:prod", "shop:*", False),
        ("", "shop", False),
    ],
)
def test_M11_a_pattern_must_be_covered_by_a_single_pattern(patterns: str, where: str, expected: bool) -> None:
    assert expected == principal(("subscribe", patterns)).may(Right.SUBSCRIBE, parse_pattern(where))


@pytest.mark.parametrize(
    ("patterns", "where", "expected"),
    [
        ("shop:dev:main", "shop:dev:main", True),
        ("shop:dev:main", "shop:dev:next", False),
        ("shop:dev:main", "shop:prod:main", False),
        ("shop:dev:main", "cart:dev:main", False),
        ("", "shop:dev:main", False),
        # Several names in one part.
        ("shop:dev cart:dev", "shop,cart:dev:main", True),
        ("shop:dev", "shop,cart:dev:main", False),
        ("shop:dev shop:prod", "shop:dev,prod:main", True),
        ("shop:prod", "shop:dev,prod:main", False),
        ("*:*:main *:*:next", "shop:dev:main,next", True),
        ("*:*:main", "shop:dev:main,next", False),
        ("*:*:next", "shop:dev:main,next", False),
        # Each pair of application and profile needs each of the labels.
        ("shop:dev:main cart:dev:next", "shop,cart:dev:main,next", False),
        ("shop:dev cart:dev:main", "shop,cart:dev:main,next", False),
        ("shop:dev cart:dev:main cart:dev:next", "shop,cart:dev:main,next", True),
        ("shop:dev shop:prod cart:dev", "shop,cart:dev,prod:main", False),
        ("shop:dev shop:prod cart:dev cart:prod", "shop,cart:dev,prod:main", True),
        ("shop:dev cart:prod *:*:other", "shop,cart:dev,prod:main", False),
        # A name that occurs twice is one name.
        ("shop:dev", "shop,shop:dev,dev:main,main", True),
    ],
)
def test_T09_each_combination_of_a_key_must_match_some_pattern(patterns: str, where: str, expected: bool) -> None:
    assert expected == principal(("read", patterns)).may(Right.READ, key(where))


# Grants.


def test_the_names_of_grants_are_those_without_a_star() -> None:
    grants = [
        make_grant(["read"], ["shop:dev", "cart-*:prod", "*"]),
        make_grant(["admin"], []),
        make_grant(["read"], ["a:b*"]),
    ]

    assert Names(frozenset({"shop", "a"}), frozenset({"dev", "prod"})) == names_of(grants)
    assert Names() == names_of([])


def test_a_grant_holds_each_right_and_each_pattern_once_in_the_order_of_the_file() -> None:
    expected = Grant(
        frozenset({Right.READ, Right.REPORT}), (Pattern("b", "*", "*"), Pattern("a", "x", "*"), Pattern("*", "*", "*"))
    )

    assert expected == make_grant(["read", "report", "read"], ["b", "a:x:**", "b:*", "a:x", "*"])


@pytest.mark.parametrize(
    ("rights", "patterns"),
    [
        (["read"], ["*"]),
        (["read", "subscribe", "report", "admin"], ["shop:*", "cart:dev:release/*"]),
        (["admin"], []),
        (["admin"], ["*"]),
        (["read"], ["*"] * MAX_PATTERNS),
    ],
)
def test_a_grant_without_problems(rights: list[str], patterns: list[str]) -> None:
    assert [] == list(grant_problems(rights, patterns))


@pytest.mark.parametrize(
    ("rights", "patterns", "expected"),
    [
        (None, ["*"], {"rights": f"must be a list with at least one of {RIGHTS_ARE}"}),
        ([], ["*"], {"rights": f"must be a list with at least one of {RIGHTS_ARE}"}),
        ("read", ["*"], {"rights": f"must be a list with at least one of {RIGHTS_ARE}"}),
        (["write"], ["*"], {"rights[0]": f"must be one of {RIGHTS_ARE}"}),
        (["read", 1, "READ"], ["*"], dict.fromkeys(["rights[1]", "rights[2]"], f"must be one of {RIGHTS_ARE}")),
        ([["read"]], ["*"], {"rights[0]": f"must be one of {RIGHTS_ARE}"}),
        (["read"], [], {"patterns": ONE_PATTERN}),
        (["admin", "read"], [], {"patterns": ONE_PATTERN}),
        (["admin"], None, {"patterns": ONE_PATTERN}),
        (["read"], "*", {"patterns": ONE_PATTERN}),
        (["read"], ["*"] * (MAX_PATTERNS + 1), {"patterns": f"must have at most {MAX_PATTERNS} patterns"}),
        (["read"], ["*", "", 1, "a:b:c:d"], dict.fromkeys(["patterns[1]", "patterns[2]", "patterns[3]"], A_PATTERN)),
        ([], [], {"rights": f"must be a list with at least one of {RIGHTS_ARE}", "patterns": ONE_PATTERN}),
    ],
)
def test_each_problem_of_a_grant_is_named_with_what_is_allowed(
    rights: object, patterns: object, expected: dict[str, str]
) -> None:
    assert expected == dict(grant_problems(rights, patterns))
