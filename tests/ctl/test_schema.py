"""`vortexctl schema infer`: the keys that it asks for, and the draft that it prints."""

import json

import pytest

from vortexd.ctl import cli, schema

from .answering import answering
from .test_get import environment


def page(*profiles: str, following: str | None = None) -> tuple[int, object]:
    keys = [{"app": "billing", "profile": each, "label": "main", "version": None, "path": "x"} for each in profiles]
    return 200, {"keys": keys, "next": following}


def test_the_draft_is_of_all_keys_of_the_application(capsys: pytest.CaptureFixture[str]) -> None:
    answers = page("default", following="billing:default:main"), page("prod")
    documents = environment({"port": 1, "pw": "hunter2"}), environment({"port": 2})
    with answering(*answers, *documents) as server:
        assert 0 == cli.main(["schema", "infer", "billing", "--server", server.url])

    assert [
        "/api/v1/keys?app=billing&limit=100",
        "/api/v1/keys?app=billing&limit=100&after=billing%3Adefault%3Amain",
        "/billing/default/main",
        "/billing/prod/main",
    ] == server.asked
    printed = capsys.readouterr().out
    made = json.loads(printed)
    assert ["port"] == made["required"]
    assert {"port": {"type": "integer"}, "pw": {"type": "string"}} == made["properties"]
    assert "hunter2" not in printed


def test_a_label_limits_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(page("default"), environment({"port": 1})) as server:
        assert 0 == cli.main(["schema", "infer", "billing", "--label", "main", "--server", server.url])

    assert "/api/v1/keys?app=billing&limit=100&label=main" == server.asked[0]
    assert capsys.readouterr().out


def test_an_application_without_a_configuration_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(page()) as server:
        assert 1 == cli.main(["schema", "infer", "billing", "--server", server.url])

    assert "the server has no configuration of billing that the token may read" in capsys.readouterr().err


@pytest.mark.parametrize(("most", "status"), [(2, 0), (1, 1)])
def test_the_number_of_documents_is_bounded(
    most: int, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schema, "_MOST", most)
    with answering(page("default", "prod"), environment({"port": 1})) as server:
        assert status == cli.main(["schema", "infer", "billing", "--server", server.url])
    assert ("has more than 1 configurations" in capsys.readouterr().err) == (status == 1)


@pytest.mark.parametrize("body", [[], {"keys": [{}]}, {"keys": []}, {"keys": 1, "next": None}])
def test_an_answer_of_another_program_is_an_error(body: object, capsys: pytest.CaptureFixture[str]) -> None:
    with answering((200, body)) as server:
        assert 3 == cli.main(["schema", "infer", "billing", "--server", server.url])

    assert "doesn't answer as a vortexd of this version does" in capsys.readouterr().err
