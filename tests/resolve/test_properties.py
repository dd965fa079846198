import tracemalloc

import pytest

from vortexd.core.errors import FormatError

from .support import parse_text, values


@pytest.mark.parametrize(
    ("text", "flat"),
    [
        ("a=b", {"a": "b"}),
        ("a = b", {"a": "b"}),
        ("a:b", {"a": "b"}),
        ("a b c", {"a": "b c"}),
        ("a == b", {"a": "= b"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("=b", None),
        ("  a=b  ", {"a": "b  "}),
        ("a\\ b=c", {"a b": "c"}),
        ("a\\=b\\:c=d", {"a=b:c": "d"}),
        ("a=\\t\\n\\r\\f\\\\\\x", {"a": "\t\n\r\f\\x"}),
        ("a=1\nb=true", {"a": "1", "b": "true"}),
        ("a=1\r\nb=2\rc=3", {"a": "1", "b": "2", "c": "3"}),
        ("a=1\na=2", {"a": "2"}),
        ("# x\n! y\n\na=1\n  # z=3", {"a": "1"}),
        ("a=1,\\\n   2,\\\n\t3", {"a": "1,2,3"}),
        ("a=1\\\\\nb=2", {"a": "1\\", "b": "2"}),
        ("a=1\\\n# no comment", {"a": "1# no comment"}),
        ("a=1\\\n\nb=2", {"a": "1", "b": "2"}),
        ("a=x\\", {"a": "x"}),
        ("\\", None),
        ("\\\n", None),
        ("\\\na=1", {"a": "1"}),
        ("a[]=x,y, z", {"a[0]": "x", "a[1]": "y", "a[2]": "z"}),
        ("a[]=x", {"a[0]": "x"}),
        ("a[]=", {"a[0]": ""}),
        ("a[]=x,", {"a[0]": "x"}),
        ("a[]=x\\,y,z", {"a[0]": "x,y", "a[1]": "z"}),
        ("a\\u0062=\\u00e9", {"ab": "é"}),
        ("a=\\ud83d\\ude00", {"a": "😀"}),
    ],
)
def test_properties_are_read_as_spring_boot_reads_them(text: str, flat: dict[str, str] | None) -> None:
    assert flat == (values("a.properties", text) if flat else None)
    assert flat is not None or () == parse_text("a.properties", text)


def test_Y13_bytes_are_latin_1() -> None:
    assert {"a": "\xe9\xff"} == values("a.properties", b"a=\xe9\xff")


@pytest.mark.parametrize("escape", ["\\u12", "\\u", "\\u12g4", "\\u 123"])
def test_Y13_a_malformed_escape_is_an_error_with_its_line(escape: str) -> None:
    for text in [f"x=1\na={escape}", f"x=1\n{escape}=1", f"x=1\na[]=b,{escape}"]:
        with pytest.raises(FormatError, match=r"^a.properties:2: a malformed \\u escape"):
            parse_text("a.properties", text)


def test_Y13_a_long_continuation_is_read_or_refused_by_its_size() -> None:
    text = "a=" + "x\\\n" * 300_000

    assert {"a": "x" * 300_000} == values("a.properties", text)
    with pytest.raises(FormatError, match=r"^a.properties:1:3: a key or value of more than 1000 bytes"):
        parse_text("a.properties", text, text_bytes=1_000)


@pytest.mark.parametrize("text", ["a=\\u0000", "a=\\ud800", "a=\x00"])
def test_Y10_nul_and_half_surrogates_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match="NUL character or half of a surrogate pair"):
        parse_text("a.properties", text)


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("a=1\n#---\nb=2", [{"a": "1"}, {"b": "2"}]),
        ("a=1\n!---  \nb=2", [{"a": "1"}, {"b": "2"}]),
        ("#---\na=1\n#---\n#---\nb=2\n#---", [{"a": "1"}, {"b": "2"}]),
        ("a=1\n #---\nb=2", [{"a": "1", "b": "2"}]),
        ("a=1\n#----\nb=2", [{"a": "1", "b": "2"}]),
        ("a=1\n#--- x\nb=2", [{"a": "1", "b": "2"}]),
        # Directly below or above a comment of its kind it is a comment.
        ("a=1\n# x\n#---\nb=2", [{"a": "1", "b": "2"}]),
        ("a=1\n! x\n#---\nb=2", [{"a": "1"}, {"b": "2"}]),
        ("a=1\n#---\n# x\nb=2", [{"a": "1", "b": "2"}]),
    ],
)
def test_separators_part_documents(text: str, documents: list[dict[str, str]]) -> None:
    assert documents == [dict(each.values) for each in parse_text("a.properties", text)]


def test_origins_are_where_values_begin() -> None:
    (document,) = parse_text("a.properties", "\n  a = x\nb=\\\n   y\nc[]=p, q\n")

    assert {"a": (2, 7), "b": (4, 4), "c[0]": (5, 5), "c[1]": (5, 8)} == dict(document.origins)


def test_Y11_keys_too_deep_or_indexes_too_high_are_refused() -> None:
    with pytest.raises(FormatError, match=r"^a.properties:1:\d+: a key nested deeper than 64 levels"):
        parse_text("a.properties", "a" + ".a" * 65 + "=1")
    for index in ["10001", "9" * 5_000]:
        with pytest.raises(FormatError, match="a list index above 10000"):
            parse_text("a.properties", f"a[{index}]=1")
    assert {"a[10000]": "1", "a[00010]": "2"} == values("a.properties", "a[10000]=1\na[00010]=2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("\n" * 300_000 + "a=1", {"a": "1"}), ("a=" + "x\\\n" * 300_000, {"a": "x" * 300_000})],
    ids=["empty lines", "continued lines"],
)
def test_Y13_many_lines_take_little_more_memory_than_their_text(text: str, expected: dict[str, str]) -> None:
    tracemalloc.start()
    try:
        assert expected == values("a.properties", text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 64 * 300_000


def test_a_line_that_begins_with_nothing_but_a_continuation_is_no_comment() -> None:
    assert {"#a": "1", "b": "2"} == values("a.properties", "\\\n#a=1\nb=\\\n  2")
    assert {"a": "#b"} == values("a.properties", "a=\\\n#b")
