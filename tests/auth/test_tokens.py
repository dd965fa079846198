"""Token files: their format, and the owner and rights of each token."""

import hmac
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.auth import Grant, Kind, Right, Tokens, Unauthorized, digest_of, load_tokens, new_token
from vortexd.auth.tokens import entry_of, repeated_tokens
from vortexd.core.errors import SettingsError
from vortexd.core.patterns import Pattern

TOKEN = "vt_" + "a" * 43
GOOD = f'[[token]]\nname = "ci"\nsha256 = "{digest_of(TOKEN)}"\nrights = ["read"]\npatterns = ["shop:*"]\n'


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load_tokens(text, "tokens.toml")
    return dict(caught.value.problems)


def test_a_new_token_is_32_random_bytes_and_found_by_its_digest() -> None:
    token = new_token()
    tokens = Tokens(load_tokens(GOOD.replace(digest_of(TOKEN), digest_of(token)), "tokens.toml"))

    assert re.fullmatch(r"vt_[A-Za-z0-9_-]{43}", token)
    assert token != new_token()
    assert "ci" == tokens.find(token).name


def test_a_token_has_its_rights_its_patterns_and_its_end() -> None:
    (token,) = load_tokens(GOOD + 'expires = "2027-01-01T00:00:00Z"', "tokens.toml")

    assert Kind.TOKEN == token.principal.kind
    assert {Right.READ} == token.principal.grants[0].rights
    assert (Pattern("shop", "*", "*"),) == token.principal.grants[0].patterns
    assert 1_798_761_600 == token.principal.expires_at


@pytest.mark.parametrize("text", ["2027-01-01T00:00:00Z", '"2027-01-01T01:00:00+01:00"', '"2026-12-31T23:00:00-01:00"'])
def test_an_end_may_be_a_time_of_toml_or_text_with_any_offset(text: str) -> None:
    (token,) = load_tokens(GOOD + f"expires = {text}", "tokens.toml")

    assert 1_798_761_600 == token.principal.expires_at


def test_tokens_have_a_number_and_grants_and_are_found_by_their_digests() -> None:
    other = GOOD.replace('"ci"', '"cd"').replace(digest_of(TOKEN), "0" * 63 + "1").replace('"read"', '"report"')
    tokens = Tokens(load_tokens(GOOD + other, "tokens.toml"))
    patterns = (Pattern("shop", "*", "*"),)

    assert (2, 0) == (len(tokens), len(Tokens()))
    assert [Grant(frozenset({right}), patterns) for right in (Right.READ, Right.REPORT)] == tokens.grants
    found = tokens.holder(digest_of(TOKEN))
    assert found is not None
    assert ("ci", digest_of(TOKEN)) == (found.name, found.identity)
    assert tokens.holder("0" * 64) is None


def test_the_entry_of_a_new_token_has_its_digest_and_is_read_back() -> None:
    entry = entry_of("ci", TOKEN)

    assert (
        f'[[token]]\nname = "ci"\nsha256 = "{digest_of(TOKEN)}"\nrights = ["read", "subscribe", "report"]\npatterns = ["*"]\n'
    ) == entry
    (token,) = load_tokens(entry_of("ci", TOKEN, ["admin"], ["a:*", "b"], "2027-01-01T00:00:00Z"), "tokens.toml")
    assert (Grant(frozenset({Right.ADMIN}), (Pattern("a"), Pattern("b"))),) == token.principal.grants
    assert 1_798_761_600 == token.principal.expires_at


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("a b", TOKEN), "token[0].name"),
        (("ci", TOKEN, ["write"]), "token[0].rights[0]"),
        (("ci", TOKEN, ["read"], [""]), "token[0].patterns[0]"),
        (("ci", TOKEN, ["read"], ["*"], "tomorrow"), "token[0].expires"),
    ],
)
def test_an_entry_that_a_token_file_could_not_hold_is_not_written(arguments: tuple[Any, ...], place: str) -> None:
    with pytest.raises(SettingsError) as caught:
        entry_of(*arguments)

    assert [place] == [path for path, _ in caught.value.problems]


def test_a_name_or_a_digest_that_occurs_twice_across_files_is_found() -> None:
    one = load_tokens(entry_of("a", TOKEN), "a.toml")
    same_name = load_tokens(entry_of("a", TOKEN + "x"), "b.toml")
    same_digest = load_tokens(entry_of("b", TOKEN), "c.toml")
    other = load_tokens(entry_of("c", TOKEN + "y"), "d.toml")

    assert ["a", "b"] == list(repeated_tokens([*one, *same_name, *same_digest, *other]))
    assert [] == list(repeated_tokens([*one, *other]))


@pytest.mark.parametrize("length", [1, 64])
def test_a_name_has_1_to_64_characters(length: int) -> None:
    (token,) = load_tokens(GOOD.replace('"ci"', f'"{"x" * length}"'), "tokens.toml")

    assert "x" * length == token.principal.name
    assert ["token[0].name"] == list(problems(GOOD.replace('"ci"', f'"{"x" * 65 if length == 64 else ""}"')))


def test_admin_alone_needs_no_patterns() -> None:
    text = GOOD.replace('"read"', '"admin"').replace('patterns = ["shop:*"]', "")

    (token,) = load_tokens(text, "tokens.toml")

    assert () == token.principal.grants[0].patterns


def test_T04_wrong_tokens_are_nobody_with_one_text_whatever_they_are() -> None:
    tokens = Tokens(load_tokens(GOOD, "tokens.toml"))
    texts = set()
    for token in (
        "",
        "null",
        TOKEN[:-1],
        TOKEN + "a",
        TOKEN + "\n",
        TOKEN.upper(),
        "\u00fc",
        "\ud800",
        "x" * 1_000_000,
    ):
        with pytest.raises(Unauthorized) as caught:
            tokens.find(token)
        texts.add((caught.value.status, str(caught.value)))

    assert {(401, "a valid token is required")} == texts


def test_T03_a_made_up_secret_is_refused_even_where_its_digest_is_in_the_file() -> None:
    tokens = Tokens(load_tokens(GOOD.replace(digest_of(TOKEN), digest_of("secret")), "tokens.toml"))

    with pytest.raises(Unauthorized):
        tokens.find("secret")


def test_T01_an_unknown_token_is_compared_as_a_known_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = hmac.compare_digest

    def compare(a: str, b: str) -> bool:
        compared.append((len(a), len(b)))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    tokens = Tokens(load_tokens(GOOD, "tokens.toml"))

    tokens.find(TOKEN)
    with pytest.raises(Unauthorized):
        tokens.find(TOKEN[:-1] + "b")
    with pytest.raises(Unauthorized):
        Tokens().find("x")

    assert [(64, 64)] * 3 == compared


def test_every_problem_of_a_file_is_said_at_once_with_its_key() -> None:
    text = """
    other = 1
    [[token]]
    nmae = "x"
    sha256 = "ABC"
    rights = ["read", "write", 1]
    patterns = ["shop:*", "a:b:c:d", 1]
    expires = "2027-01-01"
    [[token]]
    name = "ok"
    rights = []
    """

    expected = {
        "other", "token[0].nmae", "token[0].name", "token[0].sha256", "token[0].rights[1]", "token[0].rights[2]",
        "token[0].patterns[1]", "token[0].patterns[2]", "token[0].expires", "token[1].sha256", "token[1].rights",
        "token[1].patterns",
    }  # fmt: skip
    assert expected == problems(text).keys()


@pytest.mark.parametrize("value", ["2027-01-01", "2027-01-01T00:00:00", '"soon"', "5", "true", '"2027-01-01T00:00:00"'])
def test_an_end_without_its_offset_is_refused(value: str) -> None:
    assert ["token[0].expires"] == list(problems(GOOD + f"expires = {value}"))


def test_two_tokens_with_one_name_or_digest_are_refused() -> None:
    assert {"token[1].name", "token[1].sha256"} == problems(GOOD + GOOD).keys()


def test_the_token_in_place_of_its_digest_is_told_from_a_typing_error() -> None:
    assert "must not be the token itself" in problems(GOOD.replace(digest_of(TOKEN), TOKEN))["token[0].sha256"]


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("[[token]]", "[token]"),
        "token = 1",
        "token = [1]",
        GOOD.replace("sha256", TOKEN),
        GOOD.replace("rights", digest_of(TOKEN)),
        TOKEN,
        f'{TOKEN} = "{TOKEN}\n',
        f"x = {TOKEN}",
        f"[[token]]\n{TOKEN} = 1\n{TOKEN} = 2",
        "x = " + "[" * 5_000,
        "x = " + "9" * 5_000,
        "#" * 1_048_577,
    ],
)
def test_T02_no_message_has_a_token_or_a_digest(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_tokens(text, "tokens.toml")

    assert TOKEN not in str(caught.value)
    assert digest_of(TOKEN) not in str(caught.value)


def test_T02_no_repr_has_a_token_or_a_digest() -> None:
    tokens = load_tokens(GOOD, "tokens.toml")

    assert digest_of(TOKEN) not in repr(tokens)


@given(st.text())
def test_any_text_is_tokens_or_a_settings_error(text: str) -> None:
    problems = [("", "")]
    try:
        load_tokens(text, "tokens.toml")
    except SettingsError as error:
        problems = list(error.problems)

    assert problems
