"""Prefixes of ciphertexts: only Spring's prefixes are accepted, however long the text is."""

import json
from pathlib import Path

import pytest

from vortexd.encryption import prefixes

RECORDED = json.loads((Path(__file__).parent / "answers.json").read_text())
TAKEN_AS_THEY_ARE = [
    (text, plain, before)
    for content_type, text, status, plain, before in RECORDED["encrypt"]
    if content_type == "text/plain" and status == 200 and "description" not in plain
]


@pytest.mark.parametrize(("text", "plain", "before"), TAKEN_AS_THEY_ARE)
def test_a_prefix_is_what_it_is_to_spring(text: str, plain: str, before: str) -> None:
    assert plain == prefixes.strip(text)
    assert before + "x" == prefixes.prefixed(prefixes.selectors(text), "x")


def test_a_prefix_names_a_key_and_its_password() -> None:
    assert {"key": "a", "secret": "b:c"} == prefixes.selectors("{key:a}{secret:b:c}text")


def test_application_and_profiles_are_not_a_texts_to_say() -> None:
    assert {"key": "a"} == prefixes.selectors("{name:x\n}{profiles:x\n}{key:a}text")
    assert {} == prefixes.selectors("{name:x}{profiles:y}{key:a}text")


@pytest.mark.parametrize("opening", ["{", "{:", "{name:", "{a:", "}", "{a:\n}", "{name:\n"])
def test_a_long_text_takes_no_longer_than_its_length(opening: str) -> None:
    # What grows with its square would take minutes here.
    text = opening * 300_000

    assert len(prefixes.strip(text)) <= len(text)
    assert len(prefixes.selectors(text)) <= 1
