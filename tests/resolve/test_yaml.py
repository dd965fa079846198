import json

import orjson
import pytest
import yaml

from vortexd.core.errors import FormatError
from vortexd.resolve import yaml as yaml_module
from vortexd.resolve.yaml import resolve

from .support import parse_text, typed, values


@pytest.fixture(params=["libyaml", "pure Python"])
def _loaders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure Python":
        monkeypatch.setattr(yaml_module, "_Loader", yaml.SafeLoader)


@pytest.mark.parametrize(
    ("text", "flat"),
    [
        ("a: {b: [{c: 1}, {c: 2}]}", {"a.b[0].c": 1, "a.b[1].c": 2}),
        ("a: [[x, y]]", {"a[0][0]": "x", "a[0][1]": "y"}),
        ("a: []", {"a": ""}),
        ("a:", {"a": ""}),
        ("a: ~", {"a": ""}),
        ("a: {}\nb: [{}, 1]", {"b[1]": 1}),
        ("codes: {200: ok}", {"codes[200]": "ok"}),
        ("200: ok", {"[200]": "ok"}),
        ("- x\n- {y: 1}", {"document[0]": "x", "document[1].y": 1}),
        ("text", {"document": "text"}),
        ("a.b: 1", {"a.b": 1}),
        ("a.b: 1\na: {b: 2}", {"a.b": 2}),
        ("a: {b: 2}\na.b: 1", {"a.b": 1}),
        ("a: {'[x.y]': 1}", {"a[x.y]": 1}),
        ("'': {b: 1}", {"b": 1}),
        ("a: {'': 1}", {"a.": 1}),
    ],
)
@pytest.mark.usefixtures("_loaders")
def test_yaml_is_flattened_as_spring_does_it(text: str, flat: dict[str, object]) -> None:
    assert flat == values("a.yml", text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("On", True),
        ("TRUE", True),
        ("no", False),
        ("Off", False),
        ("y", "y"),
        ("yEs", "yEs"),
        ("null", None),
        ("NULL", None),
        ("nUll", "nUll"),
        ("0x1F", 31),
        ("0x_1f", 31),
        ("-0x1f", -31),
        ("0b101", 5),
        ("010", 8),
        ("-010", -8),
        ("0", 0),
        ("00", 0),
        ("08", "08"),
        ("0o17", "0o17"),
        ("1_000", 1000),
        ("+5", 5),
        ("22:22", 1342),
        ("1:2:3", 3723),
        ("-1:30", -90),
        ("1:60", "1:60"),
        ("1:30.5", 90.5),
        ("1.0", 1.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5", -0.5),
        ("._", "._"),
        ("1e3", 1000.0),
        ("1_0.5e-1", 1.05),
        ("1.2.3", "1.2.3"),
        ("-", "-"),
        (".", "."),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z"),
        ("9223372036854775807", 9223372036854775807),
        ("9223372036854775808", "9223372036854775808"),
        ("-9223372036854775808", -9223372036854775808),
        ("0xFFFFFFFFFFFFFFFFFF", "0xFFFFFFFFFFFFFFFFFF"),
        (".inf", ".inf"),
        ("-.INF", "-.INF"),
        (".nan", ".nan"),
        ("1e999", "1e999"),
        ("=", "="),
        ("<", "<"),
    ],
)
def test_plain_scalars_resolve_as_snakeyaml_resolves_them(text: str, value: object) -> None:
    actual = resolve(text)

    assert (type(value), value) == (type(actual), actual)


def test_Y09_words_for_booleans_are_booleans_unless_quoted() -> None:
    text = "norway: no\non: yes\nquoted: 'no'\nblock: |\n  no"

    expected = typed({"norway": False, "[true]": True, "quoted": "no", "block": "no"})
    assert expected == typed(values("a.yml", text))


def test_Y08_numbers_that_json_cannot_hold_stay_as_written() -> None:
    digits = "9" * 5_000
    text = f"a: {digits}\nb: .nan\nc: .inf\nd: 1e999\ne: {2**70}\nf: 22:22\ng: 0o10\nh: 010\ni: !!float .nan\nj: !!int {2**70}"

    actual = values("a.yml", text)

    assert {"a": digits, "b": ".nan", "c": ".inf", "d": "1e999", "e": str(2**70)} == {k: actual[k] for k in "abcde"}
    assert {"f": 1342, "g": "0o10", "h": 8, "i": ".nan", "j": str(2**70)} == {k: actual[k] for k in "fghij"}
    assert orjson.loads(orjson.dumps(actual)) == actual


def test_Y05_tags_of_json_types_are_taken_and_timestamps_stay_text() -> None:
    text = "a: !!str 1\nb: !!int '5'\nc: !!float 5\nd: !!bool yes\ne: !!null x\nf: !!timestamp 2024-01-01\ng: ! 1\nh: !!map {i: !!seq [1]}"

    expected = {"a": "1", "b": 5, "c": 5.0, "d": True, "e": "", "f": "2024-01-01", "g": "1", "h.i[0]": 1}
    assert typed(expected) == typed(values("a.yml", text))


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system [id]",
        "!!python/name:os.system x",
        "!!binary aGk=",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!custom x",
        "!custom {a: 1}",
        "!!int x",
        "!!bool 1x",
        "!!str [a]",
        "!!map [a]",
    ],
)
@pytest.mark.usefixtures("_loaders")
def test_Y05_other_tags_are_refused_with_their_place(value: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_text("a.yml", f"x: 1\ny: {value}")

    assert (2, 4) == (caught.value.line, caught.value.column)
    assert "tag" in caught.value.reason


def test_Y06_keys_that_are_not_text_get_brackets() -> None:
    text = "null: a\ntrue: b\n2024-01-01: c\n1: d\n1.5: e"

    expected = {"[null]": "a", "[true]": "b", "2024-01-01": "c", "[1]": "d", "[1.5]": "e"}
    assert expected == values("a.yml", text)


@pytest.mark.parametrize("text", ["? [1, 2]\n: x", "? {a: 1}\n: x", "a: &a [1]\n*a : x"])
def test_Y06_lists_and_mappings_are_no_keys(text: str) -> None:
    with pytest.raises(FormatError, match="can't be a key"):
        parse_text("a.yml", text)


@pytest.mark.parametrize("text", ["1: a\n'1': b", "'1': a\n1: b", "1: a\n0x1: b", "yes: a\non: b", "~: a\n'null': b"])
def test_Y06_keys_that_are_equal_as_text_are_duplicates(text: str) -> None:
    with pytest.raises(FormatError, match=r"^a.yml:2:1: duplicate key"):
        parse_text("a.yml", text)


@pytest.mark.usefixtures("_loaders")
def test_Y07_duplicate_keys_are_refused_with_their_line() -> None:
    with pytest.raises(FormatError) as caught:
        parse_text("a.yml", "a:\n  b: 1\n  c: 2\n  b: 3")

    assert "a.yml:4:3: duplicate key 'b'; keep one of them" == str(caught.value)


def test_anchors_and_merges_give_way_to_own_keys() -> None:
    text = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\nc: {y: 5, <<: [*b, *o]}\nd: {<<: *o, <<: *b}\ne: {'<<': 1}\nf: [*b]"

    actual = values("a.yml", text)

    assert {"c.x": 1, "c.y": 5, "c.z": 4} == {k: v for k, v in actual.items() if k.startswith("c")}
    assert {"d.x": 1, "d.y": 3, "d.z": 4} == {k: v for k, v in actual.items() if k.startswith("d")}
    assert {"e.<<": 1, "f[0].x": 1, "f[0].y": 2} == {k: v for k, v in actual.items() if k[0] in "ef"}


@pytest.mark.parametrize("text", ["a: {<<: 1}", "a: {<<: [1]}", "a: {<<: [[{b: 1}]]}"])
def test_only_mappings_can_be_merged(text: str) -> None:
    with pytest.raises(FormatError, match="can only merge"):
        parse_text("a.yml", text)


def test_an_alias_can_be_a_key_and_needs_an_anchor_in_its_document() -> None:
    assert {"a": "k", "k": 1} == values("a.yml", "a: &k k\n*k : 1")

    with pytest.raises(FormatError, match=r"^a.yml:3:4: the alias 'k' has no anchor before it"):
        parse_text("a.yml", "a: &k 1\n---\nb: *k")


def test_Y01_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]

    with pytest.raises(FormatError, match="more than 100000 values, aliases expanded"):
        parse_text("a.yml", "\n".join(lines))


def test_Y01_aliases_are_counted_by_the_bytes_they_expand_to() -> None:
    text = f"a: &a {'x' * 1_000}\n" + "b: [" + "*a, " * 999 + "*a]"

    assert 1_001 == len(values("a.yml", text))
    with pytest.raises(FormatError, match="more than 100000 bytes of keys and values"):
        parse_text("a.yml", text, expanded_bytes=100_000)
    with pytest.raises(FormatError, match="more than 999 aliases"):
        parse_text("a.yml", text, aliases=999)


def test_Y01_a_file_with_more_encrypted_values_than_allowed_is_refused_with_its_place() -> None:
    text = "a: ['{cipher}1', '{cipher}2']\n---\nb: x{cipher}\nc: '{cipher}3'\n"

    assert 2 == len(parse_text("a.yml", text, ciphertexts=3))
    with pytest.raises(FormatError, match="^a.yml:4:4: more than 2 encrypted values; split the file$"):
        parse_text("a.yml", text, ciphertexts=2)


def test_Y02_a_merge_bomb_does_not_multiply() -> None:
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n  k{n}: 1" for n in range(1, 200)]

    assert 200 + 199 * 200 // 2 == len(values("a.yml", "\n".join(lines)))


def test_Y02_merges_are_charged_to_the_limit() -> None:
    keys = ", ".join(f"k{n}: 1" for n in range(100))
    text = f"a: &a {{{keys}}}\n" + "b: {<<: [" + "*a, " * 99 + "*a]}"

    with pytest.raises(FormatError, match="more than 5000 values"):
        parse_text("a.yml", text, nodes=5_000)


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000, "a: " + "[" * 64])
@pytest.mark.usefixtures("_loaders")
def test_Y03_deep_nesting_is_refused_before_it_costs_anything(text: str) -> None:
    with pytest.raises(FormatError, match=r"nested deeper than 64 levels|can't be a key"):
        parse_text("a.yml", text)


def test_Y03_nesting_by_aliases_counts() -> None:
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{x: *a{n - 1}}}" for n in range(1, 80)]

    with pytest.raises(FormatError, match="nested deeper than 64 levels, aliases expanded"):
        parse_text("a.yml", "\n".join(lines))


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: {c: *a}}", "a: &a {<<: *a}", "&a [*a]"])
def test_Y04_an_anchor_that_contains_itself_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="the anchor 'a' contains itself"):
        parse_text("a.yml", text)


@pytest.mark.usefixtures("_loaders")
@pytest.mark.parametrize("text", ['a: "\\ud800"', 'a: "\\0"', 'a: "x\\x00"', '"\\0": 1', "a: \x00", "a: \x07"])
def test_Y10_what_json_text_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_text("a.yml", text)


def test_Y10_line_ends_and_separators_of_all_kinds_are_read() -> None:
    assert {"a": 1, "b": 2} == values("a.yml", "a: 1\r\nb: 2\r\n")
    assert {"a": 1, "b": 2} == values("a.yml", "a: 1\rb: 2\r")
    assert {"a": "x\u2028y"} == values("a.yml", 'a: "x\\Ly"')


def test_Y10_byte_order_marks_are_no_part_of_the_text() -> None:
    assert {"a": "é"} == values("a.yml", b"\xef\xbb\xbf" + "a: é".encode())
    assert {"a": "é"} == values("a.yml", "a: é".encode("utf-16"))

    with pytest.raises(FormatError, match=r"^a.yml:2: not UTF-8; save the file as UTF-8"):
        parse_text("a.yml", b"b: 1\na: \xe9")
    with pytest.raises(FormatError, match="not UTF-16"):
        parse_text("a.yml", "a: é".encode("utf-16")[:-1])


def test_documents_without_anything_are_left_out_and_empty_mappings_are_not() -> None:
    assert () == parse_text("a.yml", "# nothing\n")
    assert () == parse_text("a.yml", "")
    assert [{"a": 1}, {}, {"b": 2}] == [
        dict(each.values) for each in parse_text("a.yml", "---\n---\na: 1\n---\n{}\n---\nb: 2\n---\n")
    ]


def test_origins_are_where_values_begin() -> None:
    (document,) = parse_text("a.yml", "a:\n  b: 1\n  c:\n  - x\n  - 'y'\nd: []\n")

    assert {"a.b": (2, 6), "a.c[0]": (4, 5), "a.c[1]": (5, 5), "d": (6, 4)} == dict(document.origins)


def test_bad_syntax_is_an_error_at_its_place() -> None:
    with pytest.raises(FormatError) as caught:
        parse_text("a.yml", "a: 1\nb:\n\tc: 2\n")

    assert (3, 1) == (caught.value.line, caught.value.column)
    assert "not YAML" in caught.value.reason


def test_errors_never_quote_a_value() -> None:
    for text in ["a: hunter2: x", "a: !!int hunter2", "a: 'hunter2", "a: [hunter2", "a: hunter2\n b: 1"]:
        with pytest.raises(FormatError) as caught:
            parse_text("a.yml", text)

        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'a: "Sale \ud83d\ude00!"', "Sale 😀!"),
        (r'a: "\uD83D\uDE00\ud83d\ude01"', "😀😁"),
        (r'a: "\ud800\udc00\udbff\udfff"', "\U00010000\U0010ffff"),
        (r'a: "\\\ud83d\ude00"', "\\😀"),
        (r'a: "\\\\ud83d\\ude00"', r"\\ud83d\ude00"),
        ('a: "\\ud83d\\ude00\n  \\ud83d\\ude00"', "😀 😀"),
        (r"a: '\ud83d\ude00'", r"\ud83d\ude00"),
        (r"a: \ud83d\ude00", r"\ud83d\ude00"),
        ("a: |-\n  \\ud83d\\ude00", r"\ud83d\ude00"),
        ("a: >-\n  \\ud83d\\ude00", r"\ud83d\ude00"),
        ('# "\\ud83d\\ude00"\na: 1', 1),
    ],
)
@pytest.mark.usefixtures("_loaders")
def test_surrogate_pairs_in_double_quotes_are_one_character_and_text_elsewhere(text: str, value: object) -> None:
    assert {"a": value} == values("a.yml", text)


@pytest.mark.usefixtures("_loaders")
def test_what_json_writers_make_of_a_document_is_read_from_yaml_with_its_places() -> None:
    text = '{"😀": {"x": "😀😀", "y": 1}, "z": 2}\n'
    escaped = json.dumps(json.loads(text)) + "\n"
    (document,) = parse_text("a.yml", escaped)

    assert {"😀.x": "😀😀", "😀.y": 1, "z": 2} == document.values
    assert {key: (1, 1 + escaped.index(part)) for key, part in (("😀.x", '"\\ud83d\\ude00\\ud'), ("z", "2}"))} == {
        key: document.origins[key] for key in ("😀.x", "z")
    }


@pytest.mark.usefixtures("_loaders")
def test_places_behind_surrogate_pairs_are_those_of_the_file_on_each_line() -> None:
    (document,) = parse_text("a.yml", '{"a": "\\ud83d\\ude00", b: 1,\nc: 2, "\\ud83d\\ude00": 3,\n d: 4}')

    assert {"a": (1, 7), "b": (1, 26), "c": (2, 4), "😀": (2, 23), "d": (3, 5)} == document.origins


@pytest.mark.usefixtures("_loaders")
def test_places_behind_many_surrogate_pairs_are_those_of_the_file() -> None:
    pair = r"\ud83d\ude00"
    lines = [f'{{a: "{pair * 20}", b: 1, ' + f'c: "{pair}", d: 1,', f'e: "{pair}", f: 1}}']
    (document,) = parse_text("a.yml", "\n".join(lines))

    assert {
        key: (number, line.index(f"{key}: ") + 4)
        for number, line in enumerate(lines, 1)
        for key in "abcdef"
        if f"{key}: " in line
    } == document.origins


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('a: 1\nb: "x\\ud83d"', "2:8"),
        ('a: 1\nb: "x\\ude00"', "2:8"),
        ('a: "\\ud83d\\ude00"\nb: "x\\ud83d\\u0041"', "2:8"),
        ('a: "\\\\ud83d\\ude00"', "1:14"),
    ],
)
def test_Y10_half_of_a_surrogate_pair_is_refused_at_its_place(text: str, place: str) -> None:
    with pytest.raises(FormatError, match=f"^a.yml:{place}: not YAML: found invalid Unicode character escape code$"):
        parse_text("a.yml", text)


def test_Y10_half_of_a_surrogate_pair_is_refused_without_libyaml_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_module, "_Loader", yaml.SafeLoader)
    with pytest.raises(FormatError, match=r"^a.yml:2:4: a NUL character or half of a surrogate pair$"):
        parse_text("a.yml", 'a: "\\ud83d\\ude00"\nb: "x\\ud83d"')


@pytest.mark.usefixtures("_loaders")
def test_bad_syntax_behind_a_surrogate_pair_is_an_error_at_its_place() -> None:
    with pytest.raises(FormatError, match=r"^a.yml:1:23: duplicate key 'a'"):
        parse_text("a.yml", '{"a": "\\ud83d\\ude00", a: 1}')
    with pytest.raises(FormatError, match=r"^a.yml:1:20: not YAML: "):
        parse_text("a.yml", '"\\ud83d\\ude00": 1, : }')


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        ('a: "x\x1by"', "1:6", "001B"),
        ("é: 1\nb: é\x01", "2:5", "0001"),
        ("a: 1\r\nb: 2\r\n\r\nc: \x7f", "4:4", "007F"),
        ("a: 😀\nb: 😀\x08", "2:5", "0008"),
        ("a: 1\u2028b: \x80", "2:4", "0080"),
        ("\x1b", "1:1", "001B"),
        ("k: v\n" * 3_000 + "bad: \x1b\n" + "k: v\n" * 3_000, "3001:6", "001B"),
        ('a: "\\ud83d\\ude00"\nb: \x1b', "2:4", "001B"),
    ],
)
@pytest.mark.usefixtures("_loaders")
def test_Y10_a_control_character_is_refused_at_its_place(text: str, place: str, code: str) -> None:
    reason = f"not YAML: the character U\\+{code}; write it as an escape in double quotes"
    with pytest.raises(FormatError, match=f"^a.yml:{place}: {reason}$"):
        parse_text("a.yml", text)


def test_a_tab_is_called_by_its_name() -> None:
    with pytest.raises(FormatError, match=r"^a.yml:3:1: not YAML: there is a tab .*; indent with spaces$"):
        parse_text("a.yml", "a: 1\nb:\n\tc: 2\n")
    with pytest.raises(FormatError, match=r"^a.yml:1:4: not YAML: found character that cannot start any token$"):
        parse_text("a.yml", "a: @b\n")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1, 2\n", "1:4"),
        ("a: [1, 2\n\n\n", "1:4"),
        ("x: 1\na: {b: 1", "2:4"),
        ('x: 1\r\na: "b\r\nc: 1\r\n', "2:4"),
        # The text goes on, so the place is where it is wrong.
        ("a: [1, 2\nb: 1\n", "2:2"),
        ("a: b: c\n", "1:5"),
    ],
)
def test_text_that_ends_too_early_is_an_error_where_the_unfinished_part_begins(text: str, place: str) -> None:
    with pytest.raises(FormatError, match=f"^a.yml:{place}: not YAML: "):
        parse_text("a.yml", text)
