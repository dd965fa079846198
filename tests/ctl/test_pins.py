"""`vortexctl pins`: the pins as a table or JSON."""

import json
from typing import Any

import pytest

from vortexd.ctl import cli, pins
from vortexd.ctl.acts import MISSING, NO_RIGHT

from .answering import Said, answering

NOW = 1_796_000_000.0  # 2026-11-30T00:53:20Z


def pin(key: str = "billing:prod:main", **more: Any) -> dict[str, Any]:
    application, profile, label = key.split(":")
    return {
        "application": application,
        "profile": profile,
        "label": label,
        "version": "0123456789abcdef",
        "commit": "c0ffee" * 7,
        "reason": "incident\x1b[2J 7",
        "by": "ada",
        "since": "2026-11-30T00:00:00.000Z",
        "until": "2026-11-30T02:53:20.000Z",
        **more,
    }


def listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: Said, *given: str
) -> tuple[int, str, str]:
    monkeypatch.setattr("vortexd.ctl.pins.time.time", lambda: NOW)
    with answering(answer) as server:
        status = cli.main(["pins", "--server", server.url, *given])
        assert ["/api/v1/pins"] == server.asked
        printed = capsys.readouterr()
        return status, printed.out, printed.err.replace(server.url, "URL")


def test_pins_are_a_table_in_the_order_of_their_keys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"pins": [pin(), pin("a:prod:main", commit=None, until=None, reason="x")]}
    status, out, err = listed(capsys, monkeypatch, (200, answer))

    assert (0, "") == (status, err)
    assert out.splitlines() == [
        "KEY                VERSION           COMMIT        UNTIL                              BY   SINCE                     REASON",
        "a:prod:main        0123456789abcdef  -             until lifted                       ada  2026-11-30T00:00:00.000Z  x",
        "billing:prod:main  0123456789abcdef  c0ffeec0ffee  2026-11-30T02:53:20.000Z (in 2 h)  ada  2026-11-30T00:00:00.000Z  "
        "incident\\x1b[2J 7",
    ]


NONE = "no configuration that the token may see is pinned\n"


def test_no_pins_are_a_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert (0, NONE, "") == listed(capsys, monkeypatch, (200, {"pins": []}))


def test_pins_that_are_not_served_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"pins": [pin(served=True), pin("a:\x1b:main", served=False)]}
    _, out, _ = listed(capsys, monkeypatch, (200, answer))

    lost = "a:\\x1b:main isn't served from its pin: a label is gone, or the files of the pin can't be used\n"
    assert out.endswith(f"x1b[2J 7\n{lost}")


def test_programs_get_one_object(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"pins": [pin("b:prod:main"), pin("a:prod:main")], "more": 1}
    status, out, _ = listed(capsys, monkeypatch, (200, answer), "--json")

    assert (0, 1) == (status, out.count("\n"))
    assert {"pins": [pin("a:prod:main"), pin("b:prod:main")], "more": 1} == json.loads(out)
    assert (0, '{"pins": []}\n', "") == listed(capsys, monkeypatch, (200, {"pins": []}), "--json")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        7,
        {"pins": 7},
        {"pins": [{}]},
        {"pins": [7]},
        {"pins": [pin(label=7)]},
        {"pins": [pin(until=7)]},
        {"pins": [pin(until="soon")]},
        {"pins": [pin(version=7)]},
    ],
)
def test_other_answers_are_3(answer: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(capsys, monkeypatch, (200, answer)) == (
        3,
        "",
        "vortexctl: error: URL doesn't answer as a vortexd of this version does; see --server\n",
    )


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((401, {"message": "a token is needed"}), "URL requires a token: name its file with --token-file"),
        ((403, {"message": NO_RIGHT}), f"URL answered 403: {NO_RIGHT}: it needs the right admin; see --token-file"),
        ((404, {"message": MISSING}), "URL has no /api/v1/pins: this vortexd is older than this vortexctl"),
        ((404, "<html>"), "URL answered 404, but not as a vortexd does; see --server"),
        ((503, {"message": "the pins can't be read"}), "URL answered 503: the pins can't be read"),
        ((0, ""), "URL ended the connection early"),
    ],
)
def test_each_refusal_is_explained(
    answer: Said,
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VORTEXCTL_TOKEN", raising=False)
    monkeypatch.delenv("VORTEXD_TOKEN", raising=False)
    status, out, err = listed(capsys, monkeypatch, answer)

    assert (3, "") == (status, out)
    assert err.startswith(f"vortexctl: error: {text}")
    assert "known whether" not in err


def test_a_name_of_a_pin_is_its_key() -> None:
    assert "billing:prod:main" == pins.name_of(pin())
