"""Names: the accepted names, and the refused ones (ATTACKS P01-P17)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core import names
from vortexd.core.errors import InvalidName
from vortexd.core.model import Key

HOSTILE = [
    pytest.param("..%2f..%2fetc", id="P01"),
    pytest.param("..(_)..(_)etc(_)passwd", id="P02"),
    pytest.param("../../../etc/passwd#foo", id="P03"),
    pytest.param("a#b", id="P03 hash"),
    pytest.param("a?b", id="P03 question"),
    pytest.param("a,../x", id="P04"),
    pytest.param("..;/", id="P09 semicolon"),
    pytest.param("..\\", id="P09 backslash"),
    pytest.param("．．／", id="P09 fullwidth"),
    pytest.param("a.", id="P09 trailing dot"),
    pytest.param("a ", id="P09 trailing space"),
    pytest.param("a\0.yml", id="P09 nul"),
    pytest.param("/etc/passwd", id="P10"),
    pytest.param("~root", id="P10 home"),
    pytest.param("file:///etc", id="P10 url"),
    pytest.param(".git", id="P13"),
    pytest.param("a/.git/config", id="P13 below"),
    pytest.param("x" * 129, id="P15 long"),
    pytest.param("x" * 10_000, id="P15 longer"),
    pytest.param("a\nb", id="H06"),
    pytest.param("--upload-pack=x", id="G01"),
    pytest.param("a//b", id="empty segment"),
    pytest.param("a/", id="empty end"),
    pytest.param("", id="empty"),
    pytest.param("a%2fb", id="percent left over"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_hostile_is_no_name_of_any_kind(text: str) -> None:
    for parse in (names.application, names.label, names.profile):
        with pytest.raises(InvalidName) as caught:
            parse(text)
        assert not text or text not in caught.value.reason


@pytest.mark.parametrize("text", ["..", "bar,..,foo", "%2e%2e", "bar/Ffoo", "bar%2Ffoo", ",", "a,", "-a", "a-", "_a"])
def test_a_profile_begins_and_ends_with_a_letter_or_digit(text: str) -> None:
    with pytest.raises(InvalidName):
        names.profile(text)


def test_more_than_sixteen_of_a_list_are_refused() -> None:
    """P15: 5,000 profiles cost nothing."""
    assert names.profile(",".join("a" * 16))
    with pytest.raises(InvalidName):
        names.profile(",".join("a" * 17))


def test_spring_writes_a_slash_as_an_underscore_in_parentheses() -> None:
    assert "foo/app" == names.application("foo(_)app")
    assert "label/spam" == names.label("label(_)spam")
    assert "1.0.0" == names.label("1.0.0")
    with pytest.raises(InvalidName):
        names.label("(_)x")


@pytest.mark.parametrize(
    "text", ["v1.2.3+build.5", "dependabot/npm/@types/node", "+a", "@", "a+", "a@", "@a/+b", "2.0.x", "_x", "JIRA-1_x"]
)
def test_a_label_is_the_name_of_a_branch_or_tag(text: str) -> None:
    assert text == names.label(text)
    assert text == names.label(text.replace("/", "(_)"))


@pytest.mark.parametrize("text", ["v1+b", "a@b", "@types/node"])
def test_an_application_holds_neither_plus_nor_at(text: str) -> None:
    with pytest.raises(InvalidName):
        names.application(text)


@pytest.mark.parametrize(
    "text", ["main@{1}", "@{-1}", "a+..+b", "-a", "a/-b", "a.", "+.", "a/@.", "a b", "größe", "fix/(x)"]
)
def test_a_label_is_no_notation_and_nothing_hidden(text: str) -> None:
    with pytest.raises(InvalidName):
        names.label(text)


def test_decoding_happens_once() -> None:
    for raw, decoded in (("%252e", "%2e"), ("a-b+c", "a-b+c"), ("", ""), ("ä", "ä"), ("%c3%a4", "ä")):
        assert decoded == names.decode_segment(raw)
    for raw in ("%c0%ae", "\udc80"):
        with pytest.raises(InvalidName, match="UTF-8"):
            names.decode_segment(raw)


def test_a_key_is_made_of_three_names() -> None:
    assert Key("shop,cart", "dev,mysql", "main") == names.parse_key("shop,cart", "dev,mysql", "main")
    assert Key("shop", "dev", "a/b,main") == names.parse_key("shop", "dev", "a(_)b,main")
    with pytest.raises(InvalidName):
        names.parse_key("shop", "dev", "main,")


@given(st.text())
def test_whatever_gets_through_stays_below_a_directory(text: str) -> None:
    try:
        name = names.label(text)
    except InvalidName:
        name = "refused"

    assert name.isascii()
    assert all(part and part[0] not in ".-" and part != ".." for part in name.split("/"))


@pytest.mark.parametrize("text", ["main", "a,b", "release(_)1.0,main", "v1.0"])
def test_over_http_a_label_may_be_several(text: str) -> None:
    assert text.replace("(_)", "/") == names.labels(text)


@pytest.mark.parametrize(
    "text", ["", ",", "a,", "a,..", "a,(_)x", "a,b/../c", pytest.param(",".join("a" * 17), id="P15")]
)
def test_each_of_several_labels_must_be_one(text: str) -> None:
    with pytest.raises(InvalidName):
        names.labels(text)
    with pytest.raises(InvalidName):
        names.label(text)


@pytest.mark.parametrize("path", ["x.txt", "a/b/c", "my file (1).txt", "grüß.txt", "a.b/c-d_e+f@g"])
def test_a_file_may_be_asked_for_by_its_path(path: str) -> None:
    assert path == names.file_path(path)


def test_a_path_may_be_spelled_as_one_segment() -> None:
    assert "a/b/c.txt" == names.file_path("a(_)b/c.txt")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/x",
        "x/",
        "a//b",
        "a/./b",
        pytest.param(".git/config", id="P13"),
        pytest.param("a/.ssh/id", id="P13 below"),
        pytest.param("a(_).ssh(_)id", id="P13 spelled"),
        pytest.param("WEB-INF/web.xml", id="P05 WEB-INF"),
    ],
)
def test_what_no_file_that_is_served_is_called_is_none(path: str) -> None:
    assert names.file_path(path) is None


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("../x", id="P05"),
        pytest.param("a/..", id="P05 end"),
        pytest.param("a..b", id="P05 within"),
        pytest.param("(_)etc(_)passwd", id="P02"),
        pytest.param("a\\b", id="P09 backslash"),
        pytest.param("a%2e", id="P01"),
        pytest.param("a\0b", id="P09 NUL"),
        pytest.param("a\nb", id="H06"),
        pytest.param("a\u202eb", id="M06"),
        pytest.param("a#b", id="P03"),
        pytest.param("a?b", id="P03 query"),
        pytest.param("url:x", id="P10"),
        pytest.param("x" * 1_025, id="P15"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(InvalidName, match="^invalid path$"):
        names.file_path(path)


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [("", True), ("pod-1", True), ("a b", True), ("x" * 128, True), ("x" * 129, False), (" a", False), ("a\0", False)],
)
def test_the_name_of_an_instance_is_short_and_printable(text: str, is_valid: bool) -> None:
    assert is_valid == names.is_instance_name(text)
