"""`vortexctl cluster forget`: its request, its output and its errors."""

import pytest

from vortexd.ctl import cli

from .answering import Said, answering


def forget(*answers: Said, node: str = "b") -> tuple[int, list[str]]:
    with answering(*answers) as server:
        return cli.main(["cluster", "forget", node, "--server", server.url]), server.asked


def test_a_node_is_forgotten_by_one_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert (0, ["DELETE /api/v1/cluster/members/b.1"]) == forget((204, ""), node="b.1")
    assert "forgotten: b.1\n" == capsys.readouterr().out


def test_a_name_stays_one_part_of_the_path_and_prints_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert ["DELETE /api/v1/cluster/members/a%2Fb%1B%3F"] == forget((204, ""), node="a/b\x1b?")[1]
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((409, {"message": "this node isn't away"}), "this node isn't away"),
        ((404, {"message": "the cluster has no node of this name"}), "no node of this name"),
        ((503, {"message": "the store can't be used"}), "the store can't be used"),
        ((200, {}), "answered 200, but not as a vortexd does"),
    ],
)
def test_a_refusal_is_shown(answer: Said, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 3 == forget(answer)[0]
    printed = capsys.readouterr()
    assert ("", True) == (printed.out, text in printed.err)


def test_the_action_and_the_node_are_required(capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["cluster"], ["cluster", "forget"], ["cluster", "keep", "b"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(given)
        assert 2 == ended.value.code


def test_options_may_stand_before_the_command() -> None:
    with answering((204, "")) as server:
        assert 0 == cli.main(["--server", server.url, "cluster", "forget", "b"])
