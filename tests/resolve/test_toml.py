import tomllib

import pytest

from vortexd.core.errors import FormatError
from vortexd.resolve.nodes import TooManyValues

from .support import parse_text, typed, values


def test_toml_keeps_its_types_and_writes_dates_as_text() -> None:
    text = """
    i = 1
    f = 1.0
    inf = inf
    nan = -nan
    b = true
    d = 2024-01-02
    dt = 2024-01-02T03:04:05Z
    t = 03:04:05
    [a.b]
    l = [1, {x = "y"}]
    e = {}
    """

    expected = {
        "i": 1,
        "f": 1.0,
        "inf": "inf",
        "nan": "-nan",
        "b": True,
        "d": "2024-01-02",
        "dt": "2024-01-02T03:04:05+00:00",
    }
    expected |= {"t": "03:04:05", "a.b.l[0]": 1, "a.b.l[1].x": "y"}
    assert typed(expected) == typed(values("a.toml", text))


def test_bad_syntax_is_an_error_at_its_place() -> None:
    with pytest.raises(FormatError, match=r"^a.toml:2:5: not TOML") as caught:
        parse_text("a.toml", "a = 1\nb = hunter2")

    assert "hunter2" not in str(caught.value)


def test_Y07_duplicate_keys_are_refused() -> None:
    with pytest.raises(FormatError, match=r"^a.toml:2: not TOML: Cannot overwrite a value"):
        parse_text("a.toml", "a = 1\na = 2")


@pytest.mark.parametrize("number", [str(2**70), "9" * 5_000, "0x" + "f" * 20])
def test_Y08_integers_beyond_64_bits_are_refused(number: str) -> None:
    with pytest.raises(FormatError):
        parse_text("a.toml", f"a = {number}")


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "{a = " * 100_000,
        "a" + ".a" * 100_000 + " = 1",
        "[" + "a." * 100_000 + "a]",
        "a = " + "{a.a.a.a.a = " * 20 + "1" + "}" * 20,
        'x = """\n[["""\na = ' + "[" * 70,
    ],
)
def test_Y03_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="nested deeper than 64 levels"):
        parse_text("a.toml", text)


def test_brackets_in_strings_and_comments_do_not_nest() -> None:
    brackets = "[" * 100
    text = f'a = \'{brackets}\'\nb = "{brackets}\\""\n# {brackets}\nc = \'\'\'{brackets}\'\'\'\nd = """{brackets}"""\ne = [{"1.5, " * 100}]'

    assert {"a": brackets, "c": brackets} == {
        key: value for key, value in values("a.toml", text).items() if key in "ac"
    }


def test_Y16_parts_of_keys_and_headers_are_counted_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomllib, "loads", lambda *_, **__: pytest.fail("it is built"))
    for text in (
        "".join(f"[k{n}.a.a]\n" for n in range(20)),
        "".join(f"[[k{n}.a.a]]\n" for n in range(20)),
        "".join(f"k{n}.a.a = 1\n" for n in range(20)),
        "".join(f"k{n} = {{a.a = 1}}\n" for n in range(20)),
        "".join(f"k{n} = {{a = 1, b = 2}}\n" for n in range(20)),
        "".join(f"'k.{n}' = 1\n" for n in range(60)),
        "a = [" + "1, " * 60 + "1]",
        "a = [" + "[], " * 60 + "[]]",
        "a = [\n[\n" + "1,\n" * 60 + "1\n]\n]",
        "a = [" + '"""x"""", [1, 2, 3], "z", ' * 20 + "1]",
        "a = [" + '"""x""""", [1, 2, 3], "z", ' * 20 + "1]",
        "a = [" + "'''x'''', [1, 2, 3], 'z', " * 20 + "1]",
        "a = [" + "'''x''''', [1, 2, 3], 'z', " * 20 + "1]",
    ):
        with pytest.raises(TooManyValues, match=r"^a.toml:\d+: more than 50 values; split the file"):
            parse_text("a.toml", text, nodes=50)


def test_Y16_the_line_is_that_of_the_first_value_too_many() -> None:
    with pytest.raises(TooManyValues, match=r"^a.toml:4:"):
        parse_text("a.toml", '# x\na = """\n"""\nb = 1\nc = 1', nodes=1)
    with pytest.raises(TooManyValues, match=r"^a.toml:3:"):
        parse_text("a.toml", "[a]\n\n[b]\n", nodes=1)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("a = 1.5", 1),
        ("a = 1.5\nb = 1979-05-27T07:32:00.999\n", 2),
        ("a = [1.5, 2.5, 3.5]", 4),
        ("[a.b]\nc = 1", 3),
        ("[[a.b]]\nc = 1", 4),
        ("a.b.c = 1", 3),
        ("'a.b'.\"c.d\" = 1", 2),
        ("a = {b = 1, c = 2}", 3),
        ("a = [{b = 1}, {c = 2}]", 5),
        ('a = """\nb.c.d = [1, 2]\n"""', 1),
        ("a = '''\nb.c.d = [1, 2]\n'''", 1),
        ("# a.b.c = [1, 2]\nd = 1", 1),
        ("a = [\n  1,\n  # b.c.d\n  2,\n]\nb = 1", 4),
        ("a = ']]]'\nb = 1", 2),
        ("a = [\n" + "1.5,\n" * 20 + "]\nb = 1", 22),
        ("a = {b = [\n1.5,\n2.5\n], c = 1}", 5),
        ("a = 'x'\r\nb.c = 1\r\n", 3),
    ],
)
def test_what_is_counted_is_what_there_is(text: str, nodes: int) -> None:
    """Of what is written once; the document itself is one more for the builder."""
    assert parse_text("a.toml", text, nodes=nodes + 1)
    with pytest.raises(TooManyValues):
        parse_text("a.toml", text, nodes=nodes)


@pytest.mark.parametrize("quotes", ['"""', "'''"])
@pytest.mark.parametrize("more", [0, 1, 2])
def test_Y03_quotes_at_the_end_of_a_long_string_hide_nothing(quotes: str, more: int) -> None:
    text = f"a = [{quotes}x{quotes}{quotes[0] * more}, {'[' * 70}{quotes[0]}z{quotes[0]}{']' * 70}]"
    with pytest.raises(FormatError, match="nested deeper than 64 levels"):
        parse_text("a.toml", text)


def test_Y03_as_many_levels_as_are_allowed_are_read() -> None:
    assert parse_text("a.toml", "[" + ".".join("abcd") + "]\ne = 1", depth=5)
    assert parse_text("a.toml", "a = " + "[" * 4 + "1" + "]" * 4, depth=5)
    for text in ("a" + ".a" * 6 + " = 1", "[a" + ".a" * 6 + "]", "a = " + "[" * 6 + "1" + "]" * 6):
        with pytest.raises(FormatError, match="nested deeper than 5 levels"):
            parse_text("a.toml", text, depth=5)


def test_many_keys_and_headers_with_parts_do_not_add_up_to_nesting() -> None:
    text = "".join(f"a{n}.b = {{c.d = 1, e.f = 2}}\n" for n in range(100)) + "".join(f"[t{n}.u]\n" for n in range(100))
    assert 200 == len(values("a.toml", text))


def test_Y16_millions_of_empty_lines_and_comments_are_read() -> None:
    assert {"a": 1} == values("a.toml", "\n" * 3_000_000 + "# x\n" * 100_000 + "a = 1")
