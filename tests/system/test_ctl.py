"""vortexctl against the real process, including the errors of common mistakes."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import certificates
from vortexd.auth.tokens import entry_of, new_token
from vortexd.ctl import cli

from .process import Server

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
[[source]]
path = "{source}"
[auth]
tokens = ["{tokens}"]
[tls]
certificate = "{certificate}"
key = "{key}"
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ctl") / "config"
    path.mkdir()
    (path / "shop.yml").write_text("pool:\n  size: 1\nfiller: " + "x" * 100 + "\n")
    (path / "shop-prod.yml").write_text("pool:\n  size: 2\n")
    return path


@pytest.fixture(scope="module")
def certificate(source: Path) -> tuple[Path, Path]:
    return certificates.make(source.parent)


@pytest.fixture(scope="module")
def token_file(source: Path) -> Path:
    token = new_token()
    tokens = source.parent / "tokens.toml"
    tokens.write_text(entry_of("shop", token, patterns=["shop"]))
    file = source.parent / "token"
    file.write_text(token + "\n")
    for each in (tokens, file):
        each.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def server(source: Path, certificate: tuple[Path, Path], token_file: Path) -> Iterator[Server]:
    tokens = token_file.with_name("tokens.toml")
    settings = SETTINGS.format(source=source, tokens=tokens, certificate=certificate[0], key=certificate[1])
    with Server(source, settings=settings) as running:
        yield running


@pytest.fixture
def vortexctl(
    capsys: pytest.CaptureFixture[str], server: Server, certificate: tuple[Path, Path], token_file: Path
) -> Run:
    """Runs a command, and returns its status and its output. Keyword arguments replace the valid defaults."""

    def run(*arguments: str, **options: str) -> tuple[int, str, str]:
        right = {
            "server": f"https://localhost:{server.port}",
            "token-file": str(token_file),
            "ca-file": str(certificate[0]),
        }
        given = right | {name.replace("_", "-"): value for name, value in options.items()}
        status = cli.main([*arguments, *(f"--{name}={value}" for name, value in given.items() if value)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_what_is_served_is_printed_and_explained_and_compared(vortexctl: Run) -> None:
    assert (0, "2\n", "") == vortexctl("get", "shop", "prod", "pool.size")
    status, explained, _ = vortexctl("explain", "shop", "prod", "pool.size")
    assert 0 == status
    assert ["wins", "overridden"] == [line.split()[0] for line in explained.splitlines()[3:]]
    assert "shop-prod.yml:2:9" in explained
    status, compared, _ = vortexctl("diff", "shop", "prod", "--to", "label:main", "--from", "label:main")
    assert (0, "no difference") == (status, compared.splitlines()[1])


ASKING = [
    ("get", "shop", "prod"),
    ("explain", "shop"),
    ("watch", "shop", "--timeout", "5s"),
    ("fleet", "--app", "shop"),
]


@pytest.mark.parametrize("command", ASKING, ids=lambda command: command[0])
def test_what_is_wrong_is_said_with_what_to_do(
    command: tuple[str, ...], vortexctl: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VORTEXCTL_TOKEN", raising=False)
    monkeypatch.delenv("VORTEXD_TOKEN", raising=False)
    wrong = tmp_path / "token"
    wrong.write_text(new_token())
    wrong.chmod(0o600)
    other, _ = certificates.make(tmp_path, "other")
    port = server.port

    for options, status, told in (
        ({"server": "https://localhost:1"}, 3, "refused"),
        ({"token_file": ""}, 3, "token"),
        ({"token_file": str(wrong)}, 3, "token"),
        ({"ca_file": str(other)}, 3, "certificate"),
        ({"ca_file": ""}, 3, "certificate"),
        ({"ca_file": "", "server": f"http://localhost:{port}"}, 3, "localhost"),
        ({"ca_file": "none"}, 2, "none can't be read"),
        ({"token_file": "none"}, 2, "none can't be read"),
        ({"server": "localhost"}, 2, "the server must be http://HOST:PORT"),
    ):
        found, out, said = vortexctl(*command, **options)
        assert (status, "", 1) == (found, out, said.count("\n")), (options, said)
        assert said.startswith("vortexctl: error: ")
        assert told in said.lower().replace("http://host:port", "http://HOST:PORT"), said
        assert wrong.read_text() not in said


@pytest.mark.parametrize("command", ASKING[:3], ids=lambda command: command[0])
def test_a_label_that_there_is_not_is_said(command: tuple[str, ...], vortexctl: Run) -> None:
    status, out, said = vortexctl(*command, "--label", "nope")

    assert (3, "") == (status, out)
    assert "no such label" in said


def test_what_the_token_is_not_for_is_refused(vortexctl: Run) -> None:
    for command in ("get", "explain", "watch"):
        status, _, said = vortexctl(command, "other")
        assert 3 == status
        assert "the token doesn't allow this" in said


def test_watching_shows_a_change_runs_a_command_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    source = tmp_path / "config"
    source.mkdir()
    (source / "shop.yml").write_text("pool: 1\nfiller: " + "x" * 100 + "\n")
    with Server(source) as server:
        command = [str(Path(sys.executable).with_name("vortexctl")), "watch", "shop", "--server"]
        command += [f"http://127.0.0.1:{server.port}", "--exec", "cat; echo"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            assert watching.stdout.readline().startswith("shop:default:main  ")
            (source / "shop.yml").write_text("pool: 2\nfiller: " + "x" * 100 + "\n")
            assert " -> " in watching.stdout.readline()
            assert ["- /pool: 1\n", "+ /pool: 2\n"] == [watching.stdout.readline() for _ in range(2)]
            assert 2 == json.loads(watching.stdout.readline())["pool"]
            assert 0 == server.stop()
            said = watching.stdout.readline()
            assert said.startswith("stale: ")
            assert said.endswith("; trying again\n")
            watching.send_signal(signal.SIGINT)
            try:
                assert 130 == watching.wait(10)
            finally:
                watching.kill()
