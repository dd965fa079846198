"""The opening handshake, and the response to each invalid request."""

import json

import pytest
from wsproto.events import TextMessage

from vortexd.core.generation import Generation
from vortexd.net.head import parse_head
from vortexd.protocol.deflate import Deflate
from vortexd.realtime import handshake
from vortexd.realtime.handshake import Refusal, Target, open_handshake, parse_target, usual_opening

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


# Forms that only some clients send, or that only a fault or an attack would.
RARE = {
    "usual": head(),
    "subprotocol": head(Sec_WebSocket_Protocol="vortex.v1"),
    "other subprotocols": head(Sec_WebSocket_Protocol="bearer.x ,  vortex.v1,other"),
    "unknown subprotocol": head(Sec_WebSocket_Protocol="vortex.v2"),
    "two subprotocol headers": head(Sec_WebSocket_Protocol="other", extra=b"Sec-WebSocket-Protocol: vortex.v1\r\n"),
    "deflate": head(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits"),
    "deflate with a window": head(Sec_WebSocket_Extensions="permessage-deflate; server_max_window_bits=10"),
    "second offer": head(Sec_WebSocket_Extensions="permessage-deflate; server_max_window_bits=3, permessage-deflate"),
    "unknown extension": head(Sec_WebSocket_Extensions="x-webkit-deflate-frame"),
    "other case": head(Upgrade="WebSocket", Connection="UPGRADE"),
    "no length": head(Content_Length="0"),
    "a length": head(Content_Length="5"),
    "HTTP/1.0": head("GET /ws/a/b HTTP/1.0"),
    "HTTP/1.2": head("GET /ws/a/b HTTP/1.2"),
    "POST": head("POST /ws/a/b HTTP/1.1"),
    "two upgrades": head(extra=b"Upgrade: websocket\r\n"),
    "list of upgrades": head(Upgrade="h2c, websocket"),
    "no connection": head(Connection=None),
    "keep-alive": head(Connection="keep-alive"),
    "part of a word": head(Connection="upgraded"),
    "version 8": head(Sec_WebSocket_Version="8"),
    "two versions": head(extra=b"Sec-WebSocket-Version: 13\r\n"),
    "no key": head(Sec_WebSocket_Key=None),
    "short key": head(Sec_WebSocket_Key="c2hvcnQ="),
    "two keys": head(extra=b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
    "key not ASCII": head(Sec_WebSocket_Key="é"),
    "subprotocol not ASCII": head(Sec_WebSocket_Protocol="é"),
    "extension not ASCII": head(Sec_WebSocket_Extensions="é"),
}
USUAL = {
    "usual",
    "subprotocol",
    "other subprotocols",
    "unknown subprotocol",
    "deflate",
    "deflate with a window",
    "second offer",
    "unknown extension",
    "other case",
    "no length",
}


@pytest.mark.parametrize("name", RARE)
def test_a_usual_handshake_is_answered_as_any_other_and_only_usual_ones_are_usual(name: str) -> None:
    data = RARE[name]
    usual = usual_opening(data, parse_head(data))

    assert (name in USUAL) == (usual is not None)
    if usual is not None:
        for deflates in (False, True):
            opening = open_handshake(data)
            one, other = (Deflate(1_000) if deflates else None for _ in range(2))
            assert opening.accept("an-id", one) == usual.accept("an-id", other)
            assert (one and one.window_bits) == (other and other.window_bits)
        assert (list(opening.headers), opening.is_versioned) == (list(usual.headers), usual.is_versioned)


@pytest.mark.parametrize("padding", [0, 300])
def test_the_same_offers_have_the_same_answer_and_each_client_its_own_window(padding: int) -> None:
    for offers in (
        "permessage-deflate; server_max_window_bits=10",
        "permessage-deflate",
        "x-other",
        "permessage-deflate",
    ):
        data = head(Sec_WebSocket_Extensions=offers + ", x" * padding)
        for _ in range(2):
            opening, usual = open_handshake(data), usual_opening(data, parse_head(data))
            one, other = Deflate(1_000), Deflate(2_000)
            assert usual is not None
            assert opening.accept("an-id", one) == usual.accept("an-id", other)
            assert one.window_bits == other.window_bits
            assert open_handshake(data).accept("an-id") == usual.accept("an-id")


def test_the_offers_that_are_remembered_are_short() -> None:
    handshake._chosen.cache_clear()
    before = 0
    for length, is_remembered in ((256, True), (257, False)):
        offers = "x" * length
        data = head(Sec_WebSocket_Extensions=offers)
        usual = usual_opening(data, parse_head(data))
        assert usual is not None
        usual.accept("an-id", Deflate(1_000))
        assert is_remembered == (handshake._chosen.cache_info().currsize == before + 1)
        before = handshake._chosen.cache_info().currsize


def test_a_head_with_bytes_behind_it_is_not_a_usual_handshake() -> None:
    data = head() + b"\x81"

    assert usual_opening(data, parse_head(data)) is None


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
        ("/ws/a/b?generation=" + "a" * 65, 400),
        ("/ws/a/b?generation=ab.1&generation=ab.1", 400),
    ],
)
def test_what_no_key_can_be_is_refused(target: str, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        parse_target(target)
    assert status == caught.value.status


def test_a_target_may_claim_a_generation_and_say_that_the_client_was_sent_on() -> None:
    claimed = parse_target("/ws/a/b?last_version=v1&generation=ab.7&sent_on=1")

    assert Target("a", "b", None, "v1", generation=Generation("ab", 7), is_sent_on=True) == claimed
    assert not parse_target("/ws/a/b?sent_on=0").is_sent_on
    # A later version of vortexd may have other generations. The version still counts.
    for text in ("", "ab", "ab.0", "xy.1", "a" * 64):
        assert parse_target(f"/ws/a/b?last_version=v1&generation={text}") == Target("a", "b", None, "v1")
