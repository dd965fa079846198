"""What holds for the file of any kind of record. tests/pins/test_file.py has the rest, with pins."""

import attrs
import orjson

from vortexd.pins.file import PINS
from vortexd.shelf.file import encode, parse

from ..pins.test_file import pin


def test_a_file_has_the_name_and_the_format_of_its_kind() -> None:
    other = attrs.evolve(PINS, noun="roll-out", format=7)
    content = encode(other, [pin()])

    assert orjson.loads(content)["format"] == 7
    assert list(orjson.loads(content)) == ["format", "roll_outs"]
    assert [each.id for each in parse(other, content)] == [pin().id]  # type: ignore[union-attr]
    assert parse(PINS, content) == "it has format 7, but this version only reads format 1"
    assert parse(attrs.evolve(PINS, format=7), content) == "it isn't a file of pins"
