import pytest

from vortexd.core.errors import FormatError
from vortexd.resolve.activation import parse_expression

from .support import parse_text


def is_active(on_profile: str, *profiles: str) -> bool:
    (document,) = parse_text("a.yml", f"spring.config.activate.on-profile: {on_profile}\na: 1")
    assert document.profiles is not None
    return document.profiles.is_met(frozenset(profiles))


@pytest.mark.parametrize(
    ("expression", "active", "inactive"),
    [
        ("dev", ["dev"], ["prod"]),
        ("'!dev'", ["prod"], ["dev"]),
        ("dev,test", ["test"], ["prod"]),
        ("[dev, test]", ["dev"], ["prod"]),
        ("dev & eu", ["dev", "eu"], ["dev"]),
        ("dev | eu", ["eu"], ["us"]),
        ("'!(dev | eu) & us'", ["us"], ["us", "eu"]),
        ("(dev & eu) | us", ["us"], ["dev"]),
        ("'!!dev'", ["dev"], ["prod"]),
        ("a-b_c.d+e@f", ["a-b_c.d+e@f"], ["a"]),
        ("default", ["default"], ["dev"]),
        ("1", ["1"], ["2"]),
    ],
)
def test_a_document_counts_where_its_expression_holds(expression: str, active: list[str], inactive: list[str]) -> None:
    assert is_active(expression, *active)
    assert not is_active(expression, *inactive)


def test_a_document_without_the_key_always_counts() -> None:
    (document,) = parse_text("a.yml", "a: 1")

    assert document.profiles is None


def test_the_key_stays_among_the_values() -> None:
    (document,) = parse_text("a.yml", "spring.config.activate.on-profile: dev")

    assert {"spring.config.activate.on-profile": "dev"} == dict(document.values)


@pytest.mark.parametrize(
    "key",
    ["spring.config.activate.onProfile", "Spring.Config.Activate.ON_PROFILE", "spring.config.activate[on-profile]"],
)
def test_the_key_is_known_however_spring_lets_it_be_spelled(key: str) -> None:
    (document,) = parse_text("a.yml", f"{key}: dev")

    assert document.profiles is not None


@pytest.mark.parametrize(
    "expression",
    [
        "''",
        "a & b | c",
        "(a",
        "a)",
        "a b",
        "!",
        "a &",
        "& a",
        "()",
        "a,",
        "${x}",
        "a; b",
        "a && b",
        "'" + "(" * 100 + "a'",
        "a" * 5_000,
    ],
)
def test_Y15_an_expression_that_cannot_be_understood_breaks_the_file(expression: str) -> None:
    with pytest.raises(FormatError, match="on-profile") as caught:
        parse_text("a.properties", f"x=1\nspring.config.activate.on-profile={expression.strip(chr(39))}")

    assert 2 == caught.value.line


def test_Y15_nesting_of_negations_is_bounded() -> None:
    with pytest.raises(ValueError, match="nested deeper than 32 levels"):
        parse_expression("!" * 4_000 + "a")


def test_Y15_ten_thousand_documents_are_refused() -> None:
    with pytest.raises(FormatError, match="more than 1000 documents"):
        parse_text("a.yml", "---\na: 1\n" * 10_000)
    with pytest.raises(FormatError, match="more than 1000 documents"):
        parse_text("a.properties", "a=1\n#---\n" * 10_000)


def test_a_document_for_a_cloud_platform_never_counts() -> None:
    (document,) = parse_text("a.yml", "spring.config.activate: {on-cloud-platform: kubernetes, on-profile: dev}")

    assert document.profiles is not None
    assert not document.profiles.is_met(frozenset({"dev", "kubernetes"}))


@pytest.mark.parametrize(
    "text", ["spring.profiles: dev", "spring: {profiles: dev}", "spring: {profiles: [dev, eu]}", "spring: {profiles: }"]
)
def test_the_legacy_key_says_what_to_use(text: str) -> None:
    with pytest.raises(FormatError, match=r"use spring\.config\.activate\.on-profile"):
        parse_text("a.yml", text)


def test_an_import_is_kept_and_not_followed() -> None:
    (document,) = parse_text("a.yml", "spring.config.import: file:/etc/passwd")

    assert {"spring.config.import": "file:/etc/passwd"} == dict(document.values)
