"""`vortexctl unpin`: its request, its output and its errors."""

import pytest

from vortexd.ctl import cli
from vortexd.ctl.acts import MISSING, NO_RIGHT

from .answering import Said, answering

NEEDS = "it needs the right admin, and the right read for this configuration"


def lift(capsys: pytest.CaptureFixture[str], answer: Said, *given: str) -> tuple[int, str, str, list[str]]:
    with answering(answer) as server:
        status = cli.main(["unpin", "--server", server.url, *given])
        printed = capsys.readouterr()
        return status, printed.out, printed.err.replace(server.url, "URL"), server.asked


@pytest.mark.parametrize(
    ("given", "path", "key"),
    [
        (["billing:prod:feature/x"], "billing/prod/feature(_)x", "billing:prod:feature/x"),
        (["billing", "prod", "--label", "main"], "billing/prod/main", "billing:prod:main"),
        (["billing", "prod"], "billing/prod", "billing:prod"),
        (["billing"], "billing/default", "billing:default"),
    ],
)
def test_a_pin_is_lifted_by_one_request(
    given: list[str], path: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lift(capsys, (204, ""), *given) == (
        0,
        f"{key} is no longer pinned\n",
        "",
        [f"DELETE /api/v1/pins/{path}"],
    )


def test_a_reason_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    asked = lift(capsys, (204, ""), "billing:prod:main", "--reason", "it's fine & over")[3]

    assert ["DELETE /api/v1/pins/billing/prod/main?reason=it%27s+fine+%26+over"] == asked


def test_a_wrong_key_is_2_and_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("billing:prod:main:x", "billing:-:main"):
        status, out, _, asked = lift(capsys, (204, ""), key)
        assert (2, "", []) == (status, out, asked)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((401, {"message": "no"}), "URL re"),
        ((403, {"message": NO_RIGHT}), f"URL answered 403: {NO_RIGHT}: {NEEDS}; see --token-file"),
        ((404, {"message": MISSING}), "URL has no /api/v1/pins: this vortexd is older than this vortexctl"),
        ((404, {"message": "it isn't pinned"}), "URL answered 404: it isn't pinned"),
        ((503, {"message": "the disk is full"}), "URL answered 503: the disk is full"),
    ],
)
def test_a_refusal_is_the_servers_sentence(answer: Said, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err, _ = lift(capsys, answer, "billing:prod:main")

    assert (3, "", 1) == (status, out, err.count("\n"))
    assert err.startswith(f"vortexctl: error: {text}")
    assert "known whether" not in err


@pytest.mark.parametrize("answer", [(0, ""), (502, "<html>")])
def test_a_server_that_stops_in_the_middle_may_have_lifted_the_pin(
    answer: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err, asked = lift(capsys, answer, "billing:prod:main")

    assert (3, "", 1) == (status, out, len(asked))
    assert err.endswith(". It isn't known whether the server has lifted the pin. To find out, run: vortexctl pins\n")
