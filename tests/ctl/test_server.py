"""How commands ask a server: addresses, tokens, what goes wrong, and whether it may be asked again."""

import argparse
import http.server
import socket
import threading
from pathlib import Path

import pytest

from vortexd.ctl.errors import CtlError
from vortexd.ctl.server import Refused, Server, Unreachable, duration, read_token

from .answering import answering


def test_a_path_is_asked_for_with_its_parameters_and_the_token() -> None:
    with answering((200, {"a": 1})) as server:
        answer = Server(f"{server.url}/behind/", "vt_secret").get("/x", {"app": "a b"}, If_None_Match='"e"')

    assert {"a": 1} == answer.json()
    assert ["/behind/x?app=a+b"] == server.asked
    assert ("Bearer vt_secret", '"e"') == (server.headers[0]["authorization"], server.headers[0]["if-none-match"])


def test_a_unix_socket_is_asked_as_well(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    class UnixServer(http.server.HTTPServer):
        address_family = socket.AF_UNIX

        def server_bind(self) -> None:
            self.socket.bind(path)

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
    ("status", "kind"), [(400, Refused), (401, Refused), (404, Refused), (429, Unreachable), (503, Unreachable)]
)
def test_who_refuses_is_not_asked_again_and_who_is_not_ready_may_be(status: int, kind: type[CtlError]) -> None:
    with answering((status, {"message": "because"})) as server, pytest.raises(kind) as caught:
        Server(server.url).get("/")

    assert f"{server.url} answers {status}: because" == str(caught.value)
    assert 3 == caught.value.status


@pytest.mark.parametrize("body", ["<html>", "[]", "7"])
def test_a_refusal_of_somebody_else_is_told_as_such(body: str) -> None:
    with answering((404, body)) as server, pytest.raises(Refused, match="is it a vortexd"):
        Server(server.url).get("/")


def test_what_is_no_json_is_no_vortexd() -> None:
    with answering((200, "<html>")) as server, pytest.raises(CtlError, match="is it a vortexd"):
        Server(server.url).get("/").json()


def test_a_port_where_nobody_is_and_one_where_nobody_speaks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Unreachable, match=r"no answer within 0\.2 s"):
            Server(f"http://127.0.0.1:{port}", timeout=0.2).get("/")
    with pytest.raises(Unreachable, match="can't be reached"):
        Server(f"http://127.0.0.1:{port}").get("/")


def test_a_server_without_tls_is_not_spoken_to_in_the_clear() -> None:
    with answering((200, {})) as server:
        with pytest.raises(Unreachable, match="TLS"):
            Server(server.url.replace("http:", "https:")).get("/")
        assert [] == server.asked


@pytest.mark.parametrize(
    "url", ["ws://a:1", "http://", "http://a:x", "a:1", "http://a/?b=c", "http://user:secret@a/", "unix:relative", ""]
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
    monkeypatch.setenv("VORTEXD_TOKEN", "vt_environment")

    assert ("vt_file", "vt_environment") == (read_token(file), read_token(None))
    monkeypatch.delenv("VORTEXD_TOKEN")
    assert None is read_token(None)


@pytest.mark.parametrize("content", [b"", b"  \n", b"a\r\nX-Other: header", b"\xff\xfe", "tök".encode()])
def test_a_file_that_holds_no_token_is_refused_without_being_repeated(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(CtlError) as caught:
        read_token(file)

    assert (f"{file} holds no token", 2) == (str(caught.value), caught.value.status)


def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    for ca in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").touch()
        with pytest.raises(CtlError, match="can't be used"):
            Server("https://localhost:1", ca=ca)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1.5s", 1.5), ("2m", 120.0), ("1h30m", 5_400.0), ("500ms", 0.5), ("0", 0.0)]
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert seconds == duration(text)


@pytest.mark.parametrize("text", ["", "m", "2 m", "-1s", "1d", "1h30", "nan", "1e9"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)
