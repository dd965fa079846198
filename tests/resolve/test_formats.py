import json

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from vortexd.core.errors import FormatError
from vortexd.resolve.formats import EXTENSIONS, extension, parse
from vortexd.resolve.nest import effective_document

from .support import LIMITS, parse_text, source

VALID = {
    "yml": 'a: &x {b: [1, \'two\', "thr\\u00e9e"]}\nc:\n  <<: *x\n  d: |\n    text\n--- # next\nspring.config.activate.on-profile: "(a | b) & !c"\n',
    "json": '{"a": {"b": [1, -2.5e3, "thr\\u00e9e", true, null]},\n "spring": {"config": {"activate": {"on-profile": "a"}}}}',
    "toml": 'a = [1, {b = "x"}]\n# c\n[t.u]\nd = 2024-01-02T03:04:05Z\ne = """\nx\\u00e9"""\n',
    "properties": "a=1\\\n  2\nb[]=x,\\u00e9\n#---\nspring.config.activate.on-profile=(a|b)&!c\n",
}


def parse_or_refuse(path: str, content: bytes) -> None:
    """Whatever comes out must be fit for JSON and for the nested document."""
    try:
        documents = parse(path, content, LIMITS)
    except FormatError:
        return
    for document in documents:
        orjson.dumps(effective_document([source(dict(document.values))]))
        assert set(document.origins) <= set(document.values)


@pytest.mark.parametrize("kind", VALID)
def test_Y14_a_file_cut_at_any_byte_parses_or_is_refused(kind: str) -> None:
    content = VALID[kind].encode()
    assert parse(f"a.{kind}", content, LIMITS)

    for end in range(len(content)):
        parse_or_refuse(f"a.{kind}", content[:end])


@given(st.sampled_from(EXTENSIONS), st.binary())
def test_any_bytes_parse_or_are_refused(kind: str, content: bytes) -> None:
    parse_or_refuse(f"a.{kind}", content)


@given(
    st.sampled_from(EXTENSIONS), st.text(st.sampled_from("{}[]:,-?&*!|>%@'\"#\\=.~<u0d8e1_ \n\tabe\u2028"), max_size=60)
)
@settings(max_examples=examples(500))
@example("properties", "\\\na")
@example("yml", "%YAML 1.99999999999999999999\n---\na")
@example("yml", "%YAML 9.1\n---\na")
@example("yml", "!%FF a")
@example("yml", '"\\UFFFFFFFF"')
@example("toml", '"\\UFFFFFFFF" = 1')
def test_any_text_of_syntax_parses_or_is_refused(kind: str, text: str) -> None:
    parse_or_refuse(f"a.{kind}", text.encode())


@given(st.sampled_from(sorted(VALID)), st.data())
def test_a_valid_file_with_bytes_replaced_parses_or_is_refused(kind: str, data: st.DataObject) -> None:
    content = bytearray(VALID[kind].encode())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    parse_or_refuse(f"a.{kind}", bytes(content))


@pytest.mark.parametrize("path", ["a.txt", "a", "a.b/c", "yml", "a.YML"])
def test_what_is_no_configuration_file_is_refused(path: str) -> None:
    with pytest.raises(FormatError, match="not a configuration file"):
        parse(path, b"a: 1", LIMITS)


def test_an_extension_is_that_of_the_last_segment() -> None:
    assert ["yml", "", "yml", ""] == [extension(path) for path in ("a.b/c.yml", "a.yml/c", "a.x.yml", "a")]


def test_Y11_a_huge_key_or_list_is_refused() -> None:
    with pytest.raises(FormatError, match="a key or value of more than 1048576 bytes"):
        parse_text("a.json", json.dumps({"k" * 1_048_577: 1}))
    with pytest.raises(FormatError, match="a list with an index above 10000"):
        parse_text("a.json", "[" + "1," * 1_000_000 + "1]")
    with pytest.raises(FormatError, match="a list index above 10000"):
        parse_text("a.yml", "codes: {20000: x}")


def test_Y11_a_long_key_above_many_values_is_charged_each_time() -> None:
    with pytest.raises(FormatError, match="more than 10485760 bytes of keys and values"):
        parse_text("a.json", json.dumps({"k" * 100_000: [1] * 1_000}))


def test_sizes_are_bytes_not_characters() -> None:
    with pytest.raises(FormatError, match="more than 9 bytes"):
        parse_text("a.yml", "a: ééééé", text_bytes=9)
    assert parse_text("a.yml", "a: ééééé", text_bytes=10)


def test_Y16_many_values_are_refused_beyond_the_limit() -> None:
    for kind, text in {
        "yml": "".join(f"k{n}: 1\n" for n in range(60)),
        "properties": "".join(f"k{n}=1\n" for n in range(60)),
    }.items():
        with pytest.raises(FormatError, match="more than 50 values"):
            parse_text(f"a.{kind}", text, nodes=50)
