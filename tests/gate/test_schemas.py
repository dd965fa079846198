"""Which schemas apply to a key."""

import pytest

from vortexd.core.model import Files, Key
from vortexd.core.patterns import parse_pattern
from vortexd.gate.schemas import applies, schema_contents, source_schemas
from vortexd.resolve.tree import ParsedFiles


def parsed(contents: dict[str, bytes], *others: ParsedFiles, **files: object) -> ParsedFiles:
    return ParsedFiles(Files(contents, **files), {}, {}, others=others)  # type: ignore[arg-type]


def names(files: ParsedFiles, application: str) -> list[str]:
    return [*source_schemas(files).for_key(Key(application, "default", "main"))]


def test_a_schema_in_the_source_is_for_the_application_in_its_name_and_that_of_application_for_all() -> None:
    files = parsed(
        {"billing.schema.json": b"{}", "application.schema.json": b"{}", "billing.yml": b"a: 1", "x.json": b"{}"}
    )

    assert ["billing.schema.json", "application.schema.json"] == names(files, "billing")
    assert ["application.schema.json"] == names(files, "shop")
    assert ["billing.schema.json", "application.schema.json"] == names(files, "shop,billing")
    assert ["application.schema.json"] == names(files, "application")


def test_the_name_of_an_application_may_have_slashes_and_only_locations_count() -> None:
    files = parsed(
        {
            "team/pay.schema.json": b"{}",
            "prod/shop.schema.json": b"{}",
            ".git/x.schema.json": b"{}",
            ".schema.json": b"{}",
        },
        locations=("", "prod/"),
    )

    assert ["team/pay.schema.json"] == names(files, "team/pay")
    assert ["prod/shop.schema.json"] == names(files, "shop")
    assert 2 == len(source_schemas(files).found)
    assert {} == source_schemas(parsed({"shop.schema.json": b"{}"}, locations=("prod/",))).found


def test_a_directory_of_one_application_has_its_own_schemas_and_shared_ones() -> None:
    contents = {"shop/shop.schema.json": b"{}", "shop/application.schema.json": b"{}", "shop/other.schema.json": b"{}"}
    files = parsed(contents, locations=("{application}/",))

    assert ["shop/application.schema.json", "shop/shop.schema.json"] == names(files, "shop")
    assert [] == names(files, "other")


def test_of_several_sources_the_strongest_has_the_schema() -> None:
    files = parsed({"a.schema.json": b'{"x":1}'}, parsed({"a.schema.json": b"{}", "b.schema.json": b"{}"}))

    assert '{"x":1}' == source_schemas(files).found["a.schema.json"].text
    assert ["b.schema.json"] == names(files, "b")


def test_schemas_that_are_no_text_have_a_reason() -> None:
    found = source_schemas(parsed({"a.schema.json": b"\xff"}, unreadable={"b.schema.json": "permission denied"}))

    assert {"a.schema.json": "not UTF-8", "b.schema.json": "permission denied"} == found.unreadable
    assert {} == found.found


def test_only_schemas_decide_about_schemas() -> None:
    one = parsed({"a.schema.json": b"{}", "a.yml": b"1"}, unreadable={"x.schema.json": "why"})
    same = parsed({"a.yml": b"2", "a.schema.json": b"{}"}, unreadable={"x.schema.json": "why"})
    other = parsed({"a.schema.json": b"{ }", "a.yml": b"1"}, unreadable={"x.schema.json": "why"})

    assert schema_contents(one) == schema_contents(same)
    assert schema_contents(one) != schema_contents(other)


@pytest.mark.parametrize(
    ("pattern", "key", "is_judged"),
    [
        ("*", Key("a", "b", "c"), True),
        ("billing", Key("billing", "prod", "main"), True),
        ("billing", Key("shop", "prod", "main"), False),
        ("team-*", Key("team-a", "prod", "main"), True),
        ("billing:prod", Key("billing", "dev", "main"), False),
        ("billing:prod:v*", Key("billing", "prod", "v1"), True),
        # A client can't avoid the gate by a second name.
        ("billing", Key("shop,billing", "prod", "main"), True),
        ("billing:prod", Key("billing", "dev,prod", "main"), True),
    ],
)
def test_a_gate_judges_the_keys_that_one_of_its_patterns_matches(pattern: str, key: Key, is_judged: bool) -> None:
    assert is_judged == applies([parse_pattern("none"), parse_pattern(pattern)], key)
    assert not applies([], key)
