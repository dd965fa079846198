import pytest

from vortexd.errors import FormatError

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
