"""The sentences about a pin and about a label that the gate holds back."""

import pytest

from vortexd.ctl.conditions import GATE, PINNED, held_back, pin, sentences

OLD = "this configuration may be old: the server's gate holds back"
SEE = "; see vortexctl gate"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"main";state="c2"', [f"{OLD} state c2 of label main{SEE}"]),
        (f'"main";state="{"c" * 40}"', [f"{OLD} state {'c' * 12} of label main{SEE}"]),
        ('"main"', [f"{OLD} the newest state of label main{SEE}"]),
        ('"main";state="c2";failed', [f"{OLD} state c2 of label main, because the gate couldn't judge it{SEE}"]),
        (
            '"a%20b";state="c2";key="shop:dev:main";pointer="/a";keyword="type";rule="r.json";file="shop.yml";line=7',
            [f"{OLD} state c2 of label a b, because shop:dev:main breaks type of r.json (shop.yml:7){SEE}"],
        ),
        (
            '"a";state="c";key="k";pointer="";keyword="type";rule="r";file="shop.yml", "a";state="c";keyword="other"',
            [f"{OLD} state c of label a, because k breaks type of r (shop.yml){SEE}"],
        ),
        ('"a";state="c";keyword="type"', [f"{OLD} state c of label a, because a key breaks type of a rule{SEE}"]),
        ('"a";state="1", "b";state="2"', [f"{OLD} state 1 of label a{SEE}", f"{OLD} state 2 of label b{SEE}"]),
        (
            '"a";state="c";scope="application";applications="shop cart";keyword="type"',
            [f"{OLD} state c of label a for shop, cart, because a key breaks type of a rule{SEE}"],
        ),
        ('"a";applications="1 2 3 4 5 6"', [f"{OLD} the newest state of label a for 1, 2, 3, 4, 5{SEE}"]),
        ("?1", [f"{OLD} the newest state of its label{SEE}"]),
    ],
)
def test_a_label_that_is_held_back_is_one_sentence(header: str, expected: list[str]) -> None:
    assert expected == [*held_back(header)]


def test_only_five_labels_are_named() -> None:
    assert 5 == len([*held_back(", ".join(f'"l{number}";state="c"' for number in range(6)))])


def test_a_pin_is_a_sentence_with_its_end() -> None:
    end = "so it doesn't follow its source; see vortexctl pins"
    assert f"this configuration is pinned until 2026-01-01T00:00:00Z, {end}" == pin("until=2026-01-01T00:00:00Z")
    assert f"this configuration is pinned until somebody lifts the pin, {end}" == pin("true")


def test_the_gate_comes_before_the_pin_and_without_headers_there_is_nothing() -> None:
    headers = {PINNED: "true", GATE: '"main";state="c2"'}
    assert [*held_back(headers[GATE]), pin("true")] == [*sentences(headers)]
    assert [] == [*sentences({"x-vortex-version": "1", PINNED: "", GATE: ""})]
