"""`vortexctl pin`: its request, what it prints, and its errors."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from vortexd.ctl import cli
from vortexd.ctl.acts import MISSING, NO_RIGHT
from vortexd.ctl.errors import CtlError
from vortexd.ctl.server import Server

from .answering import Said, answering
from .test_pins import pin

UNKNOWN = "It isn't known whether the server has put the pin. To find out, run: vortexctl pins"

NEEDS = "it needs the right admin, and the right read for this configuration"


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1")
    monkeypatch.setenv("VORTEXCTL_TOKEN", "vt_secret")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def put(capsys: pytest.CaptureFixture[str], answer: Said, *given: str) -> tuple[int, str, str, Any]:
    with answering(answer) as server:
        status = cli.main(["pin", "--server", server.url, *given])
        printed = capsys.readouterr()
        assert all(each == "POST /api/v1/pins" for each in server.asked)
        assert len(server.asked) <= 1
        return status, printed.out, printed.err.replace(server.url, "URL"), (server.bodies or [None])[0]


def test_a_pin_with_an_end_says_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    given = ("billing:prod:main", "--to", "c0ffee0", "--reason", "incident 7", "--for", "2h")
    status, out, err, body = put(capsys, (201, pin()), *given)

    assert (0, "") == (status, err)
    assert out.splitlines() == [
        "billing:prod:main is pinned to version 0123456789abcdef (commit c0ffeec0ffee)",
        "the pin ends at 2026-11-30 03:53:20 CET (2026-11-30 02:53:20 UTC)",
    ]
    names = {"application": "billing", "profile": "prod", "label": "main"}
    assert {**names, "to": "c0ffee0", "reason": "incident 7", "seconds": 7_200} == body


def test_a_pin_without_an_end_says_how_to_lift_it(capsys: pytest.CaptureFixture[str]) -> None:
    answer = pin(until=None, commit=None)
    status, out, _, body = put(capsys, (201, answer), "billing", "prod", "--label", "main", "--reason", "x")

    assert 0 == status
    assert out.splitlines() == [
        "billing:prod:main is pinned to version 0123456789abcdef",
        "it stays pinned until you lift the pin: vortexctl unpin billing:prod:main",
    ]
    assert ("", None) == (body["to"], body["seconds"])


def test_a_pin_that_is_not_served_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _, _ = put(capsys, (201, pin(served=False)), "billing:prod:main", "--reason", "x")

    assert out.splitlines()[2:] == [
        "billing:prod:main isn't served from its pin: a label is gone, or the files of the pin can't be used",
    ]


def test_without_a_label_the_server_takes_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _, body = put(capsys, (201, pin(until=None)), "billing:prod", "--reason", "x")

    assert "" == body["label"]
    assert out.endswith("vortexctl unpin billing:prod:main\n")


def test_a_misspelt_application_has_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    answer: Said = (201, pin(), {"X-Vortex-Without-Files": "biling"})
    status, out, err, _ = put(capsys, answer, "biling:prod:main", "--reason", "x")

    assert (0, 2) == (status, out.count("\n"))
    assert "vortexctl: warning: no file is named after biling; only the files for all applications apply\n" == err


def test_programs_get_the_pin(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _, _ = put(capsys, (201, pin(more=1)), "billing:prod:main", "--reason", "x", "--json")

    assert pin(more=1) == json.loads(out)


def test_an_answer_controls_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    answer = pin(version="\x1b[2J", label="\x1b[2J", commit="\x1b[2J", until=None)
    _, out, _, _ = put(capsys, (201, answer), "billing:prod:main", "--reason", "x")

    assert 2 == out.count("\n")
    assert "\x1b" not in out


@pytest.mark.parametrize(
    "given",
    [
        ["billing:prod:main"],
        ["--reason", "x"],
        ["billing:prod:main", "--reason", "x", "--for", "soon"],
        ["billing:prod:main", "--reason", "x", "--for", "0"],
        ["billing:prod:main", "--reason", "x", "--for", "1.5s"],
        ["billing:prod:main", "--reason", "x", "--for", "90d1s"],
    ],
)
def test_a_wrong_command_line_is_2(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["pin", *given])
    assert 2 == caught.value.code


def test_a_pin_may_last_90_days(capsys: pytest.CaptureFixture[str]) -> None:
    assert 7_776_000 == put(capsys, (201, pin()), "billing:prod:main", "--reason", "x", "--for", "90d")[3]["seconds"]


def test_a_wrong_key_is_2_and_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("billing:prod:main:x", "billing:-:main"):
        status, out, _, body = put(capsys, (201, pin()), key, "--reason", "x")
        assert (2, "", None) == (status, out, body)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((400, {"message": "reason must have 1 to 500 characters"}), "URL answered 400: reason must have"),
        ((401, {"message": "no"}), "URL refused the token: it is wrong, expired or revoked"),
        ((403, {"message": NO_RIGHT}), f"URL answered 403: {NO_RIGHT}: {NEEDS}; see --token-file"),
        ((404, {"message": MISSING}), "URL has no /api/v1/pins: this vortexd is older than this vortexctl"),
        ((404, {"message": "no such commit"}), "URL answered 404: no such commit"),
        ((409, {"message": "it is pinned by bob"}), "URL answered 409: it is pinned by bob"),
        ((503, {"message": "the disk is full"}), "URL answered 503: the disk is full"),
    ],
)
def test_a_refusal_is_the_servers_sentence(answer: Said, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err, _ = put(capsys, answer, "billing:prod:main", "--reason", "x")

    assert (3, "", 1) == (status, out, err.count("\n"))
    assert err.startswith(f"vortexctl: error: {text}")
    assert "known whether" not in err


@pytest.mark.parametrize(
    "answer",
    [(0, ""), (502, "<html>"), (500, {"message": "x"}), (201, {}), (201, pin(until="soon")), (201, pin(label=1))],
)
def test_a_server_that_stops_in_the_middle_may_have_put_the_pin(
    answer: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err, _ = put(capsys, answer, "billing:prod:main", "--reason", "x")

    assert (3, "") == (status, out)
    assert err.endswith(f". {UNKNOWN}\n")


def test_a_pin_has_two_minutes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts = []

    def exchange(self: Server, *_: Any) -> Any:
        timeouts.append(self.timeout)
        raise CtlError("enough")

    monkeypatch.setattr(Server, "_exchange", exchange)
    put(capsys, (0, ""), "billing:prod:main", "--reason", "x")

    assert [120] == timeouts


def test_a_server_that_cannot_be_reached_has_put_no_pin(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["pin", "--server", "http://127.0.0.1:1", "a:b:c", "--reason", "x"])

    err = capsys.readouterr().err
    assert 3 == status
    assert "can't be reached: connection refused" in err
    assert "known whether" not in err
