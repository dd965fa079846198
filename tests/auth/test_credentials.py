"""Finding the token of a request, and keeping it out of logs."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.auth import Credentials, extract_credentials, redact_target, token_parameters

TOKEN = "vt_" + "a" * 43
OTHER = "vt_" + "b" * 43
MALFORMED = Credentials(is_malformed=True)


def header(value: str | bytes, name: bytes = b"authorization") -> list[tuple[bytes, bytes]]:
    return [(name, value if isinstance(value, bytes) else value.encode())]


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        (header(f"Bearer {TOKEN}"), "/"),
        (header(f"bearer   {TOKEN} ", b"Authorization"), "/"),
        (header(basic(f"anybody:{TOKEN}")), "/"),
        (header(basic(f":{TOKEN}")), "/"),
        (header(f"vortex.v1, bearer.{TOKEN}", b"Sec-WebSocket-Protocol"), "/ws/shop/dev"),
        (header(f"Bearer.{TOKEN}", b"sec-websocket-protocol"), "/ws/shop/dev"),
        ([], f"/shop/dev?token={TOKEN}"),
        ([], f"/shop/dev?label=main&%74oken=%76{TOKEN[1:]}&x"),
        (header(f"Bearer {TOKEN}"), f"/?token={TOKEN}&token={TOKEN}"),
    ],
)
def test_a_token_is_found_wherever_clients_can_put_one(headers: list[tuple[bytes, bytes]], target: str) -> None:
    assert Credentials(TOKEN) == extract_credentials(headers, target)


CONFIG = b"X-Config-Token"


@pytest.mark.parametrize("value", [TOKEN, f" {TOKEN} "])
def test_without_another_one_the_token_of_springs_clients_counts(value: str) -> None:
    assert Credentials(TOKEN, is_spare=True) == extract_credentials(header(value, CONFIG), "/shop/dev?x=1")
    assert Credentials(TOKEN, is_spare=True) == extract_credentials(header(value, b"x-config-token") * 2, "/")


@pytest.mark.parametrize(
    ("headers", "target", "found"),
    [
        (header(f"Bearer {TOKEN}"), "/", Credentials(TOKEN)),
        (header(basic(f"x:{TOKEN}")), "/", Credentials(TOKEN)),
        (header("Bearer "), "/", MALFORMED),
        (header("Digest x"), "/", MALFORMED),
        (header(f"bearer.{TOKEN}", b"sec-websocket-protocol"), "/", Credentials(TOKEN)),
        ([], f"/?token={TOKEN}", Credentials(TOKEN)),
        ([], "/?token=", MALFORMED),
    ],
)
def test_with_another_one_it_is_somebody_elses(
    headers: list[tuple[bytes, bytes]], target: str, found: Credentials
) -> None:
    """Of Vault, as Spring's clients send it."""
    for others in (OTHER, TOKEN, "", "not one"):
        assert found == extract_credentials([*header(others, CONFIG), *headers], target)
        assert found == extract_credentials([*headers, *header(others, CONFIG)], target)


@pytest.mark.parametrize(
    "headers",
    [
        header("", CONFIG),
        header("two words", CONFIG),
        header(b"\xff", CONFIG),
        header("x" * 8_193, CONFIG),
        [*header(TOKEN, CONFIG), *header(OTHER, CONFIG)],
        [*header(TOKEN, CONFIG), *header("", CONFIG)],
    ],
)
def test_what_is_no_token_there_is_malformed(headers: list[tuple[bytes, bytes]]) -> None:
    assert Credentials(is_malformed=True, is_spare=True) == extract_credentials(headers, "/")


def test_a_jwt_is_a_token() -> None:
    assert Credentials("ey.ey.x-_") == extract_credentials(
        header("vortex.v1,bearer.ey.ey.x-_", b"sec-websocket-protocol"), "/"
    )


@pytest.mark.parametrize(
    "target", ["/", "/?", "/?TOKEN=x", "/?x=token", "/?tokens=x", "/?%ff=1", "/?%2574oken=x", "/token=x"]
)
def test_a_request_without_a_token_has_none(target: str) -> None:
    credentials = extract_credentials(header("vortex.v1", b"sec-websocket-protocol"), target)

    assert credentials.is_empty


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        (header(""), "/"),
        (header("Bearer"), "/"),
        (header("Bearer "), "/"),
        (header("Bearer a b"), "/"),
        (header(b"Bearer \xc3\xbc"), "/"),
        (header("Bearer " + "a" * 1_000_000), "/"),
        (header("Basic " + "a" * 1_000_000), "/"),
        (header("Basic ???"), "/"),
        (header(b"Basic \xff\xff"), "/"),
        (header(basic("anybody")), "/"),
        (header(basic("anybody:")), "/"),
        (header(basic("anybody:\u00fc")), "/"),
        (header("Digest username=x"), "/"),
        (header(TOKEN), "/"),
        (header("bearer.", b"sec-websocket-protocol"), "/"),
        ([], "/?token="),
        ([], "/?token"),
        ([], "/?token=%0a"),
        ([], f"/?token={TOKEN}%0a"),
        ([], "/?token=%ff"),
        ([], "/?token=\ud800"),
        ([], "/?token=" + "a" * 8_193),
    ],
)
def test_T04_what_is_no_token_is_malformed(headers: list[tuple[bytes, bytes]], target: str) -> None:
    assert extract_credentials(headers, target) == MALFORMED


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        (header(f"Bearer {TOKEN}"), f"/?token={OTHER}"),
        (header(f"Bearer {TOKEN}"), "/?token="),
        (header(f"Bearer {TOKEN}") + header(f"Bearer {OTHER}"), "/"),
        (header(f"Bearer {TOKEN}") + header("Digest x"), "/"),
        (header(f"bearer.{TOKEN}, bearer.{OTHER}", b"sec-websocket-protocol"), "/"),
        ([], f"/?token={TOKEN}&token={OTHER}"),
    ],
)
def test_two_tokens_that_differ_are_malformed(headers: list[tuple[bytes, bytes]], target: str) -> None:
    assert extract_credentials(headers, target) == MALFORMED


def test_H10_no_other_header_is_a_token() -> None:
    headers = [
        (name, TOKEN.encode())
        for name in (
            b"x-forwarded-for",
            b"x-vault-token",
            b"x-config-tokens",
            b"user-agent",
            b"cookie",
            b"serveridentity",
        )
    ]

    assert extract_credentials(headers, "/").is_empty


def test_T02_credentials_do_not_show_their_token() -> None:
    assert TOKEN not in repr(Credentials(TOKEN))


NAMES = [b"Authorization", b"Sec-WebSocket-Protocol", b"X-Config-Token"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.binary())), st.text())
def test_any_request_has_credentials(headers: list[tuple[bytes, bytes]], target: str) -> None:
    credentials = extract_credentials(headers, "/?" + target)

    assert credentials.token is None or not credentials.is_malformed


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/shop/dev?token=abc", "/shop/dev?token=[redacted]"),
        ("/shop/dev?label=main&token=abc&x=1", "/shop/dev?label=main&token=[redacted]&x=1"),
        ("/?%74oken=abc", "/?%74oken=[redacted]"),
        ("/?%2574oken=abc", "/?%2574oken=[redacted]"),
        ("/?TOKEN=abc", "/?TOKEN=[redacted]"),
        ("/?%54oKeN=abc", "/?%54oKeN=[redacted]"),
        ("/?token=abc&token=def", "/?token=[redacted]&token=[redacted]"),
        ("/?access_token=abc", "/?access_token=[redacted]"),
        ("/?token=ab%0ac", "/?token=[redacted]"),
        ("/?token=a=b", "/?token=[redacted]"),
        ("/?token%3Dabc", "/?[redacted]"),
        ("/?token%3Dabc=def", "/?[redacted]"),
        ("/?x=1%26token=abc", "/?x=[redacted]"),
        ("/?x=1;token=abc", "/?x=1;token=[redacted]"),
        ("/?x=1?token=abc#token=def", "/?x=1?token=[redacted]#token=[redacted]"),
        (f"/?x={TOKEN}", "/?x=[redacted]"),
        (f"http://x:{TOKEN}@host/?a=1", "[redacted]?a=1"),
        ("/token-service/dev?label=main&last_version=0123", "/token-service/dev?label=main&last_version=0123"),
        ("/vt_app/dev", "/vt_app/dev"),
        ("", ""),
    ],
)
def test_T02_a_target_for_logs_has_no_token(target: str, expected: str) -> None:
    assert expected == redact_target(target)


@given(st.text("tokenTOKEN=&;?%74025/", max_size=30), st.text("tokenTOKEN=&;?%74025/", max_size=30))
def test_T02_a_token_that_is_found_is_not_in_the_log(before: str, after: str) -> None:
    target = f"/?{before}&token={TOKEN}{after}"

    assert TOKEN not in redact_target(target)


@given(st.text())
def test_redacting_never_raises_and_leaves_other_targets_alone(target: str) -> None:
    redacted = redact_target(target)

    assert redacted == target or "token" in target.lower() or "%" in target or "vt_" in target.lower()


@pytest.mark.parametrize(
    ("target", "parameters"),
    [
        ("/ws/shop/dev", ""),
        ("/ws/token/dev", ""),
        ("/ws/shop%20/dev", ""),
        ("/ws/shop/dev?instance=a&last_version=b", ""),
        ("/ws/shop/dev?token=one&instance=a", "token=one"),
        ("/ws/shop/dev?instance=a&%74oken=one&last_version=b&token=two", "%74oken=one&token=two"),
        ("/ws/shop/dev?instance=token&label=a%2Fb", "instance=token&label=a%2Fb"),
        ("/ws/shop/dev?a=1&x?token=2", "x?token=2"),
    ],
)
def test_the_parameters_that_may_be_a_token_are_found_as_they_were_sent(target: str, parameters: str) -> None:
    assert parameters == token_parameters(target)


@given(st.text(alphabet="token=&%74?x", max_size=24))
def test_the_parameters_that_may_be_a_token_give_the_credentials_of_the_whole_target(query: str) -> None:
    parameters = token_parameters(f"/ws/a/b?{query}")

    assert extract_credentials([], f"/?{query}") == extract_credentials([], f"/?{parameters}")
    assert parameters or extract_credentials([], f"/?{query}").is_empty
