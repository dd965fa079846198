"""The opening handshake, and the response to each invalid request."""

import json

import pytest
from wsproto.events import TextMessage

from vortexd.realtime.handshake import Refusal, Target, open_handshake, parse_target

GOOD = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def head(line: str = "GET /ws/a/b HTTP/1.1", extra: bytes = b"", **changes: str | None) -> bytes:
    headers = GOOD | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join(lines).encode() + b"\r\n" + extra + b"\r\n"


def refusal(data: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        open_handshake(data)
    return caught.value


def test_the_answer_is_the_one_of_rfc_6455_section_1_3() -> None:
    answer = open_handshake(head()).accept("an-id")

    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
    assert b"X-Connection-Id: an-id" in answer
    assert b"Sec-WebSocket-Extensions" not in answer


@pytest.mark.parametrize(("offered", "chosen"), [("vortex.v1", True), ("other, vortex.v1", True), ("other", False)])
def test_our_subprotocol_is_chosen_where_it_is_offered(offered: str, chosen: bool) -> None:
    answer = open_handshake(head(Sec_WebSocket_Protocol=offered)).accept("x")

    assert chosen == (b"Sec-WebSocket-Protocol: vortex.v1" in answer)


def test_frames_behind_the_head_are_not_lost() -> None:
    opening = open_handshake(head() + b"\x81\x82\0\0\0\0hi")
    opening.accept("x")

    assert ["hi"] == [event.data for event in opening.websocket.events() if isinstance(event, TextMessage)]


@pytest.mark.parametrize("version", ["8", "0", "99"])
def test_W02_another_version_is_told_which_one(version: str) -> None:
    answer = refusal(head(Sec_WebSocket_Version=version)).to_bytes()

    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in answer


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head(Sec_WebSocket_Version=None), id="W02 no version"),
        pytest.param(head(Sec_WebSocket_Key=None), id="W02 no key"),
        pytest.param(head(Sec_WebSocket_Key="c2hvcnQ="), id="W02 short key"),
        pytest.param(head(Sec_WebSocket_Key="not base64!"), id="W02 no Base64"),
        pytest.param(head(extra=b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), id="W02 two keys"),
        pytest.param(head(Connection="close"), id="W02 Connection: close"),
        pytest.param(head(Upgrade="h2c"), id="W02 h2c"),
        pytest.param(head("POST /ws/a/b HTTP/1.1"), id="W02 POST"),
        pytest.param(head("GET /ws/a/b HTTP/1.0"), id="W02 HTTP/1.0"),
        pytest.param(head(Content_Length="5") + b"hello", id="W02 body"),
        pytest.param(head(Host=None), id="H07 no Host"),
        pytest.param(head(extra="X: é\r\n".encode("latin-1")).replace(b"localhost", b"\xff"), id="not ASCII"),
        pytest.param(head(Sec_WebSocket_Extensions="é"), id="extension not ASCII"),
        pytest.param(head().replace(b"\r\n", b"\n"), id="H05 bare LF"),
        pytest.param(b"GET /ws/a/b HTTP/1.1\r\n", id="half a head"),
    ],
)
def test_what_is_no_handshake_is_a_whole_400(data: bytes) -> None:
    error = refusal(data)
    answer = error.to_bytes()
    lines, _, body = answer.partition(b"\r\n\r\n")

    assert 400 == error.status
    assert f"Content-Length: {len(body)}".encode() in lines.split(b"\r\n")
    assert 400 == json.loads(body)["status"]


def test_a_target_is_decoded_once_and_validated() -> None:
    assert Target("shop", "dev,mysql", "release/1.0", "v1") == parse_target(
        "/ws/shop/dev%2Cmysql?label=release%2F1.0&last_version=v1&token=secret"
    )
    for label in ("v1.2.3+build.5", "v1.2.3%2Bbuild.5"):
        assert Target("a", "b", "v1.2.3+build.5", None) == parse_target(f"/ws/a/b?label={label}")
    for label in ("dependabot/npm/@types/node", "dependabot(_)npm(_)%40types(_)node"):
        assert Target("a", "b", "dependabot/npm/@types/node", None) == parse_target(f"/ws/a/b?label={label}")
    assert Target("a/b", "c", None, None) == parse_target("/ws/a(_)b/c?label=&last_version=")
    assert Target("a", "b", "release/1.0,main", None) == parse_target("/ws/a/b?label=release(_)1.0%2Cmain")
    assert Target("a", "b", "x,y", None) == parse_target("/ws/a/b?label=x,y")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/ws", 404),
        ("/ws/a", 404),
        ("/ws/a/b/c", 404),
        ("/x/a/b", 404),
        ("/ws//b", 400),
        pytest.param("/ws/..%252f..%252fetc/b", 400, id="P01"),
        pytest.param("/ws/a/b?label=..%252f..%252fetc", 400, id="P02"),
        pytest.param("/ws/a/b?label=..(_)..(_)etc", 400, id="P02 spelled"),
        pytest.param("/ws/..%2Fetc%2Fpasswd%23foo/b", 400, id="P03"),
        pytest.param("/ws/a/default%2C..%2F..%2Fetc", 400, id="P04"),
        pytest.param("/ws/%c0%ae%c0%ae/b", 400, id="P09"),
        pytest.param("/ws/" + "a" * 10_000 + "/b", 400, id="P15"),
        pytest.param("/ws/a/" + "b," * 5_000 + "b", 400, id="P15 profiles"),
        pytest.param("/ws/x%0d%0aSet-Cookie:a=b/b", 400, id="H06"),
        ("/ws/a/b?label=x&label=y", 400),
        ("/ws/a/b?label=x,", 400),
        ("/ws/a/b?label=,x", 400),
        ("/ws/a/b?label=x,..", 400),
        pytest.param("/ws/a/b?label=" + ",".join("b" * 17), 400, id="P15 labels"),
        ("/ws/a/b?label=x&%6cabel=y", 400),
        ("/ws/a/b?last_version=" + "x" * 65, 400),
        ("/ws/a/b?last_version=%ff", 400),
    ],
)
def test_what_no_key_can_be_is_refused(target: str, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        parse_target(target)
    assert status == caught.value.status
