"""Bodies from a variant and an origin, errors in their place, and which of them the event loop encodes itself."""

import json

import attrs
import pytest
import yaml

from tests.fakes import KEY, config
from vortexd.core.model import Config, PropertySource, Scalar
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.http.endpoint import etag_of
from vortexd.http.spring.config_request import ConfigRequest, Form
from vortexd.http.spring.encoding import BYTES, TEXT, Encoded, Origin, Variant, encode, is_quick
from vortexd.http.spring.environment import V1, V2
from vortexd.resolve.formats import Document, parse
from vortexd.settings.formats import FormatSettings

SMALL, SMALL_YAML, VALUE = 65_536, 8_192, 64
AES = AesEncryptor("foo")
SECRET = "{cipher}" + AES.encrypt("mysecret ${a}")


def wanted(
    form: Form = Form.ENVIRONMENT, path: str = "", *, resolves: bool = True, escapes: bool = False
) -> ConfigRequest:
    return ConfigRequest(form, "orders", "dev", None, path, resolves, escapes)


def configured(*layers: dict[str, Scalar]) -> Config:
    """A configuration from some property sources, the strongest first."""
    sources = tuple(PropertySource(f"file:/c/{number}.yml", values, {}) for number, values in enumerate(layers))
    return attrs.evolve(config(KEY, {"a": "1"}), sources=sources)


def parse_file(path: str, content: bytes) -> tuple[Document, ...]:
    return parse(path, content, FormatSettings())


def no_parser(path: str, content: bytes) -> tuple[Document, ...]:
    raise AssertionError("nothing is parsed here")


def made(request: ConfigRequest, origin: Origin, media_type: str = TEXT, charset: str = "utf-8") -> Encoded:
    return encode(Variant(request, media_type, charset), origin, parse_file)


def file_body(file: bytes, request: ConfigRequest | None = None, values: Config | None = None, **variant: str) -> bytes:
    return made(request or wanted(Form.FILE, "x.txt"), Origin(values, file), **variant).body


# Configurations.


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (wanted(Form.PROPERTIES), b"a: 1\nb: x 1"),
        (wanted(Form.PROPERTIES, resolves=False), b"a: 1\nb: x ${a}"),
        (wanted(Form.PROPERTIES, escapes=True), b"a=1\nb=x 1\n"),
        (wanted(Form.YAML), b"a: '1'\nb: x 1\n"),
        (wanted(Form.YAML, resolves=False), b"a: '1'\nb: x ${a}\n"),
        (wanted(Form.JSON), b'{"a":"1","b":"x 1"}'),
        (wanted(Form.JSON, resolves=False), b'{"a":"1","b":"x ${a}"}'),
    ],
)
def test_each_form_has_its_body_with_and_without_placeholders(request_: ConfigRequest, body: bytes) -> None:
    assert body == made(request_, Origin(configured({"a": "1", "b": "x ${a}"}))).body


@pytest.mark.parametrize("media_type", [V1, V2])
def test_the_environment_keeps_its_placeholders_in_both_media_types(media_type: str) -> None:
    source = PropertySource("file:/c/x.yml", {"a": "${b}"}, {"a": (3, 5)})
    values = attrs.evolve(config(KEY, {}), sources=(source,))
    found = json.loads(made(wanted(), Origin(values), media_type).body)["propertySources"]

    value = "${b}" if media_type == V1 else {"value": "${b}", "origin": "3:5"}
    assert [{"name": "file:/c/x.yml", "source": {"a": value}}] == found


def test_a_body_has_its_entity_tag_and_the_version_of_the_configuration() -> None:
    values = configured({"a": "1"})
    found = made(wanted(Form.JSON), Origin(values))

    assert (etag_of(found.body), values.version, None) == (found.etag, found.version, found.error)


def test_the_same_variant_and_origin_make_the_same_bytes() -> None:
    first, second = (made(wanted(Form.YAML), Origin(configured({"b": 1, "a": 2}))) for _ in range(2))

    assert (first.body, first.etag) == (second.body, second.etag)
    assert {"b": 1, "a": 2} == yaml.safe_load(first.body)


@pytest.mark.parametrize("form", [Form.PROPERTIES, Form.YAML, Form.JSON])
def test_a_body_that_can_not_be_made_is_an_error_without_content(form: Form) -> None:
    found = made(wanted(form), Origin(configured({"a": "${b}", "b": "${a}"})))

    assert (b"", "", None) == (found.body, found.etag, found.version)
    assert found.error is not None
    assert 400 == found.error.status


def test_an_error_keeps_no_reference_to_the_content() -> None:
    error = made(wanted(Form.YAML), Origin(configured({"a": "${b}", "b": "${a}"}))).error

    assert error is not None
    assert error.__traceback__ is None


def test_a_bug_in_a_parser_is_not_taken_for_an_error_of_the_client() -> None:
    def broken(path: str, content: bytes) -> tuple[Document, ...]:
        raise ZeroDivisionError

    origin = Origin(None, SECRET.encode(), Decryptor(OneKey(AES)))
    with pytest.raises(ZeroDivisionError):
        encode(Variant(wanted(Form.FILE, "x.yml"), TEXT, "utf-8"), origin, broken)


# Plain files.


def test_a_file_has_its_entity_tag_and_no_version() -> None:
    found = made(wanted(Form.FILE, "x.txt"), Origin(configured({"a": "1"}), b"text"))

    assert (b"text", etag_of(b"text"), None, None) == (found.body, found.etag, found.version, found.error)


def test_an_empty_file_is_a_body() -> None:
    assert Encoded(b"", etag_of(b"")).etag == made(wanted(Form.FILE, "x.txt"), Origin(None, b"")).etag


def test_placeholders_of_a_file_are_those_of_its_configuration() -> None:
    values = configured({"a": "1"})

    assert b"x 1 ${b}" == file_body(b"x ${a} ${b}", values=values)
    assert b"x ${a}" == file_body(b"x ${a}")
    assert b"x ${a}" == file_body(b"x ${a}", wanted(Form.FILE, "x.txt", resolves=False), values)


def test_a_file_as_bytes_stays_as_it_is() -> None:
    content = b"\xff\x00 ${a} " + SECRET.encode()
    origin = Origin(configured({"a": "1"}), content, Decryptor(OneKey(AES)))
    found = encode(Variant(wanted(Form.FILE, "x.yml"), BYTES, "utf-8"), origin, no_parser)

    assert (content, None) == (found.body, found.version)


def test_a_text_is_decoded_in_its_charset_and_sent_as_utf_8() -> None:
    assert "grüß".encode() == file_body("grüß".encode("latin-1"), charset="iso-8859-1")
    assert "grüß".encode() == file_body("grüß".encode())


def test_bytes_that_are_not_of_the_charset_are_replaced() -> None:
    assert "gr\ufffd".encode() == file_body(b"gr\xfc")


def test_half_of_a_surrogate_pair_in_a_value_is_replaced_in_a_text() -> None:
    assert b"x ?" == file_body(b"x ${a}", values=configured({"a": "\ud800"}))


def test_values_of_a_file_are_decrypted_before_placeholders_are_resolved() -> None:
    decryptor = Decryptor(OneKey(AES))
    origin = Origin(configured({"a": "1"}), f"# {SECRET}0\nx: '{SECRET}'\n".encode(), decryptor)

    assert b"x: 'mysecret 1'\n" in made(wanted(Form.FILE, "x.yml"), origin).body
    assert b"x: 'mysecret ${a}'\n" in made(wanted(Form.FILE, "x.yml", resolves=False), origin).body
    assert SECRET.encode() in made(wanted(Form.FILE, "x.yml"), attrs.evolve(origin, decryptor=None)).body


def test_a_value_that_can_not_be_decrypted_stays_and_is_noted_with_its_file() -> None:
    decryptor = Decryptor(OneKey(AES))
    foreign = "{cipher}" + AesEncryptor("bar").encrypt("x")
    found = made(wanted(Form.FILE, "dir/x.yml"), Origin(None, f"x: '{foreign}'\n".encode(), decryptor))

    assert foreign.encode() in found.body
    assert [("dir/x.yml", "")] == decryptor.take_failures()


# Where a body is encoded.


def sized(body: int, values: int = 0) -> Config:
    source = PropertySource("file:/c/x.yml", {f"k{number}": 1 for number in range(values)}, {})
    return attrs.evolve(config(KEY, {}), body=b"x" * body, sources=(source,))


@pytest.mark.parametrize("form", [Form.ENVIRONMENT, Form.PROPERTIES, Form.JSON, Form.YAML])
def test_a_configuration_up_to_a_size_is_quick(form: Form) -> None:
    limit = SMALL_YAML if form is Form.YAML else SMALL

    assert is_quick(wanted(form), Origin(sized(limit)))
    assert not is_quick(wanted(form), Origin(sized(limit + 1)))


def test_each_value_of_a_configuration_adds_to_its_size() -> None:
    assert is_quick(wanted(), Origin(sized(SMALL - 10 * VALUE, values=10)))
    assert not is_quick(wanted(), Origin(sized(SMALL - 10 * VALUE + 1, values=10)))
    assert not is_quick(wanted(), Origin(sized(SMALL - 10 * VALUE, values=11)))


def test_a_file_up_to_a_size_is_quick_together_with_its_configuration() -> None:
    request = wanted(Form.FILE, "x.txt")

    assert is_quick(request, Origin(None, b"x" * SMALL))
    assert not is_quick(request, Origin(None, b"x" * (SMALL + 1)))
    assert is_quick(request, Origin(sized(1), b"x" * (SMALL - 1)))
    assert not is_quick(request, Origin(sized(2), b"x" * (SMALL - 1)))


def test_a_body_with_something_to_decrypt_is_not_quick() -> None:
    assert not is_quick(wanted(Form.FILE, "x.yml"), Origin(None, b"", Decryptor(OneKey(AES))))


@pytest.mark.parametrize(
    ("request_", "quick"),
    [
        (wanted(Form.ENVIRONMENT), True),
        (wanted(Form.JSON, resolves=False), True),
        (wanted(Form.JSON), False),
        (wanted(Form.PROPERTIES), False),
        (wanted(Form.FILE, "x.txt"), False),
    ],
)
def test_a_configuration_whose_placeholders_are_resolved_is_not_quick(request_: ConfigRequest, quick: bool) -> None:
    values = attrs.evolve(config(KEY, {}), body=b'{"a":"${b}"}')

    assert quick == is_quick(request_, Origin(values))
    assert is_quick(request_, Origin(attrs.evolve(values, body=b'{"a":"$b"}')))
