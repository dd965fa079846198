"""[auth]: its defaults, the ranges of its limits, and whether the server asks for tokens."""

import pytest

from vortexd.settings.auth import AuthSettings

from .sections import assert_number, assert_whole, problems, read, waiting


def test_by_default_there_is_no_token_and_no_limit_of_connections() -> None:
    expected = AuthSettings(
        open=False,
        tokens=(),
        jwt_secret="",
        jwks="",
        jwt_audience="",
        jwt_issuer="",
        jwt_leeway=30.0,
        origins=(),
        hosts=(),
        failure_burst=20,
        failures_per_second=1.0,
        failure_addresses=10_000,
        connections_per_token=0,
    )

    assert expected == read(AuthSettings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("open = true", False),
        ('origins = ["https://app.example"]\nhosts = ["config.example"]', False),
        ('jwt_audience = "a"\njwt_issuer = "i"', False),
        ('tokens = ["tokens.toml"]', True),
        ('jwt_secret = "secret"', True),
        ('jwks = "jwks.json"', True),
    ],
)
def test_the_server_asks_for_tokens_if_a_file_of_tokens_or_keys_is_named(text: str, expected: bool) -> None:
    assert expected == read(AuthSettings, text).asks


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("failure_burst", 1, 1_000_000),
        ("failure_addresses", 1, 10_000_000),
        ("connections_per_token", 0, 1_000_000),
    ],
)
def test_a_count_has_a_range(key: str, low: int, high: int) -> None:
    assert_whole(AuthSettings, key, low, high)


@pytest.mark.parametrize(("key", "low", "high"), [("jwt_leeway", 0, 3_600), ("failures_per_second", 0.001, 1_000_000)])
def test_a_number_has_a_range(key: str, low: float, high: float) -> None:
    assert_number(AuthSettings, key, low, high)


@pytest.mark.parametrize("key", ["tokens", "origins", "hosts"])
def test_a_list_holds_texts(key: str) -> None:
    assert ("a", "b") == getattr(read(AuthSettings, f'{key} = ["a", "b"]'), key)
    assert {key: "must be a list of text, not text"} == problems(AuthSettings, f'{key} = "a"')
    assert {f"{key}[1]": "must be text, not a whole number"} == problems(AuthSettings, f'{key} = ["a", 1]')


def test_a_reload_applies_every_key() -> None:
    assert set() == waiting(AuthSettings)
