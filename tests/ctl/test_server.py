"""Requests to a server: addresses, tokens, errors, and which errors allow another try."""

import argparse
import http.server
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import BadStatusLine
from pathlib import Path

import pytest

from tests import certificates
from vortexd.ctl.errors import CtlError
from vortexd.ctl.server import (
    Refused,
    Server,
    TooSlow,
    Unreachable,
    add_server_arguments,
    duration,
    read_token,
    server_of,
)

from .answering import answering


def test_a_path_is_asked_for_with_its_parameters_and_the_token() -> None:
    with answering((200, {"a": 1})) as server:
        answer = Server(f"{server.url}/behind/", "vt_secret").get("/x", {"app": "a b"}, If_None_Match='"e"')

    assert {"a": 1} == answer.json()
    assert ["/behind/x?app=a+b"] == server.asked
    assert ("Bearer vt_secret", '"e"') == (server.headers[0]["authorization"], server.headers[0]["if-none-match"])


def test_a_unix_socket_is_asked_as_well(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    class UnixServer(socketserver.UnixStreamServer):
        def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
            # The handler expects an address of a client.
            return super().get_request()[0], ("", 0)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[1]")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def address_string(self) -> str:
            return ""

    with UnixServer(path, Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        answer = Server(f"unix:{path}").get("/")
        thread.join()

    assert [1] == answer.json()


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Refused), (403, Refused), (404, Refused), (429, Unreachable), (503, Unreachable)]
)
def test_who_refuses_is_not_asked_again_and_who_is_not_ready_may_be(status: int, kind: type[CtlError]) -> None:
    with answering((status, {"message": "because"})) as server, pytest.raises(kind) as caught:
        Server(server.url).get("/")

    assert "because" in str(caught.value)
    assert str(caught.value).startswith(server.url)
    assert 3 == caught.value.status


def test_a_token_that_is_missing_or_wrong_is_told_apart() -> None:
    with answering((401, {"message": "a token is needed"})) as server:
        with pytest.raises(Refused, match="requires a token: name its file with --token-file, or set VORTEXCTL_TOKEN"):
            Server(server.url).get("/")
        with pytest.raises(Refused, match="refused the token: it is wrong") as caught:
            Server(server.url, "vt_secret").get("/")

    assert "vt_secret" not in str(caught.value)


def test_what_a_server_says_cannot_steer_a_terminal() -> None:
    with answering((404, {"message": "no \x1b]0;such\x07 label\nat all"})) as server, pytest.raises(Refused) as caught:
        Server(server.url).get("/")

    assert str(caught.value).isprintable()


@pytest.mark.parametrize("body", ["<html>", "[]", "7", '{"message": 7}', "[" * 100_000])
def test_a_refusal_of_somebody_else_is_told_as_such(body: str) -> None:
    with answering((404, body)) as server, pytest.raises(Refused, match="not as a vortexd does; see --server"):
        Server(server.url).get("/")


def test_what_is_no_json_is_no_vortexd() -> None:
    with (
        answering((200, "<html>")) as server,
        pytest.raises(CtlError, match="didn't answer with JSON, so it isn't a vortexd"),
    ):
        Server(server.url).get("/").json()


def test_a_redirection_is_not_followed() -> None:
    with answering((302, "")) as server, pytest.raises(Refused, match="answered 302, but not as a vortexd does"):
        Server(server.url).get("/")


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering((200, [])) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert [] == Server(server.url).get("/").json()


def test_a_port_where_nobody_is_and_one_where_nobody_speaks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TooSlow, match=r"didn't answer completely within 0\.2 s"):
            Server(f"http://127.0.0.1:{port}", timeout=0.2).get("/")
    with pytest.raises(Unreachable, match="can't be reached: connection refused; is vortexd running there"):
        Server(f"http://127.0.0.1:{port}").get("/")


@contextmanager
def saying(*parts: bytes, pause: float = 0.0) -> Iterator[str]:
    """A server that sends this to one client, whatever the request, and ends the connection."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            for part in parts:
                if ended.wait(pause):
                    return
                try:
                    connection.sendall(part)
                except OSError:
                    return

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def test_who_answers_byte_by_byte_gets_no_more_time() -> None:
    head = b"HTTP/1.1 200 OK\r\n"
    with saying(*([head, *[b"X"] * 10_000]), pause=0.05) as url:
        with pytest.raises(TooSlow, match="didn't answer completely"):
            Server(url, timeout=0.3).get("/")
    with saying(head + b"Content-Length: 10000\r\n\r\n", *[b"X"] * 10_000, pause=0.05) as url:
        with pytest.raises(TooSlow, match="didn't answer completely"):
            Server(url, timeout=0.3).get("/")


def test_an_answer_is_taken_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vortexd.ctl.server._MAX_BYTES", 10)
    with answering((200, "x" * 11)) as server, pytest.raises(CtlError, match="more than 10 bytes"):
        Server(server.url).get("/")


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[]", b"\x15\x03\x01\x00\x02\x02\x46"]
)
def test_who_breaks_off_or_speaks_something_else_is_no_vortexd(said: bytes) -> None:
    with (
        saying(said) as url,
        pytest.raises(Unreachable, match="ended the connection early, or doesn't speak HTTP; is it a vortexd"),
    ):
        Server(url).get("/")


def test_a_server_without_tls_is_not_spoken_to_in_the_clear() -> None:
    with answering((200, {})) as server:
        with pytest.raises(Unreachable, match="TLS"):
            Server(server.url.replace("http:", "https:")).get("/")
        assert [] == server.asked


@pytest.mark.parametrize(
    "url",
    [
        "ws://a:1",
        "http://",
        "http://a:x",
        "a:1",
        "http://a/?b=c",
        "http://user:secret@a/",
        "http://a b/",
        "unix:relative",
        "",
    ],
)
def test_what_is_no_address_is_the_command_lines_fault(url: str) -> None:
    with pytest.raises(CtlError) as caught:
        Server(url)

    assert 2 == caught.value.status
    assert "secret" not in str(caught.value)


def test_the_token_comes_from_its_file_or_else_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("vt_file\n")
    file.chmod(0o600)
    monkeypatch.setenv("VORTEXD_TOKEN", "vt_client")

    assert ("vt_file", "vt_client") == (read_token(file), read_token(None))
    monkeypatch.setenv("VORTEXCTL_TOKEN", "vt_environment")
    assert "vt_environment" == read_token(None)
    monkeypatch.delenv("VORTEXCTL_TOKEN")
    monkeypatch.delenv("VORTEXD_TOKEN")
    assert None is read_token(None)


def test_T06_a_token_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("vt_file\n")
    file.chmod(0o644)

    with pytest.raises(CtlError, match="is open to other users; run chmod 600 on it") as caught:
        read_token(file)
    assert 2 == caught.value.status


def test_the_server_is_that_of_the_command_line_or_else_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    add_server_arguments(parser)
    monkeypatch.delenv("VORTEXCTL_SERVER", raising=False)

    assert "http://127.0.0.1:8888" == server_of(parser.parse_args([])).url
    monkeypatch.setenv("VORTEXCTL_SERVER", "http://a")
    assert "http://a" == server_of(parser.parse_args([])).url
    assert "http://b" == server_of(parser.parse_args(["--server", "http://b"])).url


@pytest.mark.parametrize("content", [b"", b"  \n", b"a\r\nX-Other: header", b"\xff\xfe", "tök".encode()])
def test_a_file_that_holds_no_token_is_refused_without_being_repeated(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(CtlError, match="must hold only the token|isn't UTF-8") as caught:
        read_token(file)

    assert 2 == caught.value.status
    assert str(caught.value).isascii()
    assert "X-Other" not in str(caught.value)


def test_a_certificate_is_trusted_by_its_authority_alone(tmp_path: Path) -> None:
    certificate, key = certificates.make(tmp_path)
    other, _ = certificates.make(tmp_path, "other")
    with answering((200, [1]), certificate=(certificate, key)) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        assert [1] == Server(url, ca=certificate).get("/").json()
        for ca in (None, other):
            with pytest.raises(Unreachable, match="certificate that isn't trusted: self.signed certificate; name"):
                Server(url, ca=ca).get("/")
        with pytest.raises(Unreachable, match="isn't trusted: ip address mismatch, certificate is not valid for"):
            Server(server.url, ca=certificate).get("/")


def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    for ca in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").touch()
        with pytest.raises(CtlError, match="holds no certificates|can't be read") as caught:
            Server("https://localhost:1", ca=ca)
        assert 2 == caught.value.status


def test_an_authority_for_an_address_without_tls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CtlError, match="--ca-file requires an address that begins with https"):
        Server("http://localhost:1", ca=tmp_path / "ca.crt")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1.5s", 1.5), ("2m", 120.0), ("1h30m", 5_400.0), ("500ms", 0.5), ("0", 0.0)]
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert seconds == duration(text)


@pytest.mark.parametrize("text", ["", "m", "2 m", "-1s", "1d", "1h30", "nan", "1e9"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)


@pytest.mark.parametrize(("status", "body"), [(200, {"a": 1}), (201, {"a": 1}), (204, "")])
def test_a_value_is_posted_once_as_json(status: int, body: object) -> None:
    with answering((status, body)) as server:
        answer = Server(f"{server.url}/behind/", "vt_secret").post("/x", {"reason": "ä"})

    assert (status, ["POST /behind/x"], [{"reason": "ä"}]) == (answer.status, server.asked, server.bodies)
    assert ("application/json", "Bearer vt_secret") == (
        server.headers[0]["content-type"],
        server.headers[0]["authorization"],
    )


@pytest.mark.parametrize("status", [202, 302, 400, 409, 503])
def test_a_post_with_another_status_is_an_error_and_not_repeated(status: int) -> None:
    with answering((status, {"message": "because"})) as server, pytest.raises(CtlError, match="because"):
        Server(server.url).post("/x", {})

    assert 1 == len(server.asked)


def test_a_delete_may_have_parameters() -> None:
    with answering((204, "")) as server:
        Server(server.url).delete("/x", {"reason": "a b"})
        Server(server.url).delete("/x")

    assert ["DELETE /x?reason=a+b", "DELETE /x"] == server.asked


@pytest.mark.parametrize(
    ("status", "body", "may"),
    [
        (503, {"message": "because"}, False),
        (429, {"message": "because"}, False),
        (429, "<html>", False),
        (503, "<html>", True),
        (500, {"message": "because"}, True),
        (502, "<html>", True),
        (504, {"message": "because"}, True),
    ],
)
def test_a_server_that_is_not_ready_has_not_acted_but_one_that_fails_may_have(
    status: int, body: object, may: bool
) -> None:
    with answering((status, body)) as server, pytest.raises(Unreachable) as caught:
        Server(server.url).post("/x", {})

    assert may == caught.value.may_have_acted


def test_only_after_a_connection_the_server_may_have_acted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TooSlow) as slow:
            Server(url, timeout=0.2).post("/", {})
        with pytest.raises(Unreachable, match="TLS|didn't answer") as handshake:
            Server(url.replace("http:", "https:"), timeout=0.2).post("/", {})
    with pytest.raises(Unreachable, match="connection refused") as refused:
        Server(url).post("/", {})
    with answering((0, "")) as server, pytest.raises(Unreachable, match="ended the connection early") as broken:
        Server(server.url).post("/", {})

    assert (True, False, False, True) == tuple(each.value.may_have_acted for each in (slow, handshake, refused, broken))


def test_after_half_an_answer_the_server_may_have_acted() -> None:
    half = b'HTTP/1.1 201 Created\r\nContent-Length: 50\r\n\r\n{"version"'
    with saying(half) as url, pytest.raises(Unreachable, match="ended the connection early") as caught:
        Server(url).post("/", {})

    assert caught.value.may_have_acted


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), OSError(32, "Broken pipe"), ssl.SSLError(), TimeoutError(), BadStatusLine("")]
)
@pytest.mark.parametrize("has_sent", [True, False])
def test_an_error_of_the_connection_tells_whether_the_request_was_sent(error: Exception, has_sent: bool) -> None:
    with pytest.raises(Unreachable) as caught, Server("https://a")._translated(has_sent=has_sent):
        raise error

    assert has_sent == caught.value.may_have_acted
