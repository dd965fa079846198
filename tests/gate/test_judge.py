"""The judge: findings with their places, equal documents, and a process that can't say."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from vortexd.aio.isolated import Died, Exceeded, Unavailable
from vortexd.core.model import Config, Key, PropertySource
from vortexd.core.version import encode, version_of
from vortexd.gate.finding import Failure, Finding
from vortexd.gate.judge import Check, Judge, SchemaProblem
from vortexd.gate.schemas import Schema

MEMORY = 268_435_456


def schemas(**texts: Any) -> dict[str, Schema]:
    return {
        name: Schema(name, text if isinstance(text, str) else json.dumps(text), f"/etc/{name}")
        for name, text in texts.items()
    }


def check(application: str, document: dict[str, Any], *names: str) -> Check:
    body = encode(document)
    source = PropertySource(
        f"file:/c/{application}.yml", document, {name: (at, 1) for at, name in enumerate(document, 1)}
    )
    return Check(Config(Key(application, "prod", "main"), version_of(body), body, (source,)), names, ("file:/c/",))


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    made = Judge(30.0, MEMORY)
    yield made
    made.close()


def test_a_finding_has_the_key_the_rule_the_file_and_the_line(judge: Judge) -> None:
    checks = [check("good", {"a": 1, "port": 1}, "s"), check("billing", {"a": 1, "port": "hunter2"}, "s")]
    findings, count = judge.findings(schemas(s={"properties": {"port": {"type": "integer"}}}), checks)

    assert [Finding(Key("billing", "prod", "main"), "/port", "type", "s", "billing.yml", 2)] == findings
    assert 1 == count


def test_equal_documents_are_sent_once_and_each_key_has_the_finding(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    ask = judge._isolated.ask

    def asking(request: Any, content: bytes = b"") -> Any:
        sent.append((request, content))
        return ask(request, content)

    monkeypatch.setattr(judge._isolated, "ask", asking)
    checks = [check("a", {"x": 1}, "s"), check("b", {"x": 1}, "s"), check("c", {"x": 1}, "t")]
    findings, count = judge.findings(schemas(s={"required": ["y"]}, t={}), checks)

    assert ["a", "b"] == [each.key.application for each in findings]
    assert ["a.yml", "b.yml"] == [each.file for each in findings]
    assert 2 == count
    assert [(("s",), 7), (("t",), 7)] == sent[0][0][1]
    assert b'{"x":1}{"x":1}' == sent[0][1]


def test_problems_of_schemas_name_the_file_and_the_line(judge: Judge) -> None:
    found = judge.problems(schemas(a={}, b='{\n"type": "strin"}'))

    assert [SchemaProblem("b", "/etc/b", 2, "there is no such type")] == found
    assert "/etc/b:2: there is no such type" == str(found[0])
    assert "/etc/b: why" == str(SchemaProblem("b", "/etc/b", None, "why"))
    assert [] == judge.problems(schemas(a={}, b={"$ref": "a"}))


def test_all_schemas_that_are_no_json_are_named_with_their_lines(judge: Judge) -> None:
    found = judge.problems(schemas(a="{\n]", b="{}", c='{"a": 1, "a": 2}'))

    assert [("a", 2), ("c", 1)] == [(each.name, each.line) for each in found]


def test_a_schema_that_cannot_be_used_judges_nothing(judge: Judge) -> None:
    with pytest.raises(Failure, match=r"^can't use /etc/s:1: it refers to a schema that isn't configured$"):
        judge.findings(schemas(s={"$ref": "file:///etc/passwd"}), [check("a", {}, "s")])


@pytest.mark.parametrize("error", [Exceeded("takes too much"), Died("takes too much"), Unavailable("takes too much")])
def test_a_process_that_fails_judges_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge(1.0, MEMORY)

    def failing(*_: Any) -> Iterator[Any]:
        raise error
        yield

    monkeypatch.setattr(judge._isolated, "ask", failing)
    with pytest.raises(Failure, match="^can't validate: the validation takes too much$"):
        judge.findings(schemas(s={}), [check("a", {}, "s")])
    with pytest.raises(Failure, match="^can't validate"):
        judge.problems(schemas(s={}))


def test_the_deadline_is_by_the_clock_and_the_processor_has_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr("vortexd.gate.judge.Isolated", lambda *given, **named: made.append((given, named)))
    Judge(0.5, MEMORY)
    Judge(2.5, MEMORY)

    assert [
        (("vortexd.gate.validation", MEMORY, 1), {"clock_seconds": 0.5}),
        (("vortexd.gate.validation", MEMORY, 3), {"clock_seconds": 2.5}),
    ] == made


def test_a_judge_that_was_killed_starts_no_other_process() -> None:
    judge = Judge(30.0, MEMORY)
    judge.kill()
    with pytest.raises(Failure, match="this program is ending"):
        judge.findings(schemas(s={}), [check("a", {}, "s")])


def test_a_judge_that_was_closed_starts_another_process() -> None:
    judge = Judge(30.0, MEMORY)
    assert ([], 0) == judge.findings(schemas(s={}), [check("a", {}, "s")])
    judge.close()
    assert ([], 0) == judge.findings(schemas(s={}), [check("a", {}, "s")])
    judge.close()


def test_a_process_that_hangs_is_a_failure_at_the_deadline_and_the_next_call_works() -> None:
    judge = Judge(0.5, MEMORY)
    with pytest.raises(Failure, match=r"^can't validate: the validation takes longer than 0.5 s$"):
        for _ in range(2):
            judge.findings(schemas(s={}), [check("a", {}, "s")])
            assert judge._isolated._process is not None
            os.kill(judge._isolated._process.pid, signal.SIGSTOP)
    judge.close()
    patient = Judge(30.0, MEMORY)
    assert ([], 0) == patient.findings(schemas(s={}), [check("a", {}, "s")])
    patient.close()


def test_a_document_that_takes_too_much_memory_is_a_failure() -> None:
    judge = Judge(30.0, 20_000_000)
    with pytest.raises(Failure, match=r"^can't validate: the validation takes more than 20000000 bytes of memory$"):
        judge.findings(schemas(s={}), [check("a", {"a": ["x" * 20] * 1_000_000}, "s")])
    judge.close()


def test_a_process_that_has_ended_meanwhile_is_replaced() -> None:
    judge = Judge(30.0, MEMORY)
    judge.findings(schemas(s={}), [check("a", {}, "s")])
    process = judge._isolated._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert ([], 0) == judge.findings(schemas(s={}), [check("a", {}, "s")])
    judge.close()
