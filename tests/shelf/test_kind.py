from vortexd.pins.file import PINS


def test_the_name_of_several_records_is_the_plural() -> None:
    assert (PINS.noun, PINS.nouns) == ("pin", "pins")
