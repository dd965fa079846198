"""One key's configuration from a server: its document, its version, and the warnings about it."""

from typing import Any

import pytest

from vortexd.core.version import encode, version_of
from vortexd.ctl.configuration import Configuration, read_configuration, warn, warn_of_unknown
from vortexd.ctl.errors import CtlError
from vortexd.ctl.server import Answer, Server

from .answering import Said, answering
from .test_get import environment

DOCUMENT: dict[str, Any] = {"pool": {"size": 20, "ratio": 1.0}, "hosts": ["a"], "debug": None, "on": True}
WEAK = {"pool.size": 10, "pool.ratio": 1.0, "hosts[0]": "a"}
STRONG = {"pool.size": 20, "debug": None, "on": True}


def read(said: Said, label: str | None = None) -> tuple[Configuration, Server, list[str]]:
    with answering(said) as server:
        reached = Server(server.url)
        return read_configuration(reached, "billing", "prod", label), reached, server.asked


def test_the_strongest_source_wins_and_every_type_is_kept() -> None:
    found, _, asked = read(environment(STRONG, WEAK))

    assert (DOCUMENT, True) == (found.document, found.has_files)
    assert (version_of(encode(DOCUMENT)), ["/billing/prod"]) == (found.version, asked)
    assert b'"ratio":1.0' in encode(found.document)


def test_the_request_names_the_label_and_asks_for_json() -> None:
    with answering(environment(WEAK)) as server:
        read_configuration(Server(server.url), "billing", "prod", "feature/x")

    assert (["/billing/prod/feature(_)x"], "application/json") == (server.asked, server.headers[0]["accept"])


def test_a_sound_answer_has_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    read(environment(WEAK))

    assert ("", "") == capsys.readouterr()


def test_a_key_without_sources_is_empty_and_has_no_files() -> None:
    found, _, _ = read(environment())

    assert ({}, False) == (found.document, found.has_files)


@pytest.mark.parametrize(
    "said",
    [
        (200, {}, {"X-Vortex-Version": version_of(encode({}))}),
        (200, [], {"X-Vortex-Version": version_of(encode({}))}),
        (200, None, {"X-Vortex-Version": version_of(encode({}))}),
        (200, {"propertySources": None}, {"X-Vortex-Version": version_of(encode({}))}),
        (200, {"propertySources": ["x"]}, {"X-Vortex-Version": version_of(encode({}))}),
        (200, {"propertySources": [{"source": {}}]}, {"X-Vortex-Version": version_of(encode({}))}),
        (200, {"propertySources": [{"name": "a", "source": []}]}, {"X-Vortex-Version": version_of(encode({}))}),
        (
            200,
            {"propertySources": [{"name": "a", "source": {"a": [1]}}]},
            {"X-Vortex-Version": version_of(encode({"a": [1]}))},
        ),
        (200, {"propertySources": [{"name": "a", "source": {"a[100000]": 1}}]}, {"X-Vortex-Version": "0" * 16}),
        (200, {"propertySources": []}),
        environment(WEAK, version="0" * 16),
    ],
    ids=[
        "no sources",
        "a list",
        "null",
        "null as sources",
        "a text as a source",
        "a source without a name",
        "a list as values",
        "a list as a value",
        "an index that no list has",
        "no version",
        "the version of another document",
    ],
)
def test_an_answer_of_another_server_is_an_error(said: Said, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(said) as server, pytest.raises(CtlError) as caught:
        read_configuration(Server(server.url), "billing", "prod", None)

    text = f"{server.url} doesn't answer as a vortexd of this version does; see --server"
    assert (3, text) == (caught.value.status, str(caught.value))
    assert ("", "") == capsys.readouterr()


@pytest.mark.parametrize(
    ("header", "value", "text"),
    [
        (
            "X_Vortex_Stale",
            "7",
            "this configuration may be old: the server hasn't been able to read one of its sources for 7 s",
        ),
        (
            "X_Vortex_Broken",
            '"shop.yml";line=3',
            "this configuration holds old content or lacks a file, because files on the server are broken: "
            '"shop.yml";line=3',
        ),
        (
            "X_Vortex_Held_Back",
            '"main";state="c2"',
            "this configuration may be old: the server's gate holds back state c2 of label main; see vortexctl gate",
        ),
        (
            "Vortexd_Pinned",
            "true",
            "this configuration is pinned until somebody lifts the pin, so it doesn't follow its source; see vortexctl pins",
        ),
        (
            "X_Vortex_Without_Files",
            "biling,shp",
            "no file is named after biling, shp; only the files for all applications apply",
        ),
    ],
)
def test_each_header_about_the_content_becomes_a_warning(
    header: str, value: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _, _ = read(environment(WEAK, **{header: value}))

    assert found.has_files
    assert ("", f"vortexctl: warning: {text}\n") == capsys.readouterr()


def test_a_key_without_any_file_is_not_reported_as_misspelt_too(capsys: pytest.CaptureFixture[str]) -> None:
    read(environment(X_Vortex_Without_Files="biling"))

    assert "" == capsys.readouterr().err


def test_an_answer_without_the_header_has_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_unknown(Answer(200, {}, b""))
    warn_of_unknown(Answer(200, {"x-vortex-without-files": ""}, b""))

    assert ("", "") == capsys.readouterr()


def test_a_warning_does_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    warn("a\x1b[2J\nb")

    assert ("", "vortexctl: warning: a\\x1b[2J\\nb\n") == capsys.readouterr()
