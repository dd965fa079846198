"""Generations: their text, and their order within one epoch."""

import pytest

from vortexd.core.generation import HIGHEST_NUMBER, Generation


@pytest.mark.parametrize(
    ("text", "generation"),
    [
        ("0.1", Generation("0", 1)),
        ("5f3a.17", Generation("5f3a", 17)),
        ("0123456789abcdef.10", Generation("0123456789abcdef", 10)),
        (32 * "f" + ".9007199254740992", Generation(32 * "f", 2**53)),
    ],
)
def test_a_generation_is_written_as_it_is_read(text: str, generation: Generation) -> None:
    assert generation == Generation.parse(text)
    assert text == str(generation)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a",
        "a.",
        ".1",
        "17",
        "a.0",
        "a.01",
        "a.-1",
        "a.+1",
        "a.1_0",
        "a.1.0",
        "a.1e3",
        "a.0x1",
        "a.9007199254740993",
        "a.10000000000000000",
        "a." + 5_000 * "9",
        33 * "f" + ".1",
        "A.1",
        "g.1",
        "a b.1",
        "\uff11.1",
        "a.\uff11",
        "a.\u0661",
        "a.1\u0661",
        "a:1",
        "aa1",
        " a.1",
        "a.1 ",
        "a.1\n",
        "\na.1",
    ],
)
def test_another_text_is_no_generation(text: str) -> None:
    assert Generation.parse(text) is None


def test_within_an_epoch_the_higher_number_is_ahead() -> None:
    assert Generation("a", 10).is_ahead_of(Generation("a", 9))
    assert not Generation("a", 9).is_ahead_of(Generation("a", 10))


def test_a_generation_is_not_ahead_of_itself() -> None:
    assert not Generation("a", 9).is_ahead_of(Generation("a", 9))


def test_generations_of_different_epochs_do_not_compare() -> None:
    assert not Generation("b", 10).is_ahead_of(Generation("a", 9))
    assert not Generation("a", 9).is_ahead_of(Generation("b", 10))


def test_every_number_is_exact_as_a_floating_point_number() -> None:
    assert float(HIGHEST_NUMBER) == HIGHEST_NUMBER
    assert float(HIGHEST_NUMBER + 1) == HIGHEST_NUMBER


def test_a_generation_cannot_be_changed_and_has_slots() -> None:
    generation = Generation("a", 9)

    with pytest.raises(AttributeError):
        generation.number = 10  # type: ignore[misc]
    assert not hasattr(generation, "__dict__")
    assert generation in {Generation("a", 9)}
