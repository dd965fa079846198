"""Finding the token of a request, and keeping it out of logs."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vortexd.auth import Credentials, extract_credentials, may_have_token, redact_target

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
    ("target", "may"),
    [
        ("/ws/shop/dev", False),
        ("/ws/token/dev", False),
        ("/ws/shop%20/dev", False),
        ("/ws/shop/dev?instance=a&last_version=b", False),
        (f"/ws/shop/dev?token={TOKEN}", True),
        (f"/ws/shop/dev?%74oken={TOKEN}", True),
        ("/ws/shop/dev?instance=token", True),
    ],
)
def test_a_target_may_have_a_token_only_in_its_query(target: str, may: bool) -> None:
    assert may == may_have_token(target)
    if not may:
        assert Credentials() == extract_credentials([], target)


@given(st.text(alphabet="token=&%74?x", max_size=24))
def test_a_target_that_can_have_no_token_has_none(query: str) -> None:
    target = f"/ws/a/b?{query}"
    if not may_have_token(target):
        assert extract_credentials([], target).is_empty
