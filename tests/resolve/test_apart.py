"""Documents that another process has parsed are the same as if this process had parsed them."""

import marshal
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.core.errors import FormatError
from vortexd.resolve.apart import documents_from, request_for, work
from vortexd.resolve.formats import EXTENSIONS, Document, parse
from vortexd.settings.formats import FormatSettings

from .support import LIMITS


def pieces(path: str, content: bytes, limits: FormatSettings = LIMITS) -> Iterator[Any]:
    """What goes over the pipe."""
    request = marshal.loads(marshal.dumps(request_for(path, limits)))
    for value in work(request, content):
        yield marshal.loads(marshal.dumps(value))


def compared(documents: tuple[Document, ...]) -> list[object]:
    return [
        (list(each.values.items()), dict(each.origins), each.profiles, list(each.profile_keys.items()), each.imports)
        for each in documents
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.yml", "b: 1\na: [1.5, true, null, x, '']\n--- # next\nc: {d: é}\n---\n{}"),
        ("a.yml", "a: 1\n---\nspring.config.activate.on-profile: '(a | b) & !c, d'\nb: 2"),
        ("a.yml", "spring.config.activate.on-cloud-platform: x\nb: 2"),
        ("a.yml", "spring.profiles.group: {p: [x, y]}\nspring.config.import: [b.yml, c.yml]"),
        ("a.json", '{"a": {"b": -9223372036854775808}}'),
        ("a.toml", "a = 1\n[b]\nc = 2024-01-02\n"),
        ("a.properties", "a=1\nb[]=x,y\n#---\nspring.profiles.include=z\n"),
        ("a.yml", ""),
    ],
)
def test_documents_come_back_as_they_were(path: str, text: str) -> None:
    expected = parse(path, text.encode(), LIMITS)

    assert compared(expected) == compared(documents_from(path, pieces(path, text.encode())))


@given(st.sampled_from(EXTENSIONS), st.text(st.sampled_from("{}[]:,-&*#\\='\"\n ab1."), max_size=40))
def test_any_text_comes_back_as_it_was_or_is_refused_alike(kind: str, text: str) -> None:
    def tried(parsed: Any) -> object:
        try:
            return compared(parsed())
        except FormatError as error:
            return str(error), error.line, error.column

    path, content = f"a.{kind}", text.encode()
    assert tried(lambda: parse(path, content, LIMITS)) == tried(lambda: documents_from(path, pieces(path, content)))


def test_the_limits_are_those_of_the_request() -> None:
    limits = attrs.evolve(LIMITS, nodes=3)
    with pytest.raises(FormatError, match=r"^a.yml:3:4: more than 3 values"):
        documents_from("a.yml", pieces("a.yml", b"a: 1\nb: 1\nc: 1\nd: 1", limits))


def test_no_piece_is_large_and_none_is_empty() -> None:
    text = "".join(f"k{n}: 1\n" for n in range(1_000)) + "".join(f"l{n}: {'x' * 30_000}\n" for n in range(10))
    found = list(pieces("a.yml", text.encode()))
    values = [piece for kind, piece in found if kind == "values"]

    assert all(0 < len(piece) <= 256 for piece in values)
    assert all(sum(len(str(value)) for _, value, _ in piece) < 65_536 + 30_000 for piece in values)
    assert 1_010 == sum(map(len, values))
    assert 7 == len(values)


@pytest.mark.parametrize(
    "text",
    [
        "spring.config.import=" + ",".join(f"x{n}.yml" for n in range(1_000)),
        "\n".join(f"spring.profiles.group.p{n}=x" for n in range(1_000)),
        "\n".join(f"spring.config.activate.on-profile[{n}]=p{n}" for n in range(1_000)),
    ],
)
def test_long_lists_of_directives_come_in_pieces_too(text: str) -> None:
    found = list(pieces("a.properties", text.encode()))

    assert all(len(piece) <= 256 for kind, piece in found if kind != "document")
    assert compared(parse("a.properties", text.encode(), LIMITS)) == compared(documents_from("a.properties", found))
