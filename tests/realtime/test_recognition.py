"""Handshakes that are recognized by earlier ones: the same results as if each was parsed, and nothing beyond."""

from collections.abc import Iterator
from itertools import permutations

import pytest

from vortexd.auth import ALL_RIGHTS, Authority, Gate, Grant, Kind, Principal, Right
from vortexd.auth.tokens import Token, Tokens, digest_of
from vortexd.core.patterns import Pattern
from vortexd.net.head import Head, Refused, parse_head
from vortexd.net.proxies import Sender
from vortexd.realtime import recognition
from vortexd.realtime.handshake import Refusal, open_handshake
from vortexd.realtime.recognition import Recognized, Recognizer
from vortexd.settings.auth import AuthSettings
from vortexd.settings.server import Address

from .test_handshake import RARE, USUAL, head

PEER = Sender("192.0.2.1")
TOKEN = "vt_" + "t" * 43
OTHER = "vt_" + "o" * 43
KEY, ANOTHER = "dGhlIHNhbXBsZSBub25jZQ==", "AAAAAAAAAAAAAAAAAAAAAA=="


class Parser:
    """Counts the heads that are parsed."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, data: bytes) -> Head:
        self.count += 1
        return parse_head(data)


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> Parser:
    made = Parser()
    monkeypatch.setattr(recognition, "parse_head", made)
    return made


class Clock:
    def __init__(self) -> None:
        self.now = 0.0


def make_gate(authority: Authority | None = None, clock: Clock | None = None, hosts: tuple[str, ...] = ()) -> Gate:
    """A gate that accepts localhost, and by default any client."""
    bound = (Address("127.0.0.1", 8888),)
    clock = clock or Clock()
    known = authority or Authority(anonymous=ALL_RIGHTS)
    return Gate(AuthSettings(hosts=hosts), known, bound, lambda: clock.now, lambda: clock.now)


def tokens(expires_at: float | None = None) -> Authority:
    """An authority that knows two tokens."""
    grant = Grant(frozenset({Right.SUBSCRIBE}), (Pattern(),))
    made = []
    for name, token in (("ci", TOKEN), ("other", OTHER)):
        digest = digest_of(token)
        made.append(Token(digest, Principal(name, Kind.TOKEN, (grant,), expires_at, digest)))
    return Authority(Tokens(made))


def name_of(found: Recognized | None) -> str | None:
    return None if found is None else found[2].name


@pytest.mark.parametrize("name", RARE)
def test_a_recognized_handshake_has_the_answer_of_the_parsed_one(name: str) -> None:
    data = RARE[name]
    recognizer = Recognizer(make_gate())
    results = [recognizer.recognize(each, PEER) for each in (data, data, data.replace(KEY.encode(), ANOTHER.encode()))]

    assert [name in USUAL] * 3 == [each is not None for each in results]
    for sent, found in zip((data, data, data.replace(KEY.encode(), ANOTHER.encode())), results, strict=True):
        if found is not None:
            opening, target, admission = found
            assert open_handshake(sent).accept("an-id") == opening.accept("an-id")
            assert open_handshake(sent).is_versioned == opening.is_versioned
            assert ("/ws/a/b", "anonymous") == (target, admission.name)


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key", "Sec-Websocket-Key", "sec-websocket-key"])
def test_only_the_first_head_of_each_form_is_parsed_whatever_its_key_and_target(parser: Parser, name: str) -> None:
    recognizer = Recognizer(make_gate())
    targets = ["/ws/a/b", "/ws/c/d?instance=x", "/ws/a/b?last_version=0123456789abcdef&label=main"]
    for target in targets:
        for key in (KEY, ANOTHER):
            data = head(f"GET {target} HTTP/1.1", Sec_WebSocket_Key=key).replace(b"Sec-WebSocket-Key", name.encode())
            found = recognizer.recognize(data, PEER)

            assert found is not None
            assert target == found[1]
            assert open_handshake(data).accept("x") == found[0].accept("x")
    assert 1 == parser.count


def test_compression_is_negotiated_for_each_client(parser: Parser) -> None:
    recognizer = Recognizer(make_gate())
    offers = ["permessage-deflate", "permessage-deflate; server_max_window_bits=10", None]
    for offer in (*offers, *offers):
        found = recognizer.recognize(head(Sec_WebSocket_Extensions=offer), PEER)
        assert found is not None
        assert (offer or "").encode() == found[0].form.offers
    assert 3 == parser.count


KEY_LINE = f"Sec-WebSocket-Key: {KEY}\r\n".encode()
DIFFERENT = {
    "another line": head(extra=b"X: 1\r\n"),
    "another value": head(Host="LOCALHOST"),
    "another order": head(extra=b"Host: localhost\r\n", Host=None),
    "the key first": head(Sec_WebSocket_Key=None).replace(b"\r\n", b"\r\n" + KEY_LINE, 1),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_head_with_other_lines_is_parsed(parser: Parser, name: str) -> None:
    recognizer = Recognizer(make_gate())
    for data in (head(), DIFFERENT[name], head(), DIFFERENT[name]):
        assert recognizer.recognize(data, PEER) is not None

    assert 2 == parser.count


def lines_with_the_key_anywhere() -> Iterator[bytes]:
    """Yield heads whose lines are the same text if the place of the key is left out, valid or not."""
    rest = head(Sec_WebSocket_Key=None).partition(b"\r\n")[2]
    for place in range(len(rest)):
        yield b"GET /ws/a/b HTTP/1.1\r\n" + rest[:place] + f"\r\nSec-WebSocket-Key: {KEY}".encode() + rest[place:]


def test_no_head_is_accepted_for_the_lines_of_another_with_the_key_elsewhere() -> None:
    gate = make_gate()
    recognizer = Recognizer(gate)
    # Whatever is remembered comes from valid heads.
    for data in (*RARE.values(), *DIFFERENT.values()):
        recognizer.recognize(data, PEER)
    for data in lines_with_the_key_anywhere():
        fresh = Recognizer(gate).recognize(data, PEER)
        assert (fresh is None) == (recognizer.recognize(data, PEER) is None)


@pytest.mark.parametrize(
    "line",
    [
        "POST /ws/a/b HTTP/1.1",
        "GET /ws/a/b HTTP/1.0",
        "GET /ws/a/b HTTP/1.12",
        "GET /ws/a b HTTP/1.1",
        "GET /ws/a/\x7f HTTP/1.1",
        "GET /ws/\xe4/b HTTP/1.1",
        "GET  /ws/a/b HTTP/1.1",
        "get /ws/a/b HTTP/1.1",
        "GET ws/a/b HTTP/1.1",
    ],
)
def test_another_request_line_is_not_recognized_by_the_lines_after_it(line: str) -> None:
    recognizer = Recognizer(make_gate())
    assert recognizer.recognize(head(), PEER) is not None
    data = head(line)
    found = recognizer.recognize(data, PEER)

    assert name_of(Recognizer(make_gate()).recognize(data, PEER)) == name_of(found)
    if line != "GET ws/a/b HTTP/1.1":
        assert found is None


@pytest.mark.parametrize(
    "key", ["", "short", KEY[:-1], KEY + "=", KEY[:-2] + "A=", "=" * 24, "dGhlIHNhbXBsZSBub25j!Q==", KEY + ", " + KEY]
)
def test_another_key_is_still_checked(key: str) -> None:
    recognizer = Recognizer(make_gate())
    assert recognizer.recognize(head(), PEER) is not None

    assert recognizer.recognize(head(Sec_WebSocket_Key=key), PEER) is None
    assert recognizer.recognize(head(extra=f"Sec-WebSocket-Key: {KEY}\r\n".encode()), PEER) is None


def test_each_key_that_the_pattern_accepts_is_16_bytes_for_the_strict_parser() -> None:
    for last in "AQgwBZ+/09az":
        data = head(Sec_WebSocket_Key=KEY[:21] + last + "==")
        recognizer = Recognizer(make_gate())
        recognizer.recognize(head(), PEER)
        found = recognizer.recognize(data, PEER)

        assert found is not None
        assert open_handshake(data).accept("x") == found[0].accept("x")


# The gate.


def test_a_head_that_the_gate_refuses_is_never_recognized(parser: Parser) -> None:
    recognizer = Recognizer(make_gate(tokens()))
    wrong = f"Authorization: Bearer vt_{'w' * 43}\r\n".encode()

    for data in (head(), head(extra=wrong), head(Host="evil.example", extra=wrong.replace(b"w", b"t"))):
        assert [None] * 2 == [recognizer.recognize(data, PEER) for _ in range(2)]
    assert 6 == parser.count


def test_each_token_in_a_header_has_its_own_principal(parser: Parser) -> None:
    recognizer = Recognizer(make_gate(tokens()))
    heads = {
        "ci": head(extra=f"Authorization: Bearer {TOKEN}\r\n".encode()),
        "other": head(Sec_WebSocket_Protocol=f"vortex.v1, bearer.{OTHER}"),
    }
    for name in ("ci", "other", "ci", "other"):
        assert name == name_of(recognizer.recognize(heads[name], PEER))
    assert 2 == parser.count


def test_no_token_is_kept() -> None:
    recognizer = Recognizer(make_gate(tokens()))
    recognizer.recognize(head(extra=f"Authorization: Bearer {TOKEN}\r\n".encode()), PEER)
    ((digest, (form, _)),) = recognizer._known.items()

    assert (32, b"") == (len(digest), form.offers)


def test_each_token_in_a_target_has_its_own_principal(parser: Parser) -> None:
    recognizer = Recognizer(make_gate(tokens()))
    targets = {
        f"/ws/a/b?token={TOKEN}": "ci",
        f"/ws/a/b?token={OTHER}": "other",
        f"/ws/a/b?%74oken={OTHER}": "other",
        "/ws/a/b?token=wrong": None,
        "/ws/a/b": None,
        f"/ws/a/b?token={TOKEN}&token={OTHER}": None,
    }
    for _ in range(2):
        for target, name in targets.items():
            assert name == name_of(recognizer.recognize(head(f"GET {target} HTTP/1.1"), PEER))
    # A wrong token is parsed each time.
    assert (9, 3) == (parser.count, len(recognizer._known))
    for target, name in ((f"/ws/c/d?instance=one&token={TOKEN}", "ci"), (f"/ws/a/b?token={OTHER}&label=x", "other")):
        assert name == name_of(recognizer.recognize(head(f"GET {target} HTTP/1.1"), PEER))
    assert 9 == parser.count


def test_two_different_tokens_are_not_one(parser: Parser) -> None:
    recognizer = Recognizer(make_gate(tokens()))
    header = f"Authorization: Bearer {TOKEN}\r\n".encode()
    for _ in range(2):
        for target, name in (
            ("/ws/a/b", "ci"),
            (f"/ws/a/b?token={TOKEN}", "ci"),
            (f"/ws/a/b?token={OTHER}", None),
        ):
            assert name == name_of(recognizer.recognize(head(f"GET {target} HTTP/1.1", extra=header), PEER))
    assert 4 == parser.count


def test_a_parameter_is_no_header_line(parser: Parser) -> None:
    # Both have the same bytes if the parameters aren't told from the lines.
    recognizer = Recognizer(make_gate(tokens()))
    line = f"X: token={TOKEN}".encode()
    assert "ci" == name_of(recognizer.recognize(head(f"GET /ws/a/b?token={TOKEN} HTTP/1.1"), PEER))

    assert recognizer.recognize(head(extra=line + b"\r\n"), PEER) is None


def test_a_recognized_token_is_judged_again_once_it_has_expired() -> None:
    clock = Clock()
    recognizer = Recognizer(make_gate(tokens(expires_at=10.0), clock))
    data = head(extra=f"Authorization: Bearer {TOKEN}\r\n".encode())
    names = []
    for clock.now in (0.0, 9.0, 10.0, 9.0):
        names.append(name_of(recognizer.recognize(data, PEER)))

    assert ["ci", "ci", None, "ci"] == names
    assert 1 == len(recognizer._known)


def test_after_a_reload_each_head_is_judged_by_the_new_authority(parser: Parser) -> None:
    gate = make_gate(tokens())
    recognizer = Recognizer(gate)
    data = head(extra=f"Authorization: Bearer {TOKEN}\r\n".encode())
    assert "ci" == name_of(recognizer.recognize(data, PEER))
    gate.replace(AuthSettings(), Authority())
    assert recognizer.recognize(data, PEER) is None
    assert {} == recognizer._known
    gate.replace(AuthSettings(), Authority(anonymous=ALL_RIGHTS))
    assert ["anonymous"] * 2 == [name_of(recognizer.recognize(data, PEER)) for _ in range(2)]
    assert 3 == parser.count


def test_after_a_reload_each_Host_is_checked_again() -> None:
    gate = make_gate(hosts=("config.example",))
    recognizer = Recognizer(gate)
    data = head(Host="config.example")
    assert recognizer.recognize(data, PEER) is not None
    gate.replace(AuthSettings(hosts=("other.example",)), Authority(anonymous=ALL_RIGHTS))

    assert recognizer.recognize(data, PEER) is None


@pytest.mark.parametrize("sender", [Sender("192.0.2.1", "https"), Sender("192.0.2.1", None, b"evil.example")])
def test_what_a_proxy_says_is_checked_each_time(parser: Parser, sender: Sender) -> None:
    gate = make_gate()
    recognizer = Recognizer(gate)
    assert recognizer.recognize(head(), PEER) is not None
    for given in (None, parse_head(head())):
        found = recognizer.recognize(head(), sender, given)
        assert (gate.recognize(parse_head(head()).headers, "/ws/a/b", sender) is None) == (found is None)
    # Once for the first head, and once without the parsed head. Nothing was remembered of them.
    assert (2, 1) == (parser.count, len(recognizer._known))


def test_a_head_that_was_parsed_is_neither_remembered_nor_recognized(parser: Parser) -> None:
    recognizer = Recognizer(make_gate())
    for _ in range(2):
        assert recognizer.recognize(head(), PEER, parse_head(head())) is not None

    assert (0, {}) == (parser.count, recognizer._known)


def test_the_heads_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch, parser: Parser) -> None:
    monkeypatch.setattr(recognition, "_MOST", 3)
    recognizer = Recognizer(make_gate())
    sizes = []
    for number in range(8):
        assert recognizer.recognize(head(extra=b"X: %d\r\n" % number), PEER) is not None
        sizes.append(len(recognizer._known))

    assert [1, 2, 3, 1, 2, 3, 1, 2] == sizes
    assert recognizer.recognize(head(extra=b"X: 7\r\n"), PEER) is not None
    assert 8 == parser.count


def test_all_orders_of_lines_are_recognized_as_the_strict_parser_reads_them() -> None:
    lines = head().split(b"\r\n")[1:-2]
    recognizer = Recognizer(make_gate())
    for order in permutations(lines):
        data = b"\r\n".join([b"GET /ws/a/b HTTP/1.1", *order, b"", b""])
        for _ in range(2):
            found = recognizer.recognize(data, PEER)
            assert found is not None
            assert open_handshake(data).accept("x") == found[0].accept("x")


@pytest.mark.parametrize("data", [b"", b"GET /ws/a/b HTTP/1.1\r\n", head()[:-2], b"\r\n" + head()])
def test_what_is_no_complete_head_is_not_recognized(data: bytes) -> None:
    recognizer = Recognizer(make_gate())
    recognizer.recognize(head(), PEER)

    assert recognizer.recognize(data, PEER) is None
    with pytest.raises((Refusal, Refused)):
        parse_head(data) and open_handshake(data)
